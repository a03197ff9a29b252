package wire

import "encoding/binary"

// AckPacket is a PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT5 3.4 to 3.7).
type AckPacket struct {
	Type       Type
	ID         uint16     // packet identifier, never 0
	Reason     byte       // v5 only, ignored in other versions
	Properties Properties // v5 only, ignored in other versions
}

func (t Type) acknowledges() bool { return t >= Puback && t <= Pubcomp }

// ParseAck takes a packet of one of the four types apart. It allocates nothing.
func ParseAck(p Packet, v Version) (AckPacket, error) {
	m := AckPacket{Type: p.Type()}
	if !m.Type.acknowledges() {
		return AckPacket{}, errType
	}
	body, err := p.body(m.Type, v)
	if err != nil {
		return AckPacket{}, err
	}
	if !v.known() {
		return AckPacket{}, ErrVersion
	}
	c := cursor{b: body}
	m.ID = c.packetID()
	// Reason Code and Property Length may be left out from the end (MQTT5 3.4.2).
	if v == V5 && len(c.b) > 0 {
		m.Reason = c.byte()
		if len(c.b) > 0 {
			m.Properties = c.properties(1 << m.Type)
		}
	}
	if err := c.end(); err != nil {
		return AckPacket{}, err
	}
	return m, nil
}

// Append appends the packet to dst. It returns [ErrTooLarge] for a packet that has no
// encoding and [ErrMalformed] for what ParseAck refuses.
func (m *AckPacket) Append(dst []byte, v Version) ([]byte, error) {
	if !v.known() {
		return dst, ErrVersion
	}
	if !m.Type.acknowledges() {
		return dst, errType
	}
	if m.ID == 0 {
		return dst, errPacketID
	}
	var tail reasonTail
	if v == V5 {
		tail = reasonTail{m.Reason, m.Properties}
	}
	if err := tail.properties.check(1 << m.Type); err != nil {
		return dst, err
	}
	dst, err := appendFixed(dst, m.Type, m.Type.flags(), 2+tail.size())
	if err != nil {
		return dst, err
	}
	return tail.append(binary.BigEndian.AppendUint16(dst, m.ID)), nil
}

// reasonTail is a Reason Code with properties, both of which are left out where they
// say nothing.
type reasonTail struct {
	reason     byte
	properties Properties
}

func (r reasonTail) size() int {
	switch {
	case len(r.properties) > 0:
		return 1 + r.properties.encodedSize()
	case r.reason != Success:
		return 1
	}
	return 0
}

func (r reasonTail) append(dst []byte) []byte {
	switch {
	case len(r.properties) > 0:
		return r.properties.append(append(dst, r.reason))
	case r.reason != Success:
		return append(dst, r.reason)
	}
	return dst
}
