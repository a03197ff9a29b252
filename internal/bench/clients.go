package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/plug"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// traffic is what the messages of one comparison have in common.
type traffic struct {
	client    link.Client
	broker    string
	transport string
	qos       byte
	size      int
}

func (t traffic) String() string {
	size := fmt.Sprintf("%d B", t.size)
	switch {
	case t.size >= 1<<20:
		size = fmt.Sprintf("%d MiB", t.size>>20)
	case t.size >= 1<<10:
		size = fmt.Sprintf("%d KiB", t.size>>10)
	}
	return fmt.Sprintf("%s, %s, %s, QoS %d, %s", t.client, t.broker, t.transport, t.qos, size)
}

const (
	embedded  = "mochi"
	mosquitto = "mosquitto"
)

// clientGoals are about a publisher and a subscriber: what a message costs beside all
// that client and broker do for it.
func clientGoals() []Goal {
	sealed := func() (link.Scheme, error) { return newAES("#") }
	layered := func() (link.Scheme, error) { return identity{}, nil }
	clients := []link.Client{link.V5, link.V3}

	var m1, m2, m3, m4 []Goal
	for _, broker := range []string{embedded, mosquitto} {
		for _, client := range clients {
			m1 = append(m1, messages("M1", "sealed / plain", 0.97, traffic{client, broker, brokers.TCP, 0, 64}, sealed))
			m2 = append(m2, messages("M2", "sealed / plain", 0.95, traffic{client, broker, brokers.TCP, 0, 1024}, sealed))
			for _, transport := range []string{brokers.TCP, brokers.TLS} {
				limit := 0.97
				if client == link.V5 && transport == brokers.TLS {
					limit = 1
				}
				m3 = append(m3, messages("M3", "identity layer / bare", limit, traffic{client, broker, transport, 0, 64}, layered))
			}
		}
		m4 = append(m4, messages("M4", "sealed / plain", 1.2, traffic{link.V5, broker, brokers.TLS, 1, 64}, sealed))
	}
	var all []Goal
	for _, goals := range [][]Goal{m1, m2, m3, m4} {
		all = append(all, goals...)
	}
	return all
}

// messages is the goal for the rate of messages with a scheme, over that without.
func messages(id, what string, limit float64, t traffic, scheme func() (link.Scheme, error)) Goal {
	return Goal{
		ID: id, What: what + ", " + t.String(), Limit: limit, AtLeast: true,
		// Long enough for the goroutines of both clients and the broker to settle.
		Batch: 60 * time.Millisecond, Rounds: 61,
		Setup: func(ctx context.Context) (Pair, error) {
			s, err := scheme()
			if err != nil {
				return Pair{}, err
			}
			return linkPair(ctx, t, s)
		},
	}
}

// linkPair connects two publishers and two subscribers to a broker of their own: with the scheme, and without.
func linkPair(ctx context.Context, t traffic, scheme link.Scheme) (Pair, error) {
	return linksPair(ctx, t, scheme, t.transport)
}

// linksPair is linkPair with another transport where the scheme is not.
func linksPair(ctx context.Context, t traffic, scheme link.Scheme, bareTransport string) (Pair, error) {
	links, err := openTwins(ctx, t, scheme, bareTransport)
	if err != nil {
		return Pair{}, err
	}
	return Pair{
		A:     Side{Run: func(n int) error { return links.with.Send(ctx, n) }},
		B:     Side{Run: func(n int) error { return links.bare.Send(ctx, n) }},
		Close: links.close,
	}, nil
}

// twins are two links that are to be compared, and the broker that both go through.
type twins struct {
	broker     brokers.Broker
	with, bare *link.Link
}

func openTwins(ctx context.Context, t traffic, scheme link.Scheme, bareTransport string) (*twins, error) {
	broker, err := start(ctx, t.broker)
	if err != nil {
		return nil, err
	}
	cfg := link.Config{
		Broker: link.Broker{
			URL: broker.URL(bareTransport),
			TLS: &tls.Config{RootCAs: broker.RootCAs(), MinVersion: tls.VersionTLS12},
		},
		Client: t.client,
		Topic:  "bench/a/temperature",
		QoS:    t.qos,
		Size:   t.size,
	}
	bare, err := link.Open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, broker.Close())
	}
	cfg.Broker.URL, cfg.Scheme, cfg.Topic = broker.URL(t.transport), scheme, "bench/b/temperature"
	with, err := link.Open(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, bare.Close(), broker.Close())
	}
	return &twins{broker, with, bare}, nil
}

func (l *twins) close() error { return errors.Join(l.with.Close(), l.bare.Close(), l.broker.Close()) }

// start starts a broker by its name.
func start(ctx context.Context, name string) (brokers.Broker, error) {
	if name == embedded {
		return brokers.StartEmbedded(brokers.Config{})
	}
	b, err := brokers.StartMosquitto(ctx, brokers.Config{})
	if errors.Is(err, brokers.ErrNoMosquitto) {
		return nil, &missing{err, "apt-get install mosquitto"}
	}
	return b, err
}

// identity is the connection layer with nothing to do: what every scheme costs before
// it does its own work.
type identity struct{}

// Conn returns conn seen through a filter that lets everything pass.
func (identity) Conn(_ context.Context, conn net.Conn) (net.Conn, error) {
	return layer.New(conn, pass{}), nil
}

// Wrap puts the layer under paho.golang.
func (s identity) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig { return plug.V5(cfg, s) }

// WrapV3 puts the layer under paho.mqtt.golang.
func (s identity) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions { return plug.V3(opts, s) }

// pass is a filter that lets everything pass.
type pass struct{}

// Outgoing returns p.
func (pass) Outgoing(_ *layer.Conn, p wire.Packet) (wire.Packet, error) { return p, nil }

// Incoming returns p.
func (pass) Incoming(_ *layer.Conn, p wire.Packet) (wire.Packet, error) { return p, nil }

// Closed does nothing.
func (pass) Closed() {}
