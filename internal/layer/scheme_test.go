package layer_test

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/plug"
)

// half is a broker behind a guardian.
type half struct {
	*guardian
	address  string
	listener *layer.Listener
	trusting *tls.Config
	broker   *brokers.Embedded
}

func startHalf(t *testing.T, key string) *half {
	t.Helper()
	authority, err := ca.New()
	require.NoError(t, err)
	serving, err := authority.ServerConfig()
	require.NoError(t, err)
	broker, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := &guardian{key: []byte(key)}
	l, err := layer.NewListener(inner, layer.ListenerConfig{TLS: serving, Filter: g.filter})
	require.NoError(t, err)
	require.NoError(t, broker.Serve(l))
	return &half{guardian: g, address: inner.Addr().String(), listener: l, trusting: authority.ClientConfig(), broker: broker}
}

// client is what the tests want of either Eclipse client.
type client struct {
	publish  func(topic, payload string, qos byte) error
	received chan string
	lost     chan error // connections that ended, or were refused
	stop     func()
}

// connect connects a client and subscribes to filter. Unless refused is expected, it waits until it is connected.
type connect func(t *testing.T, s plug.Scheme, u, id, filter string, config *tls.Config, refused bool) *client

func connectV5(t *testing.T, s plug.Scheme, u, id, filter string, config *tls.Config, refused bool) *client {
	t.Helper()
	server, err := url.Parse(u)
	require.NoError(t, err)
	c := &client{received: make(chan string, 10_000), lost: make(chan error, 100)}
	tell := func(err error) {
		select {
		case c.lost <- err:
		default:
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	up := make(chan error, 1)
	cm, err := autopaho.NewConnection(ctx, plug.V5(autopaho.ClientConfig{
		ServerUrls: []*url.URL{server}, TlsCfg: config, KeepAlive: 30, CleanStartOnInitialConnection: true, ConnectTimeout: time.Minute,
		ReconnectBackoff: func(n int) time.Duration { return time.Duration(n) * time.Hour }, // once
		OnConnectError:   tell,
		OnConnectionUp: func(cm *autopaho.ConnectionManager, ack *paho.Connack) {
			if ack.Properties.AuthMethod != "" {
				up <- fmt.Errorf("method %q in CONNACK", ack.Properties.AuthMethod)
				return
			}
			_, err := cm.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 2}}})
			up <- err
		},
		ClientConfig: paho.ClientConfig{
			ClientID: id, PacketTimeout: time.Minute,
			OnClientError: tell,
			OnServerDisconnect: func(d *paho.Disconnect) {
				tell(fmt.Errorf("DISCONNECT %#x", d.ReasonCode))
			},
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				c.received <- string(p.Packet.Payload)
				return true, nil
			}},
		},
	}, s))
	require.NoError(t, err)
	c.stop = func() { cancel(); <-cm.Done() }
	c.publish = func(topic, payload string, qos byte) error {
		_, err := cm.Publish(ctx, &paho.Publish{Topic: topic, QoS: qos, Payload: []byte(payload)})
		return err
	}
	if !refused {
		select {
		case err := <-up:
			require.NoError(t, err)
		case err := <-c.lost:
			t.Fatal(err)
		}
	}
	return c
}

func connectV3(t *testing.T, s plug.Scheme, u, id, filter string, config *tls.Config, refused bool) *client {
	t.Helper()
	c := &client{received: make(chan string, 10_000), lost: make(chan error, 100)}
	opts := mqtt.NewClientOptions().AddBroker(u).SetClientID(id).SetTLSConfig(config).SetAutoReconnect(false).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { c.lost <- err })
	cl := mqtt.NewClient(plug.V3(opts, s))
	connecting := cl.Connect()
	connecting.Wait()
	if refused {
		c.lost <- connecting.Error()
	} else {
		require.NoError(t, connecting.Error())
		subscribing := cl.Subscribe(filter, 2, func(_ mqtt.Client, m mqtt.Message) { c.received <- string(m.Payload()) })
		subscribing.Wait()
		require.NoError(t, subscribing.Error())
	}
	c.stop = func() { cl.Disconnect(10) }
	c.publish = func(topic, payload string, qos byte) error {
		token := cl.Publish(topic, qos, false, payload)
		token.Wait()
		return token.Error()
	}
	return c
}

var clients = map[string]connect{"v5": connectV5, "v3.1.1": connectV3}

// traffic publishes n messages at each QoS and sees that they come back, each once and in order.
func traffic(t *testing.T, c *client, topic string, n int) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 3 * n {
			if err := c.publish(topic, strconv.Itoa(i), byte(i%3)); err != nil {
				t.Errorf("message %d: %v", i, err)
				return
			}
		}
	})
	seen := map[string]bool{}
	for range 3 * n {
		select {
		case m := <-c.received:
			require.False(t, seen[m], "message %s twice", m)
			seen[m] = true
		case <-time.After(time.Minute):
			t.Fatalf("%d of %d messages", len(seen), 3*n)
		}
	}
	wg.Wait()
}

// leak sees that what f starts is gone when it returns.
func leak(t *testing.T, f func()) {
	t.Helper()
	before := runtime.NumGoroutine()
	f()
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, time.Minute, time.Millisecond, "goroutines left")
}

