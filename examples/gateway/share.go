package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/net/netutil"

	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// shareConfig is where a store is served to other gateways.
type shareConfig struct {
	Address     setting[string] `yaml:"address"`
	Certificate setting[string] `yaml:"certificate"`
	Key         setting[string] `yaml:"key"`
	ClientCA    setting[string] `yaml:"client_ca"`
}

// sharedConfig is a store that another gateway serves.
type sharedConfig struct {
	URL         setting[string]        `yaml:"url"`
	CA          setting[string]        `yaml:"ca"`
	Certificate setting[string]        `yaml:"certificate"`
	Key         setting[string]        `yaml:"key"`
	Grace       setting[time.Duration] `yaml:"grace"`
}

func (c *mqttauthConfig) checkSharing(k *checker, at string) {
	if s := c.Share; s != nil {
		if c.Store.line == 0 {
			k.wrong(s.Address.line, "%s.share without store: what is in memory goes with this process", at)
		}
		if s.Address.line == 0 {
			k.wrong(c.Server.line, "%s.share.address is missing", at)
		} else {
			k.address(at+".share.address", s.Address)
		}
		if c.Decoys.line > 0 {
			k.wrong(c.Decoys.line, "%s.decoys with share: the secret is the store's own, for all gateways", at)
		}
		s.peers().check(k, at+".share")
	}
	s := c.Shared
	if s == nil {
		return
	}
	if s.URL.line == 0 {
		k.wrong(c.Server.line, "%s.shared.url is missing", at)
	} else {
		k.https(at+".shared.url", s.URL)
	}
	if s.Grace.line > 0 && s.Grace.value < time.Second {
		k.wrong(s.Grace.line, "%s.shared.grace: %v, at least 1s", at, s.Grace.value)
	}
	s.peers().check(k, at+".shared")
	for what, line := range map[string]int{"store": c.Store.line, "users": c.Users.line, "decoys": c.Decoys.line} {
		if line > 0 {
			k.wrong(line, "%s.%s with shared: the gateway that has the store has that, too", at, what)
		}
	}
	if c.Share != nil {
		k.wrong(c.Share.Address.line, "%s.share with shared: one gateway has the store", at)
	}
}

// peers are what a gateway shows another one, and who may certify that one.
type peers struct {
	line                   int // of the section
	certificate, key, from setting[string]
	name                   string // of from
}

func (s *shareConfig) peers() peers {
	return peers{s.Address.line, s.Certificate, s.Key, s.ClientCA, "client_ca"}
}

func (s *sharedConfig) peers() peers {
	return peers{s.URL.line, s.Certificate, s.Key, s.CA, "ca"}
}

func (p peers) check(k *checker, at string) {
	if p.certificate.line == 0 || p.key.line == 0 || p.from.line == 0 {
		k.wrong(p.line, "%s: certificate, key and %s are all needed", at, p.name)
		return
	}
	k.pair(at, p.certificate, p.key)
	k.reads(at+"."+p.name, p.from, certificates)
}

// load is for either end of a connection between gateways. There is nothing to resume, since it lives long.
func (p peers) load(k *checker) (*tls.Config, error) {
	certificate, err := loadCertificate(k.path(p.certificate.value), k.path(p.key.value))
	if err != nil {
		return nil, err
	}
	trusted, err := loadPool(k.path(p.from.value))
	if err != nil {
		return nil, err
	}
	return &tls.Config{
		Certificates: []tls.Certificate{*certificate}, RootCAs: trusted,
		ClientCAs: trusted, ClientAuth: tls.RequireAndVerifyClientCert,
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2", "http/1.1"}, SessionTicketsDisabled: true,
	}, nil
}

// fixed tells whether another configuration differs in what cannot change while the gateway runs.
func (s *shareConfig) fixed(next *shareConfig) bool {
	if s == nil || next == nil {
		return s != next
	}
	return s.Address.value != next.Address.value
}

func (s *sharedConfig) fixed(next *sharedConfig) bool {
	if s == nil || next == nil {
		return s != next
	}
	return s.URL.value != next.URL.value || s.Grace.value != next.Grace.value
}

// openStore is the store of a listener: a file, another gateway's, or one in memory.
func openStore(cfg *mqttauthConfig, k *checker) (*authbroker.Store, error) {
	switch {
	case cfg.Shared != nil:
		return reachStore(cfg.Shared, k)
	case cfg.Store.line > 0:
		return authbroker.OpenStore(k.path(cfg.Store.value))
	}
	return authbroker.MemoryStore(), nil
}

// firstAnswer is how long a gateway that starts waits for the one with the store, so that who comes at once need not
// come again where both start together. Then it starts without, and refuses until there is an answer.
const firstAnswer = time.Second

