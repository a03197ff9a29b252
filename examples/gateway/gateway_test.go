package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

const everyTransport = `
admin: {address: "127.0.0.1:0"}
upstream: {url: "%s"}
drain: 0s
listeners:
  - {name: tcp, address: "127.0.0.1:0"}
  - {name: tls, address: "127.0.0.1:0", tls: {certificate: server.pem, key: server.key}}
  - {name: ws, address: "127.0.0.1:0", transport: websocket}
  - {name: wss, address: "127.0.0.1:0", transport: websocket, tls: {certificate: server.pem, key: server.key}}
  - {name: psk, address: "127.0.0.1:0", psk: {keys: psk.txt, identity_as_username: true}}
`

var transports = []string{"tcp", "tls", "ws", "wss"}

// TestAddsNothing runs what MQTT has through the gateway, on each transport and to each broker, with clients of either
// version: QoS 0 to 2, retained, Will, a session that goes on, and a payload of 8 MiB.
func TestAddsNothing(t *testing.T) {
	for name, broker := range upstreams(t) {
		s := newSite(t)
		r := s.start(upstreamURL(broker), everyTransport)
		for i, transport := range transports {
			t.Run(name+"/"+transport, func(t *testing.T) {
				base := fmt.Sprintf("%s/%s", name, transport)
				server, trust := r.url(transport, i), s.authority.ClientConfig()
				sub, got := v5(t, server, base+"-sub", trust, nil)
				_, err := sub.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: base + "/#", QoS: 2}}})
				require.NoError(t, err)

				pub := v3(t, server, base+"-pub", trust)
				for qos := range byte(3) {
					complete(t, pub.Publish(base+"/"+string('0'+qos), qos, false, "text"))
					m := receive(t, got)
					require.Equal(t, base+"/"+string('0'+qos), m.Topic)
					require.Equal(t, qos, m.QoS)
				}
				large := bytes.Repeat([]byte("large"), 8<<20/5)
				complete(t, pub.Publish(base+"/large", 1, false, large))
				require.True(t, bytes.Equal(large, receive(t, got).Payload))
				complete(t, pub.Publish(base+"/kept", 1, true, "kept"))
				require.False(t, receive(t, got).Retain)
				late := make(chan mqtt.Message, 1)
				complete(t, pub.Subscribe(base+"/kept", 1, func(_ mqtt.Client, m mqtt.Message) { late <- m }))
				require.True(t, receive(t, late).Retained())

				dying, err := net.Dial("tcp", r.listeners[0].served.Addr().String())
				require.NoError(t, err)
				m := wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: []byte(base + "-dying"),
					Will: &wire.Will{Topic: []byte(base + "/will"), Payload: []byte("gone")}}
				p, err := m.Append(nil)
				require.NoError(t, err)
				_, err = dying.Write(p)
				require.NoError(t, err)
				_, err = wire.Read(dying, 1024)
				require.NoError(t, err)
				require.NoError(t, dying.Close())
				require.Equal(t, "gone", string(receive(t, got).Payload))
			})
		}
		t.Run(name+"/session", func(t *testing.T) { sessionGoesOn(t, r) })
		require.NoError(t, r.stop())
	}
}

// sessionGoesOn leaves a client of v3.1.1 and lets a message wait for it.
func sessionGoesOn(t *testing.T, r *running) {
	opts := mqtt.NewClientOptions().AddBroker(r.url("tcp", 0)).SetClientID("sleeper").SetCleanSession(false).SetAutoReconnect(false)
	got := make(chan mqtt.Message, 1)
	opts.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { got <- m })
	client := mqtt.NewClient(opts)
	complete(t, client.Connect())
	complete(t, client.Subscribe("sleep/1", 1, nil))
	client.Disconnect(100)
	complete(t, v3(t, r.url("tcp", 0), "waker", nil).Publish("sleep/1", 1, false, "wake"))
	client = mqtt.NewClient(opts)
	complete(t, client.Connect())
	defer client.Disconnect(0)
	require.Equal(t, "wake", string(receive(t, got).Payload()))
}

