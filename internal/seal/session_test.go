package seal

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// smallSuite has the nonces and the limits of a 64-bit cipher's suite.
func smallSuite() Suite {
	s := XAES()
	s.ID, s.Label, s.NonceTail, s.MaxPlaintext, s.MaxAD = 2, "mqttsec v1 small", 4, 1000, 100
	s.Budget, s.Calls = 100, func(plaintext, ad int) int { return plaintext }
	return s
}

func sessionOf(frame []byte) string { return string(frame[sessionAt:timeAt]) }

func seqOf(frame []byte) uint32 { return binary.BigEndian.Uint32(frame[seqAt:]) }

func TestSessionEndsWithItsBudget(t *testing.T) {
	s, err := New(smallSuite(), Config{Keys: []Key{testKey(t, "#", 1)}})
	require.NoError(t, err)
	used := map[string]int{}
	last := ""
	for i := range 200 {
		n := i % 40
		sealed, err := s.Seal("a", make([]byte, n))
		require.NoError(t, err)
		if _, known := used[sessionOf(sealed)]; !known {
			require.EqualValues(t, 1, seqOf(sealed))
		}
		used[sessionOf(sealed)] += n
		require.LessOrEqual(t, used[sessionOf(sealed)], 100)
		last = sessionOf(sealed)
	}
	require.Greater(t, len(used), 30)

	big, err := s.Seal("a", make([]byte, 101))
	require.NoError(t, err)
	require.NotContains(t, used, sessionOf(big), "a session to itself")
	require.EqualValues(t, 1, seqOf(big))
	after, err := s.Seal("a", nil)
	require.NoError(t, err)
	require.Equal(t, last, sessionOf(after), "the others go on")
}

func TestLimits(t *testing.T) {
	s, err := New(smallSuite(), Config{Keys: []Key{testKey(t, "#", 1)}})
	require.NoError(t, err)
	_, err = s.Seal("a", make([]byte, 1000))
	require.NoError(t, err)
	_, err = s.Seal("a", make([]byte, 1001))
	require.ErrorIs(t, err, ErrTooLarge)
	sealed, err := s.Seal(strings.Repeat("a", 64), nil)
	require.NoError(t, err)
	_, err = s.Open(strings.Repeat("a", 64), sealed)
	require.NoError(t, err)
	_, err = s.Seal(strings.Repeat("a", 65), nil)
	require.ErrorIs(t, err, ErrTooLarge)
	l, err := s.derive(strings.Repeat("a", 65))
	require.NoError(t, err)
	copy(sealed[idAt:], l.keys[0].id[:])
	_, err = s.Open(strings.Repeat("a", 65), sealed)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = s.Open("a", append(sealed, make([]byte, 1001)...))
	require.ErrorIs(t, err, ErrTooLarge)
	_, _, err = s.reseal(nil, &Message{Topic: []byte("a"), Payload: make([]byte, 1001)}, stamp{})
	require.NoError(t, err, "another message, whatever its size")
}

// A session ends with its last sequence number, and never wraps around.
func TestSessionEndsWithItsNumbers(t *testing.T) {
	alice, bob := pair(t, "#")
	alice.session.Load().seq.Store(math.MaxUint32 - 2)
	sessions := map[string][]uint32{}
	for range 5 {
		sealed, err := alice.Seal("a", nil)
		require.NoError(t, err)
		_, err = bob.Open("a", sealed)
		require.NoError(t, err)
		sessions[sessionOf(sealed)] = append(sessions[sessionOf(sealed)], seqOf(sealed))
	}
	require.Len(t, sessions, 2)
	for _, numbers := range sessions {
		require.Contains(t, [][]uint32{{math.MaxUint32 - 1, math.MaxUint32}, {1, 2, 3}}, numbers)
	}
}

// No two messages share session and number, however many seal at once and however
// often the session changes under them.
func TestNoncesAreUnique(t *testing.T) {
	s, err := New(smallSuite(), Config{Keys: []Key{testKey(t, "#", 1)}})
	require.NoError(t, err)
	var mu sync.Mutex
	seen := map[string]bool{}
	used := map[string]int{}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 500 {
				m := Message{Topic: []byte(fmt.Sprint("t/", i%7)), Will: i%50 == 0, Payload: make([]byte, (g+i)%30)}
				sealed, err := s.seal(nil, &m)
				if err != nil {
					panic(err)
				}
				mu.Lock()
				nonce := string(sealed[sessionAt:timeAt]) + string(sealed[seqAt:headerLen])
				if seen[nonce] {
					panic("a nonce twice")
				}
				seen[nonce] = true
				used[sessionOf(sealed)] += len(m.Payload)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	require.Len(t, seen, 4000)
	for _, n := range used {
		require.LessOrEqual(t, n, 100)
	}
}

func TestSessionsDiffer(t *testing.T) {
	alice, bob := pair(t, "#")
	a, err := alice.Seal("a", nil)
	require.NoError(t, err)
	b, err := bob.Seal("a", nil)
	require.NoError(t, err)
	require.NotEqual(t, sessionOf(a), sessionOf(b))
	will, err := alice.seal(nil, &Message{Topic: []byte("a"), Will: true})
	require.NoError(t, err)
	require.NotEqual(t, sessionOf(a), sessionOf(will))
	require.EqualValues(t, 1, seqOf(will))
	next, err := alice.Seal("a", nil)
	require.NoError(t, err)
	require.Equal(t, sessionOf(a), sessionOf(next))
	require.EqualValues(t, 2, seqOf(next), "a Will takes no number")
}

func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}})
		for i := range 50 {
			sealed, err := s.Seal("a", nil)
			require.NoError(t, err)
			require.EqualValues(t, time.Now().Unix(), binary.BigEndian.Uint32(sealed[timeAt:]), i)
			time.Sleep(time.Duration(i*37) * time.Millisecond)
			synctest.Wait()
		}
		time.Sleep(2 * time.Second) // the timer has run out: nothing is left running
	})
	for _, c := range []struct {
		seconds int64
		want    uint32
	}{{0, 0}, {-1, 0}, {946684799, 0}, {946684800, 946684800}, {math.MaxUint32, math.MaxUint32}, {math.MaxUint32 + 1, 0}} {
		require.Equal(t, c.want, unixTime(c.seconds))
	}
}
