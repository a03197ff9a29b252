package tlspsk_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"
)

// patience bounds what only a failure makes last.
const patience = time.Minute

// scheme is what an application needs to know of one.
type scheme interface {
	Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig
	WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions
}

// stack puts the schemes of a list on each other, the first next to the application.
type stack []scheme

func (s stack) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	for i := range s {
		cfg = s[len(s)-1-i].Wrap(cfg)
	}
	return cfg
}

func (s stack) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	for i := range s {
		opts = s[len(s)-1-i].WrapV3(opts)
	}
	return opts
}

// client is an application with one subscription.
type client interface {
	subscribe(ctx context.Context, filter string) error
	publish(ctx context.Context, topic string, qos byte, payload string) error
	received() <-chan string
	close()
}

// connector is one of the two libraries.
type connector struct {
	name    string
	connect func(ctx context.Context, server *url.URL, s scheme) (client, error)
}

var connectors = []connector{{"v5", connectV5}, {"v3", connectV3}}

var serial atomic.Int64

func unique(name string) string { return fmt.Sprintf("%s-%d", name, serial.Add(1)) }

type v5 struct {
	cm   *autopaho.ConnectionManager
	got  chan string
	stop context.CancelFunc
}

// connectV5 fails with the first attempt. A connection that was there comes back.
func connectV5(ctx context.Context, server *url.URL, s scheme) (client, error) {
	life, stop := context.WithCancel(context.Background())
	c := &v5{got: make(chan string, 100), stop: stop}
	failed := make(chan error, 1)
	cm, err := autopaho.NewConnection(life, s.Wrap(autopaho.ClientConfig{
		ServerUrls:            []*url.URL{server},
		KeepAlive:             20,
		ConnectTimeout:        patience,
		ReconnectBackoff:      func(int) time.Duration { return 20 * time.Millisecond },
		SessionExpiryInterval: 600,
		OnConnectError: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
		ClientConfig: paho.ClientConfig{
			ClientID: unique("v5"), PacketTimeout: patience,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				c.got <- p.Packet.Topic + " " + string(p.Packet.Payload)
				return true, nil
			}},
		},
	}))
	if err != nil {
		stop()
		return nil, err
	}
	c.cm = cm
	up := make(chan error, 1)
	go func() { up <- cm.AwaitConnection(life) }()
	select {
	case err = <-up:
	case err = <-failed:
	case <-ctx.Done():
		err = ctx.Err()
	}
	if err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func (c *v5) subscribe(ctx context.Context, filter string) error {
	_, err := c.cm.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 2}}})
	return err
}

func (c *v5) publish(ctx context.Context, topic string, qos byte, payload string) error {
	for {
		if err := c.cm.AwaitConnection(ctx); err != nil {
			return err
		}
		_, err := c.cm.Publish(ctx, &paho.Publish{Topic: topic, QoS: qos, Payload: []byte(payload)})
		if !errors.Is(err, autopaho.ConnectionDownError) { // it had ended, and the library has noticed only now
			return err
		}
	}
}

func (c *v5) received() <-chan string { return c.got }

func (c *v5) close() {
	c.stop()
	if c.cm != nil {
		<-c.cm.Done()
	}
}

type v3 struct {
	client mqtt.Client
	got    chan string
}

func connectV3(ctx context.Context, server *url.URL, s scheme) (client, error) {
	c := &v3{got: make(chan string, 100)}
	opts := mqtt.NewClientOptions().AddBroker(server.String()).SetClientID(unique("v3")).SetConnectTimeout(patience).
		SetMaxReconnectInterval(50 * time.Millisecond).SetCleanSession(false).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { c.got <- m.Topic() + " " + string(m.Payload()) })
	c.client = mqtt.NewClient(s.WrapV3(opts))
	if err := done(ctx, c.client.Connect()); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

func done(ctx context.Context, token mqtt.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *v3) subscribe(ctx context.Context, filter string) error {
	return done(ctx, c.client.Subscribe(filter, 2, nil))
}

func (c *v3) publish(ctx context.Context, topic string, qos byte, payload string) error {
	return done(ctx, c.client.Publish(topic, qos, false, payload))
}

func (c *v3) received() <-chan string { return c.got }

func (c *v3) close() { c.client.Disconnect(100) }

// open connects and closes with the test.
func open(t testing.TB, with connector, server *url.URL, s scheme) client {
	t.Helper()
	c, err := with.connect(patient(t), server, s)
	require.NoError(t, err, with.name)
	t.Cleanup(c.close)
	return c
}

func patient(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func expect(t testing.TB, c client, want string) {
	t.Helper()
	select {
	case got := <-c.received():
		require.Equal(t, want, got)
	case <-time.After(patience):
		require.Fail(t, "nothing received", want)
	}
}
