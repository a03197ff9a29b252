package wire

// ConnackPacket is a CONNACK (MQTT5 3.2).
type ConnackPacket struct {
	SessionPresent bool
	Code           byte       // v5: Reason Code; before: Return Code
	Properties     Properties // v5 only, ignored in other versions
}

// ParseConnack takes a CONNACK apart.
func ParseConnack(p Packet, v Version) (ConnackPacket, error) {
	body, err := p.body(Connack, v)
	if err != nil {
		return ConnackPacket{}, err
	}
	if !v.known() {
		return ConnackPacket{}, ErrVersion
	}
	c := cursor{b: body}
	flags := c.byte()
	m := ConnackPacket{SessionPresent: flags&1 != 0, Code: c.byte()}
	if flags&^1 != 0 {
		c.fail(errFlags)
	}
	if v == V5 && c.err == nil {
		m.Properties = c.properties(1 << Connack)
	}
	if err := c.end(); err != nil {
		return ConnackPacket{}, err
	}
	return m, nil
}

// Append appends the packet to dst. It returns [ErrTooLarge] for a packet that has no
// encoding and [ErrMalformed] for what ParseConnack refuses.
func (m *ConnackPacket) Append(dst []byte, v Version) ([]byte, error) {
	if !v.known() {
		return dst, ErrVersion
	}
	size := 2
	if v == V5 {
		if err := m.Properties.check(1 << Connack); err != nil {
			return dst, err
		}
		size += m.Properties.encodedSize()
	}
	dst, err := appendFixed(dst, Connack, 0, size)
	if err != nil {
		return dst, err
	}
	var flags byte
	if m.SessionPresent {
		flags = 1
	}
	dst = append(dst, flags, m.Code)
	if v == V5 {
		dst = m.Properties.append(dst)
	}
	return dst, nil
}
