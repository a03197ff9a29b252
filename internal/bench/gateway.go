package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// gatewayGoals are about what stands between clients and a broker of somebody else's. A publisher of paho.golang has
// one message of QoS 1 under way at a time, so that alone it shows how long two more hops take, and several show how
// many messages pass. A Unix socket is the shorter way to a broker on the same machine. Beside socat stands what the
// hops themselves cost: it copies bytes and looks at none of them.
func gatewayGoals() []Goal {
	const one, several = 1, 16
	var goals []Goal
	for _, d := range []entrance{
		{link.V5, one, brokers.TCP, brokers.TCP},
		{link.V5, several, brokers.TCP, brokers.TCP},
		{link.V3, one, brokers.TCP, brokers.TCP},
		{link.V5, one, brokers.TCP, brokers.Unix},
		{link.V5, several, brokers.TCP, brokers.Unix},
		{link.V3, one, brokers.TCP, brokers.Unix},
		{link.V5, several, brokers.TLS, brokers.Unix},
		{link.V3, one, brokers.TLS, brokers.Unix},
	} {
		goals = append(goals, d.goal("mosquitto alone", 0.8, d.alone))
	}
	for _, d := range []entrance{{link.V5, several, brokers.TCP, brokers.TCP}, {link.V3, one, brokers.TCP, brokers.TCP}} {
		goals = append(goals, d.goal("behind socat", 0.95, d.behindSocat))
	}
	return goals
}

// entrance is a way to mosquitto: how many publishers of which library go through it, over which transport, and over
// which one the gateway reaches the broker.
type entrance struct {
	client           link.Client
	publishers       int
	transport, inner string
}

func (d entrance) traffic() traffic { return traffic{d.client, mosquitto, d.transport, 1, 64} }

// goal compares traffic behind the gateway with what beside sets up at the same broker.
func (d entrance) goal(name string, limit float64, beside func(context.Context, *stage) (Side, error)) Goal {
	what := "behind the gateway / " + name + ", " + d.traffic().String()
	if d.publishers > 1 {
		what += fmt.Sprintf(", %d publishers", d.publishers)
	}
	if d.inner == brokers.Unix {
		what += ", behind by a Unix socket"
	}
	return Goal{
		ID: "G1", What: what, Limit: limit, AtLeast: true, Batch: 60 * time.Millisecond, Rounds: 61,
		Setup: func(ctx context.Context) (_ Pair, err error) {
			s := new(stage)
			defer func() {
				if err != nil {
					err = errors.Join(err, s.close())
				}
			}()
			if s.broker, err = start(ctx, mosquitto); err != nil {
				return Pair{}, err
			}
			s.closers = append(s.closers, s.broker.Close)
			behind, err := d.behind(ctx, s)
			if err != nil {
				return Pair{}, err
			}
			other, err := beside(ctx, s)
			return Pair{A: behind, B: other, Close: s.close}, err
		},
	}
}

// stage is a broker and what stands around it.
type stage struct {
	broker  brokers.Broker
	closers []func() error
}

func (s *stage) close() error {
	var errs []error
	for i := len(s.closers) - 1; i >= 0; i-- {
		errs = append(errs, s.closers[i]())
	}
	return errors.Join(errs...)
}

// behind is the traffic through a gateway, in a process of its own.
func (d entrance) behind(ctx context.Context, s *stage) (Side, error) {
	gateway, err := brokers.StartGateway(ctx, s.broker.URL(d.inner))
	if errors.Is(err, brokers.ErrNotInstalled) {
		err = &missing{err, installGo}
	}
	if err != nil {
		return Side{}, err
	}
	s.closers = append(s.closers, gateway.Close)
	return d.side(ctx, s, gateway.URL(d.transport), gateway.RootCAs(), "bench/behind")
}

// alone is the traffic with the broker itself.
func (d entrance) alone(ctx context.Context, s *stage) (Side, error) {
	return d.side(ctx, s, s.broker.URL(d.transport), s.broker.RootCAs(), "bench/alone")
}

// behindSocat is the traffic through socat.
func (d entrance) behindSocat(ctx context.Context, s *stage) (Side, error) {
	socat, err := brokers.StartSocat(ctx, s.broker.URL(brokers.TCP))
	if errors.Is(err, brokers.ErrNotInstalled) {
		err = &missing{err, "apt-get install socat"}
	}
	if err != nil {
		return Side{}, err
	}
	s.closers = append(s.closers, socat.Close)
	return d.side(ctx, s, socat.URL(), nil, "bench/socat")
}

// side is traffic with a broker at u.
func (d entrance) side(ctx context.Context, s *stage, u *url.URL, roots *x509.CertPool, topic string) (Side, error) {
	t := d.traffic()
	links, err := openLinks(ctx, d.publishers, link.Config{
		Broker: link.Broker{URL: u, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}},
		Client: t.client, Topic: topic, QoS: t.qos, Size: t.size,
	})
	s.closers = append(s.closers, links.close)
	return Side{Run: func(n int) error { return links.send(ctx, n) }}, err
}

// links are several that are busy at the same time.
type links []*link.Link

// openLinks opens n links, each on a topic of its own. With an error it returns those that it has opened.
func openLinks(ctx context.Context, n int, cfg link.Config) (links, error) {
	var ls links
	topic := cfg.Topic
	for i := range n {
		cfg.Topic = fmt.Sprintf("%s/%d", topic, i)
		l, err := link.Open(ctx, cfg)
		if err != nil {
			return ls, err
		}
		ls = append(ls, l)
	}
	return ls, nil
}

// send sends n messages in all.
func (ls links) send(ctx context.Context, n int) error {
	errs := make([]error, len(ls))
	var sending sync.WaitGroup
	for i, l := range ls {
		share := n / len(ls)
		if i < n%len(ls) {
			share++
		}
		sending.Go(func() { errs[i] = l.Send(ctx, share) })
	}
	sending.Wait()
	return errors.Join(errs...)
}

func (ls links) close() error {
	var errs []error
	for _, l := range ls {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}
