package plug

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// inPlaceOfTLS is a Transport that happens to speak TLS, with a configuration of its own.
type inPlaceOfTLS struct {
	config *tls.Config
	seen   chan net.Conn // what it was given
	fail   error
}

func (s *inPlaceOfTLS) Conn(context.Context, net.Conn) (net.Conn, error) {
	panic("Conn called in place of Secure")
}

func (s *inPlaceOfTLS) Secure(ctx context.Context, conn net.Conn, u *url.URL) (net.Conn, error) {
	s.seen <- conn
	if s.fail != nil {
		return nil, s.fail
	}
	config := s.config.Clone()
	config.ServerName = u.Hostname()
	c := tls.Client(conn, config)
	return c, c.HandshakeContext(ctx)
}

// open opens one connection for the client of a version, with no TLS configuration of the application's.
func open(t *testing.T, v wire.Version, u *url.URL, schemes ...Scheme) (net.Conn, error) {
	t.Helper()
	if v == wire.V5 {
		cfg := autopaho.ClientConfig{}
		for _, s := range schemes {
			cfg = V5(cfg, s)
		}
		return connectV5(t.Context(), cfg, u)
	}
	o := mqtt.NewClientOptions()
	for _, s := range schemes {
		o = V3(o, s)
	}
	return connectV3(o, u)
}

// TestTransportTakesThePlaceOfTLS: under each URL scheme the Transport gets the connection without TLS, what it returns
// carries MQTT or the websocket, and a scheme above gets that.
func TestTransportTakesThePlaceOfTLS(t *testing.T) {
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		for _, c := range dialCasesOf(v) {
			if c.name != "tls" && c.name != "wss" {
				continue
			}
			c.run(t, func(t *testing.T, _ *server, u *url.URL, trust *tls.Config) {
				s := &inPlaceOfTLS{config: trust, seen: make(chan net.Conn, 1)}
				above := newSpy("above")
				conn, err := open(t, v, u, s, above)
				require.NoError(t, err)
				defer conn.Close()
				require.IsType(t, (*net.TCPConn)(nil), <-s.seen)
				require.Equal(t, "above", <-above.calls)
				if c.name == "tls" {
					got := <-above.conns
					require.True(t, layer.SurvivesTimeout(got), "a layer needs no pump on it")
					require.Implements(t, (*interface{ CloseWrite() error })(nil), got)
				}

				s.fail = errTest
				_, err = open(t, v, u, s)
				require.ErrorIs(t, err, errTest)
				_, err = (<-s.seen).Write([]byte{0})
				require.ErrorIs(t, err, net.ErrClosed, "the connection was left open")
			})
		}
	}
}

// TestNoTLSInTLS: a function of the application that has opened TLS, and ws, are errors.
func TestNoTLSInTLS(t *testing.T) {
	serving, trusting := identity(t)
	address := newServer(always).tls(t, serving)
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		s := &inPlaceOfTLS{seen: make(chan net.Conn, 1)}
		var conn net.Conn
		dial := func() (net.Conn, error) {
			var err error
			conn, err = tls.Dial("tcp", address, trusting)
			return conn, err
		}
		var err error
		if v == wire.V5 {
			_, err = connectV5(t.Context(), V5(autopaho.ClientConfig{AttemptConnection: func(context.Context, autopaho.ClientConfig, *url.URL) (net.Conn, error) {
				return dial()
			}}, s), &url.URL{})
		} else {
			_, err = connectV3(V3(mqtt.NewClientOptions().SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
				return dial()
			}), s), &url.URL{})
		}
		require.ErrorIs(t, err, errTLSInTLS)
		_, err = conn.Write([]byte{0})
		require.ErrorIs(t, err, net.ErrClosed)
		_, err = open(t, v, parse(t, "ws://127.0.0.1:1/mqtt"), s)
		require.ErrorIs(t, err, errPlainWS)
		require.Empty(t, s.seen)
	}
}

// TestTransportOnAnOwnConnection: one that a function of the application has opened without TLS is given to the
// Transport.
func TestTransportOnAnOwnConnection(t *testing.T) {
	serving, trusting := identity(t)
	address := newServer(always).tls(t, serving)
	u := parse(t, "mqtts://"+address)
	s := &inPlaceOfTLS{config: trusting, seen: make(chan net.Conn, 2)}
	dial := func() (net.Conn, error) { return net.Dial("tcp", address) }
	conn, err := connectV5(t.Context(), V5(autopaho.ClientConfig{AttemptConnection: func(context.Context, autopaho.ClientConfig, *url.URL) (net.Conn, error) {
		return dial()
	}}, s), u)
	require.NoError(t, err)
	conn.Close()
	conn, err = connectV3(V3(mqtt.NewClientOptions().SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		return dial()
	}), s), u)
	require.NoError(t, err)
	conn.Close()
	require.Len(t, s.seen, 2)
}

// twoPhases is an Opener that dials several times.
type twoPhases struct {
	dials int
	conns []net.Conn
	err   error
}

func (s *twoPhases) Conn(context.Context, net.Conn) (net.Conn, error) {
	panic("Conn called in place of Open")
}

func (s *twoPhases) Open(ctx context.Context, u *url.URL, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	for range s.dials {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		s.conns = append(s.conns, conn)
	}
	if s.err != nil || s.dials == 0 {
		return nil, s.err
	}
	return s.conns[s.dials-1], nil
}

