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
