package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

const serverShuttingDown = wire.ServerShuttingDown

// A scheme's listener: what comes out of Accept has been authenticated, and its packets are authorised.
type served interface {
	net.Listener
	Established() []*layer.Conn
}

// listener is one of the configuration's.
type listener struct {
	name, scheme string
	started      *listenerConfig // what it was started with
	names        bool            // User Names are those that the scheme or the key has verified, never a client's own
	served       served
	certificate  atomic.Pointer[tls.Config]        // nil without TLS
	keys         atomic.Pointer[map[string][]byte] // nil without a file of pre-shared keys
	tokens       *acebroker.PSK                    // nil unless the keys of tokens are the pre-shared ones
	reconfigure  func(cfg *listenerConfig, limits *limitsConfig, k *checker) error
	proxied      *proxied // nil without balancers
	slowed       *slowed
	release      func() error // gives back what the scheme holds; nil for nothing
	ready        func() error // why nobody can log in; nil for no reason
	metrics      *listenerMetrics
	log          *slog.Logger
}

func (g *gateway) newListener(cfg *listenerConfig) *listener {
	name, scheme := cfg.Name.value, cfg.Scheme.value
	return &listener{
		name: name, scheme: scheme, started: cfg,
		metrics: g.metrics.listener(name, scheme), log: newThrottled(g.log.With("listener", name)),
	}
}

// listen builds a listener from the network up: TCP, TLS, WebSocket, scheme.
func (g *gateway) listen(cfg *listenerConfig, k *checker) (*listener, error) {
	l := g.newListener(cfg)
	if cfg.PSK.ofTokens() {
		l.tokens = new(acebroker.PSK)
	}
	l.names = l.scheme != schemeNone || cfg.PSK != nil && cfg.PSK.Username.value
	take, err := l.credentials(cfg, k)
	if err != nil {
		return nil, err
	}
	take()
	network, err := net.Listen("tcp", cfg.Address.value)
	if err != nil {
		return nil, err
	}
	balancers, err := parseBalancers(cfg.Balancers)
	if err != nil {
		return nil, errors.Join(err, network.Close())
	}
	if len(balancers) > 0 {
		l.proxied = newProxied(network, balancers, &g.cfg.Limits, l.failed)
		network = l.proxied
	}
	l.slowed = &slowed{Listener: network, limit: rate.NewLimiter(rate.Inf, 1)}
	l.slowed.to(g.cfg.Limits.NewPerSecond.value)
	below := &below{Listener: l.slowed, secure: l.secure(cfg)}
	if cfg.Transport.value == transportWebSocket {
		u := upgrader(cfg.Origins, cfg.TLS != nil && cfg.TLS.ClientCA.line > 0)
		below.secure = within(below.secure, func(ctx context.Context, conn net.Conn) (net.Conn, error) {
			return upgrade(ctx, conn, u)
		})
	}
	switch cfg.Scheme.value {
	case schemeACE:
		err = g.serveACE(l, cfg, below, k)
	case schemeMQTTAuth:
		err = g.serveMQTTAuth(l, cfg, below, k)
	default:
		err = g.servePlain(l, cfg, below)
	}
	if err != nil {
		return nil, errors.Join(err, below.Close())
	}
	return l, nil
}

// limit takes what bounds connections before the scheme's listener has them.
func (l *listener) limit(limits *limitsConfig) {
	if l.proxied != nil {
		l.proxied.limit(limits)
	}
	l.slowed.to(limits.NewPerSecond.value)
}

// free gives back what the scheme holds, after the last connection.
func (l *listener) free() error {
	if l.release == nil {
		return nil
	}
	return l.release()
}

// below is what a scheme stands on: a listener, and what is done with its connections before MQTT, nil for nothing. The
// scheme's listener does it, within its bounds on what is not established.
type below struct {
	net.Listener
	secure func(context.Context, net.Conn) (net.Conn, error)
}

// within does what comes first, if anything does, and then what goes on inside.
func within(outer, inner func(context.Context, net.Conn) (net.Conn, error)) func(context.Context, net.Conn) (net.Conn, error) {
	if outer == nil {
		return inner
	}
	return func(ctx context.Context, conn net.Conn) (net.Conn, error) {
		conn, err := outer(ctx, conn)
		if err != nil {
			return nil, err
		}
		return inner(ctx, conn)
	}
}

// credentials loads certificates or keys, at the start and again when the configuration is reloaded; take has them used
// from then on.
func (l *listener) credentials(cfg *listenerConfig, k *checker) (take func(), err error) {
	switch {
	case cfg.TLS != nil:
		config, err := cfg.serverTLS(k)
		if err != nil {
			return nil, err
		}
		return func() {
			if old := l.certificate.Load(); old == nil || !sameTrust(old, config) {
				l.certificate.Store(config)
			}
		}, nil
	case cfg.PSK.listed():
		keys, err := tlspsk.LoadKeys(k.path(cfg.PSK.Keys.value))
		if err != nil {
			return nil, err
		}
		return func() { l.keys.Store(&keys) }, nil
	}
	return func() {}, nil
}

