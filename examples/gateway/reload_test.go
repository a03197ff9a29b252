package main

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

// TestReloadOfWhatCannotBeRead: SIGHUP with a file that is wrong, or gone, leaves everything as it is and is counted as
// failed for each listener; the next one that is right is taken.
func TestReloadOfWhatCannotBeRead(t *testing.T) {
	s := newSite(t)
	const text = "admin: {address: \"127.0.0.1:0\"}\nupstream: {url: %q}\ndrain: 0s\nlisteners:\n" +
		"  - {name: one, address: \"127.0.0.1:0\"}\n  - {name: two, address: \"127.0.0.1:0\"}\n"
	const upstream = "mqtt://127.0.0.1:1"
	r := s.start(upstream, text)
	asked := reloads(t.Context(), r.cfg.file)
	ask := func() {
		t.Helper()
		self, err := os.FindProcess(os.Getpid())
		require.NoError(t, err)
		require.NoError(t, self.Signal(syscall.SIGHUP))
		r.reloads <- receive(t, asked)
	}
	counted := func(name, result string, n int) {
		t.Helper()
		line := fmt.Sprintf("mqttsec_reloads_total{listener=%q,result=%q,scheme=\"none\"} %d\n", name, result, n)
		require.Eventually(t, func() bool {
			_, metrics := r.get(t, "/metrics")
			return strings.Contains(metrics, line)
		}, patience, time.Millisecond, line)
	}
	s.write("gateway.yaml", "listeners: [")
	ask()
	counted("one", "failed", 1)
	counted("two", "failed", 1)
	require.Contains(t, r.log.String(), "the old one stays")
	require.NoError(t, os.Remove(r.cfg.file))
	ask()
	counted("two", "failed", 2)
	s.write("gateway.yaml", fmt.Sprintf(text, upstream))
	ask()
	counted("one", "ok", 1)
	counted("two", "ok", 1)
}

// TestReloadOfWhatNeedsARestart: a listener that is to become another one says what keeps it from that, and takes
// nothing else of the file either.
func TestReloadOfWhatNeedsARestart(t *testing.T) {
	s := newSite(t)
	s.trusts(1)
	s.write("others.txt", "other:"+hex.EncodeToString(public(5))+"\n")
	const upstream = "mqtt://127.0.0.1:1"
	const text = `
upstream: {url: %q}
drain: 0s
listeners:
  - {name: plain, address: "127.0.0.1:0"}
  - {name: certificate, address: "127.0.0.1:0", tls: {certificate: server.pem, key: server.key}}
  - {name: page, address: "127.0.0.1:0", transport: websocket}
  - {name: key, address: "127.0.0.1:0", psk: {keys: psk.txt}}
  - name: uploads
    address: "127.0.0.1:0"
    tls: {certificate: server.pem, key: server.key}
    scheme: ace
    ace: &ace {issuer: "https://as.example", audience: [broker], algorithms: [EdDSA], keys: issuer.jwks.json, authz_info: true}
  - {name: token, address: "127.0.0.1:0", scheme: ace, ace: *ace, psk: {tokens: true, uploads: uploads}}
  - {name: password, address: "127.0.0.1:0", scheme: mqttauth, mqttauth: {server: s, users: users.txt}}
`
	s.write("decoys.secret", strings.Repeat("secret! ", 4)+"\n")
	s.enrol()
	r := s.start(upstream, text)
	for _, change := range []struct{ listener, from, to, what string }{
		{"plain", `plain, address: "127.0.0.1:0"`, `plain, address: "127.0.0.1:1"`, "address"},
		{"plain", "plain", "plain, transport: websocket", "transport"},
		{"plain", "plain", "plain, balancers: [127.0.0.1]", "balancers"},
		{"page", "transport: websocket", `transport: websocket, origins: ["https://app.example"]`, "origins"},
		{"plain", "plain", "plain, scheme: mqttauth, mqttauth: {server: s, users: users.txt}", "scheme"},
		{"plain", "plain", "plain, psk: {keys: others.txt}", "psk"},
		{"certificate", ", tls: {certificate: server.pem, key: server.key}}", "}", "tls"},
		{"key", "keys: psk.txt", "keys: others.txt, identity_as_username: true", "psk.identity_as_username"},
		{"key", "keys: psk.txt", "keys: others.txt, client_identifier: identity", "psk.client_identifier"},
		{"token", "tokens: true, uploads: uploads", "keys: others.txt", "psk.tokens"},
		{"token", ", uploads: uploads", "", "psk.uploads"},
		{"password", "server: s", "server: another", "mqttauth.server"},
		{"password", "server: s", "server: s, store: gateway.db", "mqttauth.store"},
		{"password", "server: s", "server: s, hop: aes", "mqttauth.hop"},
		{"password", "server: s", "server: s, decoys: decoys.secret", "mqttauth.decoys"},
		{"password", "server: s", "server: s, group: ristretto255", "mqttauth.group"},
		{"password", "server: s", "server: s, stretch: {skip: true}", "mqttauth.stretch"},
		{"password", "name: password", "name: another", "not in the file any more"},
	} {
		require.Contains(t, text, change.from)
		changed := fmt.Sprintf(strings.Replace(text, change.from, change.to, 1), upstream)
		cfg, err := loadConfig(s.write("gateway.yaml", changed))
		require.NoError(t, err, change)
		i := slices.IndexFunc(r.listeners, func(l *listener) bool { return l.name == change.listener })
		require.ErrorContains(t, r.listeners[i].reload(cfg, &checker{file: cfg.file}), change.what, change)
	}
	_, err := tlspsk.Dial(t.Context(), "tcp", r.listeners[3].served.Addr().String(),
		&tlspsk.Config{Identity: "other", Key: public(5)})
	require.Error(t, err, "a key of a configuration that was not taken")
}