// TestIdentityAsUserName: the broker hears who the key is, whatever the client claims.
func TestIdentityAsUserName(t *testing.T) {
	names := make(chan string, 1)
	upstream := listening(t, func(conn net.Conn) {
		p, err := wire.Read(conn, 1<<16)
		if err != nil {
			return
		}
		m, err := wire.ParseConnect(p)
		if err != nil {
			return
		}
		names <- string(m.Username)
		_, _ = conn.Write([]byte{0x20, 2, 0, 0})
		_, _ = io.Copy(io.Discard, conn)
	})
	r := newSite(t).start(upstream, everyTransport)
	key := bytes.Repeat([]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}, 4)
	conn, err := tlspsk.Dial(t.Context(), "tcp", r.listeners[4].served.Addr().String(), &tlspsk.Config{Identity: "device1", Key: key})
	require.NoError(t, err)
	defer conn.Close()
	m := wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: []byte("c"), HasUsername: true, Username: []byte("root")}
	p, err := m.Append(nil)
	require.NoError(t, err)
	_, err = conn.Write(p)
	require.NoError(t, err)
	require.Equal(t, "device1", receive(t, names))
	_, err = tlspsk.Dial(t.Context(), "tcp", r.listeners[4].served.Addr().String(), &tlspsk.Config{Identity: "device2", Key: key})
	require.Error(t, err, "an identity that the file does not have")
}

// connack sends CONNECT of a version and returns the code of the answer.
func connack(t *testing.T, address string, v wire.Version) byte {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	return connackOn(t, conn, v)
}

// connackOn is connack on a connection, which it closes.
func connackOn(t *testing.T, conn net.Conn, v wire.Version) byte {
	t.Helper()
	defer conn.Close()
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	p, err := (&wire.ConnectPacket{Version: v, CleanStart: true, ClientID: []byte("c")}).Append(nil)
	require.NoError(t, err)
	_, err = conn.Write(p)
	require.NoError(t, err)
	answer, err := wire.Read(conn, 1024)
	require.NoError(t, err)
	m, err := wire.ParseConnack(answer, v)
	require.NoError(t, err)
	return m.Code
}

func TestUpstreamAway(t *testing.T) {
	r := newSite(t).start("mqtt://127.0.0.1:1", everyTransport) // where nobody listens
	address := r.listeners[0].served.Addr().String()
	require.Equal(t, wire.ServerUnavailable, connack(t, address, wire.V5))
	require.Equal(t, byte(3), connack(t, address, wire.V311))
	code, text := r.get(t, "/readyz")
	require.Equal(t, 503, code)
	require.Contains(t, text, "upstream")
	code, _ = r.get(t, "/healthz")
	require.Equal(t, 200, code)
	_, text = r.get(t, "/metrics")
	require.Regexp(t, `mqttsec_upstream_errors_total [2-9]`, text)
}

// TestUpstreamOfOldVersion: some brokers answer CONNECT of v5 in the form of 3.1.1, and some hang up.
func TestUpstreamOfOldVersion(t *testing.T) {
	for name, answer := range map[string][]byte{"answers": {0x20, 2, 0, 1}, "hangs up": nil} {
		t.Run(name, func(t *testing.T) {
			upstream := listening(t, func(conn net.Conn) {
				if _, err := wire.Read(conn, 1<<16); err == nil {
					_, _ = conn.Write(answer)
				}
			})
			r := newSite(t).start(upstream, everyTransport)
			require.Equal(t, wire.UnsupportedProtocolVersion, connack(t, r.listeners[0].served.Addr().String(), wire.V5))
			require.Eventually(t, func() bool { return strings.Contains(r.log.String(), errOldUpstream.Error()) }, patience, time.Millisecond)
		})
	}
}

// TestProbeIsForEverybody: who asks whether the broker is there and goes away leaves no wrong answer behind.
func TestProbeIsForEverybody(t *testing.T) {
	r := newSite(t).start(listening(t, func(net.Conn) {}), everyTransport)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, r.upstream.probe(gone))
	code, _ := r.get(t, "/readyz")
	require.Equal(t, 200, code)
}