// serverTLS is what a listener's TLS begins with. Clients resume sessions under keys of this very value, which
// crypto/tls makes, changes daily and keeps in memory. A listener for ACE gives no tickets: in a session that was
// resumed a proof over the exporter is no proof.
func (l *listenerConfig) serverTLS(k *checker) (*tls.Config, error) {
	certificate, err := loadCertificate(k.path(l.TLS.Certificate.value), k.path(l.TLS.Key.value))
	if err != nil {
		return nil, err
	}
	t := &tls.Config{
		Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"mqtt"},
		SessionTicketsDisabled: l.Scheme.value == schemeACE,
	}
	if l.Transport.value == transportWebSocket {
		t.NextProtos = []string{"http/1.1"}
	}
	if l.TLS.ClientCA.line > 0 {
		if t.ClientCAs, err = loadPool(k.path(l.TLS.ClientCA.value)); err != nil {
			return nil, err
		}
		t.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return t, nil
}

// sameTrust tells whether a and b show the same certificate and trust the same clients, so that what was agreed under
// one may go on under the other.
func sameTrust(a, b *tls.Config) bool {
	return slices.EqualFunc(a.Certificates[0].Certificate, b.Certificates[0].Certificate, bytes.Equal) &&
		a.ClientAuth == b.ClientAuth && a.ClientCAs.Equal(b.ClientCAs)
}

// secure returns what secures a connection of a listener, nil if nothing does.
func (l *listener) secure(cfg *listenerConfig) func(context.Context, net.Conn) (net.Conn, error) {
	switch {
	case cfg.TLS != nil:
		return func(ctx context.Context, conn net.Conn) (net.Conn, error) {
			secured := tls.Server(conn, l.certificate.Load()) // no copy: it would have ticket keys of its own
			return secured, secured.HandshakeContext(ctx)
		}
	case cfg.PSK != nil:
		var config tlspsk.Config
		if cfg.Transport.value == transportWebSocket {
			config.NextProtos = []string{"http/1.1"}
		}
		return func(ctx context.Context, conn net.Conn) (net.Conn, error) { return l.secureByKey(ctx, conn, config) }
	}
	return nil
}

// failed hears of connections that ended before they were established.
func (l *listener) failed(remote net.Addr, err error) {
	l.metrics.refused.WithLabelValues("handshake").Inc()
	l.log.Debug("connection not established", "remote", remote.String(), "error", err)
}

// reload takes what a new configuration says of this listener, all of it or nothing.
func (l *listener) reload(cfg *config, k *checker) error {
	i := slices.IndexFunc(cfg.Listeners, func(of listenerConfig) bool { return of.Name.value == l.name })
	if i < 0 {
		return errors.New("not in the file any more: it goes with a restart only")
	}
	of := &cfg.Listeners[i]
	if what := l.started.fixed(of); what != "" {
		return fmt.Errorf("%s: changes with a restart only", what)
	}
	take, err := l.credentials(of, k)
	if err != nil {
		return err
	}
	if err := l.reconfigure(of, &cfg.Limits, k); err != nil {
		return err
	}
	l.limit(&cfg.Limits)
	take()
	l.endWithdrawn()
	return nil
}

// fixed names a setting that differs in another configuration of the same listener and cannot change while it runs, ""
// for none.
func (l *listenerConfig) fixed(next *listenerConfig) string {
	switch {
	case next.Address.value != l.Address.value:
		return "address"
	case next.Transport.value != l.Transport.value:
		return "transport"
	case !slices.Equal(next.Origins, l.Origins):
		return "origins"
	case !slices.Equal(next.Balancers, l.Balancers):
		return "balancers"
	case next.Scheme.value != l.Scheme.value:
		return "scheme"
	case (next.TLS != nil) != (l.TLS != nil):
		return "tls"
	case l.Transport.value == transportWebSocket && l.TLS != nil && (next.TLS.ClientCA.line > 0) != (l.TLS.ClientCA.line > 0):
		return "tls.client_ca" // pages of which origins may come hangs on it
	case (next.PSK != nil) != (l.PSK != nil):
		return "psk"
	case l.PSK != nil:
		if what := l.PSK.fixed(next.PSK); what != "" {
			return "psk." + what
		}
	}
	if l.MQTTAuth != nil {
		if what := l.MQTTAuth.fixed(next.MQTTAuth); what != "" {
			return "mqttauth." + what
		}
	}
	return ""
}

// turnAway tells a client that there is no place, as far as its version has words for it.
func turnAway(client net.Conn) {
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(farewell))
	connect, err := wire.Read(client, maxFirst)
	if err != nil {
		return
	}
	if m, err := wire.ParseConnect(connect); err == nil {
		code := byte(wire.ServerBusy)
		if m.Version != wire.V5 {
			code = unavailable(m.Version)
		}
		_ = refuse(client, m.Version, code)
	}
}

// slowed accepts so many connections a second and no more; the others wait in the kernel.
type slowed struct {
	net.Listener
	limit  *rate.Limiter
	once   sync.Once
	ctx    context.Context
	cancel context.CancelFunc
}

// to changes the rate, 0 for none.
func (s *slowed) to(perSecond int) {
	if perSecond == 0 {
		s.limit.SetLimit(rate.Inf)
		return
	}
	s.limit.SetBurst(perSecond) // never 0, which would end Accept
	s.limit.SetLimit(rate.Limit(perSecond))
}

func (s *slowed) begin() {
	s.once.Do(func() { s.ctx, s.cancel = context.WithCancel(context.Background()) })
}

// Accept waits for the limit first.
func (s *slowed) Accept() (net.Conn, error) {
	s.begin()
	if s.limit.Wait(s.ctx) != nil {
		return nil, net.ErrClosed
	}
	return s.Listener.Accept()
}

// Close ends waiting, too.
func (s *slowed) Close() error {
	s.begin()
	s.cancel()
	return s.Listener.Close()
}
