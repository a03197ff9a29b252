package bench

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/mqttsec/mqttsec/aesmsg"
)

// The shapes of filters that a Sealer may have many keys for.
var keyShapes = []string{"site/%d/#", "+/dev%d/#", "site/%d/+/dev/+", "site/%[1]d/hall/%[1]d", "%d/#"}

// keysGoals are about a Sealer that has the keys of a fleet.
func keysGoals() []Goal {
	const fleet = 10_000
	var goals []Goal
	for _, shape := range keyShapes {
		goals = append(goals, Goal{
			ID: "F3", What: fmt.Sprintf("New with 10,000 keys, %s", shape), Limit: 100, Unit: time.Millisecond,
			Setup: func(context.Context) (Pair, error) {
				keys, err := makeKeys(shape, fleet)
				return Pair{A: newSide(keys)}, err
			},
		}, Goal{
			ID: "F3", What: fmt.Sprintf("CPU, New with 10,000 keys / 1,000, %s", shape), Limit: 12, CPU: true,
			// Long enough for the garbage of either to be collected on the clock.
			Batch: 60 * time.Millisecond,
			Setup: func(context.Context) (Pair, error) {
				keys, err := makeKeys(shape, fleet)
				if err != nil {
					return Pair{}, err
				}
				return Pair{A: newSide(keys), B: newSide(keys[:fleet/10])}, nil
			},
		})
	}
	for _, shape := range keyShapes[:2] {
		for _, foreign := range []bool{false, true} {
			what := "first Seal on a topic"
			if foreign {
				what = "Seal refused on a topic without a key"
			}
			goals = append(goals, Goal{
				ID: "F3", What: fmt.Sprintf("%s, 10,000 keys / 10, %s", what, shape), Limit: 1.5, Rounds: 101,
				Setup: func(context.Context) (Pair, error) {
					keys, err := makeKeys(shape, fleet)
					if err != nil {
						return Pair{}, err
					}
					many, err := coldSide(keys, shape, foreign)
					if err != nil {
						return Pair{}, err
					}
					few, err := coldSide(keys[:10], shape, foreign)
					return Pair{A: many, B: few}, err
				},
			})
		}
	}
	return goals
}

// makeKeys returns n keys whose filters have a shape.
func makeKeys(shape string, n int) ([]aesmsg.Key, error) {
	keys := make([]aesmsg.Key, n)
	for i := range keys {
		var err error
		if keys[i], err = aesmsg.GenerateKey(fmt.Sprintf(shape, i)); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

func newSide(keys []aesmsg.Key) Side {
	return repeat(func() (err error) {
		kept, err = aesmsg.New(aesmsg.Config{Keys: keys})
		return err
	})
}

// coldSide seals on topics below the first of keys that have not been used before, or on topics that no key is for.
func coldSide(keys []aesmsg.Key, shape string, foreign bool) (Side, error) {
	sealer, err := aesmsg.New(aesmsg.Config{Keys: keys})
	if err != nil {
		return Side{}, err
	}
	above := "site/3/"
	if shape == keyShapes[1] {
		above = "hall/dev3/"
	}
	if foreign {
		above = "elsewhere/"
	}
	payload, dst := make([]byte, 64), make([]byte, 0, 64+aesmsg.Overhead)
	var topics []string
	next := 0
	return Side{
		Prepare: func(n int) error {
			topics = topics[:0]
			for range n {
				topics = append(topics, above+strconv.Itoa(next))
				next++
			}
			return nil
		},
		Run: func(n int) error {
			for _, topic := range topics[:n] {
				if _, err := sealer.AppendSeal(dst, topic, payload); (err != nil) != foreign {
					return fmt.Errorf("bench: sealing on %s: %w", topic, err)
				}
			}
			return nil
		},
	}, nil
}
