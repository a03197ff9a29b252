package layer

import (
	"encoding/binary"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Skipper is a [Filter] that wants to know of a PUBLISH that was passed over, because it was larger than the local side
// takes. m has the topic, as it came, and the properties, but no payload. The layer has answered for it. A filter hears
// of those that a layer below its own has passed over, too, in their place among what it hears of.
type Skipper interface {
	Skipped(c *Conn, m *wire.PublishPacket) error
}

// uncounted is by how much a packet may exceed the Maximum Packet Size that the local side granted: some servers do not
// count the first byte, or the fixed header, and both Eclipse clients take what comes.
const uncounted = 5

// maxProperties is how many bytes of properties are looked at in a packet that is passed over.
const maxProperties = 64 << 10

// oversize tells whether a packet of size bytes is more than the local side takes.
func (c *Conn) oversize(size int) bool {
	granted := c.state.granted.Load()
	return granted > 0 && int64(size) > granted+uncounted
}

// passOver withholds and answers a PUBLISH that is too large, so that nobody ends a connection, and its successors, by
// planting one. It keeps no more of it than the start. Until that is here it returns how many bytes it wants; then it
// is done, which -1 says. Any other packet that is too large is an error.
func (c *Conn) passOver(size int) (want int, err error) {
	held := wire.Packet(c.in.held())
	held = held[:min(size, len(held))]
	v := c.Version()
	if held.Type() != wire.Publish {
		return 0, wire.ErrTooLarge
	}
	if err := held.CheckHeader(v); err != nil {
		return 0, err
	}
	var m wire.PublishPacket
	if len(held) == size {
		m, err = wire.ParsePublish(held, v)
	} else if m, want, err = publishStart(held, v); want > 0 {
		return min(want, size), nil
	}
	if err != nil {
		return 0, err
	}
	var a Answers
	if err := a.Incoming(c, &m, wire.QuotaExceeded); err != nil {
		return 0, err
	}
	err = c.skipped(m)
	c.skip = c.in.drop(size)
	return -1, err
}

// skipped tells the filters here and above. Those above have judged all that came before: it is their Read that this
// one reads for.
func (c *Conn) skipped(m wire.PublishPacket) error {
	for ; c != nil; c = c.above.Load() {
		if s, ok := c.filter.(Skipper); ok {
			told := m
			if err := s.Skipped(c, &told); err != nil {
				return err
			}
		}
	}
	return nil
}

// publishStart returns what p, the start of a PUBLISH, says before the payload. If p is too short for that, want is the
// length that it should have, more than it has.
func publishStart(p wire.Packet, v wire.Version) (m wire.PublishPacket, want int, err error) {
	body := p.Body()
	header := len(p) - len(body)
	if len(body) < 2 {
		return m, header + 2, nil
	}
	end := 2 + int(binary.BigEndian.Uint16(body))
	if p.Flags()&6 != 0 {
		end += 2
	}
	const longest = 4 // bytes of the length of the properties
	if len(body) < end+longest {
		return m, header + end + longest, nil
	}
	content := body[:end:end]
	if v == wire.V5 {
		n, size := wire.Varint(body[end:])
		switch {
		case size <= 0:
			return m, 0, wire.ErrMalformed
		case n > maxProperties:
			content = append(content, 0)
		case len(body) < end+size+int(n):
			return m, header + end + size + int(n), nil
		default:
			content = body[:end+size+int(n)]
		}
	}
	start := wire.AppendVarint(wire.Packet{p[0]}, len(content))
	m, err = wire.ParsePublish(append(start, content...), v)
	return m, 0, err
}