// reachStore is a store that another gateway serves, or will.
func reachStore(cfg *sharedConfig, k *checker) (*authbroker.Store, error) {
	secure, err := cfg.peers().load(k)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), firstAnswer)
	defer cancel()
	u, err := url.Parse(cfg.URL.value)
	if err != nil {
		return nil, err
	}
	return authbroker.RemoteStore(ctx, authbroker.RemoteConfig{
		URL: "https://" + u.Host, Grace: cfg.Grace.value, TLS: secure,
	})
}

// maxPeers bounds the connections of gateways that use a store: each has one or two.
const maxPeers = 256

// servedStore serves a store to other gateways.
type servedStore struct {
	listener net.Listener
	handler  http.Handler
	server   *http.Server
	secure   atomic.Pointer[tls.Config]
	cancel   context.CancelFunc
}

// begun is, in the context of a connection, where its handshake leaves what it was verified by.
type begun struct{ atomic.Pointer[tls.Config] }

// choose is tls.Config.GetConfigForClient.
func (s *servedStore) choose(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	secure := s.secure.Load()
	if b, ok := hello.Context().Value((*begun)(nil)).(*begun); ok {
		b.Store(secure)
	}
	return secure, nil
}

// ServeHTTP answers those who are trusted at this moment: a connection lives longer than what it began with.
func (s *servedStore) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	secure := s.secure.Load()
	b, ok := r.Context().Value((*begun)(nil)).(*begun)
	if !ok || b.Load() != secure || time.Now().After(r.TLS.PeerCertificates[0].NotAfter) {
		if err := verify(r.TLS, secure.ClientCAs); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
	}
	s.handler.ServeHTTP(w, r)
}

// verify verifies a client's certificate as crypto/tls has done when the connection began.
func verify(state *tls.ConnectionState, trusted *x509.CertPool) error {
	if state == nil || len(state.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	with := x509.VerifyOptions{
		Roots: trusted, Intermediates: x509.NewCertPool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, c := range state.PeerCertificates[1:] {
		with.Intermediates.AddCert(c)
	}
	_, err := state.PeerCertificates[0].Verify(with)
	return err
}

func (g *gateway) serveStore(store *authbroker.Store, cfg *shareConfig, k *checker) (*servedStore, error) {
	secure, err := cfg.peers().load(k)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", cfg.Address.value)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	s := &servedStore{listener: listener, handler: store.Handler(), cancel: cancel}
	s.secure.Store(secure)
	s.server = &http.Server{
		Handler: s, ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 20 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 16 << 10,
		HTTP2:       &http.HTTP2Config{MaxConcurrentStreams: 256},
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    slog.NewLogLogger(g.log.With("share", listener.Addr().String()).Handler(), slog.LevelDebug),
		TLSConfig: &tls.Config{
			GetConfigForClient: s.choose, MinVersion: tls.VersionTLS13, SessionTicketsDisabled: true,
		},
		ConnContext: func(ctx context.Context, _ net.Conn) context.Context {
			return context.WithValue(ctx, (*begun)(nil), new(begun))
		},
	}
	g.log.Info("sharing", "address", listener.Addr().String())
	go func() {
		err := s.server.ServeTLS(netutil.LimitListener(listener, maxPeers), "", "")
		if !errors.Is(err, http.ErrServerClosed) {
			g.log.Error("the store is not served any more", "error", err)
		}
	}()
	return s, nil
}

// renewal loads the certificates of a connection between gateways; renew has them used from then on.
func (c *mqttauthConfig) renewal(store *authbroker.Store, served *servedStore, k *checker) (renew func() error, err error) {
	var secure *tls.Config
	switch {
	case c.Shared != nil:
		secure, err = c.Shared.peers().load(k)
		return func() error { return store.SetTLS(secure) }, err
	case c.Share != nil:
		secure, err = c.Share.peers().load(k)
		return func() error {
			if !sameTrust(served.secure.Load(), secure) {
				served.secure.Store(secure)
			}
			return nil
		}, err
	}
	return func() error { return nil }, nil
}

// close lets what is being done come to its end.
func (s *servedStore) close() error {
	s.cancel() // of those who wait for changes
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	err := s.server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = s.server.Close()
	}
	return errors.Join(ignoreClosed(err), ignoreClosed(s.listener.Close()))
}

// countSharing shows whether the store of a listener can be used, and what it costs to share it.
func (g *gateway) countSharing(listener string, store *authbroker.Store) {
	count := func(name, help string, read func(authbroker.SharingCounters) int64) {
		g.metrics.counts("mqttauth", name, help, listener, func() int64 { return read(store.SharingCounters()) })
	}
	count("store_failed", "Questions to the gateway that has the store without an answer.",
		func(c authbroker.SharingCounters) int64 { return c.Failed })
	count("store_conflicts", "Changes that were done again since another gateway came before.",
		func(c authbroker.SharingCounters) int64 { return c.Conflicts })
	g.metrics.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mqttsec_mqttauth_store_available", Help: "Whether clients can log in: 1, or 0 without the store.",
		ConstLabels: prometheus.Labels{"listener": listener},
	}, func() float64 {
		if store.Available() != nil {
			return 0
		}
		return 1
	}))
}
