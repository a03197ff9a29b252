package seal

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWindowEdges(t *testing.T) {
	for _, top := range []uint32{1, 2, 63, 64, 65, 1023, 1024, 1025, 5000, 1<<32 - 1} {
		r := newTestReplay(10)
		ok := func(seq uint32) {
			t.Helper()
			_, err := at(seq).deliver(r, liveAtMostOnce)
			require.NoError(t, err, seq)
		}
		fails := func(seq uint32, want error) {
			t.Helper()
			_, err := at(seq).deliver(r, liveAtMostOnce)
			require.ErrorIs(t, err, want, seq)
		}
		ok(top)
		fails(top, errDone)
		if top > 1 {
			ok(top - 1)
			fails(top-1, errDone)
		}
		if top > 1023 {
			ok(top - 1023)
			fails(top-1023, errDone)
		}
		if top > 1024 {
			fails(top-1024, ErrStale)
			fails(1, ErrStale)
		}
		if top < 1<<32-1 {
			ok(top + 1)
			fails(top, errDone)
			if top > 1023 {
				fails(top-1023, ErrStale)
			}
		}
		if top < 1<<31 {
			ok(1<<32 - 1) // a jump over everything
			ok(1<<32 - 1024)
			fails(top, ErrStale)
			fails(1<<32-1025, ErrStale)
		}
	}
}

// model is the window by brute force: a set of numbers.
type model struct {
	top   uint32
	state map[uint32]byte // d done, p pending, r released
}

func (m *model) judge(seq uint32) error {
	switch m.state[seq] {
	case 'r':
		return nil
	case 'p':
		return errPending
	}
	if seq+windowSize <= m.top {
		return ErrStale
	}
	if m.state[seq] == 'd' {
		return errDone
	}
	return nil
}

func TestWindowAgainstModel(t *testing.T) {
	for seed := range uint64(60) {
		rng := rand.New(rand.NewPCG(seed, 1))
		spread := []int{3, 100, 900, 1030, 3000}[seed%5]
		r, m := newTestReplay(10), model{state: map[uint32]byte{}}
		entries := map[uint32]entry{}
		for range 4000 {
			seq := uint32(max(1, int(m.top)-spread+rng.IntN(spread+5)))
			if rng.IntN(200) == 0 {
				seq = m.top + uint32(rng.IntN(2*windowSize))
			}
			seq = max(seq, 1)
			switch op := rng.IntN(6); {
			case op < 4:
				k := kind(op & 1) // QoS 0 or higher
				e, err := at(seq).deliver(r, k)
				require.Equal(t, m.judge(seq), err, "seed %d: %d at %d", seed, seq, m.top)
				if err != nil {
					continue
				}
				m.top = max(m.top, seq)
				m.state[seq] = 'd'
				if k == liveAcknowledged {
					m.state[seq] = 'p'
					entries[seq] = e
				}
			default:
				for s, e := range entries { // any
					if op == 4 {
						r.done(e)
						m.state[s] = 'd'
						delete(entries, s)
					} else {
						r.release(e)
						if m.state[s] == 'p' {
							m.state[s] = 'r'
						}
					}
					break
				}
			}
		}
		held := 0
		for _, s := range m.state {
			if s != 'd' {
				held++
			}
		}
		sizes, late := r.snapshot()
		require.Equal(t, held, sizes[4], "seed %d", seed)
		require.Equal(t, late, sizes[5], "seed %d", seed)
	}
}

func TestPendingAndDone(t *testing.T) {
	r := newTestReplay(10)
	first, err := at(1).deliver(r, liveAcknowledged)
	require.NoError(t, err)
	_, err = at(1).deliver(r, liveAcknowledged)
	require.ErrorIs(t, err, ErrReplay)
	require.ErrorIs(t, err, errPending)
	require.NotErrorIs(t, err, errDone)

	r.release(first)
	second, err := at(1).deliver(r, liveAcknowledged)
	require.NoError(t, err, "the redelivery after a lost connection")
	r.done(second)
	_, err = at(1).deliver(r, liveAcknowledged)
	require.ErrorIs(t, err, ErrReplay)
	require.ErrorIs(t, err, errDone)
	r.release(second)
	_, err = at(1).deliver(r, liveAcknowledged)
	require.ErrorIs(t, err, errDone, "release after done does nothing")

	r.done(entry{})
	r.release(entry{})
	e, err := at(2).deliver(r, liveAtMostOnce)
	require.NoError(t, err)
	require.Equal(t, entry{}, e)
	_, err = at(2).deliver(r, liveAtMostOnce)
	require.ErrorIs(t, err, errDone)
}

// A message that was never acknowledged comes through however far the window has
// moved on.
func TestPendingBehindTheWindow(t *testing.T) {
	r := newTestReplay(10)
	e, err := at(1).deliver(r, liveAcknowledged)
	require.NoError(t, err)
	kept, err := at(2).deliver(r, liveAcknowledged)
	require.NoError(t, err)
	for seq := uint32(3); seq < 5000; seq += 7 {
		_, err := at(seq).deliver(r, liveAtMostOnce)
		require.NoError(t, err)
	}
	_, err = at(1).deliver(r, liveAcknowledged)
	require.ErrorIs(t, err, errPending)
	r.release(e)
	r.release(kept)
	e, err = at(1).deliver(r, liveAcknowledged)
	require.NoError(t, err)
	r.done(e)
	_, err = at(1).deliver(r, liveAcknowledged)
	require.ErrorIs(t, err, ErrStale)
	_, err = at(2).deliver(r, liveAtMostOnce)
	require.NoError(t, err, "at another QoS")
	_, err = at(2).deliver(r, liveAtMostOnce)
	require.ErrorIs(t, err, ErrStale)
	sizes, late := r.snapshot()
	require.Zero(t, sizes[4])
	require.Zero(t, sizes[5])
	require.Zero(t, late)
}

// What is held behind the windows is bounded.
func TestLateIsBounded(t *testing.T) {
	r := newTestReplay(10)
	for seq := uint32(1); seq <= maxLate+3*windowSize; seq++ {
		_, err := at(seq).deliver(r, liveAcknowledged)
		require.NoError(t, err)
	}
	sizes, late := r.snapshot()
	require.Equal(t, maxLate, late)
	require.Equal(t, maxLate, sizes[5])
	require.Equal(t, maxLate+windowSize, sizes[4])
	_, err := at(maxLate+windowSize).deliver(r, liveAcknowledged)
	require.ErrorIs(t, err, ErrStale, "beyond the bound it is refused, not accepted")
}
