package ace

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/steady"
)

// An application on one of the Eclipse clients, with nothing in it about tokens but the one call of Wrap.
type application interface {
	publish(topic string, qos byte, retain bool, payload string) error
	subscribe(filter string, qos byte) error
	unsubscribe(filter string) error
	close()
}

// events is what happens to an application.
type events struct {
	messages chan string // "topic payload"
	refused  chan error  // of a connection that was not made
	lost     chan error  // of one that was
	up       chan struct{}
}

func newEvents() *events {
	return &events{make(chan string, 4096), make(chan error, 64), make(chan error, 64), make(chan struct{}, 64)}
}

// note puts an event into a channel that nobody need read.
func note[T any](c chan T, v T) {
	select {
	case c <- v:
	default:
	}
}

func next[T any](t testing.TB, c chan T, what string) T {
	t.Helper()
	select {
	case v := <-c:
		return v
	case <-time.After(patience):
		t.Fatal("waited in vain for " + what)
		panic("unreachable")
	}
}

// options are what the two clients have in common.
type options struct {
	id         string
	tls        *tls.Config
	persistent bool
	once       bool // does not connect again
	will       string
}

var errDenied = errors.New("the broker said no")

type v5 struct {
	manager *autopaho.ConnectionManager
	t       testing.TB
	stop    context.CancelFunc
	once    sync.Once
}

// dialV5 begins to connect; events tell what comes of it.
func dialV5(w *world, auth *ace.Authenticator, o options, wrap ...func(autopaho.ClientConfig) autopaho.ClientConfig) (*v5, *events) {
	w.t.Helper()
	e := newEvents()
	ctx, stop := context.WithCancel(context.Background())
	cfg := autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{{Scheme: "mqtts", Host: w.address}},
		TlsCfg:                        o.tls,
		KeepAlive:                     60,
		CleanStartOnInitialConnection: !o.persistent,
		ConnectTimeout:                patience,
		ReconnectBackoff: func(attempt int) time.Duration {
			if o.once && attempt > 0 {
				return time.Hour
			}
			return 5 * time.Millisecond
		},
		OnConnectionUp:   func(*autopaho.ConnectionManager, *paho.Connack) { note(e.up, struct{}{}) },
		OnConnectionDown: func() bool { return !o.once }, // or there is an attempt at once
		OnConnectError:   func(err error) { note(e.refused, err) },
		ClientConfig: paho.ClientConfig{
			ClientID: o.id, PacketTimeout: patience,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				note(e.messages, p.Packet.Topic+" "+string(p.Packet.Payload))
				return true, nil
			}},
			OnClientError:      func(err error) { note(e.lost, err) },
			OnServerDisconnect: func(d *paho.Disconnect) { note(e.lost, fmt.Errorf("DISCONNECT 0x%02X", d.ReasonCode)) },
		},
	}
	if o.persistent {
		cfg.SessionExpiryInterval = 3600
	}
	if o.will != "" {
		cfg.WillMessage = &paho.WillMessage{Topic: o.will, Payload: []byte("gone")}
	}
	if auth != nil {
		cfg = auth.Wrap(cfg)
	}
	for _, f := range wrap {
		cfg = f(cfg)
	}
	cfg.Session = steady.Session(state.NewInMemory())
	manager, err := autopaho.NewConnection(ctx, cfg)
	require.NoError(w.t, err)
	c := &v5{manager: manager, t: w.t, stop: stop}
	w.t.Cleanup(c.close)
	return c, e
}

func (c *v5) publish(topic string, qos byte, retain bool, payload string) error {
	r, err := c.manager.Publish(patient(c.t), &paho.Publish{Topic: topic, QoS: qos, Retain: retain, Payload: []byte(payload)})
	if r != nil && r.ReasonCode >= 0x80 {
		return fmt.Errorf("%w: 0x%02X", errDenied, r.ReasonCode)
	}
	return err
}

