// Package guard stands between a broker and one client after another and lets through what each client is permitted:
// it judges every PUBLISH, every filter in a SUBSCRIBE, the Will, and every message on its way to a subscriber, and
// it cuts a connection off when its permission ends. It knows identities and scopes, not the tokens they come from;
// the broker halves of the authentication schemes share it.
//
// One [Guard] serves a listener. When a scheme has authenticated a CONNECT it calls [Guard.Admit], and from then on
// shows each packet of the connection to the [Session]. The rules are those of RFC 9431:
//
//   - PUBLISH without permission: at QoS 1 and 2 on v5 it is answered with 0x87 and the connection stays; at QoS 0
//     DISCONNECT 0x87 ends it; on 3.1.1 the connection is dropped, because an acknowledgement means success there.
//   - SUBSCRIBE: each filter needs one single rule that covers it; the others get 0x87 (0x80 on 3.1.1) in SUBACK.
//   - Delivery: what the client may not receive, or not any more, is not forwarded and ends the connection with 0x87.
//   - Expiry: one timer a connection, and a look at the clock for every packet, in both directions. DISCONNECT 0x87
//     leaves first.
//   - A new grant replaces the old one in one step; a subscription that it does not cover ends the connection, and so
//     does a Will, which is then not published.
//   - A retained message lives no longer than its publisher's grant (see below).
//   - A Client Identifier belongs to the identity that came with it first, see [Guard.Admit].
//
// # Retained messages
//
// On v5 the guard lowers the Message Expiry Interval of a retained PUBLISH to what is left of the publisher's grant,
// and the broker forgets the message in time. MQTT 3.1.1 has no such field, nor has a Will a fixed time from which it
// would count: there the guard remembers until when the topic's retained message may be seen and withholds it from
// subscribers afterwards, as long as this process runs and every publisher comes through it. It remembers
// Config.MaxRetained topics, a tenth of them of one identity at most, so that nobody takes the place of others; a
// message or a Will beyond that is published without being retained.
//
// # Cost
//
// A scope is compiled once. A packet costs in proportion to the levels of its topic, whatever the number of rules,
// connections and clients. Everything that a client can make grow is bounded.
package guard

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// Errors that end a connection: what reads from it on the broker's side gets one of them.
var (
	// ErrNotAuthorized: the client published, or was to receive, what it is not permitted.
	ErrNotAuthorized = errors.New("guard: not authorized")
	// ErrExpired: the grant has run out.
	ErrExpired = errors.New("guard: permission expired")
	// ErrRevoked: the grant was revoked.
	ErrRevoked = errors.New("guard: permission revoked")
	// ErrTakenOver: another connection of the same identity has the Client Identifier now.
	ErrTakenOver = errors.New("guard: session taken over")
	// ErrQuota: the client asked for more state than it may have.
	ErrQuota = errors.New("guard: quota exceeded")
)

// The bounds that a zero in Config stands for.
const (
	DefaultSubscriptions = 1024
	DefaultClients       = 100_000
	DefaultRetained      = 65_536
)

// Config says what a Guard allows besides the grants. The zero value is useful.
type Config struct {
	// Public is what every connection may do, with a grant or without. nil is nothing.
	Public *Scope
	// Reserved are topic names that never reach the broker: a PUBLISH on one goes to the session's Take, a
	// subscription to one is refused, and nothing is delivered on one, whatever a scope says.
	Reserved []string
	// Conceal answers 0x80 (unspecified error) instead of 0x87 (not authorized) to a PUBLISH or a SUBSCRIBE without
	// permission, so that a client does not learn which topics exist (RFC 9431, 3.1).
	Conceal bool

	// MaxSubscriptions is the number of Topic Filters that one client may be subscribed to, of 256 bytes on average,
	// MaxClients the number of Client Identifiers with a session, connected or not, and MaxRetained the number of
	// retained topics to remember, a tenth of which one identity may have. Zero stands for the defaults above.
	MaxSubscriptions, MaxClients, MaxRetained int
	// MaxPerIdentity is how many of MaxClients one identity may have, a tenth if zero. One more takes the
	// place of her own that was without a connection for longest, whose session is then anybody's who asks the broker
	// for it; if all are connected it is refused.
	MaxPerIdentity int

	// Clock is the time; nil is the real one.
	Clock layer.Clock
	// Logger hears who was refused what and why; never a payload. nil discards.
	Logger *slog.Logger
}

