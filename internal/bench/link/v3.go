package link

import (
	"context"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

type publisherV3 struct {
	client mqtt.Client
	last   mqtt.Token
}

// connectV3 connects a client of paho.mqtt.golang.
func connectV3(ctx context.Context, cfg Config, receive func([]byte)) (*publisherV3, error) {
	options := mqtt.NewClientOptions().
		AddBroker(cfg.Broker.URL.String()).
		SetClientID(clientID()).
		SetProtocolVersion(4).
		SetConnectTimeout(patience).
		SetKeepAlive(0). // as for v5
		SetAutoReconnect(false).
		SetUsername(cfg.Broker.User).
		SetPassword(cfg.Broker.Password)
	if cfg.Broker.TLS != nil {
		options.SetTLSConfig(cfg.Broker.TLS)
	}
	if receive != nil {
		options.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) { receive(m.Payload()) })
	}
	if cfg.Scheme != nil {
		options = cfg.Scheme.WrapV3(options)
	}
	client := mqtt.NewClient(options)
	if err := completed(ctx, client.Connect()); err != nil {
		client.Disconnect(0)
		return nil, err
	}
	return &publisherV3{client: client}, nil
}

func completed(ctx context.Context, token mqtt.Token) error {
	select {
	case <-token.Done():
		return token.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (p *publisherV3) publish(_ context.Context, topic string, payload []byte, qos byte) error {
	p.last = p.client.Publish(topic, qos, false, payload)
	return nil
}

// settle waits for the last message's token: acknowledgements come in order.
func (p *publisherV3) settle(ctx context.Context) error {
	if p.last == nil {
		return nil
	}
	return completed(ctx, p.last)
}

func (p *publisherV3) close() error {
	const quiesce = 250 // milliseconds, for what is still to be written
	p.client.Disconnect(quiesce)
	return nil
}

func subscribeV3(ctx context.Context, cfg Config, receive func([]byte)) (func() error, error) {
	c, err := connectV3(ctx, cfg, receive)
	if err != nil {
		return nil, err
	}
	if err := completed(ctx, c.client.Subscribe(cfg.Topic, cfg.QoS, nil)); err != nil {
		_ = c.close() // the subscription's error says more
		return nil, err
	}
	return c.close, nil
}
