package guard

import (
	"errors"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// ErrIdentity is a grant for another identity than the one that the connection began with.
var ErrIdentity = errors.New("guard: grant for another identity")

// Session judges the packets of one connection, between CONNECT and its end. Incoming and Outgoing run concurrently,
// each in one goroutine at a time, as those of a layer.Filter; the other methods are safe for concurrent use.
type Session struct {
	g        *Guard
	c        *layer.Conn
	version  wire.Version
	clientID string
	take     Take

	grant atomic.Pointer[Grant]
	ended atomic.Bool

	publishes layer.Publishes

	mu            sync.Mutex  // what follows, and clientID once Admit has returned
	stop          func() bool // the timer
	closed        bool
	established   bool
	graceful      bool
	expiry        time.Duration       // of the MQTT session
	before        client              // what the Client Identifier was, should the broker refuse this one
	willTopic     []byte              // of the Will, nil for none
	will          []byte              // topic of a retained Will
	inherited     map[string]struct{} // subscriptions, should the broker go on with the MQTT session
	subscriptions map[string]struct{}
	pending       map[uint16]pending
	denials       int
}

func newSession(g *Guard, c *layer.Conn, connect *wire.ConnectPacket, grant Grant, take Take) *Session {
	s := &Session{g: g, c: c, version: connect.Version, clientID: string(connect.ClientID), take: take}
	s.grant.Store(&grant)
	s.publishes.In, s.publishes.Out = s.incomingPublish, s.outgoingPublish
	return s
}

func (s *Session) now() time.Time { return s.g.cfg.Clock.Now() }

// Grant returns the grant of this moment.
func (s *Session) Grant() Grant { return *s.grant.Load() }

// arm sets the timer for the end of the grant; s.mu is held.
func (s *Session) arm(expires time.Time) {
	if s.stop != nil {
		s.stop()
		s.stop = nil
	}
	if !expires.IsZero() && !s.closed {
		s.stop = s.g.cfg.Clock.AfterFunc(expires.Sub(s.now()), s.expire)
	}
}

// expire ends the connection, unless the grant has been replaced since the timer was set.
func (s *Session) expire() {
	s.mu.Lock()
	grant := s.grant.Load()
	if !grant.expired(s.now()) {
		s.arm(grant.Expires)
		s.mu.Unlock()
		return
	}
	s.mu.Unlock()
	s.endExpired()
}

func (s *Session) endExpired() {
	if s.end(wire.NotAuthorized, ErrExpired) {
		s.g.counters.expired.Add(1)
	}
}

// Renew replaces the grant, at once for both directions. The connection ends with DISCONNECT 0x87 if the new grant
// has run out already, is for another identity, or does not cover a subscription that the client has, or its Will,
// which the broker then discards; Renew then returns the reason.
func (s *Session) Renew(grant Grant) error {
	s.mu.Lock()
	err := s.renew(grant)
	s.mu.Unlock()
	if err != nil {
		if errors.Is(err, errWill) {
			s.discardWill()
		}
		s.end(wire.NotAuthorized, err)
		return err
	}
	s.g.counters.renewed.Add(1)
	s.inform("renewed", grant.end())
	return nil
}

// renew is Renew but for the end of the connection; s.mu is held.
func (s *Session) renew(grant Grant) error {
	old := s.grant.Load()
	switch {
	case s.closed:
		return net.ErrClosed
	case grant.Identity != old.Identity:
		return ErrIdentity
	case grant.expired(s.now()):
		return ErrExpired
	}
	s.g.handles.add(s, grant.Handles)
	s.g.handles.remove(s, without(old.Handles, grant.Handles))
	s.grant.Store(&grant)
	s.arm(grant.Expires)
	if s.willTopic != nil && !s.mayPublish(s.willTopic) {
		s.graceful = true
		return errWill
	}
	for filter := range s.subscriptions {
		if !s.maySubscribe(filter) {
			return ErrNotAuthorized
		}
	}
	return nil
}

// discardWill has the broker forget the Will, which is no more permitted than a PUBLISH would be: it reads a DISCONNECT
// before the end.
func (s *Session) discardWill() {
	if p, err := (&wire.ReasonPacket{Type: wire.Disconnect}).Append(nil, s.version); err == nil {
		_ = s.c.Inject(p) // a connection that is over has published its Will already
	}
}

// without returns the names in a that are not in b.
func without(a, b []string) []string {
	return slices.DeleteFunc(slices.Clone(a), func(name string) bool { return slices.Contains(b, name) })
}

// End ends the connection: on v5 DISCONNECT leaves first with the reason. The broker's reads return err. Only the
// first call counts; End reports whether it was this one.
func (s *Session) End(reason byte, err error) bool { return s.end(reason, err) }

// end is End and reports whether this was the first call.
func (s *Session) end(reason byte, err error) bool {
	if s.ended.Swap(true) {
		return false
	}
	if errors.Is(err, ErrRevoked) {
		s.g.counters.revoked.Add(1)
	}
	s.log("disconnected", "reason", err.Error(), "code", reason)
	_ = s.c.End(err, layer.Goodbye(s.c, reason)) // which returns err
	return true
}

// Over reports whether the connection has been ended, or has ended.
func (s *Session) Over() bool { return s.ended.Load() }

// current looks at the clock before a packet is judged. It reports false when the session is over, and ends it when
// its grant is.
func (s *Session) current(now time.Time) bool {
	if s.ended.Load() {
		return false
	}
	if s.grant.Load().expired(now) {
		s.endExpired()
		return false
	}
	return true
}

// Closed tells that the connection is over.
func (s *Session) Closed() {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return
	}
	s.closed = true
	s.ended.Store(true)
	s.arm(time.Time{})
	grant, clientID := s.grant.Load(), s.clientID
	published := s.established && !s.graceful
	s.mu.Unlock()

	now := s.now()
	s.g.handles.remove(s, grant.Handles)
	s.endedWill(published, now)
	if clientID != "" {
		s.g.clients.release(clientID, s, s.after(now))
	}
	s.g.counters.active.Add(-1) // what it held is free by then
}

// after is what is to be known of the Client Identifier once this session is over. Without an identity, and where the
// MQTT session ends with the connection, that is nothing; and what it was before if the broker never accepted this
// session.
func (s *Session) after(now time.Time) client {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.established:
		return s.before
	case s.expiry == 0:
		return client{}
	}
	c := client{identity: s.grant.Load().Identity, subscriptions: maps.Clone(s.subscriptions)}
	if s.expiry > 0 {
		c.until = now.Add(s.expiry)
	}
	return c
}

// mayPublish, mayReceive and maySubscribe ask the grant and the public topics.
func (s *Session) mayPublish(name []byte) bool {
	return s.grant.Load().Scope.MayPublish(name) || s.g.public.Load().MayPublish(name)
}

func (s *Session) mayReceive(name []byte) bool {
	if _, reserved := s.g.reserved[string(name)]; reserved {
		return false
	}
	return s.grant.Load().Scope.MayReceive(name) || s.g.public.Load().MayReceive(name)
}

func (s *Session) maySubscribe(filter string) bool {
	if _, reserved := s.g.reserved[topic.Unshare(filter)]; reserved {
		return false
	}
	return s.grant.Load().Scope.MaySubscribe(filter) || s.g.public.Load().MaySubscribe(filter)
}

// ClientID returns the Client Identifier, empty as long as the broker has not assigned one.
func (s *Session) ClientID() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.clientID
}
