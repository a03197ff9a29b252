package wire

import "encoding/binary"

// Will is the message that a server publishes when a client is gone (MQTT5 3.1.2.5).
type Will struct {
	Properties Properties // v5 only, ignored in other versions
	Topic      []byte
	Payload    []byte // at most 65,535 bytes, unlike a PUBLISH's
	QoS        byte
	Retain     bool
}

// ConnectPacket is a CONNECT (MQTT5 3.1).
type ConnectPacket struct {
	Version    Version
	CleanStart bool   // called Clean Session before v5
	KeepAlive  uint16 // seconds
	Properties Properties
	ClientID   []byte
	Will       *Will // nil: none

	HasUsername bool
	Username    []byte
	HasPassword bool // before v5 only together with HasUsername
	Password    []byte

	// Bridge is bit 7 of the protocol level before v5, by which some servers'
	// bridges say what they are. The standard does not have it; it is kept.
	Bridge bool
}

const (
	protocolName  = "MQTT"
	protocolName3 = "MQIsdp" // MQTT 3.1
	bridgeBit     = 0x80
)

// The flags of CONNECT (MQTT5 3.1.2.3); the Will's QoS has bits 3 and 4.
const (
	connectReserved   = 0x01
	connectCleanStart = 0x02
	connectWill       = 0x04
	connectWillQoS    = 0x18
	connectWillRetain = 0x20
	connectPassword   = 0x40
	connectUsername   = 0x80
)

// ParseConnect takes a CONNECT apart. A protocol other than the three known ones is
// an [ErrVersion].
func ParseConnect(p Packet) (ConnectPacket, error) {
	body, err := p.body(Connect, V311)
	if err != nil {
		return ConnectPacket{}, err
	}
	c := cursor{b: body}
	var m ConnectPacket
	m.parseProtocol(&c)
	flags := c.byte()
	m.KeepAlive = c.uint16()
	if c.err != nil {
		return ConnectPacket{}, c.err
	}
	if err := checkConnectFlags(flags, m.Version); err != nil {
		return ConnectPacket{}, err
	}
	if m.Version == V5 {
		m.Properties = c.properties(1 << Connect)
	}
	m.CleanStart = flags&connectCleanStart != 0
	m.ClientID = c.field()
	if flags&connectWill != 0 {
		m.Will = parseWill(&c, flags, m.Version)
	}
	if m.HasUsername = flags&connectUsername != 0; m.HasUsername {
		m.Username = c.field()
	}
	if m.HasPassword = flags&connectPassword != 0; m.HasPassword {
		m.Password = c.field()
	}
	if err := c.end(); err != nil {
		return ConnectPacket{}, err
	}
	if err := p.CheckHeader(m.Version); err != nil {
		return ConnectPacket{}, err
	}
	return m, nil
}

func (m *ConnectPacket) parseProtocol(c *cursor) {
	name, level := string(c.field()), c.byte()
	if c.err != nil {
		return
	}
	m.Version = Version(level)
	if v := Version(level &^ bridgeBit); v != V5 {
		m.Version, m.Bridge = v, level&bridgeBit != 0
	}
	if !m.Version.known() || name != m.Version.protocolName() {
		c.fail(ErrVersion)
	}
}

func (v Version) protocolName() string {
	if v == V31 {
		return protocolName3
	}
	return protocolName
}

func checkConnectFlags(flags byte, v Version) error {
	switch {
	case flags&connectReserved != 0:
		return errFlags
	case flags&connectWillQoS == connectWillQoS:
		return errQoS
	case flags&connectWill == 0 && flags&(connectWillQoS|connectWillRetain) != 0:
		return errFlags
	case v != V5 && flags&connectPassword != 0 && flags&connectUsername == 0:
		return errPassword
	}
	return nil
}

func parseWill(c *cursor, flags byte, v Version) *Will {
	w := &Will{QoS: flags & connectWillQoS >> 3, Retain: flags&connectWillRetain != 0}
	if v == V5 {
		w.Properties = c.properties(willPlace)
	}
	w.Topic = c.topic()
	w.Payload = c.field()
	return w
}

// Append appends the packet to dst. It returns [ErrTooLarge] for a field or a packet
// that has no encoding and [ErrMalformed] for what ParseConnect refuses.
func (m *ConnectPacket) Append(dst []byte) ([]byte, error) {
	flags, err := m.check()
	if err != nil {
		return dst, err
	}
	dst, err = appendFixed(dst, Connect, 0, m.bodySize())
	if err != nil {
		return dst, err
	}
	level := byte(m.Version)
	if m.Bridge {
		level |= bridgeBit
	}
	dst = appendField(dst, []byte(m.Version.protocolName()))
	dst = append(dst, level, flags)
	dst = binary.BigEndian.AppendUint16(dst, m.KeepAlive)
	if m.Version == V5 {
		dst = m.Properties.append(dst)
	}
	dst = appendField(dst, m.ClientID)
	if w := m.Will; w != nil {
		if m.Version == V5 {
			dst = w.Properties.append(dst)
		}
		dst = appendField(dst, w.Topic)
		dst = appendField(dst, w.Payload)
	}
	if m.HasUsername {
		dst = appendField(dst, m.Username)
	}
	if m.HasPassword {
		dst = appendField(dst, m.Password)
	}
	return dst, nil
}

// flags returns the Connect Flags.
func (m *ConnectPacket) flags() (flags byte) {
	if m.CleanStart {
		flags |= connectCleanStart
	}
	if w := m.Will; w != nil {
		flags |= connectWill | w.QoS<<3
		if w.Retain {
			flags |= connectWillRetain
		}
	}
	if m.HasUsername {
		flags |= connectUsername
	}
	if m.HasPassword {
		flags |= connectPassword
	}
	return flags
}

// check returns the Connect Flags, or an error if m is not what ParseConnect returns.
func (m *ConnectPacket) check() (flags byte, err error) {
	if !m.Version.known() || m.Version == V5 && m.Bridge {
		return 0, ErrVersion
	}
	if w := m.Will; w != nil {
		if err := w.check(m.Version); err != nil {
			return 0, err
		}
	}
	if len(m.ClientID) > maxField || len(m.Username) > maxField || len(m.Password) > maxField {
		return 0, errField
	}
	if m.Version == V5 {
		if err := m.Properties.check(1 << Connect); err != nil {
			return 0, err
		}
	}
	flags = m.flags()
	return flags, checkConnectFlags(flags, m.Version)
}

func (w *Will) check(v Version) error {
	if w.QoS > 2 {
		return errQoS
	}
	if err := checkTopic(w.Topic); err != nil {
		return err
	}
	if len(w.Payload) > maxField {
		return errField
	}
	if v == V5 {
		return w.Properties.check(willPlace)
	}
	return nil
}

// bodySize returns the size of variable header and payload.
func (m *ConnectPacket) bodySize() int {
	n := 2 + len(m.Version.protocolName()) + 4 + 2 + len(m.ClientID)
	if m.Version == V5 {
		n += m.Properties.encodedSize()
	}
	if w := m.Will; w != nil {
		n += 4 + len(w.Topic) + len(w.Payload)
		if m.Version == V5 {
			n += w.Properties.encodedSize()
		}
	}
	if m.HasUsername {
		n += 2 + len(m.Username)
	}
	if m.HasPassword {
		n += 2 + len(m.Password)
	}
	return n
}