// TestHugeAnswer: a broker that begins with a packet of any size has no CONNACK for anybody.
func TestHugeAnswer(t *testing.T) {
	upstream := listening(t, func(conn net.Conn) {
		_, _ = conn.Write([]byte{0x20, 0x80, 0x80, 0x80, 1}) // 2 MiB
		_, _ = io.Copy(io.Discard, conn)
	})
	const patient = "upstream: {url: %q, timeout: 1h}\ndrain: 0s\nlisteners: [{address: \"127.0.0.1:0\"}]\n"
	r := newSite(t).start(upstream, patient) // so that what it says is no answer to silence
	require.Equal(t, wire.ServerUnavailable, connack(t, r.listeners[0].served.Addr().String(), wire.V5))
}

// TestRefusalsAreCounted: by the reason for which a connection is not relayed. What drains is not ready.
func TestRefusalsAreCounted(t *testing.T) {
	s := newSite(t)
	r := s.start("mqtt://127.0.0.1:1", everyTransport+"limits: {connections: 1}\n")
	counted := func(listener, reason string) {
		t.Helper()
		line := fmt.Sprintf("mqttsec_connections_refused_total{listener=%q,reason=%q,scheme=\"none\"} 1\n", listener, reason)
		require.Eventually(t, func() bool {
			_, text := r.get(t, "/metrics")
			return strings.Contains(text, line)
		}, patience, time.Millisecond, line)
	}
	require.Equal(t, byte(3), connack(t, r.listeners[0].served.Addr().String(), wire.V311))
	counted("tcp", "upstream")
	_, err := tls.Dial("tcp", r.listeners[1].served.Addr().String(), &tls.Config{ServerName: "another"})
	require.Error(t, err)
	counted("tls", "handshake")
	require.True(t, r.connections.take()) // the only place
	require.Equal(t, wire.ServerBusy, connack(t, r.listeners[0].served.Addr().String(), wire.V5))
	counted("tcp", "limit")

	r.draining.Store(true)
	defer r.draining.Store(false)
	code, text := r.get(t, "/readyz")
	require.Equal(t, 503, code)
	require.Contains(t, text, "draining")
}

func TestTooManyConnections(t *testing.T) {
	broker := upstreams(t)["mochi"]
	r := newSite(t).start(upstreamURL(broker), `
upstream: {url: "%s"}
limits: {connections: 1}
drain: 0s
listeners: [{address: "127.0.0.1:0"}]
`)
	address := r.listeners[0].served.Addr().String()
	v3(t, "tcp://"+address, "first", nil)
	require.Equal(t, wire.ServerBusy, connack(t, address, wire.V5))
	require.Equal(t, byte(3), connack(t, address, wire.V311))
}

func TestProxyHeader(t *testing.T) {
	headers := make(chan *proxyproto.Header, 1)
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	l := &proxyproto.Listener{Listener: inner}
	defer l.Close()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				if _, err := wire.Read(conn, 1<<16); err == nil {
					headers <- conn.(*proxyproto.Conn).ProxyHeader()
					_, _ = conn.Write([]byte{0x20, 2, 0, 0})
				}
			}()
		}
	}()
	r := newSite(t).start("mqtt://"+inner.Addr().String(), `
upstream: {url: "%s", proxy_protocol: true}
drain: 0s
listeners: [{address: "127.0.0.1:0"}]
`)
	require.Zero(t, connack(t, r.listeners[0].served.Addr().String(), wire.V311))
	h := receive(t, headers)
	require.Equal(t, byte(2), h.Version)
	require.Equal(t, r.listeners[0].served.Addr().String(), h.DestinationAddr.String())
	require.Equal(t, "127.0.0.1", h.SourceAddr.(*net.TCPAddr).IP.String())
}

