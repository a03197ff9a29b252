package rate

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBurstThenEvenly(t *testing.T) {
	l := New(time.Second, 3, 10)
	now := time.Unix(1_800_000_000, 0)
	for range 3 {
		require.Zero(t, l.Take("a", 1, now))
	}
	require.Equal(t, time.Second, l.Take("a", 1, now))
	require.Equal(t, time.Second, l.Take("a", 1, now), "asking too early costs nothing")
	require.Zero(t, l.Take("b", 1, now), "another peer has its own share")
	require.Zero(t, l.Take("a", 1, now.Add(time.Second)))
	require.NotZero(t, l.Take("a", 1, now.Add(time.Second)))
	require.Zero(t, l.Take("a", 3, now.Add(time.Hour)), "a pause gives no more than a burst")
	require.NotZero(t, l.Take("a", 1, now.Add(time.Hour)))
}

func TestChargeIsBounded(t *testing.T) {
	l := New(time.Second, 3, 10)
	now := time.Unix(1_800_000_000, 0)
	l.Charge("a", 1000, now)
	require.Equal(t, time.Second, l.Take("a", 1, now))
	require.Zero(t, l.Take("a", 1, now.Add(time.Second)))
}

func TestRefund(t *testing.T) {
	l := New(time.Second, 2, 10)
	now := time.Unix(1_800_000_000, 0)
	for range 100 {
		require.Zero(t, l.Take("a", 1, now))
		l.Refund("a", 1)
	}
	require.Zero(t, l.Take("a", 2, now))
	require.NotZero(t, l.Take("a", 1, now), "a refund is no more than what was taken")
	l.Refund("b", 1)
	require.Len(t, l.due, 1)
}

// TestStateIsBounded floods a Limiter from more peers than it remembers.
func TestStateIsBounded(t *testing.T) {
	const entries = 64
	l := New(time.Second, 2, entries)
	now := time.Unix(1_800_000_000, 0)
	for i := range 100 * entries {
		require.Zero(t, l.Take(fmt.Sprint(i), 1, now), "a newcomer is never locked out")
		require.LessOrEqual(t, len(l.due), entries)
	}
	l.Take("late", 1, now.Add(time.Hour))
	require.Less(t, len(l.due), entries)
}

func TestNoLimit(t *testing.T) {
	l := New(-1, 0, 1)
	for range 1000 {
		require.Zero(t, l.Take("a", 1, time.Time{}))
	}
	l.Charge("a", 1, time.Time{})
	require.Empty(t, l.due)
}
