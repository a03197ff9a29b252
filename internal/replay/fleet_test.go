package replay

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A hundred thousand publishers at one receiver within one second, whatever their topics, in the room that schemes give
// by default: all are heard, each once, and in the next second again.
func TestManyPublishersAtOnce(t *testing.T) {
	const publishers, limit, most = 100_000 / quicker, 48 * 4096, 26 << 20
	for name, topic := range map[string]string{"one topic": "site/all", "a topic each": "site/%d", "a branch each": "site/%d/temp"} {
		t.Run(name, func(t *testing.T) {
			r := newReceiver(limit)
			before := heap()
			for round := range uint32(2) {
				for i := range uint32(publishers) {
					on := topic
					if strings.Contains(on, "%") {
						on = fmt.Sprintf(on, i)
					}
					m := msg(on, byte(i), r.clock, 1+round)
					m.Session[1], m.Session[2] = byte(i>>8), byte(i>>16)
					if err := r.open(m, live()); err != nil {
						t.Fatal(i, err)
					}
					if err := r.open(m, live()); err == nil {
						t.Fatal(i, "delivered twice")
					}
				}
				r.clock++
			}
			taken := heap() - before
			t.Logf("%.1f MB", float64(taken)/(1<<20))
			require.Less(t, taken, int64(most))
			require.LessOrEqual(t, r.Size(), limit)
		})
	}
}

// What a flooder can make a receiver hold is bounded, and what it holds after the flood is what it held before.
func TestFloodTakesNoMoreThanItsShare(t *testing.T) {
	const limit = 20_000
	r := newReceiver(limit)
	before := heap()
	quiet := func(seq uint32) {
		for i := range byte(100) {
			m := msg(fmt.Sprintf("site/%d/temp", i), i, r.clock, seq)
			require.NoError(t, r.open(m, live()))
		}
	}
	for seq := uint32(1); seq < 70; seq++ { // more than a word of numbers, so that there are windows
		quiet(seq)
	}
	for i := range uint32(4 * limit) {
		m := msg(fmt.Sprintf("site/7/%d/%d/%d", i%3, i%1000, i), 1, r.clock, i+1)
		m.Retain = i%2 == 0
		how := live()
		how.Acknowledged = i%4 == 0
		r.open(m, how) // it may shut itself out
	}
	r.intact(t)
	require.LessOrEqual(t, r.Size(), limit)
	require.Less(t, heap()-before, int64(limit*140))
	for i := range byte(100) {
		if i == 7 {
			continue
		}
		for seq := uint32(1); seq < 70; seq++ {
			require.ErrorIs(t, r.open(msg(fmt.Sprintf("site/%d/temp", i), i, r.clock, seq), live()), ErrDelivered)
		}
	}
	quiet(71)
	for i := range byte(100) { // a late one
		if i != 7 {
			require.NoError(t, r.open(msg(fmt.Sprintf("site/%d/temp", i), i, r.clock, 70), live()))
		}
	}
}
