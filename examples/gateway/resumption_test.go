package main

import (
	"crypto/tls"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// session connects and returns the state of TLS once a CONNECT has been answered, by when tickets have come.
func session(address string, config *tls.Config, hello []byte) (tls.ConnectionState, error) {
	conn, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", address, config)
	if err != nil {
		return tls.ConnectionState{}, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err = conn.Write(hello); err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	return conn.ConnectionState(), err
}

// TestResumption: clients of either version of TLS resume their sessions, also after a reload that leaves certificate
// and trust as they are, and not after one that changes the certificate. Where tokens are proven over the session,
// nobody resumes one.
func TestResumption(t *testing.T) {
	s := newSite(t)
	s.trusts(1)
	const more = `
  - name: ace
    address: "127.0.0.1:0"
    tls: {certificate: server.pem, key: server.key}
    scheme: ace
    ace: {issuer: "https://as.example", audience: [broker], algorithms: [EdDSA], keys: issuer.jwks.json}
`
	upstream, text := upstreamURL(upstreams(t)["mochi"]), strings.TrimSuffix(everyTransport, "\n")+more
	r := s.start(upstream, text)
	connect, err := (&wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: []byte("c")}).Append(nil)
	require.NoError(t, err)
	type client struct {
		listener string
		version  uint16
		config   *tls.Config
	}
	var clients []*client
	for _, listener := range []string{"tls", "wss", "ace"} {
		for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
			config := s.authority.ClientConfig()
			config.ServerName = "localhost"
			config.MinVersion, config.MaxVersion = version, version
			config.ClientSessionCache = tls.NewLRUClientSessionCache(1)
			clients = append(clients, &client{listener, version, config})
		}
	}
	come := func(when string, resumed bool) {
		t.Helper()
		for _, c := range clients {
			for _, l := range r.listeners {
				if l.name != c.listener {
					continue
				}
				hello := connect
				if c.listener == "wss" {
					hello = []byte("GET / HTTP/1.0\r\n\r\n") // is told that this is no WebSocket
				}
				state, err := session(l.served.Addr().String(), c.config, hello)
				require.NoError(t, err)
				require.Equal(t, resumed && c.listener != "ace", state.DidResume, "%s: %s over %s", when, c.listener, tls.VersionName(c.version))
			}
		}
	}
	come("first", false)
	come("again", true)
	s.reload(r, upstream, text)
	come("after a reload", true)
	s.issue("server")
	s.reload(r, upstream, text)
	come("under another certificate", false)
	come("under that once more", true)
}

// TestResumptionWithClientCertificate: a session that began with a client's certificate ends to be resumed when its
// issuer is trusted no more.
func TestResumptionWithClientCertificate(t *testing.T) {
	s := newSite(t)
	clients, err := ca.New()
	require.NoError(t, err)
	s.write("clients.pem", string(clients.PEM()))
	upstream := upstreamURL(upstreams(t)["mochi"])
	text := strings.ReplaceAll(everyTransport, "key: server.key", "key: server.key, client_ca: clients.pem")
	r := s.start(upstream, text)
	certificate, err := clients.Issue(ca.Subject{Name: "client", Client: true})
	require.NoError(t, err)
	config := s.authority.ClientConfig()
	config.ServerName = "localhost"
	connect, err := (&wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: []byte("c")}).Append(nil)
	require.NoError(t, err)
	come := func() (tls.ConnectionState, error) {
		return session(r.listeners[1].served.Addr().String(), config, connect)
	}
	_, err = come()
	require.Error(t, err, "without a certificate")
	config.Certificates, config.ClientSessionCache = []tls.Certificate{certificate}, tls.NewLRUClientSessionCache(1)
	for _, resumed := range []bool{false, true} {
		state, err := come()
		require.NoError(t, err)
		require.Equal(t, resumed, state.DidResume)
	}
	s.reload(r, upstream, text)
	state, err := come()
	require.NoError(t, err)
	require.True(t, state.DidResume)
	others, err := ca.New()
	require.NoError(t, err)
	s.write("clients.pem", string(others.PEM()))
	s.reload(r, upstream, text)
	_, err = come()
	require.Error(t, err)
}
