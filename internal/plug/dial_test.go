package plug

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// dialCase is one URL scheme and what a scheme is given under it.
type dialCase struct {
	name   string
	serve  func(*testing.T, *server, *tls.Config) string // returns host or path
	schema []string
	conn   any
	only   wire.Version
}

var dialCases = []dialCase{
	{name: "tcp", schema: []string{"mqtt://", "tcp://", "MQTT://"}, conn: (*net.TCPConn)(nil),
		serve: func(t *testing.T, s *server, _ *tls.Config) string { return s.tcp(t) }},
	{name: "none", schema: []string{"//"}, conn: (*net.TCPConn)(nil), only: wire.V5,
		serve: func(t *testing.T, s *server, _ *tls.Config) string { return s.tcp(t) }},
	{name: "tls", schema: []string{"mqtts://", "tls://", "ssl://", "mqtt+ssl://", "tcps://"}, conn: (*tls.Conn)(nil),
		serve: func(t *testing.T, s *server, c *tls.Config) string { return s.tls(t, c) }},
	{name: "ws", schema: []string{"ws://"},
		serve: func(t *testing.T, s *server, _ *tls.Config) string { return s.web(t, nil) + "/mqtt" }},
	{name: "wss", schema: []string{"wss://"},
		serve: func(t *testing.T, s *server, c *tls.Config) string { return s.web(t, c) + "/mqtt" }},
	{name: "unix", schema: []string{"unix://"}, conn: (*net.UnixConn)(nil),
		serve: func(t *testing.T, s *server, _ *tls.Config) string {
			name := filepath.Join(t.TempDir(), "socket")
			l, err := net.Listen("unix", name)
			require.NoError(t, err)
			s.listen(t, l)
			return name
		}},
}

// dialCasesOf are those that the client of a version has.
func dialCasesOf(v wire.Version) []dialCase {
	return slices.DeleteFunc(slices.Clone(dialCases), func(c dialCase) bool { return c.only != 0 && c.only != v })
}

func (c *dialCase) run(t *testing.T, f func(t *testing.T, s *server, u *url.URL, trust *tls.Config)) {
	serving, trusting := identity(t)
	s := newServer(always)
	where := c.serve(t, s, serving)
	for _, schema := range c.schema {
		u := parse(t, schema+where)
		t.Run(schema, func(t *testing.T) { f(t, s, u, trusting) })
	}
}

func TestDialV5(t *testing.T) {
	for _, c := range dialCasesOf(wire.V5) {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, func(t *testing.T, s *server, u *url.URL, trust *tls.Config) {
				scheme := newSpy("a")
				publishV5(t, V5(autopaho.ClientConfig{ServerUrls: []*url.URL{u}, TlsCfg: trust, KeepAlive: 30}, scheme))
				require.Equal(t, "hello", string(await(t, s.published).Payload))
				conn := await(t, scheme.conns)
				if c.conn != nil {
					require.IsType(t, c.conn, conn)
				}
				if tc, ok := conn.(*tls.Conn); ok {
					require.True(t, tc.ConnectionState().HandshakeComplete)
				}
			})
		})
	}
}

func TestDialV3(t *testing.T) {
	for _, c := range dialCasesOf(wire.V311) {
		t.Run(c.name, func(t *testing.T) {
			c.run(t, func(t *testing.T, s *server, u *url.URL, trust *tls.Config) {
				scheme := newSpy("a")
				o := mqtt.NewClientOptions().SetTLSConfig(trust)
				o.Servers = []*url.URL{u}
				publishV3(t, V3(o, scheme))
				require.Equal(t, "hello", string(await(t, s.published).Payload))
				conn := await(t, scheme.conns)
				if c.conn != nil {
					require.IsType(t, c.conn, conn)
				}
			})
		})
	}
}

// publishV5 connects with cfg, publishes hello at QoS 1 and disconnects.
func publishV5(t *testing.T, cfg autopaho.ClientConfig) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	failed := make(chan error, 64)
	cfg.OnConnectError = func(err error) { failed <- err }
	cfg.ConnectTimeout, cfg.PacketTimeout = time.Minute, time.Minute
	cm, err := autopaho.NewConnection(ctx, cfg)
	require.NoError(t, err)
	defer func() { require.NoError(t, cm.Disconnect(ctx)) }()
	up := make(chan error, 1)
	go func() { up <- cm.AwaitConnection(ctx) }()
	select {
	case err = <-failed:
	case err = <-up:
	}
	require.NoError(t, err)
	_, err = cm.Publish(ctx, &paho.Publish{QoS: 1, Topic: "t", Payload: []byte("hello")})
	require.NoError(t, err)
}

