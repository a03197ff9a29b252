package authbroker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/seal"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
)

// Listener is a net.Listener whose connections have logged in and are being guarded. It is safe for concurrent use.
type Listener struct {
	listener  *layer.Listener
	current   atomic.Pointer[settings]
	store     *Store
	clock     Clock
	logger    *slog.Logger
	guard     *guard.Guard
	live      live
	counters  counters
	hop       *seal.Hop // nil for none
	shared    bool      // with other processes: the store
	unfollow  context.CancelFunc
	stopSweep func() bool
	sweeping  sync.Mutex

	making sync.Mutex
	core   *core                // of what authority makes
	made   *handshake.Authority // nil before
}

// settings are what Reload replaces.
type settings struct {
	Config
	registrar *registrar
}

// sweepEvery is how often what has expired is removed from the store.
const sweepEvery = time.Hour

// NewListener returns a listener that takes connections from inner, which it owns from then on, and hands those to a
// broker whose clients have logged in, with everything that a client does checked as the package documentation says.
// What Accept returns is an ordinary MQTT connection: it begins with a CONNECT without an authentication method, with
// the name of the user as its User Name, and no password.
//
// Accept waits for nobody: TLS and handshake happen before, in the background and within Config.Timeout. The broker
// sees the CONNECT only once the client has proved that it knows the password, so that nobody ends a session, or takes
// one over, by knowing a Client Identifier. A Client Identifier belongs to the user who came with it first, while it is
// connected and while its MQTT session lasts; another user is refused ("client identifier not valid"). This is
// remembered in memory and, where processes share the store, in it for a day longer than the session lasts;
// Config.ClientIdentifier can tie the two together for good.
func NewListener(inner net.Listener, cfg Config) (*Listener, error) {
	next, public, err := prepare(cfg)
	if err != nil {
		return nil, err
	}
	cfg = next.Config
	l := &Listener{
		store: cfg.Store, core: next.core(), clock: cfg.Clock, logger: cfg.Logger, hop: cfg.hop(), shared: cfg.Store.shared.Load(),
	}
	if _, err := l.authority(); err != nil && !errors.Is(err, ErrUnavailable) {
		return nil, err
	}
	l.guard, err = guard.New(guard.Config{
		Public: public, Reserved: []string{cfg.AuthenticationTopic}, Conceal: cfg.Conceal,
		MaxSubscriptions: cfg.MaxSubscriptions, MaxClients: cfg.MaxClients, MaxRetained: cfg.MaxRetained,
		Clock: cfg.Clock, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("authbroker: %w", err)
	}
	l.current.Store(next)
	if err := next.registrar.sweep(); err != nil {
		return nil, err
	}
	l.listener, err = layer.NewListener(inner, layer.ListenerConfig{
		TLS: cfg.TLS, Secure: cfg.Secure, Timeout: cfg.Timeout, MaxPending: cfg.MaxPending, MaxPendingPerSource: cfg.MaxPendingPerSource,
		Filter: l.filter, Failed: l.failed,
	})
	if err != nil {
		return nil, fmt.Errorf("authbroker: %w", err)
	}
	l.sweepLater()
	ctx, unfollow := context.WithCancel(l.store.ctx)
	if l.unfollow = unfollow; l.shared {
		go l.follow(ctx)
	}
	return l, nil
}

// authority is that side of the handshakes. A store that has not been available yet is ErrUnavailable.
func (l *Listener) authority() (*handshake.Authority, error) {
	l.making.Lock()
	defer l.making.Unlock()
	var err error
	if l.made == nil {
		l.made, err = l.core.authority(false)
	}
	return l.made, err
}

// prepare checks a Config and makes of it what connections need.
func prepare(cfg Config) (*settings, *guard.Scope, error) {
	if err := cfg.check(); err != nil {
		return nil, nil, err
	}
	public, err := guard.NewScope(cfg.Public)
	if err != nil {
		return nil, nil, fmt.Errorf("authbroker: Config.Public: %w", err)
	}
	core := cfg.core()
	if err := core.check(); err != nil {
		return nil, nil, err
	}
	return &settings{cfg, core.registrar()}, public, nil
}

// Reload replaces, for what comes from now on, the public topics, the rules about claims, Client Identifiers and User
// Names, Lifetime, MaxClaim and the bounds on tokens, claims and revocations; and, where they are not 0, Timeout,
// MaxPending and MaxPendingPerSource. Connections and what they were granted stay. Users are in the store and need no
// Reload. Everything else is not replaced, and another Server, Store or topic of the handshake is an error. Nothing has
// changed if Reload returns one.
func (l *Listener) Reload(cfg Config) error {
	old := l.current.Load()
	cfg.Clock, cfg.Logger, cfg.Timeout = l.clock, l.logger, cmp.Or(cfg.Timeout, old.Timeout)
	next, public, err := prepare(cfg)
	switch {
	case err != nil:
		return err
	case next.Server != old.Server, next.Store != old.Store:
		return errors.New("authbroker: name and store of an authority cannot be changed by Reload")
	case next.AuthenticationTopic != old.AuthenticationTopic, next.TemporaryTopic != old.TemporaryTopic:
		return errors.New("authbroker: the topics of the handshake cannot be changed by Reload")
	}
	if err := l.listener.SetLimits(next.Timeout, next.MaxPending, next.MaxPendingPerSource); err != nil {
		return fmt.Errorf("authbroker: %w", err)
	}
	l.current.Store(next)
	l.guard.SetPublic(public)
	l.logger.Info("configuration reloaded")
	return nil
}

// Accept returns the next connection whose client has logged in. It fails only when the listener has been closed, or
// when the one below has failed for good.
func (l *Listener) Accept() (net.Conn, error) {
	for {
		c, err := l.listener.Accept()
		if err != nil {
			return nil, err
		}
		below, _ := c.(*layer.Conn)
		f := l.live.of(below)
		if f == nil {
			continue // it is over already
		}
		conn := &Conn{Conn: below, filter: f}
		if l.hop == nil {
			return conn, nil
		}
		sealed, err := l.hop.Accept(conn, conn)
		if err != nil {
			l.logger.Error("hop sealing failed", "client", below.ClientID(), "reason", shown(err.Error()))
			_ = below.End(err, layer.Goodbye(below, unspecified))
			continue
		}
		return sealed, nil
	}
}

// Addr returns the address of the listener below.
func (l *Listener) Addr() net.Addr { return l.listener.Addr() }

// Established returns the connections whose clients have logged in and that are not over, for a program that ends them
// one by one: each is what a [Conn] is made of.
func (l *Listener) Established() []*layer.Conn { return l.listener.Established() }

// Close stops listening; what has been accepted lives on.
func (l *Listener) Close() error {
	l.noSweep()
	return l.listener.Close()
}

// Shutdown closes the listener, ends every connection, which v5 clients hear as "server shutting down", and waits until
// all are gone. When ctx ends first it closes those that are left and returns the cause. The store stays open.
func (l *Listener) Shutdown(ctx context.Context) error {
	defer l.unfollow()
	l.noSweep()
	return l.listener.Shutdown(ctx)
}

func (l *Listener) sweepLater() {
	l.sweeping.Lock()
	defer l.sweeping.Unlock()
	l.stopSweep = l.clock.AfterFunc(sweepEvery, func() {
		l.sweeping.Lock()
		stopped := l.stopSweep == nil
		l.sweeping.Unlock()
		if stopped {
			return
		}
		if err := l.current.Load().registrar.sweep(); err != nil {
			l.logger.Error("sweeping the store", "reason", err.Error())
		}
		if l.shared {
			l.rebind()
		}
		l.sweepLater()
	})
}

func (l *Listener) noSweep() {
	l.sweeping.Lock()
	defer l.sweeping.Unlock()
	if l.stopSweep != nil {
		l.stopSweep()
		l.stopSweep = nil
	}
}

// filter begins with a connection, whose TLS is complete.
func (l *Listener) filter(ctx context.Context, conn net.Conn) (layer.Filter, error) {
	if err := layer.Handshake(ctx, conn); err != nil {
		return nil, err
	}
	return &connection{l: l, settings: l.current.Load(), remote: conn.RemoteAddr(), source: sourceOf(conn.RemoteAddr())}, nil
}

func (l *Listener) failed(remote net.Addr, err error) {
	l.counters.handshakesFailed.Add(1)
	l.logger.Info("connection not established", "peer", remote.String(), "reason", shown(err.Error()))
}

// Conn is a connection whose client has logged in.
type Conn struct {
	*layer.Conn
	filter *connection
}

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// ExportKeyingMaterial returns length octets that this side and the client have and nobody else, as the method of the
// client's connection does.
func (c *Conn) ExportKeyingMaterial(label string, purpose []byte, length int) ([]byte, error) {
	return c.filter.run.ExportKeyingMaterial(label, purpose, length)
}

// User returns the name of the user who has logged in.
func (c *Conn) User() string { return c.filter.run.User }

// sourceOf names the network that an address belongs to: an IPv4 address alone, an IPv6 /64, "local" for what is
// neither.
func sourceOf(addr net.Addr) string {
	if addr == nil {
		return "local"
	}
	port, err := netip.ParseAddrPort(addr.String())
	if err != nil {
		return "local"
	}
	ip := port.Addr().Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, _ := ip.Prefix(64)
	return prefix.String()
}

// shown is text of a peer's as a log or an error may show it.
func shown(text string) string {
	const most = 300
	if len(text) > most {
		text = text[:most] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}
