package acebroker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/layer"
)

// Listener is a net.Listener whose connections have been authenticated and are being guarded. It is safe for
// concurrent use.
type Listener struct {
	listener *layer.Listener
	current  atomic.Pointer[settings]
	clock    Clock
	logger   *slog.Logger
	guard    *guard.Guard
	revoked  revocations
	store    store
	uploads  limiter
	live     live
	counters counters
}

// settings are what Reload replaces.
type settings struct {
	Config
	verifier *verifier
	hints    *hints
}

// NewListener returns a listener that takes connections from inner, which it owns from then on, and hands those to a
// broker whose clients are authorized, with everything that a client does checked as the package documentation says.
// What Accept returns is an ordinary MQTT connection: it begins with a CONNECT without an authentication method and
// without the token, with the identity of the client as its User Name, and no password.
//
// Accept waits for nobody: TLS, CONNECT and proof of possession happen before, in the background and within
// Config.Timeout.
//
// The identity is the subject of the token (sub, else client_id, else a hash of the key), with the issuer's name
// before it if there is more than one issuer. A Client Identifier belongs to the identity that used it first, while
// it is connected and while its MQTT session lasts; the same identity takes a session over, which the old connection
// hears as "session taken over"; another is refused ("client identifier not valid"), with a valid token too. This is
// remembered in memory: after a restart of this process, a session that the broker still has goes to the first
// identity that asks for it. Where that matters, Config.ClientIdentifier ties the two together for good, for example
// by wanting them to be equal.
func NewListener(inner net.Listener, cfg Config) (*Listener, error) {
	l := new(Listener)
	next, public, err := l.prepare(cfg)
	if err != nil {
		return nil, err
	}
	cfg = next.Config
	l.clock, l.logger = cfg.Clock, cfg.Logger
	l.guard, err = guard.New(guard.Config{
		Public: public, Reserved: []string{topicAuthzInfo}, Conceal: cfg.Conceal,
		MaxSubscriptions: cfg.MaxSubscriptions, MaxClients: cfg.MaxClients, MaxRetained: cfg.MaxRetained,
		Clock: cfg.Clock, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("acebroker: %w", err)
	}
	l.current.Store(next)
	l.store.limit(cfg.StoredTokenLimit)
	if cfg.PSK != nil {
		cfg.PSK.listener.Store(l)
	}
	l.listener, err = layer.NewListener(inner, layer.ListenerConfig{
		TLS: cfg.TLS, Secure: cfg.Secure, Timeout: cfg.Timeout, MaxPending: cfg.MaxPending, MaxPendingPerSource: cfg.MaxPendingPerSource,
		Filter: l.filter, Failed: l.failed,
	})
	if err != nil {
		return nil, fmt.Errorf("acebroker: %w", err)
	}
	return l, nil
}

// Accept returns the next authenticated connection. It fails only when the listener has been closed, or when the one
// below has failed for good.
func (l *Listener) Accept() (net.Conn, error) { return l.listener.Accept() }

// Addr returns the address of the listener below.
func (l *Listener) Addr() net.Addr { return l.listener.Addr() }

// Close stops listening; what has been accepted lives on.
func (l *Listener) Close() error { return l.listener.Close() }

// Shutdown closes the listener, ends every connection, which v5 clients hear as "server shutting down", and waits until
// all are gone. When ctx ends first it closes those that are left and returns the cause.
func (l *Listener) Shutdown(ctx context.Context) error { return l.listener.Shutdown(ctx) }

// Established returns the connections whose CONNECT has been let through and that are not over, for a program that
// ends them one by one: each is what Accept returns.
func (l *Listener) Established() []*layer.Conn { return l.listener.Established() }

// prepare checks a Config and makes of it what connections need.
func (l *Listener) prepare(cfg Config) (*settings, *guard.Scope, error) {
	if err := cfg.check(); err != nil {
		return nil, nil, err
	}
	issuers, err := cfg.issuers()
	if err != nil {
		return nil, nil, err
	}
	public, err := guard.NewScope(rules(cfg.Public))
	if err != nil {
		return nil, nil, fmt.Errorf("acebroker: Config.Public: %w", err)
	}
	var nonces *cnonces
	if cfg.CNonce > 0 {
		nonces = newCNonces(cfg.CNonce)
	}
	h, err := newHints(cfg.Hint, nonces)
	if err != nil {
		return nil, nil, err
	}
	v := newVerifier(cfg, issuers, nonces, &l.counters, &l.revoked)
	return &settings{cfg, v, h}, public, nil
}

// Reload replaces, for what comes from now on, the issuers with their keys and credentials, the algorithms, the
// audience, the public topics, the hint and the rules about Client Identifiers, User Names and stored tokens.
// Connections stay, with the rights that their tokens gave them, and so do revocations and the ownership of Client
// Identifiers. Tokens that are remembered or stored are validated anew when they are needed; a stored one does not
// outlast Reload if it names its key alone, or if its cnonce is old by then. Timeout, MaxPending and
// MaxPendingPerSource are replaced where they are not 0. What else belongs to the listener itself is not: TLS (where a
// certificate changes by GetCertificate), Secure, other bounds, Clock and Logger. Nothing has changed if Reload returns
// an error, or if Config.BehindTLSProxy is another one, which is an error.
func (l *Listener) Reload(cfg Config) error {
	old := l.current.Load()
	if cfg.BehindTLSProxy != old.BehindTLSProxy || (cfg.TLS == nil) != (old.TLS == nil) {
		return errors.New("acebroker: where TLS ends cannot be changed by Reload")
	}
	cfg.Clock, cfg.Logger, cfg.Timeout = l.clock, l.logger, cmp.Or(cfg.Timeout, old.Timeout)
	next, public, err := l.prepare(cfg)
	if err != nil {
		return err
	}
	if next.verifier.nonces != nil && old.verifier.nonces != nil {
		next.verifier.nonces.key = old.verifier.nonces.key // tokens with one of those are under way
	}
	next.verifier.durable = old.verifier.durable
	if err := l.listener.SetLimits(next.Timeout, next.MaxPending, next.MaxPendingPerSource); err != nil {
		return fmt.Errorf("acebroker: %w", err)
	}
	l.current.Store(next)
	l.guard.SetPublic(public)
	l.logger.Info("configuration reloaded")
	return nil
}

func newVerifier(cfg Config, issuers []*issuer, nonces *cnonces, counters *counters, revoked *revocations) *verifier {
	v := &verifier{
		mark:       new(byte),
		algorithms: make(map[Algorithm]bool), issuers: issuers, audience: cfg.Audience, timeout: cfg.Timeout, leeway: cfg.Leeway,
		nonces: nonces, clock: cfg.Clock, counters: counters, revoked: revoked, durable: new(sequences),
	}
	for _, a := range cfg.Algorithms {
		v.algorithms[a] = true
	}
	v.local = !slices.ContainsFunc(issuers, func(i *issuer) bool {
		_, static := i.Keys.(StaticKeys)
		return !static || i.asker != nil
	})
	v.cache.recent.limit = cfg.CachedTokens
	v.known.recent.limit = cfg.CachedTokens
	v.durable.limit = cfg.CachedTokens
	return v
}

// filter begins with a connection, whose TLS is complete.
func (l *Listener) filter(ctx context.Context, conn net.Conn) (layer.Filter, error) {
	if err := layer.Handshake(ctx, conn); err != nil {
		return nil, err
	}
	exporter, resumed := layer.Exporter(conn)
	if exporter == nil && !l.current.Load().BehindTLSProxy {
		return nil, fmt.Errorf("acebroker: a connection without TLS, and Config.BehindTLSProxy is not set")
	}
	if l.current.Load().BehindTLSProxy {
		exporter = nil
	}
	f := &connection{l: l, settings: l.current.Load(), ctx: ctx, exporter: exporter, resumed: resumed, remote: conn.RemoteAddr()}
	f.known = l.proved(ctx, f.settings, conn)
	return f, nil
}

func (l *Listener) failed(remote net.Addr, err error) {
	l.counters.handshakesFailed.Add(1)
	l.logger.Info("connection not established", "peer", remote.String(), "reason", shown(err.Error()))
}

// shown is text of a peer's as a log or an error may show it.
func shown(text string) string {
	const most = 300
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}

// grant is what a token permits, as the guard wants it.
func (a *access) grant() guard.Grant {
	return guard.Grant{Identity: a.identity, Scope: a.scope, Expires: a.expires, Handles: a.handles()}
}
