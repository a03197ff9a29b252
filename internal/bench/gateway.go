package bench

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// gatewayGoals are about what stands between clients and a broker of somebody else's. A publisher of paho.golang has
// one message of QoS 1 under way at a time, so that alone it shows how long two more hops take, and several show how
// many messages pass.
func gatewayGoals() []Goal {
	const several = 16
	var goals []Goal
	for _, g := range []struct {
		client link.Client
		links  int
	}{{link.V5, 1}, {link.V5, several}, {link.V3, 1}} {
		t := traffic{g.client, mosquitto, brokers.TCP, 1, 64}
		what := "behind the gateway / mosquitto alone, " + t.String()
		if g.links > 1 {
			what += fmt.Sprintf(", %d publishers", g.links)
		}
		goals = append(goals, Goal{
			ID: "G1", What: what, Limit: 0.8, AtLeast: true, Batch: 60 * time.Millisecond, Rounds: 61,
			Setup: func(ctx context.Context) (Pair, error) { return gatewayPair(ctx, t, g.links) },
		})
	}
	return goals
}

// gatewayPair is traffic with a broker and through a gateway, in a process of its own, with the same broker.
func gatewayPair(ctx context.Context, t traffic, publishers int) (_ Pair, err error) {
	var closers []func() error
	closeAll := func() error {
		var errs []error
		for i := len(closers) - 1; i >= 0; i-- {
			errs = append(errs, closers[i]())
		}
		return errors.Join(errs...)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, closeAll())
		}
	}()
	broker, err := start(ctx, t.broker)
	if err != nil {
		return Pair{}, err
	}
	closers = append(closers, broker.Close)
	gateway, err := brokers.StartGateway(ctx, broker.URL(brokers.TCP))
	if err != nil {
		if errors.Is(err, brokers.ErrNotInstalled) {
			err = &missing{err, installGo}
		}
		return Pair{}, err
	}
	closers = append(closers, gateway.Close)
	side := func(at brokers.Broker, topic string) (Side, error) {
		links, err := openLinks(ctx, publishers, link.Config{
			Broker: link.Broker{URL: at.URL(brokers.TCP)}, Client: t.client, Topic: topic, QoS: t.qos, Size: t.size,
		})
		closers = append(closers, links.close)
		return Side{Run: func(n int) error { return links.send(ctx, n) }}, err
	}
	alone, err := side(broker, "bench/alone")
	if err != nil {
		return Pair{}, err
	}
	behind, err := side(gateway, "bench/behind")
	if err != nil {
		return Pair{}, err
	}
	return Pair{A: behind, B: alone, Close: closeAll}, nil
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
