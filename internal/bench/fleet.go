package bench

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/replay"
	"github.com/mqttsec/mqttsec/present"
)

// fleetGoals are about many: publishers at one receiver, keys in one Sealer, goroutines, messages that wait.
func fleetGoals() []Goal {
	var goals []Goal
	count := func(id, what, of string, limit float64, figure func(context.Context) (float64, error)) {
		goals = append(goals, Goal{ID: id, What: what, Of: of, Limit: limit, Count: func(ctx context.Context) (a, b float64, err error) {
			a, err = figure(ctx)
			return a, 0, err
		}})
	}
	for _, topic := range []string{"site/all", "site/%d", "site/%d/temperature"} {
		what := fmt.Sprintf("%d publishers at one receiver, topics %s", publishers, topic)
		crowd := sync.OnceValues(func() (crowd, error) { return crowded(topic) })
		count("F1", what, "refused", 0, func(context.Context) (float64, error) {
			c, err := crowd()
			return float64(c.refused), err
		})
		count("F1", what+", memory", "MB", 32, func(context.Context) (float64, error) {
			c, err := crowd()
			return float64(c.taken) / 1e6, err
		})
	}
	goals = append(goals, idleGoals()...)
	goals = append(goals, keysGoals()...)
	goals = append(goals, Goal{
		ID: "F4", What: "what a second goroutine on one Sealer adds / on one AES-256-GCM, 64 B", Limit: 0.95, AtLeast: true, Rounds: 101,
		Setup: func(context.Context) (Pair, error) { return twoGoroutines() },
	})
	for _, known := range []bool{true, false} {
		what := "messages of a quiet publisher behind 20,000 sessions of a busy one"
		if !known {
			what += ", its first"
		}
		count("F5", what, "refused", 0, func(ctx context.Context) (float64, error) { return late(ctx, known) })
	}
	return append(goals,
		Goal{
			ID: "F6", What: "a publisher that is new, 65,536 messages unacknowledged on 4,096 topics", Limit: 5, Unit: time.Microsecond,
			Setup: func(context.Context) (Pair, error) { return newWindows() },
		},
		Goal{
			ID: "F6", What: "a window of 65,536 messages, all acknowledged", Of: "KiB", Limit: 64,
			Count: func(context.Context) (a, b float64, err error) {
				a, err = acknowledged()
				return a / 1024, 0, err
			},
		})
}

// publishers is how many are heard at once.
const publishers = 100_000

// crowd is what became of the messages of all publishers.
type crowd struct {
	refused int
	taken   int64 // bytes of memory that the receiver has more than before
}

// crowded has publishers seal a message each, as soon after the start of a second as they can, and one receiver open
// them all. A publisher is a session: what tells them apart for a receiver.
func crowded(topic string) (crowd, error) {
	key, err := aesmsg.GenerateKey("site/#")
	if err != nil {
		return crowd{}, err
	}
	cfg := aesmsg.Config{Keys: []aesmsg.Key{key}}
	publisher, err := aesmsg.New(cfg)
	if err != nil {
		return crowd{}, err
	}
	receiver, err := aesmsg.New(cfg)
	if err != nil {
		return crowd{}, err
	}
	topics, frames := make([]string, publishers), make([][]byte, publishers)
	for i := range topics {
		topics[i] = topic
		if topic != "site/all" {
			topics[i] = fmt.Sprintf(topic, i)
		}
	}
	now := time.Now()
	time.Sleep(now.Truncate(time.Second).Add(time.Second).Sub(now))
	for i, topic := range topics {
		publisher.NewSession()
		if frames[i], err = publisher.Seal(topic, []byte("21.5")); err != nil {
			return crowd{}, err
		}
	}
	before := inUse()
	var c crowd
	for i, topic := range topics {
		if _, err := receiver.Open(topic, frames[i]); err != nil {
			c.refused++
		}
	}
	for i, topic := range topics {
		if _, err := receiver.Open(topic, frames[i]); err == nil {
			return c, errors.New("bench: a message was opened twice")
		}
	}
	c.taken = inUse() - before
	runtime.KeepAlive(receiver)
	runtime.KeepAlive(publisher)
	runtime.KeepAlive(frames)
	return c, nil
}

