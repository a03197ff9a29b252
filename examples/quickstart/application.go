package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// This file is the application: ordinary code for two MQTT client libraries.
// It knows nothing of sealing. Whether its payloads are sealed depends on the
// client options that it is given, and on nothing else.

// A message is what an application gets to see of a publication.
type message struct {
	topic   string
	payload []byte
}

// A client can connect to the broker that its options name.
type client interface {
	connect(ctx context.Context) (connection, error)
}

// A connection is all that the application needs of an MQTT client.
type connection interface {
	subscribe(ctx context.Context, filter string) error
	publish(ctx context.Context, topic string, payload []byte) error
	messages() <-chan message // what the subscriptions bring
	close()
}

// exchange publishes text on topic with one client and returns what the other
// one received.
func exchange(ctx context.Context, publisher, subscriber client, topic, text string) (string, error) {
	to, err := subscriber.connect(ctx)
	if err != nil {
		return "", err
	}
	defer to.close()
	if err := to.subscribe(ctx, topic); err != nil {
		return "", err
	}
	from, err := publisher.connect(ctx)
	if err != nil {
		return "", err
	}
	defer from.close()
	if err := from.publish(ctx, topic, []byte(text)); err != nil {
		return "", err
	}
	m, err := receive(ctx, to)
	return string(m.payload), err
}

// receive waits for the next message of a connection.
func receive(ctx context.Context, c connection) (message, error) {
	select {
	case m := <-c.messages():
		return m, nil
	case <-ctx.Done():
		return message{}, fmt.Errorf("no message arrived: %w", context.Cause(ctx))
	}
}

// v5 is a client of paho.golang: MQTT 5.
type v5 autopaho.ClientConfig

type v5Connection struct {
	manager  *autopaho.ConnectionManager
	incoming chan message
	stop     context.CancelFunc
}

func (c v5) connect(ctx context.Context) (connection, error) {
	lifetime, stop := context.WithCancel(ctx)
	conn := &v5Connection{incoming: make(chan message, 16), stop: stop}
	failed := make(chan error, 1)

	cfg := autopaho.ClientConfig(c)
	cfg.OnConnectError = func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	cfg.OnPublishReceived = append(cfg.OnPublishReceived, func(p paho.PublishReceived) (bool, error) {
		select {
		case conn.incoming <- message{p.Packet.Topic, p.Packet.Payload}:
		case <-lifetime.Done():
		}
		return true, nil
	})
	manager, err := autopaho.NewConnection(lifetime, cfg)
	if err != nil {
		stop()
		return nil, err
	}
	conn.manager = manager

	up := make(chan struct{})
	go func() {
		if manager.AwaitConnection(lifetime) == nil {
			close(up)
		}
	}()
	select {
	case <-up:
	case err = <-failed: // autopaho would try again for ever; one attempt tells enough here
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.close()
		return nil, err
	}
	return conn, nil
}

func (c *v5Connection) messages() <-chan message { return c.incoming }

func (c *v5Connection) subscribe(ctx context.Context, filter string) error {
	_, err := c.manager.Subscribe(ctx, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}},
	})
	return err
}

func (c *v5Connection) publish(ctx context.Context, topic string, payload []byte) error {
	_, err := c.manager.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: payload})
	return err
}

func (c *v5Connection) close() {
	c.stop()
	<-c.manager.Done()
}

// v3 is a client of paho.mqtt.golang: MQTT 3.1.1.
type v3 mqtt.ClientOptions

type v3Connection struct {
	client   mqtt.Client
	incoming chan message
	closed   chan struct{}
}

func (c *v3) connect(ctx context.Context) (connection, error) {
	client := mqtt.NewClient((*mqtt.ClientOptions)(c))
	conn := &v3Connection{client, make(chan message, 16), make(chan struct{})}
	if err := done(ctx, client.Connect()); err != nil {
		conn.close()
		return nil, err
	}
	return conn, nil
}

func (c *v3Connection) messages() <-chan message { return c.incoming }

func (c *v3Connection) subscribe(ctx context.Context, filter string) error {
	token := c.client.Subscribe(filter, 1, func(_ mqtt.Client, m mqtt.Message) {
		select {
		case c.incoming <- message{m.Topic(), m.Payload()}:
		case <-c.closed:
		}
	})
	if err := done(ctx, token); err != nil {
		return err
	}
	if granted := token.(*mqtt.SubscribeToken).Result(); granted[filter] > 2 {
		return errors.New("the broker refuses to subscribe " + filter)
	}
	return nil
}

func (c *v3Connection) publish(ctx context.Context, topic string, payload []byte) error {
	return done(ctx, c.client.Publish(topic, 1, false, payload))
}

func (c *v3Connection) close() {
	close(c.closed)
	c.client.Disconnect(250)
}

// done waits for what paho.mqtt.golang has started.
func done(ctx context.Context, token mqtt.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
