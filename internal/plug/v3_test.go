package plug

import (
	"crypto/tls"
	"net"
	"net/url"
	"sync"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

func TestV3StackReadsFromTheApplication(t *testing.T) {
	order := make(chan string, 16)
	a, b := newSpy("a"), newSpy("b")
	a.calls, b.calls = order, order
	below := &closeNoter{}
	o := mqtt.NewClientOptions().SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) {
		order <- "dial"
		return below, nil
	})
	_, err := connectV3(V3(V3(o, b), a), &url.URL{})
	require.NoError(t, err)
	require.Equal(t, []string{"dial", "b", "a"}, []string{<-order, <-order, <-order})
	require.Same(t, below, <-b.conns)
}

func TestV3Failures(t *testing.T) {
	conn := &closeNoter{}
	open := func(c net.Conn, err error) *mqtt.ClientOptions {
		return mqtt.NewClientOptions().SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return c, err })
	}
	refusing := newSpy("a")
	refusing.err = errTest
	got, err := connectV3(V3(open(conn, nil), refusing), nil)
	require.ErrorIs(t, err, errTest)
	require.Nil(t, got)
	require.Equal(t, 1, conn.closed)

	_, err = connectV3(V3(open(nil, errTest), newSpy("a")), nil)
	require.ErrorIs(t, err, errTest)
	_, err = connectV3(V3(open(nil, nil), newSpy("a")), nil)
	require.ErrorIs(t, err, errNoConn)
}

func TestV3ConnectTimeoutBoundsTheScheme(t *testing.T) {
	conn := &closeNoter{}
	o := mqtt.NewClientOptions().SetConnectTimeout(1).SetCustomOpenConnectionFn(
		func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return conn, nil })
	_, err := connectV3(V3(o, stuck{}), nil)
	require.Error(t, err)
	require.Equal(t, 1, conn.closed)
}

func TestV3LeavesOriginalAlone(t *testing.T) {
	s := newServer(always)
	host := s.tcp(t)
	dialer := &net.Dialer{Timeout: 7}
	o := mqtt.NewClientOptions()
	o.Servers = make([]*url.URL, 0, 4)
	o.AddBroker("tcp://" + host).SetDialer(dialer).SetStore(mqtt.NewMemoryStore()).SetTLSConfig(&tls.Config{})
	o.SetConnectionAttemptHandler(func(_ *url.URL, c *tls.Config) *tls.Config { return c })
	attempt, store := o.OnConnectAttempt, o.Store
	want := *o

	w := V3(o, newVault()).AddBroker("tcp://another:1").SetConnectTimeout(9)
	w.HTTPHeaders.Set("X", "y")
	require.NotNil(t, attempt)
	require.Nil(t, o.CustomOpenConnectionFn)
	require.NotNil(t, o.OnConnectAttempt)
	require.Same(t, store, o.Store)
	require.Empty(t, o.HTTPHeaders)
	require.EqualValues(t, 7, dialer.Timeout)
	require.Nil(t, o.Servers[:2][1], "the copy shares its list with the original")

	want.OnConnectAttempt, o.OnConnectAttempt = nil, nil // functions do not compare
	want.OnConnectionLost, o.OnConnectionLost = nil, nil
	require.Equal(t, want, *o)
}

func TestV3ProtocolVersion(t *testing.T) {
	for set, want := range map[uint]uint{0: 4, 3: 3, 4: 4, 0x83: 0x83, 0x84: 0x84, 5: 4} {
		o := mqtt.NewClientOptions()
		o.ProtocolVersion = set
		require.Equal(t, want, V3(o, newSpy("a")).ProtocolVersion)
		require.Equal(t, set, o.ProtocolVersion)
	}
	t.Run("credentials are shown once", func(t *testing.T) {
		for _, c := range []struct {
			wrap func(*mqtt.ClientOptions) *mqtt.ClientOptions
			want []wire.Version
		}{
			{func(o *mqtt.ClientOptions) *mqtt.ClientOptions { return o }, []wire.Version{wire.V311, wire.V31}},
			{func(o *mqtt.ClientOptions) *mqtt.ClientOptions { return V3(o, newSpy("a")) }, []wire.Version{wire.V311}},
		} {
			s := newServer(always)
			s.refuse = 5
			token := mqtt.NewClient(c.wrap(mqtt.NewClientOptions().AddBroker("tcp://" + s.tcp(t)))).Connect()
			token.Wait()
			require.Error(t, token.Error())
			var got []wire.Version
			for len(s.connects) > 0 {
				got = append(got, (<-s.connects).Version)
			}
			require.Equal(t, c.want, got)
		}
	})
}

