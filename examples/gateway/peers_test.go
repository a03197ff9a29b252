package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestSharingAmongRightOnes: nobody logs in at a gateway with another's certificate, or at one whose store is not the
// one that it trusts or is none at all, and the log and /readyz say what is wrong.
func TestSharingAmongRightOnes(t *testing.T) {
	s := newSite(t)
	s.credentials()
	upstream := listening(t, func(net.Conn) {})
	first := s.start(upstream, fmt.Sprintf(sharing+having, "%s", "127.0.0.1:0"))
	require.Contains(t, first.log.String(), "msg=sharing")
	address := regexp.MustCompile(`msg=sharing address=(\S+)`).FindStringSubmatch(first.log.String())[1]
	stranger := newSite(t)
	stranger.credentials()
	for _, name := range []string{"peer.pem", "peer.key", "ca.pem"} {
		text, err := os.ReadFile(filepath.Join(stranger.dir, name))
		require.NoError(t, err)
		s.write("other-"+name, string(text))
	}
	for _, wrong := range []struct{ address, from, to, why string }{
		{address, "peer.", "other-peer.", ""}, // a reset connection may come before the word from there
		{address, "ca: ca.pem", "ca: other-ca.pem", "certificate signed by unknown authority"},
		{s.answering(http.StatusForbidden), "", "", "403 Forbidden"},
		{s.answering(http.StatusUnauthorized), "", "", "401 Unauthorized"},
	} {
		text := fmt.Sprintf(sharing+using, "%s", wrong.address, "30s")
		r := s.start(upstream, strings.ReplaceAll(text, wrong.from, wrong.to))
		said := regexp.MustCompile(`msg="the store is not available: nobody logs in".*` + wrong.why)
		require.Eventually(t, func() bool { return said.MatchString(r.log.String()) }, patience, time.Millisecond)
		require.Eventually(t, func() bool {
			code, text := r.get(t, "/readyz")
			require.Equal(t, http.StatusServiceUnavailable, code)
			require.Contains(t, text, "listener passwords: authbroker: the store is not available: ")
			return strings.Contains(text, wrong.why)
		}, patience, time.Millisecond)
		require.Equal(t, wire.ServerUnavailable, connack(t, r.listeners[0].served.Addr().String(), wire.V5))
	}
}

// answering is the address of an HTTPS server, certified as the gateways are, that has this answer for all questions.
func (s *site) answering(status int) string {
	config, err := s.authority.ServerConfig()
	require.NoError(s.t, err)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }))
	server.TLS, server.EnableHTTP2 = config, true
	server.StartTLS()
	s.t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}

// TestReloadOfPeersCertificates changes the authority of the gateways' certificates while clients are connected: both
// are trusted, then both sides show certificates of the new one, then that one alone is trusted. A peer of the old one
// is then refused on the connection that it has, too.
func TestReloadOfPeersCertificates(t *testing.T) {
	s := newSite(t)
	s.credentials()
	upstream := upstreamURL(upstreams(t)["mochi"])
	hasText := fmt.Sprintf(sharing+having, "%s", "127.0.0.1:0")
	s.enrol("alice", alicesPassword)
	has := s.start(upstream, hasText)
	address := regexp.MustCompile(`msg=sharing address=(\S+)`).FindStringSubmatch(has.log.String())[1]
	usesText := fmt.Sprintf(sharing+using, "%s", address, "30s")
	uses := s.start(upstream, usesText)
	connect := func(id string) (*autopaho.ConnectionManager, chan error) {
		t.Helper()
		ended, as := make(chan error, 1), login(t, alicesPassword)
		cm, _ := v5(t, uses.url("mqtt", 0), id, nil, func(cfg *autopaho.ClientConfig) {
			cfg.OnConnectionDown = func() bool { ended <- nil; return false }
			*cfg = as.Wrap(*cfg)
		})
		return cm, ended
	}
	kept, ended := connect("kept")
	old := s.peer(t)
	ask := func() int {
		t.Helper()
		answer, err := old.Post("https://"+address+"/v1/read", "", strings.NewReader(`{"b":"claims","k":"YQ=="}`))
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, answer.Body)
		require.NoError(t, errors.Join(err, answer.Body.Close()))
		return answer.StatusCode
	}
	require.Equal(t, http.StatusOK, ask())

	both, next := s.authority.PEM(), newSite(t).authority
	both = append(both, next.PEM()...)
	for step, change := range []func(){
		func() { s.write("ca.pem", string(both)) },
		func() { s.authority = next; s.issue("server"); s.issuePeer() },
		func() { s.write("ca.pem", string(next.PEM())) },
	} {
		require.Equal(t, http.StatusOK, ask())
		change()
		s.reload(has, upstream, hasText)
		s.reload(uses, upstream, usesText)
		connect(fmt.Sprint("step", step))
	}
	require.Equal(t, http.StatusForbidden, ask(), "the connection goes on, and gets nothing")
	old.CloseIdleConnections()
	_, err := old.Post("https://"+address+"/v1/read", "", strings.NewReader("{}"))
	require.Error(t, err)
	_, err = kept.Publish(t.Context(), &paho.Publish{Topic: "open/a", QoS: 1, Payload: []byte("x")})
	require.NoError(t, err)
	require.Empty(t, ended)
	code, text := uses.get(t, "/readyz")
	require.Equal(t, http.StatusOK, code, text)

	s.write("peer.key", "none")
	cfg, err := loadConfig(uses.cfg.file)
	require.ErrorContains(t, err, "mqttauth.shared")
	require.Error(t, uses.listeners[0].reload(cfg, &checker{file: cfg.file}))
	connect("afterwards")
	s.issuePeer()
	for _, change := range []struct {
		r                    *running
		text, from, to, what string
	}{
		{has, hasText, `share: {address: "127.0.0.1:0"`, `share: {address: "127.0.0.1:1"`, "mqttauth.share:"},
		{uses, usesText, address, "127.0.0.1:1", "mqttauth.shared:"},
		{uses, usesText, "grace: 30s", "grace: 40s", "mqttauth.shared:"},
	} {
		changed := strings.Replace(change.text, change.from, change.to, 1)
		require.NotEqual(t, change.text, changed)
		cfg, err := loadConfig(s.write("gateway.yaml", fmt.Sprintf(changed, upstream)))
		require.NoError(t, err)
		require.ErrorContains(t, change.r.listeners[0].reload(cfg, &checker{file: cfg.file}), change.what)
	}
}

