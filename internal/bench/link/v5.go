package link

import (
	"context"
	"fmt"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

type publisherV5 struct {
	manager *autopaho.ConnectionManager
	end     context.CancelFunc // of all that the manager does
}

// connectV5 connects a client of paho.golang. Its first failure to connect is its last.
func connectV5(ctx context.Context, cfg Config, receive func([]byte)) (*publisherV5, error) {
	failed := make(chan error, 1)
	options := autopaho.ClientConfig{
		ServerUrls:                    []*url.URL{cfg.Broker.URL},
		TlsCfg:                        cfg.Broker.TLS,
		KeepAlive:                     0, // else it sends a PINGREQ right at the start, which somebody would count
		CleanStartOnInitialConnection: true,
		ConnectTimeout:                patience,
		ConnectUsername:               cfg.Broker.User,
		ConnectPassword:               []byte(cfg.Broker.Password),
		ReconnectBackoff:              backoff,
		OnConnectError: func(err error) {
			select {
			case failed <- err:
			default:
			}
		},
		ClientConfig: paho.ClientConfig{ClientID: clientID(), PacketTimeout: patience},
	}
	if receive != nil {
		options.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			receive(p.Packet.Payload)
			return true, nil
		}}
	}
	if cfg.Scheme != nil {
		options = cfg.Scheme.Wrap(options)
	}
	// The connection outlives ctx, which bounds its making.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	manager, err := autopaho.NewConnection(life, options)
	if err != nil {
		end()
		return nil, err
	}
	up := make(chan error, 1)
	go func() { up <- manager.AwaitConnection(ctx) }()
	select {
	case err = <-up:
	case err = <-failed:
	}
	if err != nil {
		end()
		<-manager.Done()
		return nil, err
	}
	return &publisherV5{manager: manager, end: end}, nil
}

// backoff is no time before the first attempt, for which autopaho asks too.
func backoff(attempt int) time.Duration {
	if attempt == 0 {
		return 0
	}
	return time.Second
}

func (p *publisherV5) publish(ctx context.Context, topic string, payload []byte, qos byte) error {
	r, err := p.manager.Publish(ctx, &paho.Publish{Topic: topic, Payload: payload, QoS: qos})
	if err == nil && r != nil && r.ReasonCode >= 0x80 {
		err = fmt.Errorf("PUBACK with reason 0x%02X", r.ReasonCode)
	}
	return err
}

// settle has nothing to wait for: Publish returns with the acknowledgement.
func (p *publisherV5) settle(context.Context) error { return nil }

func (p *publisherV5) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	defer p.end()
	return p.manager.Disconnect(ctx)
}

func subscribeV5(ctx context.Context, cfg Config, receive func([]byte)) (func() error, error) {
	c, err := connectV5(ctx, cfg, receive)
	if err != nil {
		return nil, err
	}
	_, err = c.manager.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: cfg.Topic, QoS: cfg.QoS}}})
	if err != nil {
		_ = c.close() // the subscription's error says more
		return nil, err
	}
	return c.close, nil
}
