package layer

import (
	"fmt"
	"sync"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// tame makes a packet for the local side harmless for the Eclipse clients: paho.golang without an AuthHandler panics on
// an Authentication Method in CONNACK and takes every Reason Code below 0x80 for success; paho.mqtt.golang does so with
// a return code that it does not know, and panics on a SUBACK with more of them than it asked for. Other packets pass.
// It returns nil for a SUBACK that answers nothing.
func (s *state) tame(p wire.Packet) (wire.Packet, error) {
	if !s.client.Load() {
		return p, nil
	}
	switch v := wire.Version(s.version.Load()); {
	case p.Type() == wire.Connack:
		return s.tameConnack(p, v)
	case p.Type() == wire.Suback && v != wire.V5:
		return s.asks.answered(p, v)
	}
	return p, nil
}

func (s *state) tameConnack(p wire.Packet, v wire.Version) (wire.Packet, error) {
	if s.greeted.Swap(true) {
		return nil, fmt.Errorf("%w: a second CONNACK", ErrProtocol)
	}
	m, err := wire.ParseConnack(p, v)
	if err != nil {
		return nil, err
	}
	const lastCode, notAuthorized = 5, 5 // MQTT 3.1.1, table 3.1
	code, ps := m.Code, m.Properties
	switch {
	case v != wire.V5 && code > lastCode:
		m.Code = notAuthorized
	case v == wire.V5 && code != wire.Success && code < wire.UnspecifiedError: // MQTT 5, 3.2.2.2 has none of them
		m.Code = wire.UnspecifiedError
	}
	if v == wire.V5 && !s.asked.Load() {
		m.Properties = ps.Without(wire.AuthenticationMethod).Without(wire.AuthenticationData)
	}
	if m.Code == code && len(m.Properties) == len(ps) {
		return p, nil
	}
	return m.Append(nil, v)
}

// asks are the SUBSCRIBE packets of a client that wait for their SUBACK: how many filters each has, by packet
// identifier. The zero value is ready.
type asks struct {
	mu      sync.Mutex
	filters map[uint16]int
}

// asked notes a SUBSCRIBE. One that is none is not answered.
func (a *asks) asked(p wire.Packet, v wire.Version) {
	m, err := wire.ParseSubscribe(p, v)
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.filters == nil {
		a.filters = make(map[uint16]int)
	}
	a.filters[m.ID] = len(m.Subscriptions)
}

// answered returns a SUBACK that has a code for each filter (MQTT 3.1.1, 3.9.3), nil if nothing was asked on this
// connection: the client may remember what it asked on one before.
func (a *asks) answered(p wire.Packet, v wire.Version) (wire.Packet, error) {
	m, err := wire.ParseSuback(p, v)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	n, ok := a.filters[m.ID]
	if !ok {
		return nil, nil
	}
	delete(a.filters, m.ID)
	if len(m.Codes) != n {
		return nil, fmt.Errorf("%w: a SUBACK with %d codes for %d filters", ErrProtocol, len(m.Codes), n)
	}
	return p, nil
}