// TestSilentStrangers: who connects to where a store is served and says nothing has a place for a while, and there are
// no more than there are; a gateway waits until the time of one of them is over, and is answered.
func TestSilentStrangers(t *testing.T) {
	s := newSite(t)
	s.credentials()
	r := s.start("mqtt://127.0.0.1:1", fmt.Sprintf(sharing+having, "%s", "127.0.0.1:0"))
	address := regexp.MustCompile(`msg=sharing address=(\S+)`).FindStringSubmatch(r.log.String())[1]
	silent := make([]net.Conn, maxPeers)
	for i := range silent {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer conn.Close()
		silent[i] = conn
	}
	answer, err := s.peer(t).Post("https://"+address+"/v1/read", "", strings.NewReader(`{"b":"claims","k":"YQ=="}`))
	require.NoError(t, err)
	require.NoError(t, answer.Body.Close())
	require.Equal(t, http.StatusOK, answer.StatusCode)
	over := make(chan bool, maxPeers)
	for _, conn := range silent {
		go func() {
			_ = conn.SetReadDeadline(time.Now().Add(time.Second)) // to look, not to wait
			_, err := conn.Read(make([]byte, 1))
			over <- !errors.Is(err, os.ErrDeadlineExceeded)
		}()
	}
	n := 0
	for range silent {
		if <-over {
			n++
		}
	}
	require.Positive(t, n, "answered while all of them had their places")
}

// peer asks as another gateway does.
func (s *site) peer(t *testing.T) *http.Client {
	t.Helper()
	config := s.authority.ClientConfig()
	certificate, err := tls.LoadX509KeyPair(filepath.Join(s.dir, "peer.pem"), filepath.Join(s.dir, "peer.key"))
	require.NoError(t, err)
	config.Certificates = []tls.Certificate{certificate}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}}
	t.Cleanup(client.CloseIdleConnections)
	return client
}

// TestPeerWhoseCertificateHasEnded: a peer on a connection that it has is answered until its certificate ends, and
// refused from then on.
func TestPeerWhoseCertificateHasEnded(t *testing.T) {
	s := newSite(t)
	secure := &tls.Config{ClientCAs: s.authority.Pool()}
	served := &servedStore{handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })}
	served.secure.Store(secure)
	for ends, want := range map[time.Time]int{time.Now().Add(time.Hour): http.StatusTeapot, time.Now().Add(-time.Minute): http.StatusForbidden} {
		certificate, err := s.authority.Issue(ca.Subject{Name: "gateway", Client: true, NotAfter: ends})
		require.NoError(t, err)
		leaf, err := x509.ParseCertificate(certificate.Certificate[0])
		require.NoError(t, err)
		b := new(begun)
		b.Store(secure)
		r := httptest.NewRequestWithContext(context.WithValue(t.Context(), (*begun)(nil), b), http.MethodPost, "/v1/read", nil)
		r.TLS = &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
		w := httptest.NewRecorder()
		served.ServeHTTP(w, r)
		require.Equal(t, want, w.Code)
	}
}
