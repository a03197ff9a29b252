package plug

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// errFrost is reported when a scheme makes of a PUBLISH something else.
var errFrost = errors.New("plug: the scheme returned another kind of packet")

// frost freezes and thaws the PUBLISH packets of one client.
type frost struct {
	scheme  AtRest
	session string
	version wire.Version
}

// freeze protects p for the store. It edits p.
func (f frost) freeze(p wire.Packet, out bool) (wire.Packet, error) {
	return f.neutrally(p, out, f.scheme.Freeze)
}

// thaw is the inverse of freeze.
func (f frost) thaw(p wire.Packet, out bool) (wire.Packet, error) {
	return f.neutrally(p, out, f.scheme.Thaw)
}

// neutrally runs change on p with the fields cleared that differ between the moments
// at which a packet is stored and loaded, and puts them into the result.
func (f frost) neutrally(p wire.Packet, out bool, change func(string, wire.Version, wire.Packet, bool) (wire.Packet, error)) (wire.Packet, error) {
	m, err := wire.ParsePublish(p, f.version)
	if err != nil {
		return nil, err
	}
	setDelivery(p, false, len(m.Topic), 0)
	changed, err := change(f.session, f.version, p, out)
	if err != nil {
		return nil, err
	}
	c, err := wire.ParsePublish(changed, f.version)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFrost, err)
	}
	if c.QoS != m.QoS {
		return nil, errFrost
	}
	setDelivery(changed, m.Dup, len(c.Topic), m.ID)
	return changed, nil
}

// setDelivery writes DUP and, unless it is of QoS 0, the Packet Identifier into a
// well-formed PUBLISH with a topic of the given length.
func setDelivery(p wire.Packet, dup bool, topic int, id uint16) {
	const dupFlag, qosFlags = 0x08, 0x06
	p[0] &^= dupFlag
	if dup {
		p[0] |= dupFlag
	}
	if p[0]&qosFlags != 0 {
		binary.BigEndian.PutUint16(p.Body()[2+topic:], id)
	}
}

// readPublish reads r, which holds one PUBLISH and nothing else.
func readPublish(r io.Reader, v wire.Version) (wire.Packet, error) {
	b, err := io.ReadAll(io.LimitReader(r, wire.MaxPacket+1))
	if err != nil {
		return nil, err
	}
	if _, err := wire.ParsePublish(b, v); err != nil {
		return nil, err
	}
	return b, nil
}
