package guard

import (
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

var errSuback = errors.New("guard: the broker's SUBACK does not fit the SUBSCRIBE")

// Outgoing judges a packet from the broker.
func (s *Session) Outgoing(p wire.Packet) (wire.Packet, error) {
	now := s.now()
	if !s.current(now) {
		return nil, nil
	}
	switch p.Type() {
	case wire.Publish, wire.Pubrel:
		return s.publishes.Outgoing(s.c, p)
	case wire.Suback:
		return s.outgoingSuback(p)
	case wire.Connack:
		p, err := s.publishes.Outgoing(s.c, p)
		if err != nil {
			return nil, err
		}
		return s.outgoingConnack(p, now)
	}
	return p, nil
}

// outgoingPublish is a layer.Judge.
func (s *Session) outgoingPublish(_ *layer.Conn, m *layer.Message) (wire.Packet, error) {
	if !s.mayReceive(m.Name) {
		s.g.counters.deliveryDenied.Add(1)
		s.logDenial("delivery not authorized", string(m.Name))
		s.end(wire.NotAuthorized, ErrNotAuthorized)
		return nil, nil
	}
	if m.Retain && s.g.retained.over(m.Name, s.now()) {
		s.g.counters.retainedWithheld.Add(1)
		return nil, &layer.Withhold{Reason: wire.Success, Err: ErrExpired}
	}
	s.g.counters.delivered.Add(1)
	return m.Packet()
}

// outgoingConnack learns what the broker decided about the session, and tells a client without an identity that it
// has none.
func (s *Session) outgoingConnack(p wire.Packet, now time.Time) (wire.Packet, error) {
	m, err := wire.ParseConnack(p, s.version)
	if err != nil || m.Code != 0 {
		return p, err
	}
	s.mu.Lock()
	s.established = true
	if seconds, ok := m.Properties.Uint(wire.SessionExpiryInterval); ok {
		s.expiry = expirySeconds(seconds)
	}
	if m.SessionPresent {
		if s.subscriptions == nil {
			s.subscriptions = make(map[string]struct{}, len(s.inherited))
		}
		maps.Copy(s.subscriptions, s.inherited)
	}
	s.inherited = nil
	s.mu.Unlock()
	if s.version != wire.V5 {
		return p, nil
	}
	if id, ok := m.Properties.Bytes(wire.AssignedClientIdentifier); ok && s.ClientID() == "" {
		if err := s.assigned(string(id), now); err != nil {
			return nil, err
		}
	}
	_, told := m.Properties.Find(wire.SessionExpiryInterval)
	if s.grant.Load().Identity != "" || told {
		return p, nil
	}
	m.Properties = slices.Clip(m.Properties).AppendUint(wire.SessionExpiryInterval, 0)
	return m.Append(nil, s.version)
}

// assigned claims the Client Identifier that the broker made up.
func (s *Session) assigned(id string, now time.Time) error {
	before, err := s.g.clients.claim(id, s, s.grant.Load().Identity, now)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.clientID = id
	closed := s.closed
	s.mu.Unlock()
	if closed { // and so it did not know what to release
		s.g.clients.release(id, s, client{})
	}
	if before.session != nil {
		before.session.end(wire.SessionTakenOver, ErrTakenOver)
	}
	return nil
}

func (s *Session) outgoingSuback(p wire.Packet) (wire.Packet, error) {
	m, err := wire.ParseSuback(p, s.version)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	ask, ok := s.pending[m.ID]
	if !ok {
		return p, nil
	}
	delete(s.pending, m.ID)
	if len(m.Codes) != len(ask.filters) {
		return nil, errSuback
	}
	for i, filter := range ask.filters {
		if m.Codes[i] >= wire.UnspecifiedError {
			delete(s.subscriptions, filter)
		}
	}
	if len(ask.filters) == len(ask.codes) {
		return p, nil
	}
	answers := m.Codes
	for i := range ask.codes {
		if ask.codes[i] == hole {
			ask.codes[i], answers = answers[0], answers[1:]
		}
	}
	m.Codes = ask.codes
	return m.Append(nil, s.version)
}
