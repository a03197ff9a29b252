package seal

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// The window whose block has been idle longest gives up its lowest one.
func TestIdleWindowsGiveUpBlocks(t *testing.T) {
	r := newTestReplay(10)
	r.blocks.limit = 4
	deliver := func(session byte, seq uint32) error {
		_, err := head{key: 1, session: session, time: 1e9, seq: seq}.deliver(r, liveAtMostOnce)
		return err
	}
	require.NoError(t, deliver(1, 10*blockSize))
	require.NoError(t, deliver(1, 5*blockSize))
	require.NoError(t, deliver(2, 10*blockSize))
	require.NoError(t, deliver(2, 9*blockSize))
	require.NoError(t, deliver(1, 10*blockSize-1), "9 of 1, which gives up 5")
	require.ErrorIs(t, deliver(1, 5*blockSize), ErrStale)
	require.ErrorIs(t, deliver(1, 6*blockSize-1), ErrStale)
	require.ErrorIs(t, deliver(1, 10*blockSize), errDone)
	require.NoError(t, deliver(1, 10*blockSize-2))
	require.NoError(t, deliver(1, 10*blockSize+1))
	require.NoError(t, deliver(3, 1), "2 gives up 9")
	require.ErrorIs(t, deliver(2, 9*blockSize), ErrStale)
	require.ErrorIs(t, deliver(2, 10*blockSize-1), ErrStale)
	require.ErrorIs(t, deliver(2, 10*blockSize), errDone)
	require.NoError(t, deliver(3, blockSize), "2 gives up its only one")
	require.ErrorIs(t, deliver(2, 10*blockSize), ErrStale)
	require.NoError(t, deliver(2, 10*blockSize+1), "but not what comes next")
	require.ErrorIs(t, deliver(2, 10*blockSize), ErrStale)
	r.intact(t)
}

// Where the lowest block would be the new one, it is not made, and refused from then.
func TestNewBlockIsTheOneGivenUp(t *testing.T) {
	r := newTestReplay(10)
	r.blocks.limit = 1
	ok := func(seq uint32) {
		t.Helper()
		_, err := at(seq).deliver(r, liveAtMostOnce)
		require.NoError(t, err)
	}
	stale := func(seq uint32) {
		t.Helper()
		_, err := at(seq).deliver(r, liveAtMostOnce)
		require.ErrorIs(t, err, ErrStale)
	}
	ok(5 * blockSize)
	ok(2*blockSize + 7)
	stale(2*blockSize + 7)
	stale(3*blockSize - 1)
	ok(3 * blockSize)
	stale(3 * blockSize)
	ok(5*blockSize + 1)
	_, err := at(5*blockSize).deliver(r, liveAtMostOnce)
	require.ErrorIs(t, err, errDone)
	r.intact(t)
}

// What is held outlives the block that it was in, and needs none.
func TestHeldOutlivesItsBlock(t *testing.T) {
	r := newTestReplay(10)
	r.blocks.limit = 1
	first, err := at(1).deliver(r, liveAcknowledged)
	require.NoError(t, err)
	_, err = at(2*blockSize).deliver(r, liveAtMostOnce)
	require.NoError(t, err)
	second, err := at(2).deliver(r, liveAcknowledged)
	require.NoError(t, err)
	require.Equal(t, 1, r.snapshot().blocks)
	for i, e := range []entry{first, second} {
		h := at(uint32(i + 1))
		_, err = h.deliver(r, liveAcknowledged)
		require.ErrorIs(t, err, errPending)
		r.release(e)
		e, err = h.deliver(r, liveAcknowledged)
		require.NoError(t, err)
		r.done(e)
		_, err = h.deliver(r, liveAcknowledged)
		require.ErrorIs(t, err, ErrStale)
	}
}

// The memory of a state is bounded for any MaxSessions, and one window is never short.
func TestMaxBlocks(t *testing.T) {
	for _, sessions := range []int{1, 4096, 1<<31 - 1} {
		require.Greater(t, maxBlocks(sessions), windowSize/blockSize)
	}
	require.Equal(t, maxBlocks(9), testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}, MaxSessions: 9}).own.blocks.limit)
}

// In the steady state nothing is allocated: not by messages in order, nor by a window
// that moves from block to block, nor where blocks are short.
func TestReplayAllocatesNothing(t *testing.T) {
	for name, step := range map[string]uint32{"in order": 1, "in steps": 100, "in jumps": 2 * windowSize} {
		t.Run(name, func(t *testing.T) {
			r := newTestReplay(10)
			seq, h := uint32(0), at(0).bytes()
			next := func() {
				seq += step
				h[seqAt], h[seqAt+1], h[seqAt+2], h[seqAt+3] = numberBytes(seq)
				if r.check(h, nil, liveAcknowledged) != nil {
					panic("refused")
				}
				e, err := r.commit(h, nil, liveAcknowledged)
				if err != nil {
					panic(err)
				}
				r.done(e)
			}
			for range 2 * windowSize / min(step, blockSize) {
				next()
			}
			require.Zero(t, testing.AllocsPerRun(2000, next))
		})
	}
}

func BenchmarkReplay(b *testing.B) {
	orders := map[string]func(i int) uint32{
		"in order": func(i int) uint32 { return uint32(i + 1) },
	}
	perm := rand.New(rand.NewPCG(1, 1)).Perm(windowSize)
	orders["scattered"] = func(i int) uint32 { return uint32(i/windowSize*windowSize + perm[i%windowSize] + 1) }
	for name, order := range orders {
		for k, qos := range []string{"QoS 0", "QoS 1"} {
			b.Run(name+"/"+qos, func(b *testing.B) {
				r := newTestReplay(4096)
				h := at(1).bytes()
				l := at(1).topicOf()
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					h[seqAt], h[seqAt+1], h[seqAt+2], h[seqAt+3] = numberBytes(order(i))
					if r.check(h, l, kind(k)) != nil {
						continue // too far behind the next round
					}
					if e, err := r.commit(h, l, kind(k)); err == nil {
						r.done(e)
					}
				}
			})
		}
	}
}

func numberBytes(n uint32) (a, b, c, d byte) {
	return byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)
}
