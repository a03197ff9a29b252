package acebroker

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// stage is a Listener on loopback with a broker behind it that a test plays or that says yes to everything.
type stage struct {
	t        testing.TB
	as       *as
	clock    *layertest.Clock
	listener *Listener
	roots    *x509.CertPool
	log      *logbook

	mu       sync.Mutex
	connects []wire.ConnectPacket
	arrived  chan *brokerSide
}

// brokerSide is the broker's end of a connection.
type brokerSide struct {
	net.Conn
	packets chan wire.Packet // closed at the end
	over    error            // then
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

// newStage starts a Listener. change may edit the Config.
func newStage(t testing.TB, change func(*Config)) *stage {
	t.Helper()
	s := &stage{t: t, as: newAS(t, "as"), clock: layertest.NewClock(base), log: new(logbook), arrived: make(chan *brokerSide, 64)}
	certificate, roots := newCertificate(t)
	s.roots = roots
	cfg := configFor(s.as, s.clock)
	cfg.BehindTLSProxy, cfg.TLS = false, &tls.Config{Certificates: []tls.Certificate{certificate}}
	cfg.Logger = slog.New(slog.NewTextHandler(s.log, nil))
	if change != nil {
		change(&cfg)
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.listener, err = NewListener(inner, cfg)
	require.NoError(t, err)
	go s.serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = s.listener.Shutdown(ctx)
	})
	return s
}

// serve is a broker that accepts every CONNECT, grants every filter and acknowledges every PUBLISH.
func (s *stage) serve() {
	for {
		conn, err := s.listener.Accept()
		if err != nil {
			return
		}
		go s.attend(conn)
	}
}

func (s *stage) attend(conn net.Conn) {
	defer conn.Close()
	b := &brokerSide{Conn: conn, packets: make(chan wire.Packet, 1024)}
	defer close(b.packets)
	var version wire.Version
	for {
		p, err := wire.Read(conn, wire.MaxPacket)
		if err != nil {
			b.over = err
			return
		}
		var reply wire.Packet
		switch p.Type() {
		case wire.Connect:
			m, err := wire.ParseConnect(p)
			if err != nil {
				b.over = err
				return
			}
			version = m.Version
			s.mu.Lock()
			s.connects = append(s.connects, m)
			s.mu.Unlock()
			reply, _ = (&wire.ConnackPacket{}).Append(nil, version)
			s.arrived <- b
		case wire.Subscribe:
			m, _ := wire.ParseSubscribe(p, version)
			reply, _ = (&wire.SubackPacket{Type: wire.Suback, ID: m.ID, Codes: make([]byte, len(m.Subscriptions))}).Append(nil, version)
		case wire.Publish:
			if m, _ := wire.ParsePublish(p, version); m.QoS == 1 {
				reply, _ = (&wire.AckPacket{Type: wire.Puback, ID: m.ID}).Append(nil, version)
			}
		}
		b.packets <- p
		if reply != nil {
			if _, err := conn.Write(reply); err != nil {
				b.over = err
				return
			}
		}
	}
}

// broker waits for the broker's end of the next connection.
func (s *stage) broker() *brokerSide {
	s.t.Helper()
	select {
	case b := <-s.arrived:
		return b
	case <-time.After(patience):
		s.t.Fatal("no CONNECT at the broker")
		return nil
	}
}

// nobody checks that the broker saw no CONNECT.
func (s *stage) nobody() {
	s.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Empty(s.t, s.connects)
}

// ended waits for the end of a broker's connection, whatever came before, and returns why.
func (b *brokerSide) ended(t testing.TB) error {
	t.Helper()
	for {
		select {
		case _, open := <-b.packets:
			if !open {
				return b.over
			}
		case <-time.After(patience):
			t.Fatal("the connection stands")
		}
	}
}

// dial makes a TLS connection of a version.
func (s *stage) dial(change ...func(*tls.Config)) *raw {
	s.t.Helper()
	cfg := &tls.Config{RootCAs: s.roots, ServerName: "localhost", NextProtos: []string{"mqtt"}}
	for _, f := range change {
		f(cfg)
	}
	conn, err := tls.Dial("tcp", s.listener.Addr().String(), cfg)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { conn.Close() })
	return &raw{s.t, conn}
}

// tokenless is a connection without a token that the broker has accepted.
func (s *stage) tokenless(id string) *raw {
	s.t.Helper()
	r := s.dial()
	r.send(connectV5(id, true, nil))
	code, _ := r.connack()
	require.Zero(s.t, code)
	s.broker()
	return r
}

// stored lets a client in by a token that is stored for the Client Identifier, and ends that.
func (s *stage) stored(id string, key rawKey) {
	s.t.Helper()
	r := s.dial()
	r.send(connectV5(id, true, nil, method("ace")))
	r.send(answer(key, r.nonce()))
	r.accepted()
	s.broker()
	s.leave(r)
}

// leave ends the only connection there is, and waits until its Client Identifier is free.
func (s *stage) leave(r *raw) {
	s.t.Helper()
	r.conn.Close()
	require.Eventually(s.t, func() bool { return s.listener.Counters().Active == 0 }, patience, time.Millisecond)
}

func tls12(c *tls.Config) { c.MaxVersion = tls.VersionTLS12 }

// client is a subject with a key and what makes its tokens.
type client struct {
	s   *stage
	key rawKey
	set claims.Set
}

// hmacClient has a secret, edClient a key pair.
func (s *stage) hmacClient() *client {
	secret := make([]byte, 32)
	rand.Read(secret)
	v, err := pop.SharedKey(secret)
	require.NoError(s.t, err)
	return &client{s, rawKey{secret: secret}, s.as.claimSet(v)}
}

func (s *stage) edClient() *client {
	key := newAS(s.t, "").ed
	v, err := pop.PublicKey(key.Public())
	require.NoError(s.t, err)
	return &client{s, rawKey{ed: key}, s.as.claimSet(v)}
}

// token makes a token, another one each time.
func (c *client) token(change ...func(*claims.Set)) []byte {
	set := c.set
	set.ID = rand.Text()
	for _, f := range change {
		f(&set)
	}
	if c.key.ed != nil {
		return c.s.as.sign(jsonOf(c.s.t, set), EdDSA, nil)
	}
	return c.s.as.encrypt(jsonOf(c.s.t, set), nil)
}

// connect goes the exporter's way.
func (c *client) connect(r *raw, id string, w *will, change ...func(*claims.Set)) {
	c.s.t.Helper()
	r.send(connectV5(id, true, w, method("ace"), data(authData(c.token(change...), c.key.prove(r.exported())))))
}

// connected is connect with success.
func (c *client) connected(id string, change ...func(*claims.Set)) (*raw, *brokerSide) {
	c.s.t.Helper()
	r := c.s.dial()
	c.connect(r, id, nil, change...)
	r.accepted()
	return r, c.s.broker()
}

func newCertificate(t testing.TB) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}
