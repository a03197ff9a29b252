package e2e

import (
	"context"
	"fmt"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// v3Client is paho.mqtt.golang, which speaks MQTT v3.1.1.
type v3Client struct {
	library mqtt.Client
	in      *inbox
}

func connectV3(ctx context.Context, s scheme, o options) (client, error) {
	in := newInbox()
	opts := mqtt.NewClientOptions()
	opts.AddBroker(o.url.String())
	opts.SetClientID(o.id)
	if o.user != "" {
		opts.SetUsername(o.user).SetPassword(anyPassword)
	}
	opts.SetTLSConfig(tlsConfig(o))
	opts.SetCleanSession(!o.persistent)
	opts.SetKeepAlive(time.Minute)
	if o.still {
		opts.SetKeepAlive(0)
	}
	opts.SetConnectTimeout(patience)
	opts.SetMaxReconnectInterval(5 * time.Millisecond)
	opts.SetDefaultPublishHandler(func(_ mqtt.Client, p mqtt.Message) {
		m := message{topic: p.Topic(), payload: p.Payload(), qos: p.Qos(), retain: p.Retained()}
		if o.received != nil {
			o.received(m)
		}
		in.put(m)
	})
	if o.will != nil {
		opts.SetBinaryWill(o.will.topic, o.will.payload, o.will.qos, o.will.retain)
	}
	if o.dir != "" {
		opts.SetStore(mqtt.NewFileStore(o.dir))
	}
	if o.offline {
		opts.SetConnectRetry(true)
		opts.SetConnectRetryInterval(5 * time.Millisecond)
	}
	c := &v3Client{library: mqtt.NewClient(s.WrapV3(opts)), in: in}
	token := c.library.Connect()
	if o.offline {
		return c, nil
	}
	return c, await(ctx, token)
}

// await returns when the library is done with what token stands for.
func await(ctx context.Context, token mqtt.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *v3Client) publish(ctx context.Context, m message) error {
	return await(ctx, c.library.Publish(m.topic, m.qos, m.retain, m.payload))
}

func (c *v3Client) enqueue(_ context.Context, m message) error {
	token := c.library.Publish(m.topic, m.qos, m.retain, m.payload)
	select {
	case <-token.Done():
		return token.Error()
	default:
		return nil
	}
}

func (c *v3Client) subscribe(ctx context.Context, filter string, qos byte) error {
	token := c.library.Subscribe(filter, qos, nil)
	if err := await(ctx, token); err != nil {
		return err
	}
	for _, granted := range token.(*mqtt.SubscribeToken).Result() { // one, under a shared filter's own name
		if granted != qos {
			return fmt.Errorf("the broker granted QoS %d, not %d", granted, qos)
		}
	}
	return nil
}

func (c *v3Client) inbox() *inbox { return c.in }

// quiesce is how many milliseconds the library may spend on a DISCONNECT. It uses all of them where there is no
// connection to send it on, and fewer where there is one.
const quiesce = 500

func (c *v3Client) disconnect(context.Context) error {
	c.library.Disconnect(quiesce)
	return nil
}
