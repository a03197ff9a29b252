package seal

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// model is a replay state by brute force: sets of numbers. It does not forget, so it
// must have few windows.
type model struct {
	t       testing.TB
	r       *replay
	tops    map[head]uint32 // by head without number
	floors  map[head]uint32
	state   map[head]byte // d done, p pending, r released
	entries map[head]entry
	given   int // how many blocks were given up
}

func newModel(t testing.TB, blocks int) *model {
	r := newTestReplay(100)
	r.blocks.limit = blocks
	return &model{t: t, r: r, tops: map[head]uint32{}, floors: map[head]uint32{}, state: map[head]byte{}, entries: map[head]entry{}}
}

func (h head) window() head {
	h.seq = 0
	return h
}

func (m *model) judge(h head) error {
	switch m.state[h] {
	case 'r':
		return nil
	case 'p':
		return errPending
	}
	top := m.tops[h.window()]
	switch {
	case h.seq > top:
		return nil
	case top-h.seq >= windowSize || h.seq <= m.floors[h.window()]:
		return ErrStale
	case m.state[h] == 'd':
		return errDone
	}
	return nil
}

func (m *model) deliver(h head, k kind) {
	want := m.judge(h)
	before := m.r.snapshot()
	e, err := h.deliver(m.r, k)
	require.Equal(m.t, want, err, "%+v, top %d, floor %d", h, m.tops[h.window()], m.floors[h.window()])
	if err != nil {
		return
	}
	m.tops[h.window()] = max(m.tops[h.window()], h.seq)
	m.state[h] = 'd'
	delete(m.entries, h)
	if k == liveAcknowledged {
		m.state[h] = 'p'
		m.entries[h] = e
	}
	m.follow(before)
}

// follow takes the floors over, after it has seen that one of them rose by no more
// than it had to, and only at the limit.
func (m *model) follow(before sizes) {
	raised := 0
	for w, top := range m.tops {
		floor := m.r.live.find(w.bytes()).floor
		if was := m.floors[w]; floor != was {
			require.Greater(m.t, floor, was)
			require.LessOrEqual(m.t, floor, top)
			require.Equal(m.t, m.r.blocks.limit, before.blocks)
			m.floors[w] = floor
			raised++
		}
	}
	require.LessOrEqual(m.t, raised, 1)
	m.given += raised
}

// settle ends the pending state of any message.
func (m *model) settle(acknowledged bool) {
	for h, e := range m.entries {
		switch {
		case acknowledged:
			m.r.done(e)
			m.state[h] = 'd'
			delete(m.entries, h)
		default:
			m.r.release(e)
			m.state[h] = 'r'
		}
		return
	}
}

func (m *model) end(t *testing.T) {
	t.Helper()
	held := 0
	for h, s := range m.state {
		if s != 'd' {
			held++
		}
		require.Equal(t, m.judge(h), m.r.check(h.bytes(), h.topicOf(), liveAtMostOnce), "%+v", h)
	}
	require.Equal(t, held, m.r.snapshot().held)
	m.r.intact(t)
}

// random is one more message of a window, most often near its top.
func (m *model) random(rng *rand.Rand, window head, spread int) head {
	top := int64(m.tops[window])
	seq := top - int64(spread) + rng.Int64N(int64(spread)+5)
	switch rng.IntN(300) {
	case 0:
		seq = top + rng.Int64N(2*windowSize)
	case 1:
		seq = top - windowSize + rng.Int64N(3) - 1
	case 2:
		seq = (top - rng.Int64N(windowSize)) / blockSize * blockSize // a block's edge
	}
	window.seq = uint32(min(max(seq, 1), 1<<32-1))
	return window
}

func TestWindowAgainstModel(t *testing.T) {
	spreads := []int{3, 100, 1030, 5000, 30000, windowSize + 10, 2 * windowSize}
	for seed := range uint64(70) {
		rng := rand.New(rand.NewPCG(seed, 1))
		m := newModel(t, maxBlocks(1))
		w := head{key: 1, session: 1, time: 1e9}
		if seed%3 == 0 { // to the last number
			m.deliver(at(1<<32-1-rng.Uint32N(4*windowSize)), liveAtMostOnce)
		}
		for range 4000 {
			if op := rng.IntN(6); op < 4 {
				m.deliver(m.random(rng, w, spreads[seed%7]), kind(op&1))
			} else {
				m.settle(op == 4)
			}
		}
		require.Zero(t, m.given, "one window has all the blocks that it needs")
		m.end(t)
	}
}

// With too few blocks, windows lose reach, but nothing is delivered twice, no pending
// message is lost, and what is not below the floor is judged as ever.
func TestBlocksAgainstModel(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 2))
		m := newModel(t, []int{1, 2, 7, 20, 100}[seed%5])
		for range 4000 {
			w := head{key: 1, session: byte(rng.IntN(5)), time: 1e9}
			if op := rng.IntN(6); op < 4 {
				m.deliver(m.random(rng, w, []int{10, 2000, 20000, windowSize}[seed%4]), kind(op&1))
			} else {
				m.settle(op == 4)
			}
		}
		if m.r.blocks.limit < 20 {
			require.Positive(t, m.given)
		}
		m.end(t)
	}
}

// FuzzReplay does what the input says: 4 bytes for each step.
func FuzzReplay(f *testing.F) {
	f.Add(byte(1), []byte{0, 0, 0, 1, 1, 255, 255, 255, 2, 0, 0, 0, 1, 255, 255, 255})
	f.Add(byte(3), []byte{1, 128, 0, 1, 1, 120, 0, 0, 1, 127, 0, 0, 5, 130, 0, 0, 9, 140, 0, 0, 3, 0, 0, 0, 1, 120, 0, 0})
	f.Add(byte(9), []byte{4, 128, 255, 255, 8, 0, 0, 0, 4, 128, 4, 0, 12, 128, 4, 0, 4, 124, 0, 0, 4, 124, 0, 0})
	f.Fuzz(func(t *testing.T, blocks byte, steps []byte) {
		m := newModel(t, 1+int(blocks%80))
		for ; len(steps) >= 4; steps = steps[4:] {
			w := head{key: 1, session: steps[0] >> 2 & 3, time: 1e9}
			switch op := steps[0] & 3; op {
			case 0, 1:
				// 1/128 of the numbers, or a step of up to 2^23 around the top
				n := int64(binary.BigEndian.Uint32(steps) & 0xFFFFFF)
				seq := n << 8
				if steps[0]&64 == 0 {
					seq = int64(m.tops[w]) + n - 1<<23
				}
				if steps[0]&32 == 0 {
					seq = int64(m.tops[w]) + (n>>4 - 1<<19)
				}
				w.seq = uint32(min(max(seq, 1), 1<<32-1))
				m.deliver(w, kind(op))
			default:
				m.settle(op == 2)
			}
		}
		m.end(t)
	})
}
