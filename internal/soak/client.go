package soak

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/steady"
)

// scheme is what goes under a client.
type scheme interface {
	Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig
	WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions
}

// options describe a client of either library, whose session goes on when the connection does not.
type options struct {
	id       string
	urls     []*url.URL // each is tried when those before it fail
	user     string     // empty for none
	password string     // of user; empty for any
	trust    *tls.Config
	scheme   scheme // nil for none
	filter   string // to subscribe to; empty for none
	qos      byte
	received func(topic string, payload []byte)
	lost     func(error) // a connection, for this reason; nil if nobody wants to know
}

// noteLost tells of a connection that has ended.
func (o *options) noteLost(err error) {
	if o.lost != nil {
		o.lost(err)
	}
}

// secret is the password that goes with user.
func (o *options) secret() string {
	if o.password == "" {
		return anyPassword
	}
	return o.password
}

// client is an application.
type client struct {
	publish func(ctx context.Context, topic string, qos byte, payload []byte) error
	close   func()
	ready   chan struct{} // closed when it is connected, and subscribed, for the first time
}

// reconnect is how soon clients come back, and patience how long one waits for them at the end.
const (
	reconnect = 50 * time.Millisecond
	patience  = time.Minute
)

// anyPassword is for brokers that want one, whichever.
const anyPassword = "any"

// refusedSubscription is the return code of SUBACK for a subscription that was not granted (MQTT 3.1.1, 3.9.3). The
// library takes it for a success.
const refusedSubscription = 0x80

var errRefused = errors.New("soak: refused")

func startV5(o options) (*client, error) {
	life, stop := context.WithCancel(context.Background())
	c := &client{ready: make(chan struct{})}
	ready := sync.OnceFunc(func() { close(c.ready) })
	cfg := autopaho.ClientConfig{
		ServerUrls: o.urls, TlsCfg: o.trust, KeepAlive: 10, ConnectTimeout: 5 * time.Second,
		SessionExpiryInterval: 3600,
		ReconnectBackoff:      func(int) time.Duration { return reconnect },
		OnConnectionUp: func(cm *autopaho.ConnectionManager, connack *paho.Connack) {
			if o.filter == "" || connack.SessionPresent {
				ready()
				return
			}
			go func() {
				for {
					suback, err := cm.Subscribe(life, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: o.filter, QoS: o.qos}}})
					if err == nil {
						ready()
						return
					}
					if suback == nil {
						return // the connection is gone, and the next one tries again
					}
					time.Sleep(reconnect)
				}
			}()
		},
		ClientConfig: paho.ClientConfig{
			ClientID:      o.id,
			OnClientError: o.noteLost,
			OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
				if o.received != nil {
					o.received(p.Packet.Topic, p.Packet.Payload)
				}
				return true, nil
			}},
		},
	}
	if o.user != "" {
		cfg.ConnectUsername, cfg.ConnectPassword = o.user, []byte(o.secret())
	}
	if o.scheme != nil {
		cfg = o.scheme.Wrap(cfg)
	}
	cfg.Session = steady.Session(state.NewInMemory())
	manager, err := autopaho.NewConnection(life, cfg)
	if err != nil {
		stop()
		return nil, err
	}
	c.publish = func(ctx context.Context, topic string, qos byte, payload []byte) error {
		r, err := manager.Publish(ctx, &paho.Publish{Topic: topic, QoS: qos, Payload: payload})
		if r != nil && r.ReasonCode >= 0x80 {
			return fmt.Errorf("%w: 0x%02X", errRefused, r.ReasonCode)
		}
		return err
	}
	c.close = func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = manager.Disconnect(ctx) // there may be no connection
		stop()
		<-manager.Done()
	}
	return c, nil
}

func startV3(o options) (*client, error) {
	c := &client{ready: make(chan struct{})}
	ready := sync.OnceFunc(func() { close(c.ready) })
	opts := mqtt.NewClientOptions().SetClientID(o.id).SetTLSConfig(o.trust).SetProtocolVersion(4).
		SetCleanSession(false).SetKeepAlive(10 * time.Second).SetConnectTimeout(5 * time.Second).SetWriteTimeout(5 * time.Second).
		SetMaxReconnectInterval(reconnect).SetConnectRetry(true).SetConnectRetryInterval(reconnect).
		SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
			if o.received != nil {
				o.received(m.Topic(), m.Payload())
			}
		}).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { o.noteLost(err) }).
		SetOnConnectHandler(func(library mqtt.Client) {
			if o.filter == "" {
				ready()
				return
			}
			for {
				token := library.Subscribe(o.filter, o.qos, nil).(*mqtt.SubscribeToken)
				if !token.WaitTimeout(patience) || token.Error() != nil {
					return // the connection is gone, and the next one tries again
				}
				if token.Result()[o.filter] < refusedSubscription {
					ready()
					return
				}
				time.Sleep(reconnect)
			}
		})
	for _, u := range o.urls {
		opts.AddBroker(u.String())
	}
	if o.user != "" {
		opts.SetUsername(o.user).SetPassword(o.secret())
	}
	if o.scheme != nil {
		opts = o.scheme.WrapV3(opts)
	}
	library := mqtt.NewClient(opts)
	library.Connect() // tries until it succeeds
	c.publish = func(ctx context.Context, topic string, qos byte, payload []byte) error {
		token := library.Publish(topic, qos, false, payload)
		select {
		case <-token.Done():
			return token.Error()
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	const quiesce = 100 // ms
	c.close = func() { library.Disconnect(quiesce) }
	return c, nil
}