// publishV3 connects with o, publishes hello at QoS 1 and disconnects.
func publishV3(t *testing.T, o *mqtt.ClientOptions) {
	client := mqtt.NewClient(o)
	settle(t, client.Connect())
	defer client.Disconnect(100)
	settle(t, client.Publish("t", 1, false, "hello"))
}

// settle awaits a token's success.
func settle(t *testing.T, token mqtt.Token) {
	t.Helper()
	require.True(t, token.WaitTimeout(time.Minute), "the client did not finish")
	require.NoError(t, token.Error())
}

// connectV5 opens one connection with a wrapped configuration.
func connectV5(ctx context.Context, cfg autopaho.ClientConfig, u *url.URL) (net.Conn, error) {
	return cfg.AttemptConnection(ctx, cfg, u)
}

// connectV3 opens one connection with wrapped options.
func connectV3(o *mqtt.ClientOptions, u *url.URL) (net.Conn, error) {
	return o.CustomOpenConnectionFn(u, *o)
}

func TestUnknownSchemeIsAnError(t *testing.T) {
	s := newServer(always)
	host := s.tcp(t)
	for _, schema := range []string{"mqtt5", "http", "quic", "mqtts+x", "wsss"} {
		u := parse(t, schema+"://user:secret@"+host)
		scheme := newSpy("a")

		_, err := connectV5(t.Context(), V5(autopaho.ClientConfig{}, scheme), u)
		require.ErrorContains(t, err, "unsupported scheme")
		require.NotContains(t, err.Error(), "secret")

		_, err = connectV3(V3(mqtt.NewClientOptions(), scheme), u)
		require.ErrorContains(t, err, "unsupported scheme")
		require.Empty(t, scheme.calls)
	}
	_, err := connectV3(V3(mqtt.NewClientOptions(), newSpy("a")), parse(t, "//"+host))
	require.ErrorContains(t, err, "unsupported scheme", "paho.mqtt.golang knows no URL without one")
	require.Empty(t, s.connects)
}

func TestUnixSocketAsHost(t *testing.T) {
	t.Chdir(t.TempDir())
	l, err := net.Listen("unix", "s.sock")
	require.NoError(t, err)
	s := newServer(always)
	s.listen(t, l)
	publishV5(t, V5(autopaho.ClientConfig{ServerUrls: []*url.URL{parse(t, "unix://s.sock")}}, newSpy("a")))
	publishV3(t, V3(mqtt.NewClientOptions().AddBroker("unix://s.sock"), newSpy("a")))
}

func TestServerNameIsChecked(t *testing.T) {
	serving, trusting := identity(t, "elsewhere.example")
	s := newServer(always)
	_, port, err := net.SplitHostPort(s.tls(t, serving))
	require.NoError(t, err)
	_, webPort, err := net.SplitHostPort(s.web(t, serving))
	require.NoError(t, err)
	for _, u := range []*url.URL{parse(t, "mqtts://localhost:"+port), parse(t, "wss://localhost:"+webPort)} {
		before := trusting.Clone()
		var wrong x509.HostnameError
		_, err := connectV5(t.Context(), V5(autopaho.ClientConfig{TlsCfg: trusting}, newSpy("a")), u)
		require.ErrorAs(t, err, &wrong)
		_, err = connectV3(V3(mqtt.NewClientOptions().SetTLSConfig(trusting), newSpy("a")), u)
		require.ErrorAs(t, err, &wrong)
		require.Equal(t, before.ServerName, trusting.ServerName, "the application's configuration was edited")

		named := trusting.Clone()
		named.ServerName = "elsewhere.example"
		conn, err := connectV5(t.Context(), V5(autopaho.ClientConfig{TlsCfg: named}, newSpy("a")), u)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
		conn, err = connectV3(V3(mqtt.NewClientOptions().SetTLSConfig(named), newSpy("a")), u)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	}
	_, err = connectV5(t.Context(), V5(autopaho.ClientConfig{}, newSpy("a")), parse(t, "mqtts://127.0.0.1:"+port))
	var unknown x509.UnknownAuthorityError
	require.ErrorAs(t, err, &unknown, "no TLS configuration means the system's roots")
}

func TestFailedHandshakeClosesConnection(t *testing.T) {
	local, remote := net.Pipe()
	defer remote.Close()
	go remote.Write([]byte("220 this is another protocol\r\n"))
	go io.Copy(io.Discard, remote)
	conn := &closeNoter{Conn: local}
	_, err := handshake(t.Context(), nil, conn, nil, nil, &url.URL{Host: "h"})
	require.ErrorAs(t, err, new(tls.RecordHeaderError))
	require.Equal(t, 1, conn.closed)
}