// TestReloadOfTheWhole: what holds for all listeners changes, or the log says what does not.
func TestReloadOfTheWhole(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	broker := upstreams(t)["mochi"]
	s := newSite(t)
	const listeners = "listeners: [{name: one, address: \"127.0.0.1:0\"}]\n"
	r := s.start(upstreamURL(broker), "upstream: {url: %q}\ndrain: 1h\nlimits: {connections: 1}\n"+listeners)
	address := r.listeners[0].served.Addr().String()
	v3(t, "tcp://"+address, "first", nil)
	require.Equal(t, wire.ServerBusy, connack(t, address, wire.V5))
	s.reload(r, upstreamURL(broker), "upstream: {url: %q}\ndrain: 0s\n"+
		"limits: {connections: 3, bytes_per_second: 65536, memory_mib: 4096}\n"+listeners)
	v3(t, "tcp://"+address, "second", nil)
	v3(t, "tcp://"+address, "third", nil)
	require.Equal(t, wire.ServerBusy, connack(t, address, wire.V5))
	require.Equal(t, int64(4096<<20), debug.SetMemoryLimit(-1))
	require.EqualValues(t, 65536, r.bytesPerSecond.Load())
	require.NotContains(t, r.log.String(), "needs a restart")
	s.write("secret", "secret\n")
	s.reload(r, "mqtt://127.0.0.1:1", `
admin: {address: "127.0.0.1:0", pprof: true}
upstream: {url: %q, ca: server.pem, certificate: server.pem, key: server.key, server_name: x, proxy_protocol: true, password_file: secret, timeout: 9s}
drain: 0s
limits: {connections: 1, pending: 9, pending_per_address: 9, connect_timeout: 9s, new_per_second: 9}
listeners: [{name: one, address: "127.0.0.1:0"}, {name: two, address: "127.0.0.1:0"}]
`)
	require.Eventually(t, func() bool {
		return strings.Contains(r.log.String(), `settings="admin.address admin.pprof upstream.url upstream.ca upstream.certificate `+
			`upstream.key upstream.server_name upstream.proxy_protocol upstream.password_file upstream.timeout listeners:two"`)
	}, patience, time.Millisecond)
	require.Equal(t, before, debug.SetMemoryLimit(-1))
	require.Equal(t, wire.ServerBusy, connack(t, address, wire.V5))
	require.NoError(t, r.stop(), "and not in an hour")
}

// TestReloadIsWhole: where one part of a listener cannot be taken, the others are not taken either.
func TestReloadIsWhole(t *testing.T) {
	s := newSite(t)
	s.trusts(1)
	const upstream = "mqtt://127.0.0.1:1"
	r := s.start(upstream, tokens)
	before := r.listeners[0].certificate.Load()
	s.issue("server")
	cfg, err := loadConfig(r.cfg.file)
	require.NoError(t, err)
	s.write("issuer.jwks.json", "{}") // between the check and the reading
	require.Error(t, r.listeners[0].reload(cfg, &checker{file: cfg.file}))
	require.Same(t, before, r.listeners[0].certificate.Load())
}

// TestReloadOfLimits: listeners of every scheme, and those behind a balancer, take other bounds on connections that are
// not authenticated while such connections are there.
func TestReloadOfLimits(t *testing.T) {
	s := newSite(t)
	s.trusts(1)
	const upstream = "mqtt://127.0.0.1:1"
	const listeners = `
upstream: {url: %q}
drain: 0s
listeners:
  - {name: plain, address: "127.0.0.1:0"}
  - {name: page, address: "127.0.0.1:0", transport: websocket}
  - {name: key, address: "127.0.0.1:0", psk: {keys: psk.txt}}
  - name: token
    address: "127.0.0.1:0"
    tls: {certificate: server.pem, key: server.key}
    scheme: ace
    ace: {issuer: "https://as.example", audience: [broker], algorithms: [EdDSA], keys: issuer.jwks.json}
  - {name: password, address: "127.0.0.1:0", scheme: mqttauth, mqttauth: {server: s, users: users.txt}}
  - {name: balanced, address: "127.0.0.1:0", balancers: [127.0.0.1]}
`
	r := s.start(upstream, "limits: {connect_timeout: 1h}\n"+listeners)
	dial := func(l *listener) net.Conn {
		t.Helper()
		conn, err := net.Dial("tcp", l.served.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
		return conn
	}
	ended := func(conn net.Conn, what string) {
		t.Helper()
		_, err := conn.Read(make([]byte, 1))
		require.Error(t, err, what)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded, what)
	}
	silent := map[string][]net.Conn{}
	for _, l := range r.listeners {
		silent[l.name] = []net.Conn{dial(l), dial(l)}
	}
	s.reload(r, upstream, "limits: {connect_timeout: 1h, pending: 1, new_per_second: 1000}\n"+listeners)
	require.NotContains(t, r.log.String(), "needs a restart")
	for _, l := range r.listeners {
		require.EqualValues(t, 1000, l.slowed.limit.Limit(), l.name)
		require.Equal(t, 1000, l.slowed.limit.Burst(), l.name)
		last := dial(l)
		if l.name == "balanced" { // nobody makes room without a header
			ended(last, l.name)
			continue
		}
		ended(silent[l.name][0], l.name)
		ended(silent[l.name][1], l.name)
	}
	for _, conn := range silent["balanced"] {
		require.NoError(t, conn.Close())
	}
	s.reload(r, upstream, "limits: {connect_timeout: 1ms}\n"+listeners)
	for _, l := range r.listeners {
		require.Equal(t, rate.Inf, l.slowed.limit.Limit(), l.name)
		ended(dial(l), l.name)
	}
}
