package wire

// ReasonPacket is a DISCONNECT or an AUTH (MQTT5 3.14, 3.15).
type ReasonPacket struct {
	Type       Type
	Reason     byte       // v5 only, ignored in other versions
	Properties Properties // v5 only, ignored in other versions
}

// ParseReason takes a DISCONNECT or an AUTH apart. Before v5 a DISCONNECT is empty
// and AUTH does not exist.
func ParseReason(p Packet, v Version) (ReasonPacket, error) {
	m := ReasonPacket{Type: p.Type()}
	if err := m.check(v); err != nil {
		return ReasonPacket{}, err
	}
	body, err := p.body(m.Type, v)
	if err != nil {
		return ReasonPacket{}, err
	}
	c := cursor{b: body}
	if v == V5 && len(body) > 0 {
		m.Reason = c.byte()
		// Only DISCONNECT may leave out the Property Length alone (MQTT5 3.14.2.2.1,
		// 3.15.2.1).
		if len(c.b) > 0 || m.Type == Auth {
			m.Properties = c.properties(1 << m.Type)
		}
	}
	if err := c.end(); err != nil {
		return ReasonPacket{}, err
	}
	return m, nil
}

func (m *ReasonPacket) check(v Version) error {
	switch {
	case !v.known():
		return ErrVersion
	case m.Type == Auth && v == V5, m.Type == Disconnect:
		return nil
	}
	return errType
}

// Append appends the packet to dst. It returns [ErrTooLarge] for a packet that has no
// encoding and [ErrMalformed] for what ParseReason refuses.
func (m *ReasonPacket) Append(dst []byte, v Version) ([]byte, error) {
	if err := m.check(v); err != nil {
		return dst, err
	}
	var tail reasonTail
	if v == V5 {
		tail = reasonTail{m.Reason, m.Properties}
	}
	if err := tail.properties.check(1 << m.Type); err != nil {
		return dst, err
	}
	size := tail.size()
	noProperties := m.Type == Auth && size == 1
	if noProperties {
		size++
	}
	dst, err := appendFixed(dst, m.Type, 0, size)
	if err != nil {
		return dst, err
	}
	dst = tail.append(dst)
	if noProperties {
		dst = append(dst, 0)
	}
	return dst, nil
}
