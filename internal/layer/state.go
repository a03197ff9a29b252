package layer

import (
	"sync/atomic"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// state is what the layer learns of the MQTT connection from the packets that pass.
type state struct {
	version atomic.Uint32 // 0 before CONNECT
	client  atomic.Bool   // the local side wrote CONNECT
	asked   atomic.Bool   // CONNECT, as the local side wrote it, named an authentication method
	limit   atomic.Int64  // of an incoming packet, bytes; more ends the connection
	granted atomic.Int64  // the Maximum Packet Size of the local side, 0 for none
	id      atomic.Pointer[string]
}

// Version is the protocol version in CONNECT, 0 before it.
func (c *Conn) Version() wire.Version { return wire.Version(c.state.version.Load()) }

// IsClient tells whether the local side is the client of this connection. It has no meaning before CONNECT.
func (c *Conn) IsClient() bool { return c.state.client.Load() }

// ClientID is the Client Identifier in CONNECT or, once the server has assigned one, that. It is empty before.
func (c *Conn) ClientID() string {
	if id := c.state.id.Load(); id != nil {
		return *id
	}
	return ""
}

// grant takes the Maximum Packet Size that the local side granted its peer (MQTT 5, 3.1.2.11.4 and 3.2.2.3.6).
func (s *state) grant(ps wire.Properties) {
	if n, ok := ps.Uint(wire.MaximumPacketSize); ok {
		s.granted.Store(int64(n))
	}
}

// Allow lets the peer's packets be larger by n bytes than the local side granted. It is for a filter that has asked the
// peer for as much more, since it makes packets smaller, and holds to the local side's limit itself.
func (c *Conn) Allow(n int) {
	if granted := c.state.granted.Load(); granted > 0 {
		c.state.granted.Store(min(granted+int64(n), wire.MaxPacket))
	}
}

// assigned takes the Client Identifier that a server assigned (MQTT 5, 3.2.2.3.7).
func (s *state) assigned(ps wire.Properties) {
	if b, ok := ps.Bytes(wire.AssignedClientIdentifier); ok {
		id := string(b)
		s.id.Store(&id)
	}
}

// sent notes what the local side's packet p tells.
func (s *state) sent(p wire.Packet) error {
	t := p.Type()
	if t == wire.Connect {
		return s.connect(p, true)
	}
	v := wire.Version(s.version.Load())
	if v == 0 || t == wire.Connack && s.client.Load() {
		return ErrProtocol
	}
	if t != wire.Connack {
		return p.CheckHeader(v)
	}
	m, err := wire.ParseConnack(p, v)
	if err != nil {
		return err
	}
	s.grant(m.Properties)
	s.assigned(m.Properties)
	return nil
}

// received notes what the peer's packet p tells.
func (s *state) received(p wire.Packet) error {
	t := p.Type()
	if t == wire.Connect {
		return s.connect(p, false)
	}
	v := wire.Version(s.version.Load())
	if v == 0 || t == wire.Connack && !s.client.Load() {
		return ErrProtocol
	}
	if t != wire.Connack {
		return p.CheckHeader(v)
	}
	m, err := wire.ParseConnack(p, v)
	if err != nil {
		return err
	}
	s.assigned(m.Properties)
	return nil
}

func (s *state) connect(p wire.Packet, client bool) error {
	if s.version.Load() != 0 {
		return ErrProtocol
	}
	m, err := wire.ParseConnect(p)
	if err != nil {
		return err
	}
	id := string(m.ClientID)
	s.id.Store(&id)
	s.client.Store(client)
	if client {
		s.grant(m.Properties)
		_, asked := m.Properties.Bytes(wire.AuthenticationMethod)
		s.asked.Store(asked)
	}
	s.version.Store(uint32(m.Version))
	return nil
}

// tame makes a CONNACK for the local side harmless for the Eclipse clients: paho.golang without an AuthHandler panics
// on an Authentication Method, and paho.mqtt.golang takes a return code that it does not know for success. Other
// packets pass.
func (s *state) tame(p wire.Packet) (wire.Packet, error) {
	if p.Type() != wire.Connack || !s.client.Load() {
		return p, nil
	}
	v := wire.Version(s.version.Load())
	m, err := wire.ParseConnack(p, v)
	if err != nil {
		return nil, err
	}
	const lastCode, notAuthorized = 5, 5 // MQTT 3.1.1, table 3.1
	switch {
	case v == wire.V5 && !s.asked.Load():
		ps := m.Properties.Without(wire.AuthenticationMethod).Without(wire.AuthenticationData)
		if len(ps) == len(m.Properties) {
			return p, nil
		}
		m.Properties = ps
	case v != wire.V5 && m.Code > lastCode:
		m.Code = notAuthorized
	default:
		return p, nil
	}
	return m.Append(nil, v)
}
