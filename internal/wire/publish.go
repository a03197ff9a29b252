package wire

import "encoding/binary"

// PublishPacket is a PUBLISH (MQTT5 3.3). Topic, Properties and Payload alias the
// packet that was parsed.
type PublishPacket struct {
	Dup, Retain bool
	QoS         byte // 0, 1 or 2

	// Topic is the topic name. It is empty only in v5, and only together with a
	// Topic Alias.
	Topic []byte

	// ID is the packet identifier, and does not exist at QoS 0. A client stores a
	// PUBLISH before it gives it one, so Parse and Append take 0; on a connection
	// it is a protocol error.
	ID uint16

	Properties Properties // v5 only, ignored in other versions
	Payload    []byte
}

// The flags of a PUBLISH's fixed header; QoS has bits 1 and 2.
const (
	flagRetain = 0x01
	flagDup    = 0x08
)

// ParsePublish takes a PUBLISH apart. It allocates nothing.
func ParsePublish(p Packet, v Version) (PublishPacket, error) {
	body, err := p.body(Publish, v)
	if err != nil {
		return PublishPacket{}, err
	}
	if !v.known() {
		return PublishPacket{}, ErrVersion
	}
	flags := p.Flags()
	m := PublishPacket{
		Dup:    flags&flagDup != 0,
		Retain: flags&flagRetain != 0,
		QoS:    flags >> 1 & 3,
	}
	c := cursor{b: body}
	m.Topic = c.field()
	if m.QoS > 0 {
		m.ID = c.uint16()
	}
	if v == V5 {
		m.Properties = c.properties(1 << Publish)
	}
	if c.err == nil {
		c.err = m.checkTopic(v)
	}
	if c.err != nil {
		return PublishPacket{}, c.err
	}
	m.Payload = c.b
	return m, nil
}

// checkTopic admits the empty topic of a v5 PUBLISH that has an alias for it
// (MQTT5 3.3.2.1), otherwise what names one.
func (m *PublishPacket) checkTopic(v Version) error {
	if len(m.Topic) > 0 {
		return checkTopic(m.Topic)
	}
	if v == V5 {
		if _, ok := m.Properties.Find(TopicAlias); ok {
			return nil
		}
	}
	return errTopic
}

// Append appends the packet to dst. It returns [ErrTooLarge] for a field or a packet
// that has no encoding and [ErrMalformed] for what ParsePublish refuses.
func (m *PublishPacket) Append(dst []byte, v Version) ([]byte, error) {
	dst, err := m.AppendHeader(dst, v, len(m.Payload))
	if err != nil {
		return dst, err
	}
	return append(dst, m.Payload...), nil
}

// AppendHeader appends what stands before a payload of n bytes, so that a payload can
// be encrypted straight into its place; m.Payload is not looked at. Its errors are
// those of Append; dst is returned unchanged with them. It allocates nothing if dst
// has room for HeaderSize bytes.
func (m *PublishPacket) AppendHeader(dst []byte, v Version, n int) ([]byte, error) {
	if !v.known() {
		return dst, ErrVersion
	}
	if m.QoS > 2 {
		return dst, errQoS
	}
	if err := m.checkTopic(v); err != nil {
		return dst, err
	}
	if v == V5 {
		if err := m.Properties.check(1 << Publish); err != nil {
			return dst, err
		}
	}
	if n < 0 || n > maxRemaining {
		return dst, errRemaining
	}
	flags := m.QoS << 1
	if m.Retain {
		flags |= flagRetain
	}
	if m.Dup {
		flags |= flagDup
	}
	dst, err := appendFixed(dst, Publish, flags, m.variableSize(v)+n)
	if err != nil {
		return dst, err
	}
	dst = appendField(dst, m.Topic)
	if m.QoS > 0 {
		dst = binary.BigEndian.AppendUint16(dst, m.ID)
	}
	if v == V5 {
		dst = m.Properties.append(dst)
	}
	return dst, nil
}

// variableSize returns the size of the variable header.
func (m *PublishPacket) variableSize(v Version) int {
	n := 2 + len(m.Topic)
	if m.QoS > 0 {
		n += 2
	}
	if v == V5 {
		n += m.Properties.encodedSize()
	}
	return n
}

// Size returns the number of bytes that Append appends. A size beyond MaxPacket is
// possible; Append then returns [ErrTooLarge].
func (m *PublishPacket) Size(v Version) int {
	return m.HeaderSize(v, len(m.Payload)) + len(m.Payload)
}

// HeaderSize returns the number of bytes that AppendHeader appends for a payload of n
// bytes.
func (m *PublishPacket) HeaderSize(v Version, n int) int {
	size := m.variableSize(v)
	return 1 + VarintSize(size+n) + size
}
