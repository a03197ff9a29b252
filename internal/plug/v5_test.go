package plug

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/autopaho/queue/memory"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

func TestV5StackReadsFromTheApplication(t *testing.T) {
	order := make(chan string, 16)
	a, b := newSpy("a"), newSpy("b")
	a.calls, b.calls = order, order
	below := &closeNoter{}
	cfg := autopaho.ClientConfig{AttemptConnection: func(context.Context, autopaho.ClientConfig, *url.URL) (net.Conn, error) {
		order <- "dial"
		return below, nil
	}}
	cfg = V5(V5(cfg, b), a)
	_, err := connectV5(t.Context(), cfg, &url.URL{})
	require.NoError(t, err)
	require.Equal(t, []string{"dial", "b", "a"}, []string{<-order, <-order, <-order})
	require.Same(t, below, <-b.conns)
}

func TestV5ChainsAttemptConnection(t *testing.T) {
	type key struct{}
	u := &url.URL{Scheme: "carrier-pigeon"}
	conn := &closeNoter{}
	var seen autopaho.ClientConfig
	cfg := V5(autopaho.ClientConfig{AttemptConnection: func(ctx context.Context, c autopaho.ClientConfig, to *url.URL) (net.Conn, error) {
		require.Equal(t, "value", ctx.Value(key{}))
		require.Same(t, u, to)
		seen = c
		return conn, nil
	}}, newSpy("a"))
	cfg.KeepAlive = 77 // what the connection manager works with, not what was wrapped
	got, err := connectV5(context.WithValue(t.Context(), key{}, "value"), cfg, u)
	require.NoError(t, err)
	require.Equal(t, uint16(77), seen.KeepAlive)
	require.Implements(t, (*sync.Locker)(nil), got)
	require.Same(t, conn, got.(interface{ NetConn() net.Conn }).NetConn())
}

func TestV5Failures(t *testing.T) {
	conn := &closeNoter{}
	open := func(c net.Conn, err error) autopaho.ClientConfig {
		return autopaho.ClientConfig{AttemptConnection: func(context.Context, autopaho.ClientConfig, *url.URL) (net.Conn, error) { return c, err }}
	}
	refusing := newSpy("a")
	refusing.err = errTest
	got, err := connectV5(t.Context(), V5(open(conn, nil), refusing), nil)
	require.ErrorIs(t, err, errTest)
	require.Nil(t, got)
	require.Equal(t, 1, conn.closed, "the scheme failed and the connection stayed open")

	fine := newSpy("a")
	got, err = connectV5(t.Context(), V5(open(nil, errTest), fine), nil)
	require.ErrorIs(t, err, errTest)
	require.Nil(t, got)
	_, err = connectV5(t.Context(), V5(open(nil, nil), fine), nil)
	require.ErrorIs(t, err, errNoConn)
	require.Empty(t, fine.calls)
}

func TestV5LeavesOriginalAlone(t *testing.T) {
	s := newServer(always)
	u := parse(t, "mqtt://"+s.tcp(t))
	properties := paho.ConnectProperties{User: paho.UserProperties{{Key: "k", Value: "v"}}}
	built := &paho.Connect{ClientID: "built", KeepAlive: 5, Properties: &properties}
	q, sess := memory.New(), state.NewInMemory()
	servers := make([]*url.URL, 1, 2)
	servers[0] = u
	cfg := autopaho.ClientConfig{
		ServerUrls:           servers,
		TlsCfg:               &tls.Config{},
		Queue:                q,
		ConnectPacketBuilder: func(*paho.Connect, *url.URL) (*paho.Connect, error) { return built, nil },
		ClientConfig:         paho.ClientConfig{ClientID: "c", Session: sess},
	}
	wrapped := V5(cfg, newVault())
	wrapped.ServerUrls = append(wrapped.ServerUrls, &url.URL{Host: "another"})
	publishV5(t, V5(cfg, newVault()))

	require.Nil(t, cfg.AttemptConnection)
	require.Same(t, q, cfg.Queue)
	require.Same(t, sess, cfg.Session)
	require.Nil(t, servers[:2][1], "the copy shares its list with the original")
	require.False(t, properties.RequestProblemInfo)
	require.Same(t, &properties, built.Properties)

	c := await(t, s.connects)
	require.Equal(t, "built", string(c.ClientID))
	require.Equal(t, uint16(5), c.KeepAlive)
	_, asked := c.Properties.Uint(wire.RequestProblemInformation)
	require.False(t, asked, "absent means 1")
	for k, v := range c.Properties.Pairs() {
		require.Equal(t, "k=v", k+"="+v)
	}
}

