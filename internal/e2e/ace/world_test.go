package ace

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/ace/aceserver"
	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/brokers/ports"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
)

// patience is how long a test waits for what must happen.
const patience = time.Minute

// A world is an Authorization Server over HTTPS and the embedded broker behind acebroker, both on loopback, with
// certificates of one authority. Each token format is an audience of its own, and the broker answers to all of them.
type world struct {
	t         testing.TB
	authority *ca.Authority
	as        *server
	broker    *brokers.Embedded
	listener  *acebroker.Listener
	clock     *layertest.Clock
	log       *logbook
	secret    string // of every client
	config    acebroker.Config
	address   string
	scope     ace.Scope
}

// formats are the audiences.
var formats = []string{"jwt", "cwt", "ref"}

// settings are what a test may change of a world before it begins.
type settings struct {
	broker   func(*acebroker.Config)
	lifetime time.Duration // of tokens, references six times as much; 0 is the server's default
	scope    ace.Scope     // what every client may have; "{client_id}" is its own name
}

func newWorld(t testing.TB, s settings) *world {
	t.Helper()
	authority, err := ca.New()
	require.NoError(t, err)
	broker, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	w := &world{t: t, authority: authority, broker: broker, clock: layertest.NewClock(time.Now()), log: new(logbook)}
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	w.scope = s.scope
	if w.scope == nil {
		w.scope = ace.Scope{{Filter: "site/{client_id}/#", Publish: true, Subscribe: true}, {Filter: "news/+", Subscribe: true}}
	}
	w.startAS(s.lifetime)
	presents, err := authority.ServerConfig()
	require.NoError(t, err)
	w.config.TLS = presents
	w.config.Clock, w.config.Leeway = w.clock, time.Hour // it stands still while the server's goes on
	w.config.Logger = slog.New(slog.NewTextHandler(w.log, nil))
	w.config.Audience = formats
	w.config.ClientIdentifier = nil
	if s.broker != nil {
		s.broker(&w.config)
	}
	var held ports.Set // a port that is nobody else's, also while a test has nobody listen on it
	t.Cleanup(func() { require.NoError(t, held.Close()) })
	address, err := held.Take()
	require.NoError(t, err)
	w.listen(address)
	t.Cleanup(w.shutdown)
	return w
}

// startAS starts the Authorization Server and notes what the broker must know of it.
func (w *world) startAS(lifetime time.Duration) {
	w.t.Helper()
	_, signing, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(w.t, err)
	shared := make([]byte, 32)
	rand.Read(shared)
	secret, hash := aceserver.NewSecret()
	w.secret = secret
	cfg := aceserver.Config{
		Issuer:  "https://as.example",
		Store:   store.NewMemory(),
		Keys:    []aceserver.SigningKey{{ID: "s1", Key: signing}},
		Limits:  aceserver.Limits{Address: aceserver.Rate{Interval: -1}, Client: aceserver.Rate{Interval: -1}},
		Clients: []aceserver.Client{},
		ResourceServers: []aceserver.ResourceServer{
			{ID: "broker", Credential: aceserver.Credential{Secret: hash}, Audiences: formats},
		},
	}
	for i, name := range formats {
		lasts := lifetime
		if name == "ref" {
			lasts = 6 * lifetime
		}
		cfg.Audiences = append(cfg.Audiences, aceserver.Audience{
			Name: name, Format: aceserver.Format(i), Lifetime: lasts, Encryption: aceserver.TokenKey{ID: "e1", Secret: shared},
		})
		cfg.Policies = append(cfg.Policies, aceserver.Policy{Client: aceserver.AnyClient, Audience: name, Scope: w.scope})
	}
	keys := clientKeys(w.t)
	for i := range clientCount {
		cfg.Clients = append(cfg.Clients, aceserver.Client{
			ID: fmt.Sprint("client", i), Credential: aceserver.Credential{Secret: hash}, Keys: []crypto.PublicKey{keys.ed.Public(), keys.ec.Public()},
		})
	}
	handler, err := aceserver.New(cfg)
	require.NoError(w.t, err)
	w.as = newServer(w.t, w.authority, handler)
	w.config.Issuers = []acebroker.Issuer{{
		Name: cfg.Issuer,
		Keys: acebroker.StaticKeys{
			{ID: "s1", Algorithm: acebroker.EdDSA, Key: signing.Public()},
			{ID: "e1", Algorithm: acebroker.A256GCM, Key: shared},
		},
		Introspection: &acebroker.Introspection{
			URL: w.as.URL + "/introspect", ClientID: "broker", ClientSecret: secret, TLS: w.authority.ClientConfig(),
		},
	}}
	w.config.Algorithms = []acebroker.Algorithm{acebroker.EdDSA, acebroker.A256GCM}
}

