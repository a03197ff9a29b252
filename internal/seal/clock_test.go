package seal

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A machine that was suspended or restored finds its clocks apart, and seals in another session from the first message
// on. Clocks that are set by a little do not.
func TestClocksApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		noon := time.Date(2030, 1, 1, 12, 0, 0, 0, time.UTC)
		for _, c := range []struct {
			wall, monotonic time.Duration
			another         bool
		}{
			{time.Second, time.Second, false}, {time.Hour, time.Hour, false}, {time.Second, 0, false}, {0, 2 * time.Second, false},
			{time.Hour, time.Second, true}, {-time.Hour, time.Second, true}, {3 * time.Second, 0, true}, {0, 3 * time.Second, true},
		} {
			s := testSealer(t, Config{Keys: []Key{testKey(t, "a", 1)}})
			now := reading{wall: noon, monotonic: time.Minute}
			s.clock.read = func() reading { return now }
			first, err := s.Seal("a", nil)
			require.NoError(t, err)
			require.EqualValues(t, noon.Unix(), timeOf(first))
			now.wall, now.monotonic = now.wall.Add(c.wall), now.monotonic+c.monotonic
			time.Sleep(keptFor)
			synctest.Wait()
			second, err := s.Seal("a", nil)
			require.NoError(t, err)
			require.EqualValues(t, now.wall.Unix(), timeOf(second), "the second is looked at again")
			require.Equal(t, c.another, sessionOf(first) != sessionOf(second), "%+v", c)
			third, err := s.Seal("a", nil)
			require.NoError(t, err)
			require.Equal(t, sessionOf(second), sessionOf(third))
		}
	})
}

// Two that go on from one memory part at the call, and so does one that was rolled back.
func TestNewSession(t *testing.T) {
	k := testKey(t, "a", 1)
	alice, bob := testSealer(t, Config{Keys: []Key{k}}), testSealer(t, Config{Keys: []Key{k}})
	before, err := alice.Seal("a", nil)
	require.NoError(t, err)
	queued, err := alice.seal(nil, &Message{Topic: []byte("a"), Queued: true})
	require.NoError(t, err)
	alice.NewSession()
	for range 100 {
		after, err := alice.Seal("a", nil)
		require.NoError(t, err)
		require.NotEqual(t, sessionOf(before), sessionOf(after))
		_, err = bob.Open("a", after)
		require.NoError(t, err)
	}
	again, err := alice.seal(nil, &Message{Topic: []byte("a"), Queued: true})
	require.NoError(t, err)
	require.NotEqual(t, sessionOf(queued), sessionOf(again))
}