func TestV5RequestProblemInfo(t *testing.T) {
	expiry := uint32(60)
	for name, c := range map[string]struct {
		cfg  autopaho.ClientConfig
		want *paho.ConnectProperties
	}{
		"no properties": {},
		"set by autopaho itself": {
			cfg:  autopaho.ClientConfig{SessionExpiryInterval: expiry},
			want: &paho.ConnectProperties{SessionExpiryInterval: &expiry, RequestProblemInfo: true},
		},
		"declined by the builder": {
			cfg: autopaho.ClientConfig{ConnectPacketBuilder: func(cp *paho.Connect, _ *url.URL) (*paho.Connect, error) {
				cp.Properties = &paho.ConnectProperties{RequestResponseInfo: true}
				return cp, nil
			}},
			want: &paho.ConnectProperties{RequestProblemInfo: true, RequestResponseInfo: true},
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := &paho.Connect{ClientID: "x"}
			if c.cfg.SessionExpiryInterval > 0 {
				in.Properties = &paho.ConnectProperties{SessionExpiryInterval: &expiry}
			}
			out, err := V5(V5(c.cfg, newSpy("b")), newSpy("a")).ConnectPacketBuilder(in, nil)
			require.NoError(t, err)
			require.Equal(t, c.want, out.Properties)
			require.Equal(t, "x", out.ClientID)
		})
	}
	t.Run("the builder's error", func(t *testing.T) {
		cfg := autopaho.ClientConfig{ConnectPacketBuilder: func(*paho.Connect, *url.URL) (*paho.Connect, error) { return nil, errTest }}
		_, err := V5(cfg, newSpy("a")).ConnectPacketBuilder(&paho.Connect{}, nil)
		require.ErrorIs(t, err, errTest)
	})
	t.Run("on the wire", func(t *testing.T) {
		s := newServer(always)
		cfg := autopaho.ClientConfig{ServerUrls: []*url.URL{parse(t, "mqtt://"+s.tcp(t))}, SessionExpiryInterval: expiry}
		publishV5(t, cfg)
		c := await(t, s.connects)
		info, asked := c.Properties.Uint(wire.RequestProblemInformation)
		require.True(t, asked && info == 0, "this test expects autopaho to decline when it is not wrapped")

		publishV5(t, V5(cfg, newSpy("a")))
		c = await(t, s.connects)
		_, asked = c.Properties.Uint(wire.RequestProblemInformation)
		require.False(t, asked)
	})
}

func TestV5WebSocketConfig(t *testing.T) {
	serving, trusting := identity(t)
	s := newServer(always)
	for _, u := range []*url.URL{parse(t, "ws://"+s.web(t, nil)), parse(t, "wss://"+s.web(t, serving))} {
		given := trusting
		if u.Scheme == "ws" {
			given = nil
		}
		cfg := autopaho.ClientConfig{ServerUrls: []*url.URL{u}, TlsCfg: trusting, WebSocketCfg: &autopaho.WebSocketConfig{
			Dialer: func(to *url.URL, c *tls.Config) *websocket.Dialer {
				require.Same(t, u, to)
				require.Same(t, given, c)
				return &websocket.Dialer{TLSClientConfig: c, Subprotocols: []string{"mqtt", "mqttv3.1"}}
			},
			Header: func(to *url.URL, c *tls.Config) http.Header {
				require.Same(t, given, c)
				return http.Header{"X-Test": {"v5"}}
			},
		}}
		publishV5(t, V5(cfg, newSpy("a")))
		h := await(t, s.upgrades)
		require.Equal(t, "v5", h.Get("X-Test"))
		require.Equal(t, "mqtt, mqttv3.1", h.Get("Sec-WebSocket-Protocol"))

		cfg.WebSocketCfg = nil
		publishV5(t, V5(cfg, newSpy("a")))
		require.Equal(t, "mqtt", await(t, s.upgrades).Get("Sec-WebSocket-Protocol"))
	}
}

// TestConcurrentPublishers has a scheme whose connection has no lock of its own, over
// TLS, where paho's writes in pieces would mix.
func TestConcurrentPublishers(t *testing.T) {
	serving, trusting := identity(t)
	s := newServer(always)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cfg := autopaho.ClientConfig{ServerUrls: []*url.URL{parse(t, "mqtts://"+s.tls(t, serving))}, TlsCfg: trusting, KeepAlive: 30}
	cm, err := autopaho.NewConnection(ctx, V5(cfg, newSpy("a")))
	require.NoError(t, err)
	require.NoError(t, cm.AwaitConnection(ctx))
	go func() {
		for range s.published {
		}
	}()
	defer close(s.published)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				_, err := cm.Publish(ctx, &paho.Publish{QoS: 1, Topic: "t", Payload: make([]byte, 100)})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, cm.Disconnect(ctx))
}