// listen puts the broker's half before the broker.
func (w *world) listen(address string) {
	w.t.Helper()
	var inner net.Listener
	require.Eventually(w.t, func() (free bool) { // a process that begins holds what was closed a moment ago
		var err error
		inner, err = net.Listen("tcp", address)
		return err == nil
	}, patience, time.Millisecond)
	var err error
	w.listener, err = acebroker.NewListener(inner, w.config)
	require.NoError(w.t, err)
	w.address = inner.Addr().String()
	go func(l *acebroker.Listener) {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = w.broker.Server.EstablishConnection("ace", conn) // how it ended is the client's business
				conn.Close()
			}()
		}
	}(w.listener)
}

func (w *world) shutdown() {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = w.listener.Shutdown(ctx)
}

// server is an HTTPS server that can be told to be down or slow.
type server struct {
	*httptest.Server
	requests atomic.Int64

	mu     sync.Mutex
	before func(http.ResponseWriter, *http.Request) (goOn bool)
}

func newServer(t testing.TB, authority *ca.Authority, handler http.Handler) *server {
	t.Helper()
	s := new(server)
	s.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		s.mu.Lock()
		before := s.before
		s.mu.Unlock()
		if before == nil || before(rw, r) {
			handler.ServeHTTP(rw, r)
		}
	}))
	config, err := authority.ServerConfig()
	require.NoError(t, err)
	s.TLS = config
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

// instead runs before each request, which goes on if it returns true; nil is no such thing.
func (s *server) instead(f func(http.ResponseWriter, *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// clientCount is how many clients the Authorization Server knows: client0 and so on.
const clientCount = 512

var serial atomic.Int64

// newClientID is the name of a client that no other test of the world is.
func newClientID() string { return fmt.Sprint("client", serial.Add(1)%clientCount) }

// key pairs that all clients share, as far as the Authorization Server is concerned.
type keyPairs struct {
	ed ed25519.PrivateKey
	ec *ecdsa.PrivateKey
}

var clientKeyPairs = sync.OnceValues(func() (keyPairs, error) {
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return keyPairs{}, err
	}
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	return keyPairs{ed, ec}, err
})

func clientKeys(t testing.TB) keyPairs {
	t.Helper()
	keys, err := clientKeyPairs()
	require.NoError(t, err)
	return keys
}

// source is where a client of this name gets its tokens: of a format and with a kind of key.
func (w *world) source(id, format, algorithm string) *ace.AS {
	w.t.Helper()
	cfg := ace.ASConfig{
		Endpoint: w.as.URL + "/token", ClientID: id, ClientSecret: w.secret, TLS: w.authority.ClientConfig(), Audience: format,
	}
	switch algorithm {
	case "EdDSA":
		cfg.Signer = clientKeys(w.t).ed
	case "ES256":
		cfg.Signer = clientKeys(w.t).ec
	}
	as, err := ace.NewAS(cfg)
	require.NoError(w.t, err)
	return as
}

// static is a source with one token, which is not renewed.
func (w *world) static(id, format, algorithm string) ace.Static {
	w.t.Helper()
	token, err := w.source(id, format, algorithm).Token(patient(w.t))
	require.NoError(w.t, err)
	return ace.Static(token)
}

func authenticator(t testing.TB, cfg ace.Config) *ace.Authenticator {
	t.Helper()
	a, err := ace.New(cfg)
	require.NoError(t, err)
	return a
}

// tls is what clients dial with.
func (w *world) tls(version uint16) *tls.Config {
	cfg := w.authority.ClientConfig()
	cfg.MinVersion, cfg.MaxVersion = version, version
	cfg.NextProtos = []string{"mqtt"}
	return cfg
}

// patient is a context for what a test does, which ends long after everything should be done.
func patient(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

type logbook struct {
	mu   sync.Mutex
	text []byte
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	return len(p), nil
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
