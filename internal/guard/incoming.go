package guard

import (
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// pending is a SUBSCRIBE whose SUBACK is to come: the filters that went to the broker, and, where some did not, the
// codes for the client with a hole for each that did.
type pending struct {
	filters []string
	codes   []byte
}

// hole marks in pending.codes that the broker has the answer. No SUBACK has this code.
const hole = 0xFF

// The bounds in bytes of what a client asks for, since a filter may have 64 KiB, or a SUBSCRIBE 60 million filters.
const (
	maxAsk       = 1 << 20 // of a SUBSCRIBE or UNSUBSCRIBE, which takes up to eight times as much once it is parsed
	filterLength = 256     // of a filter, on average of all that a client may have
)

// Incoming judges a packet from the client, other than CONNECT and AUTH, which are the authentication scheme's.
func (s *Session) Incoming(p wire.Packet) (wire.Packet, error) {
	if !s.current(s.now()) {
		return nil, nil
	}
	switch p.Type() {
	case wire.Publish, wire.Pubrel:
		return s.publishes.Incoming(s.c, p)
	case wire.Subscribe, wire.Unsubscribe:
		if len(p) > maxAsk {
			s.end(wire.PacketTooLarge, ErrQuota)
			return nil, nil
		}
		if p.Type() == wire.Subscribe {
			return s.incomingSubscribe(p)
		}
		return p, s.incomingUnsubscribe(p)
	case wire.Disconnect:
		return p, s.incomingDisconnect(p)
	}
	return p, nil
}

// incomingPublish is a layer.Judge.
func (s *Session) incomingPublish(_ *layer.Conn, m *layer.Message) (wire.Packet, error) {
	if _, reserved := s.g.reserved[string(m.Name)]; reserved {
		return nil, s.taken(m)
	}
	if !s.mayPublish(m.Name) {
		s.g.counters.publishDenied.Add(1)
		s.logDenial("publish not authorized", string(m.Name))
		return nil, s.refuse(m, s.concealed())
	}
	s.g.counters.published.Add(1)
	if !s.retain(m, s.now()) {
		return m.Packet()
	}
	return m.Append(m.Buffer(m.Size(s.version)), s.version)
}

// taken gives a PUBLISH on a reserved topic to whom it is for.
func (s *Session) taken(m *layer.Message) error {
	reason := wire.NotAuthorized
	if s.take != nil {
		reason = s.take(string(m.Name), &m.PublishPacket)
	}
	if reason >= wire.UnspecifiedError {
		s.g.counters.publishDenied.Add(1)
		s.logDenial("publish refused", string(m.Name))
		return s.refuse(m, reason)
	}
	return &layer.Withhold{Reason: reason}
}

// refuse answers for a PUBLISH that does not go to the broker (RFC 9431, 3.1): v5 has a word for it, and at QoS 0
// that word ends the connection; before v5 every word means success, and so the connection is dropped.
func (s *Session) refuse(m *layer.Message, reason byte) error {
	if s.version == wire.V5 && m.QoS > 0 {
		return &layer.Withhold{Reason: reason, Err: ErrNotAuthorized}
	}
	s.end(reason, ErrNotAuthorized)
	return nil
}

func (s *Session) concealed() byte {
	if s.g.cfg.Conceal {
		return wire.UnspecifiedError
	}
	return wire.NotAuthorized
}

// retain bounds the lifetime of a retained message by the grant, see the package documentation, and reports whether
// it changed m.
func (s *Session) retain(m *layer.Message, now time.Time) (changed bool) {
	if !m.Retain {
		return false
	}
	grant := s.grant.Load()
	expires := grant.Expires
	if len(m.Payload) == 0 || expires.IsZero() {
		s.g.retained.forget(m.Name)
		return false
	}
	if s.version != wire.V5 {
		if s.g.retained.set(m.Name, grant.Identity, expires) {
			return false
		}
		s.g.counters.retainedForgotten.Add(1)
		m.Retain = false
		return true
	}
	s.g.retained.forget(m.Name)
	left := uint32(min(max(expires.Sub(now)/time.Second, 1), 1<<32-1))
	if asked, _ := m.Properties.Uint(wire.MessageExpiryInterval); asked > 0 && asked <= left {
		return false // 0, which some brokers take for never, is no bound
	}
	m.Properties = m.Properties.Without(wire.MessageExpiryInterval)
	m.Properties = m.Properties[:len(m.Properties):len(m.Properties)].AppendUint(wire.MessageExpiryInterval, left)
	return true
}

// noteWill keeps the topic of a Will that the broker will retain, and a place to remember it in. Without one the Will
// is not retained.
func (s *Session) noteWill(w *wire.Will) {
	if grant := s.grant.Load(); w.Retain && len(w.Payload) > 0 && !grant.Expires.IsZero() {
		if w.Retain = s.g.retained.keep(grant.Identity); w.Retain {
			s.will = append([]byte(nil), w.Topic...)
		} else {
			s.g.counters.retainedForgotten.Add(1)
		}
	}
}

// willGrace is how long after the end of a connection its retained Will may be seen although the grant has run out:
// the Will itself is published then (RFC 9431, 3.1), and a subscriber with Retain As Published gets it with RETAIN
// set.
const willGrace = 2 * time.Second

// endedWill tells that the broker publishes the retained Will about now, or discards it.
func (s *Session) endedWill(published bool, now time.Time) {
	if s.will == nil {
		return
	}
	grant := s.grant.Load()
	if !published {
		s.g.retained.take(nil, grant.Identity, time.Time{})
		return
	}
	expires := grant.Expires
	if soon := now.Add(willGrace); expires.Before(soon) {
		expires = soon
	}
	s.g.retained.take(s.will, grant.Identity, expires)
}

func (s *Session) incomingSubscribe(p wire.Packet) (wire.Packet, error) {
	m, err := wire.ParseSubscribe(p, s.version)
	if err != nil {
		return nil, err
	}
	ask := pending{codes: make([]byte, len(m.Subscriptions))}
	kept := m.Subscriptions[:0:0]
	for i, subscription := range m.Subscriptions {
		filter := string(subscription.Filter)
		if s.maySubscribe(filter) {
			ask.codes[i] = hole
			ask.filters, kept = append(ask.filters, filter), append(kept, subscription)
			s.g.counters.subscribed.Add(1)
			continue
		}
		s.g.counters.subscribeDenied.Add(1)
		s.logDenial("subscribe not authorized", filter)
		ask.codes[i] = s.subscribeDenied(s.concealed())
	}
	if len(kept) == 0 {
		return nil, s.suback(m.ID, ask.codes)
	}
	if !s.subscribe(m.ID, &ask) {
		s.log("subscribe refused", "reason", ErrQuota.Error())
		for i := range ask.codes {
			if ask.codes[i] == hole {
				ask.codes[i] = s.subscribeDenied(wire.QuotaExceeded)
			}
		}
		return nil, s.suback(m.ID, ask.codes)
	}
	if len(kept) == len(m.Subscriptions) {
		return p, nil
	}
	m.Subscriptions = kept
	return m.Append(nil, s.version)
}

// subscribeDenied is a SUBACK's code for a reason of v5.
func (s *Session) subscribeDenied(reason byte) byte {
	if s.version != wire.V5 {
		return wire.V3SubscriptionFailure
	}
	return reason
}

func (s *Session) suback(id uint16, codes []byte) error {
	m := wire.SubackPacket{Type: wire.Suback, ID: id, Codes: codes}
	p, err := m.Append(nil, s.version)
	if err != nil {
		return err
	}
	return s.c.Send(p)
}

// subscribe notes the filters that go to the broker, and reports false if the client has too many.
func (s *Session) subscribe(id uint16, ask *pending) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	limit := s.g.cfg.MaxSubscriptions
	waiting, size := 0, 0
	for _, other := range s.pending {
		waiting += len(other.filters)
	}
	for filter := range s.subscriptions {
		size += len(filter)
	}
	if _, twice := s.pending[id]; twice || waiting+len(ask.filters) > limit {
		return false
	}
	fresh := 0
	for _, filter := range ask.filters {
		if _, known := s.subscriptions[filter]; !known {
			fresh++
			size += len(filter)
		}
	}
	if len(s.subscriptions)+fresh > limit || size > limit*filterLength {
		return false
	}
	if s.subscriptions == nil {
		s.subscriptions = make(map[string]struct{})
	}
	for _, filter := range ask.filters {
		s.subscriptions[filter] = struct{}{}
	}
	if s.pending == nil {
		s.pending = make(map[uint16]pending)
	}
	s.pending[id] = *ask
	return true
}

func (s *Session) incomingUnsubscribe(p wire.Packet) error {
	m, err := wire.ParseUnsubscribe(p, s.version)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, filter := range m.Filters {
		delete(s.subscriptions, string(filter))
	}
	return nil
}

// incomingDisconnect learns whether the Will is discarded and how long the MQTT session lasts.
func (s *Session) incomingDisconnect(p wire.Packet) error {
	m, err := wire.ParseReason(p, s.version)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.graceful = m.Reason == wire.Success
	if seconds, ok := m.Properties.Uint(wire.SessionExpiryInterval); ok && s.expiry != 0 {
		s.expiry = expirySeconds(seconds)
	}
	return nil
}