// TestReload changes a certificate under a connection.
func TestReload(t *testing.T) {
	broker := upstreams(t)["mochi"]
	s := newSite(t)
	r := s.start(upstreamURL(broker), everyTransport)
	address := r.listeners[1].served.Addr().String()
	presented := func() string {
		conn, err := tls.Dial("tcp", address, s.authority.ClientConfig())
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := presented()
	living, got := v5(t, "tls://"+address, "living", s.authority.ClientConfig(), nil)
	_, err := living.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "t"}}})
	require.NoError(t, err)
	s.issue("server")
	cfg, err := loadConfig(r.cfg.file)
	require.NoError(t, err)
	r.reloads <- reload{cfg, nil}
	r.reloads <- reload{cfg, nil} // taken when the first one is done
	require.NotEqual(t, before, presented())
	_, err = living.Publish(t.Context(), &paho.Publish{Topic: "t", Payload: []byte("still here")})
	require.NoError(t, err)
	require.Equal(t, "still here", string(receive(t, got).Payload))
	_, text := r.get(t, "/metrics")
	require.Contains(t, text, `mqttsec_reloads_total{listener="tls",result="ok",scheme="none"}`)
}

// TestDrain: clients of v5 hear why they have to go.
func TestDrain(t *testing.T) {
	broker := upstreams(t)["mochi"]
	r := newSite(t).start(upstreamURL(broker), everyTransport)
	told := make(chan byte, 1)
	v5(t, r.url("tcp", 0), "told", nil, func(cfg *autopaho.ClientConfig) {
		cfg.OnServerDisconnect = func(d *paho.Disconnect) { told <- d.ReasonCode }
		cfg.ReconnectBackoff = func(attempt int) time.Duration {
			if attempt == 0 {
				return 0
			}
			return patience
		}
	})
	require.NoError(t, r.stop())
	require.Equal(t, wire.ServerShuttingDown, receive(t, told))
}

// TestSlowReader: a client that does not read holds nobody else up.
func TestSlowReader(t *testing.T) {
	broker := upstreams(t)["mochi"]
	r := newSite(t).start(upstreamURL(broker), everyTransport)
	slow, err := net.Dial("tcp", r.listeners[0].served.Addr().String())
	require.NoError(t, err)
	defer slow.Close()
	p, err := (&wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: []byte("slow")}).Append(nil)
	require.NoError(t, err)
	sub, err := (&wire.SubscribePacket{ID: 1, Subscriptions: []wire.Subscription{{Filter: []byte("#")}}}).Append(nil, wire.V311)
	require.NoError(t, err)
	_, err = slow.Write(append(p, sub...))
	require.NoError(t, err)
	quick := v3(t, r.url("tcp", 0), "quick", nil)
	got := make(chan mqtt.Message, 1000)
	complete(t, quick.Subscribe("flood", 0, func(_ mqtt.Client, m mqtt.Message) { got <- m }))
	for range 100 {
		complete(t, quick.Publish("flood", 0, false, make([]byte, 64<<10)))
		receive(t, got)
	}
}

