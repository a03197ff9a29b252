package ace

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/brokers/ports"
)

// TestT1UnencryptedConnection is refused, with a sentence that says what to do, and without asking for a token.
func TestT1UnencryptedConnection(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	source := hourly()
	auth, err := New(Config{Source: source})
	require.NoError(t, err)
	_, err = auth.Conn(t.Context(), a)
	require.ErrorIs(t, err, ErrInsecure)
	require.ErrorContains(t, err, "use mqtts://")
	require.Zero(t, source.requests())
}

// keysOnly has keying material and encrypts nothing, as a connection of MQTT-Auth.
type keysOnly struct {
	net.Conn
	fixedKeys
}

func (k keysOnly) NetConn() net.Conn { return k.Conn }

// preshared is encrypted with a pre-shared key.
type preshared struct {
	net.Conn
	fixedKeys
}

func (preshared) PSKIdentity() string { return "device-7" }

// TestT1KeysWithoutEncryption: keying material alone makes no secure connection; that below it counts.
func TestT1KeysWithoutEncryption(t *testing.T) {
	a, c := net.Pipe()
	defer a.Close()
	defer c.Close()
	source := hourly()
	proof, err := New(Config{Source: source})
	require.NoError(t, err)
	bearer, err := NewBearer(BearerConfig{Source: source})
	require.NoError(t, err)
	for _, conn := range []net.Conn{keysOnly{Conn: a}, keysOnly{Conn: keysOnly{Conn: a}}, struct {
		net.Conn
		fixedKeys
	}{Conn: a}} {
		_, err = proof.Conn(t.Context(), conn)
		require.ErrorIs(t, err, ErrInsecure)
		_, err = bearer.Conn(t.Context(), conn)
		require.ErrorIs(t, err, ErrInsecure)
	}
	require.Zero(t, source.requests())

	b := newHandBroker(t, (*peer).drain)
	for _, conn := range []net.Conn{keysOnly{Conn: b.dial(t)}, preshared{Conn: a}, keysOnly{Conn: preshared{Conn: a}}} {
		_, err = proof.Conn(t.Context(), conn)
		require.NoError(t, err)
	}
}

// TestT1BrokerThatIsNotVerified: InsecureSkipVerify alone is not enough.
func TestT1BrokerThatIsNotVerified(t *testing.T) {
	b := newHandBroker(t, (*peer).drain)
	token := refToken(time.Now(), must(Signer(seedKey())))
	skip := func(c *tls.Config) { c.InsecureSkipVerify = true }
	_, err := authenticator(t, token).Conn(t.Context(), b.dial(t, skip))
	require.ErrorIs(t, err, ErrInsecure)
	require.ErrorContains(t, err, "InsecureSkipVerify")

	require.ErrorIs(t, Upload(t.Context(), b.dial(t, skip), "", token), ErrInsecure)

	_, err = authenticator(t, token, func(c *Config) { c.SkipChainCheck = true }).Conn(t.Context(), b.dial(t, skip))
	require.NoError(t, err)
	token.Broker = BrokerPublicKey(b.cert.Leaf.PublicKey)
	_, err = authenticator(t, token).Conn(t.Context(), b.dial(t, skip))
	require.NoError(t, err, "the authorization server has named the key")
}

