package seal

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestWindowEdges(t *testing.T) {
	const last = 1<<32 - 1
	for _, top := range []uint32{1, 2, 63, 64, 65, 1023, 1024, 1025, windowSize - 1, windowSize, windowSize + 1, 200000, last - 1, last} {
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
		for _, behind := range []uint32{1, 1023, 1024, windowSize - 1024, windowSize - 1} {
			if top > behind {
				ok(top - behind)
				fails(top-behind, errDone)
			}
		}
		if top > windowSize {
			fails(top-windowSize, ErrStale)
			fails(1, ErrStale)
		}
		if top < last {
			ok(top + 1)
			fails(top, errDone)
			if top > windowSize-1 {
				fails(top-(windowSize-1), ErrStale)
			}
		}
		if top < 1<<31 {
			ok(last) // a jump over everything
			ok(last + 1 - windowSize)
			fails(last+1-windowSize, errDone)
			fails(top, ErrStale)
			fails(last-windowSize, ErrStale)
		}
		r.intact(t)
		require.Zero(t, r.live.first.floor)
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
	for seq := uint32(3); seq < 5*windowSize; seq += 777 {
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
	require.Zero(t, r.snapshot().held)
}
