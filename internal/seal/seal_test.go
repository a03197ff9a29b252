package seal

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// testKey is a key whose secret counts up from first.
func testKey(t testing.TB, filter string, first byte) Key {
	t.Helper()
	secret := make([]byte, SecretSize)
	for i := range secret {
		secret[i] = first + byte(i)
	}
	k, err := NewKey(filter, secret)
	require.NoError(t, err)
	return k
}

func testSealer(t testing.TB, cfg Config) *Sealer {
	t.Helper()
	s, err := New(XAES(), cfg)
	require.NoError(t, err)
	return s
}

func TestSealOpen(t *testing.T) {
	key := testKey(t, "site/#", 1)
	alice, bob := testSealer(t, Config{Keys: []Key{key}}), testSealer(t, Config{Keys: []Key{key}})
	for _, n := range []int{0, 1, 15, 16, 64, 1024, 1 << 20} {
		payload := bytes.Repeat([]byte{0x5A}, n)
		sealed, err := alice.Seal("site/7/temp", payload)
		require.NoError(t, err)
		require.Len(t, sealed, n+42)
		got, err := bob.Open("site/7/temp", sealed)
		require.NoError(t, err)
		require.True(t, bytes.Equal(payload, got))
		_, err = bob.Open("site/7/temp", sealed)
		require.ErrorIs(t, err, ErrReplay)
	}
}
