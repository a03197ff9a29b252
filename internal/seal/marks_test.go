package seal

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRetainedMarks(t *testing.T) {
	r := newTestReplay(10)
	deliver := func(h head, k kind) error { _, err := h.deliver(r, k); return err }
	message := func(session byte, time, seq uint32) head {
		return head{key: 1, session: session, time: time, seq: seq, flags: flagRetain}
	}
	require.ErrorIs(t, deliver(head{key: 1, session: 1, time: 50, seq: 1}, retained), ErrReplay, "not published with RETAIN")
	require.NoError(t, deliver(message(1, 100, 5), retained))
	require.NoError(t, deliver(message(1, 100, 5), retained), "each subscription repeats it")
	require.ErrorIs(t, deliver(message(1, 100, 4), retained), ErrStale, "the session goes backwards")
	require.NoError(t, deliver(message(1, 90, 6), retained), "the number counts, not the clock")
	require.ErrorIs(t, deliver(message(2, 89, 9), retained), ErrStale, "another session, older")
	require.NoError(t, deliver(message(2, 90, 1), retained), "as old")
	require.NoError(t, deliver(message(3, 91, 1), retained))
	require.ErrorIs(t, deliver(message(2, 90, 1), retained), ErrStale)
	require.Empty(t, r.live.windows, "retained messages are not judged by the window")

	other := message(1, 1, 1)
	other.key = 2
	require.NoError(t, deliver(other, retained), "another topic")

	// What came live with RETAIN=0 is an ordinary message, and replaces what was retained.
	require.NoError(t, deliver(message(3, 95, 7), liveAtMostOnce))
	require.ErrorIs(t, deliver(message(3, 95, 7), liveAtMostOnce), errDone)
	require.ErrorIs(t, deliver(message(3, 91, 6), retained), ErrStale, "a broker may not roll back")
	require.NoError(t, deliver(message(3, 95, 7), retained))
	require.NoError(t, deliver(message(3, 91, 6), liveAtMostOnce), "late, but within the window")
	require.ErrorIs(t, deliver(message(3, 91, 6), retained), ErrStale, "and the mark has not gone back for it")
}

// A device publishes "online" as retained and leaves "offline" as its Will.
func TestRetainedAfterWill(t *testing.T) {
	r := newTestReplay(10)
	deliver := func(h head, k kind) error { _, err := h.deliver(r, k); return err }
	online := head{key: 1, session: 1, time: 101, seq: 1, flags: flagRetain}
	offline := head{key: 1, session: 2, time: 100, seq: 1, flags: flagRetain | flagWill}
	require.NoError(t, deliver(online, liveAtMostOnce))
	require.NoError(t, deliver(offline, liveAtMostOnce), "older than online, and yet its successor")
	require.ErrorIs(t, deliver(offline, liveAtMostOnce), errDone, "once per session")
	require.NoError(t, deliver(offline, retained))
	require.NoError(t, deliver(offline, retained))
	older := head{key: 1, session: 3, time: 99, seq: 1, flags: flagRetain | flagWill}
	require.ErrorIs(t, deliver(older, retained), ErrStale, "an earlier connection's Will")
}

func TestMarksAreBounded(t *testing.T) {
	r := newTestReplay(3)
	for key := range 100 {
		h := head{key: byte(key), session: 1, time: 1, seq: 1, flags: flagRetain}
		_, err := h.deliver(r, retained)
		require.NoError(t, err)
	}
	require.Len(t, r.marks.m, 12)
}
