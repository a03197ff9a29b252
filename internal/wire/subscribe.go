package wire

import "encoding/binary"

// Subscription is a topic filter with its Subscription Options (MQTT5 3.8.3.1).
type Subscription struct {
	Filter  []byte
	Options byte // bits 0-1: QoS; v5 only: 2 No Local, 3 Retain As Published, 4-5 Retain Handling
}

// SubscribePacket is a SUBSCRIBE (MQTT5 3.8).
type SubscribePacket struct {
	ID            uint16     // packet identifier, never 0
	Properties    Properties // v5 only, ignored in other versions
	Subscriptions []Subscription
}

// UnsubscribePacket is an UNSUBSCRIBE (MQTT5 3.10).
type UnsubscribePacket struct {
	ID         uint16     // packet identifier, never 0
	Properties Properties // v5 only, ignored in other versions
	Filters    [][]byte
}

// SubackPacket is a SUBACK or an UNSUBACK (MQTT5 3.9, 3.11).
type SubackPacket struct {
	Type       Type
	ID         uint16     // packet identifier, never 0
	Properties Properties // v5 only, ignored in other versions
	Codes      []byte     // one for each filter; none in an UNSUBACK before v5
}

// ParseSubscribe takes a SUBSCRIBE apart. What it allocates is in proportion to the
// packet's size.
func ParseSubscribe(p Packet, v Version) (SubscribePacket, error) {
	var m SubscribePacket
	c, err := parseIDAndProperties(p, Subscribe, v, &m.ID, &m.Properties)
	if err != nil {
		return SubscribePacket{}, err
	}
	m.Subscriptions = make([]Subscription, 0, c.countFilters(1))
	for c.err == nil && len(c.b) > 0 {
		s := Subscription{Filter: c.topic(), Options: c.byte()}
		if c.err == nil {
			c.err = checkOptions(s.Options, v)
		}
		m.Subscriptions = append(m.Subscriptions, s)
	}
	if c.err == nil && len(m.Subscriptions) == 0 {
		c.err = errEmptyList
	}
	if c.err != nil {
		return SubscribePacket{}, c.err
	}
	return m, nil
}

// ParseUnsubscribe takes an UNSUBSCRIBE apart. What it allocates is in proportion to
// the packet's size.
func ParseUnsubscribe(p Packet, v Version) (UnsubscribePacket, error) {
	var m UnsubscribePacket
	c, err := parseIDAndProperties(p, Unsubscribe, v, &m.ID, &m.Properties)
	if err != nil {
		return UnsubscribePacket{}, err
	}
	m.Filters = make([][]byte, 0, c.countFilters(0))
	for c.err == nil && len(c.b) > 0 {
		m.Filters = append(m.Filters, c.topic())
	}
	if c.err == nil && len(m.Filters) == 0 {
		c.err = errEmptyList
	}
	if c.err != nil {
		return UnsubscribePacket{}, c.err
	}
	return m, nil
}

// ParseSuback takes a SUBACK or an UNSUBACK apart.
func ParseSuback(p Packet, v Version) (SubackPacket, error) {
	m := SubackPacket{Type: p.Type()}
	if m.Type != Suback && m.Type != Unsuback {
		return SubackPacket{}, errType
	}
	c, err := parseIDAndProperties(p, m.Type, v, &m.ID, &m.Properties)
	if err != nil {
		return SubackPacket{}, err
	}
	m.Codes = c.b
	if err := m.checkCodes(v); err != nil {
		return SubackPacket{}, err
	}
	return m, nil
}

// parseIDAndProperties reads what the four packets begin with.
func parseIDAndProperties(p Packet, t Type, v Version, id *uint16, ps *Properties) (cursor, error) {
	body, err := p.body(t, v)
	if err != nil {
		return cursor{}, err
	}
	if !v.known() {
		return cursor{}, ErrVersion
	}
	c := cursor{b: body}
	*id = c.packetID()
	if v == V5 {
		*ps = c.properties(1 << t)
	}
	return c, c.err
}