// Guard decides for all connections of one listener. It is safe for concurrent use.
type Guard struct {
	cfg      Config
	public   atomic.Pointer[Scope]
	reserved map[string]struct{}
	clients  clients
	handles  handles
	retained retained
	counters counters
}

// New returns a Guard. It fails on a reserved topic that is not a topic name and on negative bounds.
func New(cfg Config) (*Guard, error) {
	cfg.MaxSubscriptions = cmp.Or(cfg.MaxSubscriptions, DefaultSubscriptions)
	cfg.MaxClients = cmp.Or(cfg.MaxClients, DefaultClients)
	cfg.MaxRetained = cmp.Or(cfg.MaxRetained, DefaultRetained)
	cfg.MaxPerIdentity = cmp.Or(cfg.MaxPerIdentity, max(cfg.MaxClients/10, 1))
	if min(cfg.MaxSubscriptions, cfg.MaxClients, cfg.MaxRetained, cfg.MaxPerIdentity) < 0 {
		return nil, errors.New("guard: negative bound")
	}
	if cfg.Clock == nil {
		cfg.Clock = layer.SystemClock{}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Guard{cfg: cfg, reserved: make(map[string]struct{}, len(cfg.Reserved))}
	g.SetPublic(cfg.Public)
	for _, name := range cfg.Reserved {
		if !topic.ValidName(name) {
			return nil, fmt.Errorf("guard: reserved %q is not a topic name", name)
		}
		g.reserved[name] = struct{}{}
	}
	g.clients.limit, g.clients.each = cfg.MaxClients, cfg.MaxPerIdentity
	g.retained.limit, g.retained.each = cfg.MaxRetained, max(cfg.MaxRetained/10, 1)
	return g, nil
}

// SetPublic replaces what every connection may do, of those that there are as well.
func (g *Guard) SetPublic(public *Scope) { g.public.Store(public) }

// Grant is what a client may do, and until when.
type Grant struct {
	// Identity is who the client is. An empty Identity is a client that nobody knows: it has the public topics alone,
	// starts each session anew, and gives way to any client that is known.
	Identity string
	// Scope is what the client may do besides the public topics. nil is nothing.
	Scope *Scope
	// Expires is when the grant ends. Zero is never.
	Expires time.Time
	// Handles are the names under which Revoke finds the grant.
	Handles []string
}

func (g Grant) expired(now time.Time) bool { return !g.Expires.IsZero() && !now.Before(g.Expires) }

// end is when the grant ends, for a log line: nothing for one that does not.
func (g Grant) end() slog.Attr {
	if g.Expires.IsZero() {
		return slog.Attr{}
	}
	return slog.Time("expires", g.Expires)
}

// handles finds the sessions of a handle. The zero value is ready.
type handles struct {
	mu       sync.Mutex
	sessions map[string]map[*Session]struct{}
}

func (h *handles) add(s *Session, names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sessions == nil {
		h.sessions = make(map[string]map[*Session]struct{})
	}
	for _, name := range names {
		if h.sessions[name] == nil {
			h.sessions[name] = make(map[*Session]struct{}, 1)
		}
		h.sessions[name][s] = struct{}{}
	}
}

func (h *handles) remove(s *Session, names []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, name := range names {
		delete(h.sessions[name], s)
		if len(h.sessions[name]) == 0 {
			delete(h.sessions, name)
		}
	}
}

func (h *handles) all(name string) (found []*Session) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for s := range h.sessions[name] {
		found = append(found, s)
	}
	return found
}

// Revoke ends every connection whose grant has the handle, with DISCONNECT 0x87, and returns how many there were. It
// does not keep the client from coming back: whoever makes grants must refuse to make this one again.
func (g *Guard) Revoke(handle string) (ended int) {
	for _, s := range g.handles.all(handle) {
		if s.end(wire.NotAuthorized, ErrRevoked) {
			ended++
		}
	}
	return ended
}
