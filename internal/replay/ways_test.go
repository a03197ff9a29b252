package replay

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// One message that is never acknowledged does not keep the places of all that come after it.
func TestHeldBehindOneThatStays(t *testing.T) {
	r := newReceiver(1000)
	conn := r.Connect()
	require.NoError(t, r.open(msg("a", 1, noon, 1), acked(conn)))
	for seq := uint32(2); seq < 1000; seq++ {
		e, err := r.take(msg("a", 1, noon, seq), acked(conn))
		require.NoError(t, err)
		r.Done(e)
		r.intact(t)
		require.Less(t, len(e.session.window.held), 4)
	}
	require.NoError(t, r.open(msg("a", 1, noon, 1), acked(r.Connect())))
}

// What goes on in the order of its session is judged by how it comes, as everything is: it may be a live message that a
// broker passes off as a retained one, or a copy for a Subscription Identifier.
func TestInOrderByAnotherWay(t *testing.T) {
	r := newReceiver(1000)
	require.NoError(t, r.open(msg("a", 1, noon, 1), live()))
	require.ErrorIs(t, r.open(msg("a", 1, noon, 2), &Arrival{Retained: true, Asker: subscriptions(9)}), ErrNotRetained)
	require.NoError(t, r.open(msg("a", 1, noon, 2), &Arrival{Streams: []uint32{5}}))
	require.ErrorIs(t, r.open(msg("a", 1, noon, 2), &Arrival{Streams: []uint32{5}}), ErrDelivered)
	require.NoError(t, r.open(msg("a", 1, noon, 2), live()))
	require.ErrorIs(t, r.open(msg("a", 1, noon, 2), live()), ErrDelivered)
}

// A message for many Subscription Identifiers takes no more room than there is.
func TestRoomForStreams(t *testing.T) {
	const limit, streams = 400, 20
	r := newReceiver(limit)
	var ids []uint32
	for id := range uint32(streams) {
		ids = append(ids, 1+id)
	}
	for session := range byte(50) {
		for _, seq := range []uint32{1, 1000} { // so far apart that each stream needs a window
			r.open(msg("a/b", session, noon+uint32(session), seq), &Arrival{Streams: ids})
			require.LessOrEqual(t, r.Size(), limit)
		}
	}
	r.intact(t)
}
