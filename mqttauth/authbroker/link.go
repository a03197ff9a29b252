package authbroker

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
)

// link is a connection to a broker that comes back by itself, with one subscription.
type link struct {
	manager *autopaho.ConnectionManager
}

// farewell bounds the DISCONNECT.
const farewell = 2 * time.Second

// newLink connects in the background. up is called each time that the subscription stands.
func newLink(ctx context.Context, cfg autopaho.ClientConfig, prefix, filter string, receive func(*paho.Publish), up func()) (*link, error) {
	if cfg.ClientID == "" {
		cfg.ClientID = prefix + strings.ToLower(rand.Text()[:12])
	}
	if cfg.KeepAlive == 0 {
		cfg.KeepAlive = 30
	}
	before := cfg.OnConnectionUp
	cfg.OnConnectionUp = func(m *autopaho.ConnectionManager, connack *paho.Connack) {
		if before != nil {
			before(m, connack)
		}
		// The next connection tries again if this one refuses or breaks.
		_, err := m.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
		if err == nil {
			up()
		}
	}
	cfg.OnPublishReceived = append(cfg.OnPublishReceived[:len(cfg.OnPublishReceived):len(cfg.OnPublishReceived)],
		func(p paho.PublishReceived) (bool, error) {
			receive(p.Packet)
			return true, nil
		})
	// The connection outlives ctx for as long as its DISCONNECT takes.
	manager, err := autopaho.NewConnection(context.WithoutCancel(ctx), cfg)
	if err != nil {
		return nil, fmt.Errorf("authbroker: connecting to the broker: %w", err)
	}
	return &link{manager}, nil
}

func (l *link) publish(ctx context.Context, topic string, payload []byte, qos byte) error {
	_, err := l.manager.Publish(ctx, &paho.Publish{Topic: topic, Payload: payload, QoS: qos})
	return err
}

// close says goodbye. A broker that is away is no error.
func (l *link) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_ = l.manager.Disconnect(ctx)
	select {
	case <-l.manager.Done():
	case <-ctx.Done():
	}
	return nil
}