// inUse is how many bytes of memory are in use, once what is not any more has been given back: what a sync.Pool has
// survives one garbage collection, and a stack that was deep once loses half with each.
func inUse() int64 {
	var m runtime.MemStats
	for range 4 {
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// twoGoroutines compares how many messages a second pass, of one goroutine and of two.
func twoGoroutines() (Pair, error) {
	sealer, err := newAES("site/#")
	if err != nil {
		return Pair{}, err
	}
	r, err := newRaw()
	if err != nil {
		return Pair{}, err
	}
	const size = 64
	seal := func(n int) error {
		payload, dst := make([]byte, size), make([]byte, 0, size+aesmsg.Overhead)
		for range n {
			if _, err := sealer.AppendSeal(dst, sealingTopic, payload); err != nil {
				return err
			}
		}
		return nil
	}
	encrypt := func(n int) error {
		// Each message has a nonce of its own, which costs a counter.
		payload, dst, nonce := make([]byte, size), make([]byte, 0, size+aesmsg.Overhead), make([]byte, len(r.nonce))
		for i := range n {
			binary.BigEndian.PutUint64(nonce, uint64(i))
			r.aead.Seal(dst, nonce, payload, r.associated)
		}
		return nil
	}
	return Pair{A: Side{Run: seal}, B: inTwo(seal), C: Side{Run: encrypt}, D: inTwo(encrypt)}, nil
}

// inTwo has two goroutines share the work of run.
func inTwo(run func(n int) error) Side {
	return Side{Run: func(n int) error {
		other := make(chan error, 1)
		go func() { other <- run(n / 2) }()
		err := run(n - n/2)
		return errors.Join(err, <-other)
	}}
}

// late returns how many messages of a quiet publisher are refused that come behind many sessions of a busy one on the
// same topic. It takes some seconds, since a message must be late by the clock too.
func late(ctx context.Context, known bool) (float64, error) {
	const (
		sessions = 20_000
		messages = 16
		seconds  = 3
		topic    = "site/7/temperature"
	)
	key, err := present.GenerateKey("site/#")
	if err != nil {
		return 0, err
	}
	var sealers [3]*present.Sealer
	for i := range sealers {
		if sealers[i], err = present.New(present.Config{Keys: []present.Key{key}}); err != nil {
			return 0, err
		}
	}
	quiet, busy, receiver := sealers[0], sealers[1], sealers[2]
	if known {
		frame, err := quiet.Seal(topic, []byte("21.4"))
		if err != nil {
			return 0, err
		}
		if _, err := receiver.Open(topic, frame); err != nil {
			return 0, err
		}
	}
	var frames [messages][]byte
	for i := range frames {
		if frames[i], err = quiet.Seal(topic, []byte("21.5")); err != nil {
			return 0, err
		}
	}
	for range seconds {
		for range sessions / seconds {
			busy.NewSession()
			frame, err := busy.Seal(topic, []byte("21.6"))
			if err != nil {
				return 0, err
			}
			if _, err := receiver.Open(topic, frame); err != nil {
				return 0, fmt.Errorf("bench: of the busy publisher: %w", err)
			}
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	refused := 0
	for _, frame := range frames {
		if _, err := receiver.Open(topic, frame); err != nil {
			refused++
		}
	}
	return float64(refused), nil
}

// A waiting is a receiver whose client acknowledges nothing yet.
type waiting struct {
	memory *replay.Memory
	conn   uint32
	seed   maphash.Seed
}

func newWaiting() *waiting {
	w := &waiting{seed: maphash.MakeSeed()}
	// The room is that of a Sealer by default.
	w.memory = replay.New(replay.Config{
		Limit: 48 * 4096, Tolerance: 60, Seed: w.seed, Now: func() uint32 { return uint32(time.Now().Unix()) },
	})
	w.conn = w.memory.Connect()
	return w
}

// deliver takes a message at QoS 1.
func (w *waiting) deliver(publisher, seq uint32, topic string) (replay.Entry, error) {
	m := replay.Message{Topic: topic, Hash: maphash.String(w.seed, topic), Time: uint32(time.Now().Unix()), Seq: seq}
	binary.BigEndian.PutUint32(m.Session[:], publisher)
	how := replay.Arrival{Acknowledged: true, Conn: w.conn}
	if err := w.memory.Check(&m, &how); err != nil {
		return replay.Entry{}, err
	}
	return w.memory.Commit(&m, &how)
}

func newWindows() (Pair, error) {
	const topics, messages = 4096, 65_536
	w := newWaiting()
	names := make([]string, topics)
	for i := range names {
		names[i] = fmt.Sprintf("site/%d/temperature", i)
	}
	for i := range uint32(messages) {
		if _, err := w.deliver(i%topics, 1+i/topics, names[i%topics]); err != nil {
			return Pair{}, err
		}
	}
	next := uint32(topics)
	return Pair{A: repeat(func() error {
		e, err := w.deliver(next, 1, names[next%topics])
		w.memory.Done(e)
		next++
		return err
	})}, nil
}

// acknowledged returns how many bytes a window keeps of messages that were all acknowledged: the mean of several,
// beside which what else is on the heap counts for little.
func acknowledged() (float64, error) {
	const windows, messages = 8, 65_536
	w := newWaiting()
	entries := make([]replay.Entry, 0, messages)
	before := inUse()
	for publisher := range uint32(windows) {
		for i := range uint32(messages) {
			e, err := w.deliver(publisher, 1+i, sealingTopic)
			if err != nil {
				return 0, err
			}
			entries = append(entries, e)
		}
		for _, e := range entries {
			w.memory.Done(e)
		}
		entries = entries[:0]
	}
	kept := inUse() - before
	runtime.KeepAlive(w)
	runtime.KeepAlive(entries)
	return float64(kept) / windows, nil
}
