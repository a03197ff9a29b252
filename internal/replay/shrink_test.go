package replay

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestShrink: what is forgotten is refused, what is new is delivered, and what is left is held together.
func TestShrink(t *testing.T) {
	r := newReceiver(10_000)
	for session := range byte(200) {
		require.NoError(t, r.open(msg("a/b", session, noon-10, 1), live()))
		require.NoError(t, r.open(msg("a/c", session, 0, 1), live()), "without a clock")
	}
	before := r.Size()
	r.Shrink(before)
	require.Equal(t, before, r.Size())
	r.Shrink(20)
	require.LessOrEqual(t, r.Size(), 20)
	r.intact(t)
	for session := range byte(200) {
		require.Error(t, r.open(msg("a/b", session, noon-10, 1), live()))
		require.Error(t, r.open(msg("a/c", session, 0, 1), live()))
	}
	require.NoError(t, r.open(msg("a/b", 201, noon, 1), live()))
	r.Shrink(0)
	require.ErrorIs(t, r.open(msg("a/b", 201, noon, 1), live()), ErrForgotten)
	r.intact(t)
}

// TestShrinkKeepsApart: when all of one publisher is forgotten, and of live messages, nothing of another's or of a Will
// is taken for it.
func TestShrinkKeepsApart(t *testing.T) {
	r := newReceiver(1000)
	alice, mallory, will := msg("a/b", 1, noon, 1), msg("a/b", 2, noon, 1), msg("a/b", 3, noon, 1)
	mallory.Publisher, will.Will = 1, true
	require.NoError(t, r.open(mallory, live()))
	r.Shrink(0)
	r.intact(t)
	require.NoError(t, r.open(alice, live()))
	r.Shrink(0)
	require.NoError(t, r.open(will, live()))
	for _, m := range []Message{alice, mallory} {
		require.ErrorIs(t, r.open(m, live()), ErrForgotten)
	}
}
