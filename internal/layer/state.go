package layer

import (
	"sync/atomic"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// state is what the layer learns of the MQTT connection from the packets that pass.
type state struct {
	version atomic.Uint32 // 0 before CONNECT
	client  atomic.Bool   // the local side wrote CONNECT
	greeted atomic.Bool   // CONNACK has reached the local side, or come from it
	asked   atomic.Bool   // CONNECT, as the local side wrote it, named an authentication method
	limit   atomic.Int64  // of an incoming packet, bytes; more ends the connection
	granted atomic.Int64  // the Maximum Packet Size of the local side, 0 for none
	id      atomic.Pointer[string]
	asks    asks

	patience atomic.Int64 // Keep Alive, seconds, 0 for none
	pings    atomic.Int64 // PINGREQ of the layer's own that the local side has not answered
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

// assigned takes the Client Identifier that a server assigned to a client that had none (MQTT 5, 3.2.2.3.7).
func (s *state) assigned(ps wire.Properties) {
	if b, ok := ps.Bytes(wire.AssignedClientIdentifier); ok && *s.id.Load() == "" {
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
	if t == wire.Subscribe && v != wire.V5 && s.client.Load() {
		s.asks.asked(p, v)
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
	s.greeted.Store(true)
	if seconds, ok := m.Properties.Uint(wire.ServerKeepAlive); ok {
		s.patience.Store(int64(seconds))
	}
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
	s.patience.Store(int64(m.KeepAlive))
	if client {
		s.grant(m.Properties)
		_, asked := m.Properties.Bytes(wire.AuthenticationMethod)
		s.asked.Store(asked)
	}
	s.version.Store(uint32(m.Version))
	return nil
}