// TestHandshakeEndsWithContext has a server that takes everything and never answers.
func TestHandshakeEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		local, remote := net.Pipe()
		go func() {
			b := make([]byte, 4096)
			for {
				if _, err := remote.Read(b); err != nil {
					return
				}
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := handshake(ctx, nil, local, nil, nil, &url.URL{Host: "h"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		_, err = local.Write([]byte{0})
		require.Error(t, err, "the connection was left open")
	})
}

func TestConnectTimeoutAtServerThatNeverAnswers(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	const limit = 50 * time.Millisecond
	for _, schema := range []string{"mqtts://", "ws://", "wss://"} {
		u := parse(t, schema+l.Addr().String())
		var timeout net.Error
		_, err := connectV5(t.Context(), V5(autopaho.ClientConfig{ConnectTimeout: limit}, newSpy("a")), u)
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())

		_, err = connectV3(V3(mqtt.NewClientOptions().SetConnectTimeout(limit), newSpy("a")), u)
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout())
	}
	t.Run("the dialer's own limit", func(t *testing.T) {
		o := mqtt.NewClientOptions()
		o.ConnectTimeout = 0
		for _, d := range []*net.Dialer{{Timeout: limit}, {Deadline: time.Now().Add(limit)}} {
			_, err := connectV3(V3(o.SetDialer(d), newSpy("a")), parse(t, "mqtts://"+l.Addr().String()))
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
	})
}

// slowDialer is a proxy dialer that knows no contexts.
type slowDialer struct {
	conn net.Conn
	wait chan struct{}
}

func (d *slowDialer) Dial(string, string) (net.Conn, error) {
	<-d.wait
	return d.conn, nil
}

func TestDialerWithoutContexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		late := &closeNoter{}
		d := &slowDialer{late, make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := dialVia(ctx, d, "h:1")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(d.wait)
		synctest.Wait()
		require.Equal(t, 1, late.closed)

		conn, err := dialVia(t.Context(), d, "h:1")
		require.NoError(t, err)
		require.Same(t, late, conn)
	})
}

func TestWebsocketOptions(t *testing.T) {
	s := newServer(always)
	u := parse(t, "ws://"+s.web(t, nil))

	o := mqtt.NewClientOptions()
	u3 := *u
	u3.User = url.UserPassword("ada", "pw")
	o.Servers = []*url.URL{&u3}
	o.HTTPHeaders.Set("X-Test", "v3")
	publishV3(t, V3(o, newSpy("a")))
	h := await(t, s.upgrades)
	require.Equal(t, "v3", h.Get("X-Test"))
	require.Equal(t, "mqtt", h.Get("Sec-WebSocket-Protocol"))
	require.Empty(t, h.Get("Authorization"))
	require.Equal(t, "ada", string(await(t, s.connects).Username))
	require.Nil(t, o.WebsocketOptions.Proxy, "the application's options were edited")

	_, err := connectV5(t.Context(), V5(autopaho.ClientConfig{}, newSpy("a")), &u3)
	require.Error(t, err, "autopaho takes no user name in a websocket URL")
}

func TestWebsocketConn(t *testing.T) {
	s := newServer(always)
	conn, err := connectV5(t.Context(), V5(autopaho.ClientConfig{}, newSpy("a")), parse(t, "ws://"+s.web(t, nil)))
	require.NoError(t, err)
	defer conn.Close()
	connect, err := (&wire.ConnectPacket{Version: wire.V5, CleanStart: true}).Append(nil)
	require.NoError(t, err)
	for _, b := range connect { // a packet may begin in one message and end in another
		n, err := conn.Write([]byte{b})
		require.NoError(t, err)
		require.Equal(t, 1, n)
	}
	var got []byte
	for len(got) < 5 {
		b := make([]byte, 1)
		n, err := conn.Read(b)
		require.NoError(t, err)
		got = append(got, b[:n]...)
	}
	require.Equal(t, wire.Connack, wire.Packet(got).Type())
	require.NoError(t, conn.SetDeadline(time.Unix(1, 0)))
	_, err = conn.Read(make([]byte, 1))
	var timeout net.Error
	require.ErrorAs(t, err, &timeout)
	require.True(t, timeout.Timeout())
	_, err = conn.Write([]byte{1})
	require.Error(t, err)
}