// TestStalledReader: a client that takes nothing of what is for it keeps its place for a while and no longer, whatever
// has become of the broker's side; one that is idle keeps its own.
func TestStalledReader(t *testing.T) {
	over := make(chan struct{}, 2)
	upstream := listening(t, func(conn net.Conn) {
		p, err := wire.Read(conn, 1<<16)
		if err != nil {
			return
		}
		_, _ = conn.Write([]byte{0x20, 2, 0, 0})
		if m, err := wire.ParseConnect(p); err == nil && string(m.ClientID) == "idle" {
			_, _ = io.Copy(io.Discard, conn)
			return
		}
		message, _ := (&wire.PublishPacket{Topic: []byte("t"), Payload: make([]byte, 60<<10)}).Append(nil, wire.V311)
		sent := 0 // octets of the message under way
		// All buffers are full when nothing goes on although this process, and the gateway in it, runs in between.
		for still := 0; still < 20; {
			_ = conn.SetWriteDeadline(time.Now().Add(20 * time.Millisecond))
			n, err := conn.Write(message[sent:])
			if sent = (sent + n) % len(message); err == nil || n > 0 {
				still = 0
			} else {
				still++
			}
		}
		over <- struct{}{} // the broker has enough of it
	})
	r := newSite(t).start(upstream, everyTransport)
	for _, id := range []string{"idle", "stalled"} {
		conn, err := net.Dial("tcp", r.listeners[0].served.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		p, err := (&wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: []byte(id)}).Append(nil)
		require.NoError(t, err)
		_, err = conn.Write(p)
		require.NoError(t, err)
		_, err = wire.Read(conn, 16)
		require.NoError(t, err)
	}
	receive(t, over)
	require.EqualValues(t, 2, r.connections.taken.Load())
	for range stallMost {
		r.stalls.look(func(net.Addr) { t.Error("too early") })
	}
	ended := false
	require.Eventually(t, func() bool {
		r.stalls.look(func(net.Addr) { ended = true })
		return r.connections.taken.Load() == 1
	}, patience, time.Millisecond)
	require.True(t, ended)
	for range 2 * stallMost {
		r.stalls.look(func(net.Addr) { t.Error("the idle one") })
	}
}

func TestUnixUpstream(t *testing.T) {
	broker := upstreams(t)["mochi"]
	r := newSite(t).start("unix://"+broker.URL(brokers.Unix).Path, everyTransport)
	require.Zero(t, connack(t, r.listeners[0].served.Addr().String(), wire.V5))
}

func TestTLSUpstream(t *testing.T) {
	s := newSite(t)
	broker, err := brokers.StartEmbedded(brokers.Config{Authority: s.authority})
	require.NoError(t, err)
	defer broker.Close()
	s.write("ca.pem", string(s.authority.PEM()))
	text := strings.Replace(everyTransport, `url: "%s"`, `url: "%s", ca: ca.pem`, 1)
	r := s.start("mqtts://"+broker.URL(brokers.TLS).Host, text)
	require.Zero(t, connack(t, r.listeners[0].served.Addr().String(), wire.V5))
	require.NoError(t, r.stop())

	untrusting := s.start("mqtts://"+broker.URL(brokers.TLS).Host, everyTransport)
	require.Equal(t, wire.ServerUnavailable, connack(t, untrusting.listeners[0].served.Addr().String(), wire.V5))
}

// TestBytesAreCounted: in either direction what has been passed on after CONNECT and CONNACK.
func TestBytesAreCounted(t *testing.T) {
	r := newSite(t).start(listening(t, func(conn net.Conn) {
		if _, err := wire.Read(conn, 1<<16); err == nil {
			_, _ = conn.Write([]byte{0x20, 2, 0, 0})
			_, _ = io.ReadFull(conn, make([]byte, 4))
			_, _ = conn.Write([]byte{0xd0, 0})
		}
	}), everyTransport)
	conn, err := net.Dial("tcp", r.listeners[0].served.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	p, err := (&wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: []byte("c")}).Append(nil)
	require.NoError(t, err)
	_, err = conn.Write(append(p, 0xc0, 0, 0xc0, 0))
	require.NoError(t, err)
	said, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, []byte{0x20, 2, 0, 0, 0xd0, 0}, said)
	_, text := r.get(t, "/metrics")
	require.Contains(t, text, `mqttsec_relayed_bytes_total{direction="from",listener="tcp",scheme="none"} 4`)
	require.Contains(t, text, `mqttsec_relayed_bytes_total{direction="to",listener="tcp",scheme="none"} 2`)
}

// TestLeavesNothing: connections that end anyhow leave no places taken.
func TestLeavesNothing(t *testing.T) {
	broker := upstreams(t)["mochi"]
	r := newSite(t).start(upstreamURL(broker), everyTransport)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range 20 {
		require.Zero(t, connack(t, r.listeners[0].served.Addr().String(), wire.V5))
	}
	for r.connections.taken.Load() > 0 {
		require.NoError(t, ctx.Err())
		time.Sleep(time.Millisecond)
	}
}
