// Package link sends messages from one MQTT client to another through a broker, as
// fast as they go without losing one, and one by one to see how long each takes.
//
// Both ends are the real clients, paho.golang or paho.mqtt.golang, in the way that an
// application uses them: one goroutine publishes, a callback receives.
package link

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// Client says which client library both ends use.
type Client string

// The client libraries.
const (
	V5 Client = "v5" // paho.golang with autopaho, MQTT 5
	V3 Client = "v3" // paho.mqtt.golang, MQTT 3.1.1
)

// Scheme is what makes client options secure: every scheme of this module.
type Scheme interface {
	Wrap(autopaho.ClientConfig) autopaho.ClientConfig
	WrapV3(*mqtt.ClientOptions) *mqtt.ClientOptions
}

// Broker is the broker to go through and how to get in.
type Broker struct {
	URL            *url.URL
	TLS            *tls.Config // nil for the system's roots
	User, Password string
}

// Config is what a Link consists of.
type Config struct {
	Broker Broker
	Client Client
	// Scheme may be nil: the client is then as it comes.
	Scheme Scheme
	// Topic is one that nobody else uses.
	Topic string
	// QoS is that of publication and subscription, 0 or 1.
	QoS byte
	// Size is that of each payload in bytes.
	Size int
}

const (
	// window is how many messages may be under way, fewer if these are more than inFlight bytes, but always some.
	// Brokers queue a thousand and more for a subscriber before they drop any.
	window   = 256
	inFlight = 16 << 20
	some     = 8
	// patience is how long nothing may arrive.
	patience = time.Minute
)

// Link is a publisher and a subscriber. It is for one goroutine.
type Link struct {
	config    Config
	payload   []byte
	flow      flow
	publisher publisher
	closers   []func() error
}

// publisher is a connected client of either library.
type publisher interface {
	publish(ctx context.Context, topic string, payload []byte, qos byte) error
	// settle returns when all that was published at QoS 1 is acknowledged.
	settle(ctx context.Context) error
	close() error
}

// Open connects both ends.
func Open(ctx context.Context, cfg Config) (*Link, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	l := &Link{config: cfg, payload: make([]byte, cfg.Size), flow: newFlow(cfg.Size)}
	// Nothing that could be compressed or recognised, should somebody try.
	rand.Read(l.payload)
	receive, err := subscribe(ctx, cfg, l.flow.receive)
	if err != nil {
		return nil, fmt.Errorf("link: subscriber: %w", err)
	}
	l.closers = append(l.closers, receive)
	l.publisher, err = connect(ctx, cfg)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("link: publisher: %w", err), l.Close())
	}
	l.closers = append(l.closers, l.publisher.close)
	return l, nil
}

// Connect connects a publisher, from dialing to CONNACK, and returns what disconnects it.
func Connect(ctx context.Context, cfg Config) (disconnect func() error, err error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	p, err := connect(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	return p.close, nil
}

// Send publishes n messages and returns when all of them have arrived.
func (l *Link) Send(ctx context.Context, n int) error {
	for range n {
		if err := l.flow.admit(ctx); err != nil {
			return err
		}
		if err := l.publisher.publish(ctx, l.config.Topic, l.payload, l.config.QoS); err != nil {
			return fmt.Errorf("link: %w", err)
		}
	}
	if err := l.flow.drain(ctx); err != nil {
		return err
	}
	return l.publisher.settle(ctx)
}

// Delay publishes one message and returns how long it took from the call to the
// subscriber's callback.
func (l *Link) Delay(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	if err := l.Send(ctx, 1); err != nil {
		return 0, err
	}
	return l.flow.arrived().Sub(start), nil
}

// Close disconnects both ends.
func (l *Link) Close() error {
	var errs []error
	for _, f := range l.closers {
		errs = append(errs, f())
	}
	l.closers = nil
	return errors.Join(errs...)
}

func connect(ctx context.Context, cfg Config) (publisher, error) {
	if cfg.Client == V3 {
		return connectV3(ctx, cfg, nil)
	}
	return connectV5(ctx, cfg, nil)
}

// subscribe connects a subscriber that hands every payload to receive.
func subscribe(ctx context.Context, cfg Config, receive func([]byte)) (func() error, error) {
	if cfg.Client == V3 {
		return subscribeV3(ctx, cfg, receive)
	}
	return subscribeV5(ctx, cfg, receive)
}

// clientID is a new one for each connection.
func clientID() string { return "bench-" + rand.Text()[:12] }
