package attacks

import (
	"context"
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
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/steady"
)

// scheme is what an application puts under its client.
type scheme interface {
	Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig
	WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions
}

// over puts schemes on each other, the first next to the application.
type over []scheme

func (s over) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	for i := range s {
		cfg = s[len(s)-1-i].Wrap(cfg)
	}
	return cfg
}

func (s over) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	for i := range s {
		opts = s[len(s)-1-i].WrapV3(opts)
	}
	return opts
}

// options are what the two libraries have in common. Clients connect once and do not come back.
type options struct {
	id         string
	url        *url.URL
	will       string // topic; the payload is "gone"
	persistent bool
}

// client is an honest application on either library.
type client struct {
	publish   func(topic string, qos byte, retain bool, payload string) error
	subscribe func(filter string, qos byte) error
	close     func()
	messages  chan string // "topic payload"
	lost      chan error
}

// library makes clients of one version of MQTT.
type library struct {
	name    string
	v5      bool
	connect func(t testing.TB, w *world, s scheme, o options) (*client, error)
}

var libraries = []library{{"v5", true, connectV5}, {"v3.1.1", false, connectV3}}

// must is connect for a client that is to be let in.
func (l library) must(t testing.TB, p place, s scheme, o options) *client {
	t.Helper()
	c, err := l.connect(t, p.world, s, o)
	require.NoError(t, err)
	return c
}

var errDenied = errors.New("the broker said no")

// note puts an event into a channel that nobody need read.
func note[T any](c chan T, v T) {
	select {
	case c <- v:
	default:
	}
}

// next waits for an event.
func next[T any](t testing.TB, c <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		require.FailNow(t, "waited in vain for "+what)
	}
	return v
}

func connectV5(t testing.TB, w *world, s scheme, o options) (*client, error) {
	t.Helper()
	c := &client{messages: make(chan string, 4096), lost: make(chan error, 16)}
	life, stop := context.WithCancel(context.Background())
	refused, up := make(chan error, 16), make(chan struct{}, 16)
	cfg := autopaho.ClientConfig{
		ServerUrls: []*url.URL{o.url}, TlsCfg: w.trust(), KeepAlive: 60, ConnectTimeout: patience,
		CleanStartOnInitialConnection: !o.persistent,
		ReconnectBackoff: func(attempt int) time.Duration {
			if attempt > 0 {
				return time.Hour
			}
			return 0
		},
		OnConnectionUp:   func(*autopaho.ConnectionManager, *paho.Connack) { note(up, struct{}{}) },
		OnConnectionDown: func() bool { return false }, // or there is an attempt at once
		OnConnectError:   func(err error) { note(refused, err) },
		ClientConfig: paho.ClientConfig{
			ClientID: o.id, PacketTimeout: patience,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				note(c.messages, p.Packet.Topic+" "+string(p.Packet.Payload))
				return true, nil
			}},
			OnClientError:      func(err error) { note(c.lost, err) },
			OnServerDisconnect: func(d *paho.Disconnect) { note(c.lost, fmt.Errorf("DISCONNECT 0x%02X", d.ReasonCode)) },
		},
	}
	if o.persistent {
		cfg.SessionExpiryInterval = 3600
	}
	if o.will != "" {
		cfg.WillMessage = &paho.WillMessage{Topic: o.will, Payload: []byte("gone")}
	}
	if s != nil {
		cfg = s.Wrap(cfg)
	}
	cfg.Session = steady.Session(state.NewInMemory())
	manager, err := autopaho.NewConnection(life, cfg)
	if err != nil {
		stop()
		return nil, err
	}
	c.close = sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = manager.Disconnect(ctx) // the test may have ended it
		stop()
		<-manager.Done()
	})
	t.Cleanup(c.close)
	c.publish = func(topic string, qos byte, retain bool, payload string) error {
		r, err := manager.Publish(patient(t), &paho.Publish{Topic: topic, QoS: qos, Retain: retain, Payload: []byte(payload)})
		if r != nil && r.ReasonCode >= 0x80 {
			return fmt.Errorf("%w: 0x%02X", errDenied, r.ReasonCode)
		}
		return err
	}
	c.subscribe = func(filter string, qos byte) error {
		r, err := manager.Subscribe(patient(t), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: qos}}})
		if r != nil && len(r.Reasons) == 1 && r.Reasons[0] >= 0x80 {
			return fmt.Errorf("%w: 0x%02X", errDenied, r.Reasons[0])
		}
		return err
	}
	select {
	case <-up:
		return c, nil
	case err := <-refused:
		c.close()
		return nil, err
	case <-time.After(patience):
		c.close()
		return nil, errTimeout
	}
}

var errTimeout = errors.New("timed out")

func finished(token mqtt.Token) error {
	if !token.WaitTimeout(patience) {
		return errTimeout
	}
	return token.Error()
}

func connectV3(t testing.TB, w *world, s scheme, o options) (*client, error) {
	t.Helper()
	c := &client{messages: make(chan string, 4096), lost: make(chan error, 16)}
	opts := mqtt.NewClientOptions().AddBroker(o.url.String()).SetClientID(o.id).SetTLSConfig(w.trust()).SetProtocolVersion(4).
		SetCleanSession(!o.persistent).SetAutoReconnect(false).SetConnectTimeout(patience).SetWriteTimeout(patience).
		SetOrderMatters(false).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { note(c.lost, err) }).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { note(c.messages, m.Topic()+" "+string(m.Payload())) })
	if o.will != "" {
		opts.SetWill(o.will, "gone", 0, false)
	}
	if s != nil {
		opts = s.WrapV3(opts)
	}
	library := mqtt.NewClient(opts)
	const quiesce = 100 // ms
	c.close = sync.OnceFunc(func() { library.Disconnect(quiesce) })
	t.Cleanup(c.close)
	c.publish = func(topic string, qos byte, retain bool, payload string) error {
		return finished(library.Publish(topic, qos, retain, payload))
	}
	c.subscribe = func(filter string, qos byte) error {
		token := library.Subscribe(filter, qos, nil)
		if err := finished(token); err != nil {
			return err
		}
		if code := token.(*mqtt.SubscribeToken).Result()[filter]; code >= 0x80 {
			return fmt.Errorf("%w: 0x%02X", errDenied, code)
		}
		return nil
	}
	return c, finished(library.Connect())
}