// TestC9BrokerKeyIsMatched: by key and by certificate, besides the usual verification.
func TestC9BrokerKeyIsMatched(t *testing.T) {
	b, other := newHandBroker(t, (*peer).drain), newHandBroker(t, (*peer).drain)
	for name, tc := range map[string]struct {
		broker *BrokerKey
		want   error
	}{
		"key":               {BrokerPublicKey(b.cert.Leaf.PublicKey), nil},
		"certificate":       {BrokerCertificate(b.cert.Leaf), nil},
		"both":              {&BrokerKey{b.cert.Leaf.PublicKey, BrokerCertificate(b.cert.Leaf).thumbprint}, nil},
		"other key":         {BrokerPublicKey(other.cert.Leaf.PublicKey), ErrBrokerKey},
		"other certificate": {BrokerCertificate(other.cert.Leaf), ErrBrokerKey},
		"one of both":       {&BrokerKey{b.cert.Leaf.PublicKey, BrokerCertificate(other.cert.Leaf).thumbprint}, ErrBrokerKey},
		"another kind":      {BrokerPublicKey(seedKey().Public()), ErrBrokerKey},
		"none":              {new(BrokerKey), ErrBrokerKey},
	} {
		token := refToken(time.Now(), must(Signer(seedKey())))
		token.Broker = tc.broker
		_, err := authenticator(t, token).Conn(t.Context(), b.dial(t))
		require.ErrorIs(t, err, tc.want, name)
	}
	require.ErrorIs(t, new(BrokerKey).match(nil), ErrBrokerKey)

	// A connection without certificates cannot show the key.
	token := refToken(time.Now(), must(Signer(seedKey())))
	require.NoError(t, (&tunnel{}).leadsTo(&token, false))
	token.Broker = BrokerPublicKey(seedKey().Public())
	require.ErrorIs(t, (&tunnel{}).leadsTo(&token, true), ErrBrokerKey)
}

// TestM6ResumedSession: no exporter proof on it. v5 lets the broker challenge, v3.1.1 says what is wrong.
func TestM6ResumedSession(t *testing.T) {
	both(t, func(t *testing.T, version uint16) {
		connects := make(chan int, 4)
		b := newHandBroker(t, func(p *peer) {
			p.send(unhexBytes("00")...) // so that the client reads the session ticket; no MQTT yet
			connects <- len(p.packet())
			p.drain()
		}, version)
		resume := func(cache tls.ClientSessionCache) func(*tls.Config) {
			return func(c *tls.Config) { c.ClientSessionCache = cache }
		}
		dial := func(cache tls.ClientSessionCache) *tls.Conn {
			conn := b.dial(t, resume(cache))
			_, err := conn.Read(make([]byte, 1))
			require.NoError(t, err)
			return conn
		}
		cache := tls.NewLRUClientSessionCache(1)
		dial(cache)
		for connect, v5 := range map[string]bool{connectV5: true, connectV3: false} {
			conn := dial(cache)
			require.True(t, conn.ConnectionState().DidResume)
			c, err := authenticator(t, refToken(time.Now(), testKey)).Conn(t.Context(), conn)
			require.NoError(t, err)
			_, err = c.Write(unhexBytes(connect))
			if v5 {
				require.NoError(t, err)
				require.Equal(t, 42, <-connects, "a token and no proof")
				continue
			}
			require.ErrorIs(t, err, ErrNoExporter)
			require.ErrorContains(t, err, "resumed")
		}
	})
	s := authenticator(t, refToken(time.Now(), testKey)).scheme
	require.True(t, s.NeedsUnresumedTLS(4))
	require.False(t, s.NeedsUnresumedTLS(5))
}

// TestM5NoExporter: where renegotiation is enabled, crypto/tls gives no keying material.
func TestM5NoExporter(t *testing.T) {
	connects := make(chan int, 1)
	b := newHandBroker(t, func(p *peer) { connects <- len(p.packet()); p.drain() }, tls.VersionTLS12)
	renegotiates := func(c *tls.Config) { c.Renegotiation = tls.RenegotiateOnceAsClient }
	send(t, connected(t, authenticator(t, refToken(time.Now(), testKey)), b, renegotiates), connectV5)
	require.Equal(t, 42, <-connects)
	_, err := connected(t, authenticator(t, refToken(time.Now(), testKey)), b, renegotiates).Write(unhexBytes(connectV3))
	require.ErrorIs(t, err, ErrNoExporter)
	_, err = connected(t, authenticator(t, refToken(time.Now(), testKey), func(c *Config) { c.Challenge = true }), b).Write(unhexBytes(connectV3))
	require.ErrorIs(t, err, ErrConfig)
	require.ErrorContains(t, err, "MQTT 3.1.1 has no challenge")
}

