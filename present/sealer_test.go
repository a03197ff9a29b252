package present

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/present/presentcipher"
)

func sealers(t testing.TB) (alice, bob *Sealer) {
	t.Helper()
	key, err := GenerateKey("site/#")
	require.NoError(t, err)
	alice, err = New(Config{Keys: []Key{key}})
	require.NoError(t, err)
	bob, err = New(Config{Keys: []Key{key}})
	require.NoError(t, err)
	return alice, bob
}

func TestSealerSealOpen(t *testing.T) {
	alice, bob := sealers(t)
	for _, n := range []int{0, 1, 7, 8, 64, 1024, 100 << 10, presentcipher.MaxPlaintext} {
		payload := bytes.Repeat([]byte{0x5A}, n)
		sealed, err := alice.Seal("site/7", payload)
		require.NoError(t, err)
		require.Len(t, sealed, n+Overhead)
		require.Equal(t, byte(0x20), sealed[1])
		got, err := bob.Open("site/7", sealed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(payload, got))
		_, err = bob.Open("site/7", sealed)
		require.ErrorIs(t, err, ErrReplay)
		sealed[len(sealed)-1] ^= 1
		_, err = bob.Open("site/7", sealed)
		require.Error(t, err)
	}
	_, err := alice.Seal("site/7", make([]byte, presentcipher.MaxPlaintext+1))
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = alice.Seal("site/"+string(bytes.Repeat([]byte("x"), 65530)), nil)
	require.ErrorIs(t, err, ErrTooLarge)
}

// session is where a frame names its session.
func session(sealed []byte) string { return string(sealed[6:18]) }

// TestSessionEndsAfterItsCipherCalls seals until the session changes and counts.
func TestSessionEndsAfterItsCipherCalls(t *testing.T) {
	alice, _ := sealers(t)
	for _, size := range []int{0, 64, 1000} {
		first, err := alice.Seal("site/7", make([]byte, size))
		require.NoError(t, err)
		spent, sessions := 0, 0
		// The session that is under way has been used by the sizes before, so count a whole one.
		for seen := session(first); ; {
			sealed, err := alice.Seal("site/7", make([]byte, size))
			require.NoError(t, err)
			if s := session(sealed); s != seen {
				if spent, sessions = 0, sessions+1; sessions == 2 {
					break
				}
				seen = s
			}
			spent += presentcipher.Calls(size, 10+26+len("site/7"))
			require.LessOrEqual(t, spent, 1<<16)
		}
	}
}

// TestLargeMessageHasItsOwnSession puts one among small ones, whose session goes on.
func TestLargeMessageHasItsOwnSession(t *testing.T) {
	alice, bob := sealers(t)
	before, err := alice.Seal("site/7", nil)
	require.NoError(t, err)
	large, err := alice.Seal("site/7", make([]byte, presentcipher.MaxPlaintext))
	require.NoError(t, err)
	require.Greater(t, presentcipher.Calls(presentcipher.MaxPlaintext, 42), 1<<16)
	after, err := alice.Seal("site/7", nil)
	require.NoError(t, err)
	require.NotEqual(t, session(before), session(large))
	require.Equal(t, session(before), session(after))
	for _, sealed := range [][]byte{before, large, after} {
		_, err := bob.Open("site/7", sealed)
		require.NoError(t, err)
	}
}

// TestLongestTopic is the limit that the additional data set.
func TestLongestTopic(t *testing.T) {
	alice, bob := sealers(t)
	longest := "site/" + string(bytes.Repeat([]byte("x"), 65_500-len("site/")))
	sealed, err := alice.Seal(longest, []byte("21.5"))
	require.NoError(t, err)
	payload, err := bob.Open(longest, sealed)
	require.NoError(t, err)
	require.Equal(t, "21.5", string(payload))
	_, err = alice.Seal(longest+"x", []byte("21.5"))
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = bob.Open(longest+"x", sealed)
	require.Error(t, err)
}

func TestKeysOfBothPackages(t *testing.T) {
	alice, _ := sealers(t)
	key, err := NewKey("other/#", bytes.Repeat([]byte{1, 2}, 16))
	require.NoError(t, err)
	require.NotContains(t, key.String(), "0102")
	_, err = alice.Seal("other/1", nil)
	require.ErrorIs(t, err, ErrNoKey)
	_, err = NewKey("other/#", make([]byte, 32))
	require.ErrorIs(t, err, ErrInvalidKey)
}