// TestOpenerDialsAsTheClientWould: under each URL scheme, through the schemes below, and by a function of the
// application.
func TestOpenerDialsAsTheClientWould(t *testing.T) {
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		for _, c := range dialCasesOf(v) {
			c.run(t, func(t *testing.T, _ *server, u *url.URL, trust *tls.Config) {
				s, below := &twoPhases{dials: 3}, newSpy("below")
				var conn net.Conn
				var err error
				if v == wire.V5 {
					conn, err = connectV5(t.Context(), V5(V5(autopaho.ClientConfig{TlsCfg: trust}, below), s), u)
				} else {
					conn, err = connectV3(V3(V3(mqtt.NewClientOptions().SetTLSConfig(trust), below), s), u)
				}
				require.NoError(t, err)
				require.Len(t, s.conns, 3)
				require.Len(t, below.calls, 3, "the scheme below is under each of them")
				if conn != s.conns[2] {
					require.Same(t, s.conns[2], conn.(interface{ NetConn() net.Conn }).NetConn())
				}
				for _, conn := range s.conns {
					conn.Close()
				}
			})
		}
		_, err := open(t, v, parse(t, "mqtt://127.0.0.1:1"), &twoPhases{err: errTest})
		require.ErrorIs(t, err, errTest)
		_, err = open(t, v, parse(t, "mqtt://127.0.0.1:1"), &twoPhases{})
		require.ErrorIs(t, err, errNotOpened)
	}
}

// unresuming is a scheme that needs TLS that is not resumed, on one version.
type unresuming struct {
	*spy
	v wire.Version
}

func (s unresuming) NeedsUnresumedTLS(v wire.Version) bool { return v == s.v }

// TestSessionCacheIsTurnedOff for the version that needs it, wherever in the stack the scheme is, and not in the
// application's configuration.
func TestSessionCacheIsTurnedOff(t *testing.T) {
	serving, trusting := identity(t)
	u := parse(t, "mqtts://"+newServer(always).tls(t, serving))
	trusting.ClientSessionCache = tls.NewLRUClientSessionCache(1)
	resumed := func(v wire.Version, schemes ...Scheme) bool {
		var did bool
		for range 2 {
			var conn net.Conn
			var err error
			if v == wire.V5 {
				cfg := autopaho.ClientConfig{TlsCfg: trusting}
				for _, s := range schemes {
					cfg = V5(cfg, s)
				}
				conn, err = connectV5(t.Context(), cfg, u)
			} else {
				o := mqtt.NewClientOptions().SetTLSConfig(trusting)
				for _, s := range schemes {
					o = V3(o, s)
				}
				conn, err = connectV3(o, u)
			}
			require.NoError(t, err)
			for c := conn; ; c = c.(interface{ NetConn() net.Conn }).NetConn() {
				if c, ok := c.(*tls.Conn); ok {
					did = c.ConnectionState().DidResume
					break
				}
			}
			// The session ticket comes with the first data.
			_, err = conn.Write(connectOf(v))
			require.NoError(t, err)
			_, err = io.ReadFull(conn, make([]byte, 4))
			require.NoError(t, err)
			conn.Close()
		}
		return did
	}
	need := unresuming{newSpy("needs"), wire.V311}
	require.False(t, resumed(wire.V311, need))
	require.False(t, resumed(wire.V311, newSpy("a"), need))
	require.False(t, resumed(wire.V311, need, newSpy("a")))
	require.True(t, resumed(wire.V311, newSpy("a")))
	require.True(t, resumed(wire.V5, need))
	require.NotNil(t, trusting.ClientSessionCache)
}

// connectOf is a CONNECT.
func connectOf(v wire.Version) []byte {
	m := wire.ConnectPacket{Version: v, CleanStart: true, ClientID: []byte("c")}
	p, err := m.Append(nil)
	if err != nil {
		panic(err)
	}
	return p
}

// TestTransportThroughHTTPProxy: under wss the TCP connection is asked of the proxy that the websocket would use.
func TestTransportThroughHTTPProxy(t *testing.T) {
	serving, trusting := identity(t)
	host := newServer(always).web(t, serving)
	asked := make(chan string, 1)
	via := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth()
		if r.Method != http.MethodConnect || user != "u" || password != "p" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		asked <- r.Host
		server, err := net.Dial("tcp", r.Host)
		require.NoError(t, err)
		client, _, err := w.(http.Hijacker).Hijack()
		require.NoError(t, err)
		_, err = io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n")
		require.NoError(t, err)
		go func() { defer server.Close(); _, _ = io.Copy(server, client) }()
		_, _ = io.Copy(client, server)
		client.Close()
	}))
	defer via.Close()
	proxied := func(user *url.Userinfo) (net.Conn, error) {
		u := parse(t, via.URL)
		u.User = user
		s := &inPlaceOfTLS{config: trusting, seen: make(chan net.Conn, 1)}
		o := mqtt.NewClientOptions().SetWebsocketOptions(&mqtt.WebsocketOptions{Proxy: http.ProxyURL(u)})
		return connectV3(V3(o, s), parse(t, "wss://"+host+"/mqtt"))
	}
	conn, err := proxied(url.UserPassword("u", "p"))
	require.NoError(t, err)
	conn.Close()
	require.Equal(t, host, <-asked)
	_, err = proxied(nil)
	require.ErrorIs(t, err, errProxy)
}

// TestProxyThatTalksForEver is given up when its answer is longer than an answer can be.
func TestProxyThatTalksForEver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	taken := make(chan int, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		n, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: ")
		for some := bytes.Repeat([]byte("x"), 64<<10); err == nil && n < 1<<30; {
			var k int
			k, err = conn.Write(some)
			n += k
		}
		taken <- n
	}()
	_, err = dialProxy(t.Context(), &url.URL{Scheme: "http", Host: l.Addr().String()}, "broker.invalid:8883")
	require.Error(t, err)
	require.Less(t, <-taken, 1<<30)
}