func (c *v5) subscribe(filter string, qos byte) error {
	r, err := c.manager.Subscribe(patient(c.t), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
	if r != nil && len(r.Reasons) == 1 && r.Reasons[0] >= 0x80 {
		return fmt.Errorf("%w: 0x%02X", errDenied, r.Reasons[0])
	}
	return err
}

func (c *v5) unsubscribe(filter string) error {
	_, err := c.manager.Unsubscribe(patient(c.t), &paho.Unsubscribe{Topics: []string{filter}})
	return err
}

func (c *v5) close() {
	c.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = c.manager.Disconnect(ctx)
		c.stop()
		<-c.manager.Done()
	})
}

type v3 struct {
	client mqtt.Client
}

// dialV3 connects, or returns why it cannot.
func dialV3(w *world, auth *ace.Authenticator, o options, wrap ...func(*mqtt.ClientOptions) *mqtt.ClientOptions) (*v3, *events, error) {
	w.t.Helper()
	e := newEvents()
	opts := mqtt.NewClientOptions().AddBroker("mqtts://" + w.address).SetClientID(o.id).SetTLSConfig(o.tls).
		SetCleanSession(!o.persistent).SetAutoReconnect(!o.once).SetMaxReconnectInterval(50 * time.Millisecond).SetOrderMatters(false).
		SetConnectTimeout(patience).SetWriteTimeout(patience).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { note(e.lost, err) }).
		SetOnConnectHandler(func(mqtt.Client) { note(e.up, struct{}{}) }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { note(e.messages, m.Topic()+" "+string(m.Payload())) })
	if o.persistent {
		opts.SetStore(newStore())
	}
	if o.will != "" {
		opts.SetWill(o.will, "gone", 0, false)
	}
	if auth != nil {
		opts = auth.WrapV3(opts)
	}
	for _, f := range wrap {
		opts = f(opts)
	}
	c := &v3{mqtt.NewClient(opts)}
	w.t.Cleanup(c.close)
	return c, e, finished(c.client.Connect())
}

var errTimeout = errors.New("timed out")

func finished(token mqtt.Token) error {
	if !token.WaitTimeout(patience) {
		return errTimeout
	}
	return token.Error()
}

func (c *v3) publish(topic string, qos byte, retain bool, payload string) error {
	return finished(c.client.Publish(topic, qos, retain, payload))
}

func (c *v3) subscribe(filter string, qos byte) error {
	token := c.client.Subscribe(filter, qos, nil)
	err := finished(token)
	if s, ok := token.(*mqtt.SubscribeToken); ok {
		for _, code := range s.Result() {
			if code >= 0x80 {
				return errDenied
			}
		}
	}
	return err
}

func (c *v3) unsubscribe(filter string) error { return finished(c.client.Unsubscribe(filter)) }

func (c *v3) close() { c.client.Disconnect(100) }

// connected is either client, connected.
func (w *world) connected(version int, auth *ace.Authenticator, o options) (application, *events) {
	w.t.Helper()
	if version == 3 {
		c, e, err := dialV3(w, auth, o)
		require.NoError(w.t, err)
		next(w.t, e.up, "OnConnect")
		return c, e
	}
	c, e := dialV5(w, auth, o)
	select {
	case <-e.up:
	case err := <-e.refused:
		w.t.Fatal(err)
	case <-time.After(patience):
		w.t.Fatal("no connection")
	}
	return c, e
}

// apart is a store in memory that hands out copies. The client's own share packets with it, and it edits one to send it
// again while it may be writing it: a data race.
type apart struct{ mqtt.Store }

func newStore() mqtt.Store { return apart{mqtt.NewMemoryStore()} }

func (a apart) Put(key string, p packets.ControlPacket) { a.Store.Put(key, shallow(p)) }

func (a apart) Get(key string) packets.ControlPacket { return shallow(a.Store.Get(key)) }

func shallow(p packets.ControlPacket) packets.ControlPacket {
	switch p := p.(type) {
	case *packets.PublishPacket:
		c := *p
		return &c
	case *packets.PubrelPacket:
		c := *p
		return &c
	}
	return p
}