// TestV3OnConnectAttempt has a handler without whose result no server is trusted.
func TestV3OnConnectAttempt(t *testing.T) {
	serving, trusting := identity(t)
	s := newServer(always)
	u := parse(t, "mqtts://"+s.tls(t, serving))
	web := parse(t, "wss://"+s.web(t, serving))
	original := &tls.Config{}
	var mu sync.Mutex
	var calls int
	handler := func(to *url.URL, c *tls.Config) *tls.Config {
		mu.Lock()
		defer mu.Unlock()
		calls++
		if c != original {
			t.Error("the handler was not given the options' configuration")
		}
		return trusting
	}
	options := func(u *url.URL) *mqtt.ClientOptions {
		o := mqtt.NewClientOptions().SetTLSConfig(original)
		o.Servers = []*url.URL{u}
		return o
	}
	t.Run("set before", func(t *testing.T) {
		for _, u := range []*url.URL{u, web} {
			calls = 0
			publishV3(t, V3(V3(options(u).SetConnectionAttemptHandler(handler), newSpy("b")), newSpy("a")))
			require.Equal(t, 1, calls)
		}
	})
	t.Run("set on what was wrapped", func(t *testing.T) {
		o := V3(V3(options(u), newSpy("b")), newSpy("a"))
		publishV3(t, o.SetConnectionAttemptHandler(handler))
	})
	t.Run("set between", func(t *testing.T) {
		o := V3(options(u).SetConnectionAttemptHandler(func(*url.URL, *tls.Config) *tls.Config { return nil }), newSpy("b"))
		calls = 0
		publishV3(t, V3(o.SetConnectionAttemptHandler(handler), newSpy("a")))
		require.Equal(t, 1, calls)
	})
	t.Run("none", func(t *testing.T) {
		token := mqtt.NewClient(V3(options(u), newSpy("a"))).Connect()
		token.Wait()
		require.Error(t, token.Error())
	})
	t.Run("for the application's own function", func(t *testing.T) {
		o := options(u).SetConnectionAttemptHandler(handler)
		o.SetCustomOpenConnectionFn(func(u *url.URL, o mqtt.ClientOptions) (net.Conn, error) {
			require.Same(t, trusting, o.TLSConfig)
			require.Same(t, trusting, o.OnConnectAttempt(u, o.TLSConfig))
			return tls.Dial("tcp", u.Host, o.TLSConfig)
		})
		calls = 0
		publishV3(t, V3(o, newSpy("a")))
		require.Equal(t, 1, calls)
	})
	t.Run("several clients with one set of options", func(t *testing.T) {
		// Each attempt has a configuration of its own, which must not reach another.
		var taken sync.Map
		o := options(u).SetConnectionAttemptHandler(func(_ *url.URL, _ *tls.Config) *tls.Config {
			c := trusting.Clone()
			c.VerifyConnection = func(tls.ConnectionState) error {
				if _, again := taken.LoadOrStore(c, true); again {
					t.Error("two attempts used one configuration")
				}
				return nil
			}
			return c
		})
		w := V3(o, newSpy("a"))
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				client := mqtt.NewClient(w)
				token := client.Connect()
				token.Wait()
				if err := token.Error(); err != nil {
					t.Error(err)
				}
				client.Disconnect(0)
			})
		}
		wg.Wait()
	})
}

// TestNoConnectTimeoutV3: 0 is no limit, and not one of no time.
func TestNoConnectTimeoutV3(t *testing.T) {
	s := newServer(always)
	conn, err := connectV3(V3(mqtt.NewClientOptions().SetConnectTimeout(0), newSpy("a")), parse(t, "mqtt://"+s.tcp(t)))
	require.NoError(t, err)
	conn.Close()
}
