package bench

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"runtime"

	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/bench/meter"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/present"
)

// idleGoals are about what does nothing.
func idleGoals() []Goal {
	var goals []Goal
	count := func(what, of string, limit float64, figure func(context.Context) (float64, error)) {
		goals = append(goals, Goal{ID: "F2", What: what, Of: of, Limit: limit, Count: func(ctx context.Context) (a, b float64, err error) {
			a, err = figure(ctx)
			return a, 0, err
		}})
	}
	for _, client := range []link.Client{link.V5, link.V3} {
		for _, transport := range []string{brokers.TCP, brokers.TLS} {
			what := fmt.Sprintf("an idle client, wrapped - plain, %s, %s", client, transport)
			var bytes, goroutines float64
			measured := false // by whichever goal comes first
			measure := func(ctx context.Context) (err error) {
				if !measured {
					bytes, goroutines, err = idleMore(ctx, client, transport)
					measured = err == nil
				}
				return err
			}
			count(what, "KiB", 8, func(ctx context.Context) (float64, error) {
				err := measure(ctx)
				return bytes / 1024, err
			})
			count("goroutines, "+what, "more", 0, func(ctx context.Context) (float64, error) {
				err := measure(ctx)
				return goroutines, err
			})
		}
	}
	count("an unused Sealer of aesmsg", "KiB", 8, func(context.Context) (float64, error) {
		return unused(func() (any, error) { return newAES("site/#") })
	})
	count("an unused Sealer of present", "KiB", 8, func(context.Context) (float64, error) {
		return unused(func() (any, error) {
			key, err := present.GenerateKey("site/#")
			if err != nil {
				return nil, err
			}
			return present.New(present.Config{Keys: []present.Key{key}})
		})
	})
	return goals
}

// unused returns how many KiB one of what is made takes.
func unused(one func() (any, error)) (float64, error) {
	const n = 256
	all := make([]any, n)
	var err error
	if all[0], err = one(); err != nil { // with it comes what all share
		return 0, err
	}
	before := inUse()
	for i := range all {
		if all[i], err = one(); err != nil {
			return 0, err
		}
	}
	taken := inUse() - before
	runtime.KeepAlive(all)
	return float64(taken) / n / 1024, nil
}

// idleMore returns how many bytes and goroutines a client has more that is wrapped, when it has sent and received a
// message and does nothing. The clients have one Sealer: what it takes itself is another goal.
func idleMore(ctx context.Context, client link.Client, transport string) (bytes, goroutines float64, err error) {
	sealer, err := newAES("#")
	if err != nil {
		return 0, 0, err
	}
	broker, err := brokers.StartEmbedded(brokers.Config{})
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	// What else is on the heap comes and goes, and stacks come from larger pieces: the median of several.
	const n, times = 64, 5
	var moreBytes, moreGoroutines []float64
	for range times {
		var each [2][2]float64
		for i, scheme := range []link.Scheme{nil, sealer} {
			cfg := link.Config{Client: client, Scheme: scheme, Size: 64, QoS: 1}
			if each[i], err = idle(ctx, broker, cfg, transport, n); err != nil {
				return 0, 0, err
			}
		}
		moreBytes = append(moreBytes, each[1][0]-each[0][0])
		moreGoroutines = append(moreGoroutines, each[1][1]-each[0][1])
	}
	return meter.Median(moreBytes), meter.Median(moreGoroutines), nil
}

// idle returns the bytes and goroutines of a client.
func idle(ctx context.Context, broker *brokers.Embedded, cfg link.Config, transport string, n int) (each [2]float64, err error) {
	cfg.Broker = link.Broker{URL: broker.URL(transport), TLS: &tls.Config{RootCAs: broker.RootCAs(), MinVersion: tls.VersionTLS12}}
	var all []*link.Link
	defer func() {
		for _, l := range all {
			err = errors.Join(err, l.Close())
		}
	}()
	open := func() error {
		cfg.Topic = fmt.Sprintf("bench/%d", len(all))
		l, err := link.Open(ctx, cfg)
		if err != nil {
			return err
		}
		all = append(all, l)
		return l.Send(ctx, 1)
	}
	if err := open(); err != nil { // with it comes what all share
		return each, err
	}
	bytes, goroutines := inUse(), runtime.NumGoroutine()
	for range n {
		if err := open(); err != nil {
			return each, err
		}
	}
	const clients = 2 // of a link
	each[0] = float64(inUse()-bytes) / float64(n) / clients
	each[1] = float64(runtime.NumGoroutine()-goroutines) / float64(n) / clients
	return each, nil
}
