package seal

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// As many messages as MQTT can have in flight are all remembered, whatever else was
// released and never came again.
func TestHeldIsBounded(t *testing.T) {
	r := newTestReplay(100)
	rng := rand.New(rand.NewPCG(1, 1))
	given := func(session byte, seq uint32) (head, entry) {
		h := head{key: 1, session: session, time: 1e9, seq: seq}
		e, err := h.deliver(r, liveAcknowledged)
		require.NoError(t, err)
		return h, e
	}
	for i := range uint32(40000) { // given up by their sender
		_, e := given(byte(i%50), 1+i/50)
		r.release(e)
	}
	heads, entries := make([]head, maxHeld-1), make([]entry, maxHeld-1)
	for i := range heads {
		heads[i], entries[i] = given(100, uint32(1+i))
	}
	require.Equal(t, maxHeld, r.snapshot().held)
	for _, h := range heads {
		require.Equal(t, errPending, r.check(h.bytes(), h.topicOf(), liveAcknowledged))
	}
	for _, e := range entries {
		r.release(e)
	}
	for _, i := range rng.Perm(len(heads)) {
		_, err := heads[i].deliver(r, liveAcknowledged)
		require.NoError(t, err)
		r.done(entries[i])
		require.Equal(t, errDone, r.check(heads[i].bytes(), heads[i].topicOf(), liveAcknowledged))
	}
	require.LessOrEqual(t, r.snapshot().held, 1)
}

// What is forgotten is the oldest, or nearly, and stays refused.
func TestForgottenIsDone(t *testing.T) {
	r := newTestReplay(10)
	for seq := uint32(1); seq <= maxHeld; seq++ {
		e, err := at(seq).deliver(r, liveAcknowledged)
		require.NoError(t, err)
		r.release(e)
	}
	const more = 1000
	for seq := uint32(maxHeld + 1); seq <= maxHeld+more; seq++ {
		_, err := at(seq).deliver(r, liveAcknowledged)
		require.NoError(t, err)
	}
	require.Equal(t, maxHeld, r.snapshot().held)
	refused, early := 0, 0
	for seq := uint32(1); seq <= maxHeld; seq++ {
		if err := r.check(at(seq).bytes(), at(seq).topicOf(), liveAcknowledged); err != nil {
			require.Contains(t, []error{errDone, ErrStale}, err)
			refused++
			if seq < maxHeld/2 {
				early++
			}
		}
	}
	require.Equal(t, more, refused)
	require.Greater(t, early, more*9/10)
}

// With nothing but pending numbers at the bound, the next is not held.
func TestHeldIsFull(t *testing.T) {
	r := newTestReplay(10)
	for seq := uint32(1); seq <= maxHeld+1; seq++ {
		_, err := at(seq).deliver(r, liveAcknowledged)
		require.NoError(t, err)
	}
	require.Equal(t, maxHeld, r.snapshot().held)
	_, err := at(1).deliver(r, liveAcknowledged)
	require.ErrorIs(t, err, errPending)
	_, err = at(maxHeld+1).deliver(r, liveAcknowledged)
	require.ErrorIs(t, err, errDone)
}

// A window that is dropped takes what it holds with it.
func TestEvictionDropsHeld(t *testing.T) {
	r := newTestReplay(1)
	e, err := at(1).deliver(r, liveAcknowledged)
	require.NoError(t, err)
	_, err = head{key: 1, session: 2, time: 2e9, seq: 1}.deliver(r, liveAcknowledged)
	require.NoError(t, err)
	require.Equal(t, sizes{live: 1, publishers: 1, blocks: 1, held: 1}, r.snapshot())
	r.release(e)
	r.done(e)
	require.Equal(t, sizes{live: 1, publishers: 1, blocks: 1, held: 1}, r.snapshot())
}
