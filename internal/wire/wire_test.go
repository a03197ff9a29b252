package wire

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// packet is any of the packet structs, in one shape.
type packet interface {
	Append(dst []byte, v Version) ([]byte, error)
}

// connect gives ConnectPacket, which knows its version, the shape of the others.
type connect struct{ ConnectPacket }

func (c *connect) Append(dst []byte, _ Version) ([]byte, error) {
	return c.ConnectPacket.Append(dst)
}

// bare is a PINGREQ or PINGRESP, which the package has no struct for.
type bare struct{ Type }

func (e *bare) Append(dst []byte, _ Version) ([]byte, error) {
	return appendFixed(dst, e.Type, 0, 0)
}

// parse takes any packet apart.
func parse(p Packet, v Version) (m packet, err error) {
	switch t := p.Type(); t {
	case Connect:
		var c connect
		c.ConnectPacket, err = ParseConnect(p)
		return &c, err
	case Connack:
		c, err := ParseConnack(p, v)
		return &c, err
	case Publish:
		c, err := ParsePublish(p, v)
		return &c, err
	case Puback, Pubrec, Pubrel, Pubcomp:
		c, err := ParseAck(p, v)
		return &c, err
	case Subscribe:
		c, err := ParseSubscribe(p, v)
		return &c, err
	case Unsubscribe:
		c, err := ParseUnsubscribe(p, v)
		return &c, err
	case Suback, Unsuback:
		c, err := ParseSuback(p, v)
		return &c, err
	case Disconnect, Auth:
		c, err := ParseReason(p, v)
		return &c, err
	case Pingreq, Pingresp:
		body, err := p.body(t, v)
		if err == nil && len(body) > 0 {
			err = errLength
		}
		return &bare{t}, err
	}
	return nil, errHeader
}

// text prints a packet so that two with the same contents print alike, whether their
// empty slices are nil or not.
func text(m packet) string {
	if c, ok := m.(*connect); ok {
		plain, will := c.ConnectPacket, "no Will"
		if plain.Will != nil {
			will = fmt.Sprintf("%+v", *plain.Will)
		}
		plain.Will = nil
		return fmt.Sprintf("%+v %s", plain, will)
	}
	return fmt.Sprintf("%T %+v", m, m)
}

// requireStable appends m, which was parsed from p, checks that the result is a packet
// no longer than p that parses to the same and is its own encoding, and returns it.
func requireStable(t *testing.T, p Packet, v Version, m packet) Packet {
	t.Helper()
	const before = "before"
	dst, err := m.Append([]byte(before), v)
	require.NoError(t, err, "% x", p)
	require.Equal(t, before, string(dst[:len(before)]))
	short := Packet(dst[len(before):])
	require.LessOrEqual(t, len(short), len(p), "% x", p)

	n, err := Scan(short, MaxPacket)
	require.NoError(t, err)
	require.Equal(t, len(short), n)
	again, err := parse(short, v)
	require.NoError(t, err, "% x", short)
	require.Equal(t, text(m), text(again))
	twice, err := again.Append(nil, v)
	require.NoError(t, err)
	require.Equal(t, short, Packet(twice))
	return short
}

// frame puts a fixed header before a body.
func frame(t Type, flags byte, body []byte) Packet {
	p, err := appendFixed(nil, t, flags, len(body))
	if err != nil {
		panic(err)
	}
	return append(p, body...)
}