// countFilters returns how many filters, each with extra bytes behind it, there are
// before the end or the first fault.
func (c cursor) countFilters(extra int) (n int) {
	for len(c.b) > 0 {
		c.field()
		c.take(extra)
		if c.err != nil {
			return n
		}
		n++
	}
	return n
}

// checkOptions refuses reserved bits and values of Subscription Options.
func checkOptions(o byte, v Version) error {
	reserved := byte(0xC0)
	if v != V5 {
		reserved = 0xFC
	}
	switch {
	case o&reserved != 0, o&0x30 == 0x30:
		return errFlags
	case o&3 == 3:
		return errQoS
	}
	return nil
}

func (m *SubackPacket) checkCodes(v Version) error {
	switch has, must := len(m.Codes) > 0, m.Type == Suback || v == V5; {
	case must && !has:
		return errEmptyList
	case has && !must:
		return errLength
	}
	return nil
}

// Append appends the packet to dst. It returns [ErrTooLarge] for a field or a packet
// that has no encoding and [ErrMalformed] for what ParseSubscribe refuses.
func (m *SubscribePacket) Append(dst []byte, v Version) ([]byte, error) {
	if !v.known() {
		return dst, ErrVersion
	}
	if len(m.Subscriptions) == 0 {
		return dst, errEmptyList
	}
	size := 0
	for _, s := range m.Subscriptions {
		if err := checkTopic(s.Filter); err != nil {
			return dst, err
		}
		if err := checkOptions(s.Options, v); err != nil {
			return dst, err
		}
		if size += 2 + len(s.Filter) + 1; size > maxRemaining {
			return dst, errRemaining
		}
	}
	dst, err := appendIDAndProperties(dst, Subscribe, v, m.ID, m.Properties, size)
	if err != nil {
		return dst, err
	}
	for _, s := range m.Subscriptions {
		dst = append(appendField(dst, s.Filter), s.Options)
	}
	return dst, nil
}

// Append appends the packet to dst. It returns [ErrTooLarge] for a field or a packet
// that has no encoding and [ErrMalformed] for what ParseUnsubscribe refuses.
func (m *UnsubscribePacket) Append(dst []byte, v Version) ([]byte, error) {
	if !v.known() {
		return dst, ErrVersion
	}
	if len(m.Filters) == 0 {
		return dst, errEmptyList
	}
	size := 0
	for _, f := range m.Filters {
		if err := checkTopic(f); err != nil {
			return dst, err
		}
		if size += 2 + len(f); size > maxRemaining {
			return dst, errRemaining
		}
	}
	dst, err := appendIDAndProperties(dst, Unsubscribe, v, m.ID, m.Properties, size)
	if err != nil {
		return dst, err
	}
	for _, f := range m.Filters {
		dst = appendField(dst, f)
	}
	return dst, nil
}

// Append appends the packet to dst. It returns [ErrTooLarge] for a packet that has no
// encoding and [ErrMalformed] for what ParseSuback refuses.
func (m *SubackPacket) Append(dst []byte, v Version) ([]byte, error) {
	if !v.known() {
		return dst, ErrVersion
	}
	if m.Type != Suback && m.Type != Unsuback {
		return dst, errType
	}
	if err := m.checkCodes(v); err != nil {
		return dst, err
	}
	dst, err := appendIDAndProperties(dst, m.Type, v, m.ID, m.Properties, len(m.Codes))
	if err != nil {
		return dst, err
	}
	return append(dst, m.Codes...), nil
}

// appendIDAndProperties appends what the four packets begin with, for a payload of n
// bytes.
func appendIDAndProperties(dst []byte, t Type, v Version, id uint16, ps Properties, n int) ([]byte, error) {
	if id == 0 {
		return dst, errPacketID
	}
	size := 2
	if v == V5 {
		if err := ps.check(1 << t); err != nil {
			return dst, err
		}
		size += ps.encodedSize()
	}
	if n > maxRemaining {
		return dst, errRemaining
	}
	dst, err := appendFixed(dst, t, t.flags(), size+n)
	if err != nil {
		return dst, err
	}
	dst = binary.BigEndian.AppendUint16(dst, id)
	if v == V5 {
		dst = ps.append(dst)
	}
	return dst, nil
}