// TestT1OldTLS: below 1.2, and 1.2 without Extended Master Secret, of which crypto/tls tells in words alone. GnuTLS
// is a server without it.
func TestT1OldTLS(t *testing.T) {
	authority, err := ca.New()
	require.NoError(t, err)
	cert, err := authority.Issue(ca.Subject{})
	require.NoError(t, err)
	certFile, keyFile, err := ca.WriteFiles(t.TempDir(), "server", cert)
	require.NoError(t, err)
	for _, tc := range []struct{ option, want string }{{":%NO_SESSION_HASH", "Extended Master Secret"}, {"", ""}} {
		address := gnutlsServer(t, certFile, keyFile, tc.option)
		config := authority.ClientConfig()
		config.ServerName = "localhost"
		config.MaxVersion = tls.VersionTLS12
		conn, err := tls.Dial("tcp", address, config)
		require.NoError(t, err)
		defer conn.Close()
		_, err = authenticator(t, refToken(time.Now(), testKey)).Conn(t.Context(), conn)
		if tc.want == "" {
			require.NoError(t, err, "as it is without the option")
			continue
		}
		require.ErrorIs(t, err, ErrInsecure)
		require.ErrorContains(t, err, tc.want)
	}

	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	config, err := authority.ServerConfig()
	require.NoError(t, err)
	config.MinVersion, config.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	old := authority.ClientConfig()
	old.ServerName, old.MinVersion, old.MaxVersion = "localhost", tls.VersionTLS10, tls.VersionTLS11
	go func() { _ = tls.Server(b, config).Handshake() }()
	_, err = authenticator(t, refToken(time.Now(), testKey)).Conn(t.Context(), tls.Client(a, old))
	require.ErrorIs(t, err, ErrInsecure)
	require.ErrorContains(t, err, "TLS 1.1")
}

// gnutlsServer runs gnutls-serv with TLS 1.2.
func gnutlsServer(t *testing.T, certFile, keyFile, option string) string {
	t.Helper()
	program, err := exec.LookPath("gnutls-serv")
	if err != nil && os.Getenv("MQTTSEC_CI") == "" {
		t.Skip("gnutls-serv is not installed")
	}
	require.NoError(t, err)
	var held ports.Set
	address, err := held.Take()
	require.NoError(t, err)
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)
	cmd := exec.Command(program, "--echo", "--port", port, "--x509certfile", certFile, "--x509keyfile", keyFile,
		"--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2"+option)
	require.NoError(t, cmd.Start())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-ended
		require.NoError(t, held.Close())
	})
	var conn net.Conn
	require.Eventually(t, func() (over bool) {
		select {
		case <-ended:
			return true
		default:
			conn, err = net.Dial("tcp", address)
			return err == nil
		}
	}, time.Minute, 10*time.Millisecond)
	require.NotNil(t, conn, "gnutls-serv has ended")
	require.NoError(t, conn.Close())
	return address
}

// TestHandshakeIsBounded by ctx.
func TestHandshakeIsBounded(t *testing.T) {
	a, b := net.Pipe()
	defer a.Close()
	defer b.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	_, err := authenticator(t, refToken(time.Now(), testKey)).Conn(ctx, tls.Client(a, &tls.Config{ServerName: "x"}))
	require.True(t, errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded), fmt.Sprint(err))
}

// TestMissingCA: what crypto/tls says is passed on.
func TestMissingCA(t *testing.T) {
	b := newHandBroker(t, (*peer).drain)
	raw, err := net.Dial("tcp", b.ln.Addr().String())
	require.NoError(t, err)
	defer raw.Close()
	_, err = authenticator(t, refToken(time.Now(), testKey)).Conn(t.Context(), tls.Client(raw, &tls.Config{ServerName: "localhost", RootCAs: x509.NewCertPool()}))
	var verify *tls.CertificateVerificationError
	require.ErrorAs(t, err, &verify)
}
