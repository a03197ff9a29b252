package bench

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/bench/meter"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// largeGoals are about messages of which the copies count.
func largeGoals() []Goal {
	sealed := func() (link.Scheme, error) { return newAES("#") }
	clients := []link.Client{link.V5, link.V3}
	var m5, cpu, beside, m6 []Goal
	for _, broker := range []string{embedded, mosquitto} {
		for _, client := range clients {
			for _, qos := range []byte{0, 1} {
				for _, size := range []int{64 << 10, 1 << 20} {
					g := messages("M5", "sealed / plain", 0.90, traffic{client, broker, brokers.TCP, qos, size}, sealed)
					g.Stretch, g.Rounds = 0.97, 31
					m5 = append(m5, g)
					if broker == embedded {
						cpu = append(cpu, processors(g))
					}
				}
			}
		}
	}
	for _, client := range clients {
		for _, size := range []int{64, 1 << 10, 64 << 10, 1 << 20} {
			t := traffic{client, embedded, brokers.TCP, 0, size}
			beside = append(beside, Goal{
				ID: "M5", What: "sealed / TLS, " + t.String(), Limit: 1, AtLeast: true, Batch: 60 * time.Millisecond, Rounds: 31,
				Setup: func(ctx context.Context) (Pair, error) {
					s, err := sealed()
					if err != nil {
						return Pair{}, err
					}
					return linksPair(ctx, t, s, brokers.TLS)
				},
			})
		}
		for _, qos := range []byte{0, 1} {
			// The broker is another process, which rounds what it allocates up as it likes.
			t := traffic{client, mosquitto, brokers.TCP, qos, 64 << 10}
			m6 = append(m6, Goal{
				ID: "M6", What: "bytes allocated a message, sealed - plain, " + t.String(), Limit: 1, Of: "KiB",
				Count: func(ctx context.Context) (a, b float64, err error) {
					a, err = allocatedMore(ctx, t)
					return a / 1024, 0, err
				},
			})
		}
	}
	return slices.Concat(m5, cpu, beside, m6)
}

// processors is g for what clients and broker, in one process, use of the processors.
func processors(g Goal) Goal {
	g.What, g.Limit, g.AtLeast, g.Stretch, g.CPU = "CPU, "+g.What, 1.08, false, 0, true
	return g
}

// allocatedMore returns how many bytes a sealed message makes publisher and subscriber allocate, beyond those for a
// plain one: the median of turns.
func allocatedMore(ctx context.Context, t traffic) (bytes float64, err error) {
	s, err := newAES("#")
	if err != nil {
		return 0, err
	}
	l, err := openTwins(ctx, t, s, t.transport)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	const warm, messages = 64, 512
	var more []float64
	for range minRounds {
		var each [2]float64
		for i, side := range []*link.Link{l.with, l.bare} {
			if err := side.Send(ctx, warm); err != nil {
				return 0, err
			}
			b, err := meter.Measure(ctx, Side{Run: func(n int) error { return side.Send(ctx, n) }}, messages)
			if err != nil {
				return 0, err
			}
			each[i] = float64(b.Bytes) / float64(b.Ops)
		}
		more = append(more, each[0]-each[1])
	}
	return meter.Median(more), nil
}
