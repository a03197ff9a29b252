package ca_test

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"net"
	"os"
	"testing"
	"time"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/stretchr/testify/require"
)

// handshake runs TLS between the two and returns what each side says of it. The client sends a byte and awaits one,
// since in TLS 1.3 it hears of its own certificate's refusal only then.
func handshake(t *testing.T, server, client *tls.Config) (serverErr, clientErr error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() {
		conn, err := listener.Accept()
		if err == nil {
			secure := tls.Server(conn, server)
			if err = secure.Handshake(); err == nil {
				_, err = secure.Write([]byte{1})
			}
			_ = secure.Close()
		}
		served <- err
	}()
	conn, clientErr := tls.Dial("tcp", listener.Addr().String(), client)
	if clientErr == nil {
		_, clientErr = conn.Read(make([]byte, 1))
		_ = conn.Close()
	}
	serverErr = <-served
	require.NoError(t, listener.Close())
	return serverErr, clientErr
}

func issue(t *testing.T, a *ca.Authority, s ca.Subject) tls.Certificate {
	t.Helper()
	c, err := a.Issue(s)
	require.NoError(t, err)
	return c
}

func newAuthority(t *testing.T) *ca.Authority {
	t.Helper()
	a, err := ca.New()
	require.NoError(t, err)
	return a
}

func TestServerCertificates(t *testing.T) {
	a := newAuthority(t)
	now := time.Now()
	for name, test := range map[string]struct {
		subject ca.Subject
		trusts  *ca.Authority
		want    string
	}{
		"of this host": {ca.Subject{}, a, ""},
		"Ed25519":      {ca.Subject{Ed25519: true}, a, ""},
		"wrong host":   {ca.Subject{Hosts: []string{"elsewhere.example"}}, a, "127.0.0.1"},
		"no host":      {ca.Subject{Hosts: []string{}}, a, "127.0.0.1"},
		"expired":      {ca.Subject{NotAfter: now.Add(-time.Minute)}, a, "expired"},
		"long expired": {ca.Subject{NotAfter: now.AddDate(-1, 0, 0)}, a, "expired"},
		"not yet":      {ca.Subject{NotBefore: now.Add(time.Hour)}, a, "not yet valid"},
		"for a client": {ca.Subject{Client: true, Hosts: []string{"127.0.0.1"}}, a, "usage"},
		"of strangers": {ca.Subject{}, newAuthority(t), "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			server := &tls.Config{Certificates: []tls.Certificate{issue(t, a, test.subject)}}
			_, err := handshake(t, server, test.trusts.ClientConfig())
			if test.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, test.want)
			}
		})
	}
}

func TestClientCertificates(t *testing.T) {
	a := newAuthority(t)
	server, err := a.ServerConfig()
	require.NoError(t, err)
	server.ClientAuth, server.ClientCAs = tls.RequireAndVerifyClientCert, a.Pool()
	client := a.ClientConfig()

	client.Certificates = []tls.Certificate{issue(t, a, ca.Subject{Client: true, Name: "ann", Ed25519: true})}
	serverErr, clientErr := handshake(t, server, client)
	require.NoError(t, serverErr)
	require.NoError(t, clientErr)

	client.Certificates = []tls.Certificate{issue(t, a, ca.Subject{Name: "a server"})}
	serverErr, clientErr = handshake(t, server, client)
	require.ErrorContains(t, serverErr, "usage")
	require.Error(t, clientErr)
}

func TestFiles(t *testing.T) {
	a, dir := newAuthority(t), t.TempDir()
	root, err := a.WriteFile(dir)
	require.NoError(t, err)
	text, err := os.ReadFile(root)
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(text))
	require.True(t, pool.Equal(a.Pool()))

	made := issue(t, a, ca.Subject{Ed25519: true})
	certificateFile, keyFile, err := ca.WriteFiles(dir, "broker", made)
	require.NoError(t, err)
	read, err := tls.LoadX509KeyPair(certificateFile, keyFile)
	require.NoError(t, err)
	require.Equal(t, made.Certificate, read.Certificate)
	require.True(t, made.PrivateKey.(ed25519.PrivateKey).Equal(read.PrivateKey))
	_, err = handshake(t, &tls.Config{Certificates: []tls.Certificate{read}}, &tls.Config{RootCAs: pool})
	require.NoError(t, err)
}
