package plug

import (
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
	owner   any    // the wrap that it belongs to
	next    *frost // for what scheme leaves alone; nil if there is no other scheme
}

// freeze protects p for the store. It may edit p.
func (f frost) freeze(p wire.Packet, out bool) (wire.Packet, error) {
	frozen, err := f.change(p, out, f.scheme.Freeze)
	if err == nil && f.next != nil && isSame(frozen, p) {
		return f.next.freeze(p, out)
	}
	return frozen, err
}

// thaw is the inverse of freeze.
func (f frost) thaw(p wire.Packet, out bool) (wire.Packet, error) {
	thawed, err := f.change(p, out, f.scheme.Thaw)
	if err == nil && f.next != nil && isSame(thawed, p) {
		return f.next.thaw(p, out)
	}
	return thawed, err
}

func isSame(a, b wire.Packet) bool { return len(a) == len(b) && &a[0] == &b[0] }

// above returns f for the store of a client that another scheme has wrapped before: it takes the other's place there,
// and leaves to it what it does not protect itself. A message is frozen once, by the scheme next to the application:
// what the others would freeze is not what they will be given to send.
func (f frost) above(other frost) frost {
	f.next = &other
	return f
}

// change is what scheme makes of p, which must be delivered as p is. A store may set DUP
// on a packet that it holds, so the scheme gets it without and the result has it again.
func (f frost) change(p wire.Packet, out bool, scheme func(string, wire.Version, wire.Packet, bool) (wire.Packet, error)) (wire.Packet, error) {
	const dup = 0x08
	m, err := wire.ParsePublish(p, f.version)
	if err != nil {
		return nil, err
	}
	flag := p[0] & dup
	p[0] &^= dup
	changed, err := scheme(f.session, f.version, p, out)
	if err != nil {
		return nil, err
	}
	c, err := wire.ParsePublish(changed, f.version)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errFrost, err)
	}
	if c.QoS != m.QoS || c.ID != m.ID {
		return nil, errFrost
	}
	changed[0] |= flag
	return changed, nil
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