// TestProofInConnectAndChallenge: the proof over TLS is added to CONNECT after the handshake; on v5 the half withholds
// CONNECT and asks by AUTH, with the largest data that it has. Then the client works as ever.
func TestProofInConnectAndChallenge(t *testing.T) {
	for name, connect := range clients {
		t.Run(name, func(t *testing.T) {
			h := startHalf(t, "key")
			leak(t, func() {
				c := connect(t, newProver("key"), "mqtts://"+h.address, "prover-"+name, "app/#", h.trusting, false)
				traffic(t, c, "app/x", 50)
				require.Len(t, h.listener.Client("prover-"+name), 1)
				c.stop()
				require.Eventually(t, func() bool { return len(h.listener.Established()) == 0 }, time.Minute, time.Millisecond)
			})
		})
	}
}

// TestWrongProofIsRefused: the client hears the refusal itself, not that a connection broke.
func TestWrongProofIsRefused(t *testing.T) {
	want := map[string]string{"v5": "not authorized", "v3.1.1": "not Authorized"}
	for name, connect := range clients {
		t.Run(name, func(t *testing.T) {
			h := startHalf(t, "key")
			c := connect(t, newProver("another key"), "mqtts://"+h.address, "liar-"+name, "app/#", h.trusting, true)
			err := <-c.lost
			if name == "v5" {
				var refusal *autopaho.ConnackError
				require.ErrorAs(t, err, &refusal)
				require.EqualValues(t, 0x87, refusal.ReasonCode)
			} else {
				require.ErrorContains(t, err, want[name])
			}
			c.stop()
			require.Empty(t, h.listener.Established())
		})
	}
}

// TestRenewalUnderTraffic: the client authenticates again, on a goroutine of its own, while messages fly in both
// directions.
func TestRenewalUnderTraffic(t *testing.T) {
	const renewals = 100
	h := startHalf(t, "key")
	s := newProver("key")
	c := connectV5(t, s, "mqtts://"+h.address, "renewing", "app/#", h.trusting, false)
	defer c.stop()
	f := <-s.conns
	done := make(chan error, 1)
	go func() {
		for i := range renewals {
			if err := f.renew(); err != nil {
				done <- err
				return
			}
			for f.renewed.Load() <= int64(i) {
				time.Sleep(100 * time.Microsecond)
			}
		}
		done <- nil
	}()
	traffic(t, c, "app/x", 200)
	require.NoError(t, <-done)
	require.EqualValues(t, renewals, f.renewed.Load())
}

// TestExpiryByTimer ends the connection at the broker's half, and at the client's.
func TestExpiryByTimer(t *testing.T) {
	for name, connect := range clients {
		t.Run(name, func(t *testing.T) {
			h := startHalf(t, "key")
			c := connect(t, newProver("key"), "mqtts://"+h.address, "expired-"+name, "app/#", h.trusting, false)
			traffic(t, c, "app/x", 5)
			h.end(errExpired)
			err := <-c.lost
			require.Error(t, err)
			if name == "v5" {
				require.EqualError(t, err, "DISCONNECT 0x87")
			}
			c.stop()

			s := newProver("key")
			c = connect(t, s, "mqtts://"+h.address, "expiring-"+name, "app/#", h.trusting, false)
			f := <-s.conns
			time.AfterFunc(time.Millisecond, func() { _ = f.conn.End(errExpired, layer.Goodbye(f.conn, 0x87)) })
			require.ErrorIs(t, <-c.lost, errExpired, "the reason in the error of Read")
			c.stop()
		})
	}
}

// TestOwnExchangesBeforeConnack: on a broker as it is the scheme subscribes, publishes and waits for an answer before
// the client hears CONNACK; of all that the client sees nothing, and messages that wait in its session come after
// CONNACK.
func TestOwnExchangesBeforeConnack(t *testing.T) {
	broker, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	u := broker.URL(brokers.TCP)
	authority := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(u.String()).SetClientID("authority"))
	connecting := authority.Connect()
	connecting.Wait()
	require.NoError(t, connecting.Error())
	defer authority.Disconnect(10)
	subscribing := authority.Subscribe(greetings, 1, func(cl mqtt.Client, m mqtt.Message) {
		id := string(m.Payload())
		go cl.Publish(answers+id, 1, false, proof([]byte("key"), []byte(id)))
	})
	subscribing.Wait()
	require.NoError(t, subscribing.Error())

	for name, connect := range clients {
		t.Run(name, func(t *testing.T) {
			leak(t, func() {
				s := &visitor{key: []byte("key"), conns: make(chan *visitorFilter, 9)}
				c := connect(t, s, u.String(), "visitor-"+strconv.Itoa(len(name)), "app/"+name, nil, false)
				f := <-s.conns
				require.EqualValues(t, 3, f.own.Load(), "SUBACK, PUBACK and the answer")
				traffic(t, c, "app/"+name, 50)
				require.Empty(t, c.received)
				c.stop()
			})
			liar := &visitor{key: []byte("another key"), conns: make(chan *visitorFilter, 9)}
			c := connect(t, liar, u.String(), "doubter-"+strconv.Itoa(len(name)), "app/"+name, nil, true)
			require.Error(t, <-c.lost)
			c.stop()
		})
	}
}
