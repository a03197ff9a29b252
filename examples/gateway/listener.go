package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
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
	address      string
	served       served
	certificate  atomic.Pointer[tls.Config]        // nil without TLS
	keys         atomic.Pointer[map[string][]byte] // nil without a file of pre-shared keys
	tokens       *acebroker.PSK                    // nil unless the keys of tokens are the pre-shared ones
	reconfigure  func(cfg *listenerConfig, k *checker) error
	release      func() error // gives back what the scheme holds; nil for nothing
	metrics      *listenerMetrics
}

// listen builds a listener from the network up: TCP, TLS, WebSocket, scheme.
func (g *gateway) listen(cfg *listenerConfig, k *checker) (*listener, error) {
	l := &listener{name: cfg.Name.value, scheme: cfg.Scheme.value, address: cfg.Address.value}
	l.metrics = g.metrics.listener(l.name, l.scheme)
	if cfg.PSK.ofTokens() {
		l.tokens = new(acebroker.PSK)
	}
	if err := l.credentials(cfg, k); err != nil {
		return nil, err
	}
	network, err := net.Listen("tcp", cfg.Address.value)
	if err != nil {
		return nil, err
	}
	balancers, err := parseBalancers(cfg.Balancers)
	if err != nil {
		return nil, errors.Join(err, network.Close())
	}
	if len(balancers) > 0 {
		network = newProxied(network, balancers, g.cfg.Limits.Pending.value, g.cfg.Limits.ConnectTimeout.value, l.failed(g))
	}
	if n := g.cfg.Limits.NewPerSecond.value; n > 0 {
		network = &slowed{Listener: network, limit: rate.NewLimiter(rate.Limit(n), n)}
	}
	below := &below{Listener: network, secure: l.secure(cfg)}
	if cfg.Transport.value == transportWebSocket {
		below.secure = within(below.secure, upgrade)
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

// credentials loads certificates or keys, at the start and again when the configuration is reloaded.
func (l *listener) credentials(cfg *listenerConfig, k *checker) error {
	if cfg.TLS != nil {
		config, err := serverTLS(cfg.TLS, k)
		if err != nil {
			return err
		}
		l.certificate.Store(config)
	}
	if cfg.PSK.listed() {
		keys, err := tlspsk.LoadKeys(k.path(cfg.PSK.Keys.value))
		if err != nil {
			return err
		}
		l.keys.Store(&keys)
	}
	return nil
}

func serverTLS(cfg *tlsConfig, k *checker) (*tls.Config, error) {
	certificate, err := loadCertificate(k.path(cfg.Certificate.value), k.path(cfg.Key.value))
	if err != nil {
		return nil, err
	}
	t := &tls.Config{Certificates: []tls.Certificate{*certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"mqtt"}}
	if cfg.ClientCA.line > 0 {
		if t.ClientCAs, err = loadPool(k.path(cfg.ClientCA.value)); err != nil {
			return nil, err
		}
		t.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return t, nil
}

// secure returns what secures a connection of a listener, nil if nothing does.
func (l *listener) secure(cfg *listenerConfig) func(context.Context, net.Conn) (net.Conn, error) {
	switch {
	case cfg.TLS != nil:
		protocols := []string{"mqtt"}
		if cfg.Transport.value == transportWebSocket {
			protocols = []string{"http/1.1"}
		}
		return func(ctx context.Context, conn net.Conn) (net.Conn, error) {
			config := l.certificate.Load().Clone()
			config.NextProtos = protocols
			secured := tls.Server(conn, config)
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

// servePlain is a listener without a scheme: the broker itself decides who may do what.
func (g *gateway) servePlain(l *listener, cfg *listenerConfig, b *below) error {
	named := cfg.PSK != nil && cfg.PSK.Username.value
	plain, err := layer.NewListener(b.Listener, layer.ListenerConfig{
		Secure:              b.secure,
		Filter:              func(_ context.Context, conn net.Conn) (layer.Filter, error) { return newPlain(conn, named) },
		Timeout:             g.cfg.Limits.ConnectTimeout.value,
		MaxPending:          g.cfg.Limits.Pending.value,
		MaxPendingPerSource: g.cfg.Limits.PendingPerAddress.value,
		Failed:              l.failed(g),
	})
	if err != nil {
		return err
	}
	l.served = plain
	l.reconfigure = func(*listenerConfig, *checker) error { return nil }
	return nil
}

// failed hears of connections that ended before they were established.
func (l *listener) failed(g *gateway) func(remote net.Addr, err error) {
	return func(remote net.Addr, err error) {
		l.metrics.refused.WithLabelValues("handshake").Inc()
		g.log.Debug("connection not established", "listener", l.name, "remote", remote.String(), "error", err)
	}
}

// plain lets everything pass, and says who the client is if its key has told.
type plain struct {
	identity string // "" for none
}

func newPlain(conn net.Conn, named bool) (*plain, error) {
	if !named {
		return &plain{}, nil
	}
	keyed, ok := keyOf(conn)
	if !ok {
		return nil, errors.New("no pre-shared key below the connection")
	}
	return &plain{identity: keyed.ConnectionState().Identity}, nil
}

// Outgoing is what the broker sends.
func (*plain) Outgoing(_ *layer.Conn, p wire.Packet) (wire.Packet, error) { return p, nil }

// Incoming puts the identity in the place of whatever User Name the client claims.
func (f *plain) Incoming(_ *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if f.identity == "" || p.Type() != wire.Connect {
		return p, nil
	}
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	m.HasUsername, m.Username = true, []byte(f.identity)
	return m.Append(nil)
}

// Closed has nothing to do.
func (*plain) Closed() {}

// reload takes what a new configuration says of this listener.
func (l *listener) reload(cfg *config, k *checker) error {
	for i := range cfg.Listeners {
		of := &cfg.Listeners[i]
		if of.Name.value != l.name {
			continue
		}
		switch {
		case of.Address.value != l.address:
			return fmt.Errorf("address changes with a restart only")
		case of.Scheme.value != l.scheme:
			return fmt.Errorf("scheme changes with a restart only")
		case (of.ACE != nil) != (l.scheme == schemeACE), (of.MQTTAuth != nil) != (l.scheme == schemeMQTTAuth):
			return fmt.Errorf("the section %s is missing", l.scheme)
		case (of.TLS != nil) != (l.certificate.Load() != nil), of.PSK.listed() != (l.keys.Load() != nil), of.PSK.ofTokens() != (l.tokens != nil):
			return fmt.Errorf("tls and psk come and go with a restart only")
		}
		if err := l.credentials(of, k); err != nil {
			return err
		}
		l.endWithdrawn()
		return l.reconfigure(of, k)
	}
	return fmt.Errorf("not in the file any more: it goes with a restart only")
}

// turnAway tells a client that there is no place, as far as its version has words for it.
func turnAway(client net.Conn) {
	defer client.Close()
	_ = client.SetDeadline(time.Now().Add(farewell))
	connect, err := wire.Read(client, maxConnect)
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
