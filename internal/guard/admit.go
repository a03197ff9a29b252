package guard

import (
	"errors"
	"fmt"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// Refusal is why a CONNECT is not admitted.
type Refusal struct {
	// Code is the Reason Code for CONNACK on v5.
	Code byte
	err  error
}

// Error says why, for a log; the client is told the code alone.
func (r *Refusal) Error() string { return "guard: CONNECT refused: " + r.err.Error() }

// Unwrap returns why.
func (r *Refusal) Unwrap() error { return r.err }

// ReturnCode is what CONNACK says of a Reason Code before v5.
func ReturnCode(reason byte) byte {
	switch reason {
	case wire.Success:
		return 0
	case wire.ClientIdentifierNotValid:
		return wire.V3IdentifierRejected
	case wire.ServerUnavailable, wire.ServerBusy, wire.QuotaExceeded:
		return wire.V3ServerUnavailable
	}
	return wire.V3NotAuthorized
}

var (
	errWill    = fmt.Errorf("the Will: %w", ErrNotAuthorized)
	errForeign = errors.New("the Client Identifier belongs to another identity")
	errFull    = fmt.Errorf("too many Client Identifiers: %w", ErrQuota)
)

// Take is shown what a client publishes on a reserved topic, and answers with a Reason Code: one below 0x80
// acknowledges the message, another refuses it as if it were not permitted, with this code. It must not keep m.
type Take func(name string, m *wire.PublishPacket) (reason byte)

// Admit begins the session of a client that has been authenticated as grant says, on c, whose local side is the
// broker. take may be nil. Errors are of type *[Refusal]; nothing has changed then.
//
// Admit may change connect, and the broker must get it as it is then: a client without an identity starts anew (Clean
// Start) and leaves no session behind; and a session whose subscriptions the grant does not cover any more is not
// continued.
//
// A Client Identifier belongs to the identity that used it first, for as long as it is connected or its MQTT session
// lasts, which is for ever without Clean Session on 3.1.1. The same identity takes a live session over, which gets
// DISCONNECT 0x8E; another identity is refused with 0x85, so that a stranger with a valid grant can neither end nor
// inherit the session. Clients without an identity hold nothing against one that has it, and take over from each
// other as in plain MQTT. What belongs to whom is known as long as this process runs; afterwards a Client Identifier
// goes to the first who asks, unless the caller has a rule of its own.
func (g *Guard) Admit(c *layer.Conn, connect *wire.ConnectPacket, grant Grant, take Take) (*Session, error) {
	s := newSession(g, c, connect, grant, take)
	if err := s.admit(connect, grant); err != nil {
		g.counters.refused.Add(1)
		s.endedWill(false, s.now())
		var r *Refusal
		if errors.As(err, &r) {
			s.log("connect refused", "reason", r.err.Error())
		}
		return nil, err
	}
	c.Greet() // a client need not wait for CONNACK, and what it may not do is answered behind that
	g.counters.admitted.Add(1)
	g.counters.active.Add(1)
	g.handles.add(s, grant.Handles)
	s.mu.Lock()
	s.arm(grant.Expires)
	s.mu.Unlock()
	s.inform("admitted", grant.end())
	return s, nil
}

func (s *Session) admit(connect *wire.ConnectPacket, grant Grant) error {
	now := s.now()
	if grant.expired(now) {
		return &Refusal{wire.NotAuthorized, ErrExpired}
	}
	if w := connect.Will; w != nil {
		if _, reserved := s.g.reserved[string(w.Topic)]; reserved || !s.mayPublish(w.Topic) {
			return &Refusal{wire.NotAuthorized, errWill}
		}
		s.willTopic = append([]byte{}, w.Topic...)
		s.noteWill(w)
	}
	if grant.Identity == "" {
		connect.CleanStart = true
		connect.Properties = connect.Properties.Without(wire.SessionExpiryInterval)
	}
	s.expiry = SessionExpiry(connect)
	if s.clientID == "" {
		return nil
	}
	return s.claim(connect, now)
}

// claim takes the Client Identifier, and what its MQTT session goes on with.
func (s *Session) claim(connect *wire.ConnectPacket, now time.Time) error {
	identity := s.grant.Load().Identity
	before, err := s.g.clients.claim(s.clientID, s, identity, now)
	switch {
	case errors.Is(err, errForeign):
		return &Refusal{wire.ClientIdentifierNotValid, err}
	case err != nil:
		return &Refusal{wire.QuotaExceeded, err}
	}
	if old := before.session; old != nil {
		s.g.counters.takenOver.Add(1)
		before = old.after(now)
		old.end(wire.SessionTakenOver, ErrTakenOver)
	}
	s.before = before
	if !connect.CleanStart && before.identity == identity {
		for filter := range before.subscriptions {
			connect.CleanStart = connect.CleanStart || !s.maySubscribe(filter)
		}
		if !connect.CleanStart {
			s.inherited = before.subscriptions
		}
	}
	return nil
}

// SessionExpiry is how long the MQTT session outlives the connection, as CONNECT asks; negative is for ever.
func SessionExpiry(connect *wire.ConnectPacket) time.Duration {
	if connect.Version != wire.V5 {
		if connect.CleanStart {
			return 0
		}
		return forever
	}
	seconds, _ := connect.Properties.Uint(wire.SessionExpiryInterval)
	return expirySeconds(seconds)
}

// expirySeconds is a Session Expiry Interval (MQTT5 3.1.2.11.2).
func expirySeconds(seconds uint32) time.Duration {
	if seconds == 0xFFFFFFFF {
		return forever
	}
	return time.Duration(seconds) * time.Second
}
