package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// Varint decodes the Variable Byte Integer at the start of b (MQTT5 1.5.5). size is
// its length, 0 if b ends inside it, and -1 if it has more than four bytes or is
// not the shortest encoding of its value.
func Varint(b []byte) (v uint32, size int) {
	for i, c := range b {
		if i == 4 {
			return 0, -1
		}
		v |= uint32(c&0x7F) << (7 * i)
		if c < 0x80 {
			if c == 0 && i > 0 {
				return 0, -1
			}
			return v, i + 1
		}
	}
	if len(b) >= 4 {
		return 0, -1
	}
	return 0, 0
}

// VarintSize returns the length of v as a Variable Byte Integer; 5 means that v has
// no such encoding.
func VarintSize(v int) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	case v < 1<<28:
		return 4
	}
	return 5
}

// AppendVarint appends v, of at most 28 bits, as a Variable Byte Integer.
func AppendVarint(dst []byte, v int) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

// appendField appends b behind its two-byte length; the caller has checked it.
func appendField(dst, b []byte) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(b)))
	return append(dst, b...)
}

// appendFixed appends the fixed header of a packet with a body of n bytes.
func appendFixed(dst []byte, t Type, flags byte, n int) ([]byte, error) {
	if n > maxRemaining {
		return dst, errRemaining
	}
	return AppendVarint(append(dst, byte(t)<<4|flags), n), nil
}

// validTopic is the part of MQTT5 4.7.3 that holds for names and filters alike.
func validTopic(t []byte) bool {
	return len(t) > 0 && bytes.IndexByte(t, 0) < 0
}

// checkTopic is what an Append method asks of a topic name or filter.
func checkTopic(t []byte) error {
	if len(t) > maxField {
		return errField
	}
	if !validTopic(t) {
		return errTopic
	}
	return nil
}

// cursor takes a packet's body apart from the front. The first failure sticks, and
// what it yields from then on is zero. It allocates nothing.
type cursor struct {
	b   []byte
	err error
}

func (c *cursor) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	c.b = nil
}

// take returns the next n bytes, clipped so that appending to them cannot reach
// what follows.
func (c *cursor) take(n int) []byte {
	if n > len(c.b) {
		c.fail(errLength)
		return nil
	}
	b := c.b[:n:n]
	c.b = c.b[n:]
	return b
}

func (c *cursor) byte() byte {
	if b := c.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// field returns the contents of a string or of binary data.
func (c *cursor) field() []byte { return c.take(int(c.uint16())) }

// topic returns the contents of a topic name or filter.
func (c *cursor) topic() []byte {
	t := c.field()
	if c.err == nil && !validTopic(t) {
		c.fail(errTopic)
	}
	return t
}

// packetID returns a packet identifier, which must not be 0 (MQTT5 2.2.1).
func (c *cursor) packetID() uint16 {
	id := c.uint16()
	if c.err == nil && id == 0 {
		c.fail(errPacketID)
	}
	return id
}

// properties returns the properties of a packet of type in behind their length; nil
// if there are none.
func (c *cursor) properties(in place) Properties {
	n, size := Varint(c.b)
	if size <= 0 {
		c.fail(errLength)
		return nil
	}
	c.b = c.b[size:]
	ps := Properties(c.take(int(n)))
	if len(ps) == 0 {
		return nil
	}
	if err := ps.validate(in); err != nil {
		if errors.Is(err, ErrTooLarge) {
			err = errProperty // the mark of Properties.Append, sent by a peer
		}
		c.fail(err)
		return nil
	}
	return ps
}

// end returns the cursor's error, and an error if there are bytes left.
func (c *cursor) end() error {
	if c.err == nil && len(c.b) > 0 {
		c.err = errLength
	}
	return c.err
}
