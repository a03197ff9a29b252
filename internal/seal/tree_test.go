package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/key"
)

func hmacOf(secret []byte, message string) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write([]byte(message))
	return h.Sum(nil)
}

// secretOf returns a key's secret.
func secretOf(t *testing.T, k Key) []byte {
	t.Helper()
	tree, err := key.Plant(k)
	require.NoError(t, err)
	root := tree.Root()
	return root[:]
}

// leavesOfKeys derives what one Sealer uses for a topic, without its caches.
func leavesOfKeys(t *testing.T, name string, keys ...Key) *leaves {
	t.Helper()
	l, err := testSealer(t, Config{Keys: keys}).derive(name)
	require.NoError(t, err)
	return l
}

func TestLevels(t *testing.T) {
	secret := count(1, key.SecretSize)
	node := func(levels ...string) []byte {
		n := secret
		for _, l := range levels {
			n = hmacOf(n, l)
		}
		return n
	}
	for _, c := range []struct {
		filter, topic string
		node          []byte
	}{
		{"#", "a", node("a")},
		{"#", "a/b/c", node("a", "b", "c")},
		{"#", "/", node("", "")},
		{"+/b", "a/b", node("a", "b")},
		{"a/#", "a", node()},
		{"a/#", "a/", node("")},
		{"a/#", "a/b", node("b")},
		{"a/+/c", "a/b/c", node("b", "c")},
		{"/+", "/b", node("b")},
		{"a/b", "a/b", node()},
		{"$SYS/#", "$SYS/x", node("x")},
		{"a/#", "a/" + strings.Repeat("long", 500), node(strings.Repeat("long", 500))},
	} {
		l := leavesOfKeys(t, c.topic, testKey(t, c.filter, 1))
		require.Equal(t, hmacOf(c.node, "\x00mqttsec v1 aes"), l.keys[0].secret[:], "%s %s", c.filter, c.topic)
		require.Equal(t, hmacOf(c.node, "\x00mqttsec v1 id\x01")[:4], l.keys[0].id[:], "%s %s", c.filter, c.topic)
	}
}

// A sub-key yields what its parent yields, on every topic of its branch.
func TestSubYieldsEqualLeaves(t *testing.T) {
	for _, c := range []struct {
		parent, sub string
		topics      []string
	}{
		{"#", "site/#", []string{"site", "site/7", "site/7/temp"}},
		{"site/#", "site/7/#", []string{"site/7", "site/7/", "site/7/temp/high"}},
		{"site/#", "site/7/+", []string{"site/7/temp"}},
		{"site/#", "site/7", []string{"site/7"}},
		{"site/+/temp", "site/7/temp", []string{"site/7/temp"}},
		{"+/+/temp", "site/+/temp", []string{"site/7/temp"}},
		{"+/#", "/#", []string{"/", "//", "/a"}},
		{"$SYS/#", "$SYS/broker/#", []string{"$SYS/broker/uptime"}},
	} {
		parent := testKey(t, c.parent, 1)
		sub, err := parent.Sub(c.sub)
		require.NoError(t, err)
		require.Equal(t, c.sub, sub.Filter())
		for _, name := range c.topics {
			want, got := leavesOfKeys(t, name, parent), leavesOfKeys(t, name, sub)
			require.Equal(t, want.keys[0].secret, got.keys[0].secret, "%s of %s on %s", c.sub, c.parent, name)
			require.Equal(t, want.keys[0].id, got.keys[0].id)
		}
		viaTwo := parent
		if strings.HasSuffix(c.sub, "/7/#") {
			viaTwo, err = sub.Sub("site/7/temp/#")
			require.NoError(t, err)
			direct, err := parent.Sub("site/7/temp/#")
			require.NoError(t, err)
			require.True(t, direct.Equal(viaTwo), "in two steps as in one")
		}
	}
}

func TestSubOpensNothingElse(t *testing.T) {
	parent := testKey(t, "site/#", 1)
	sub, err := parent.Sub("site/7/#")
	require.NoError(t, err)
	holder, whole := testSealer(t, Config{Keys: []Key{sub}}), testSealer(t, Config{Keys: []Key{parent}})
	for _, name := range []string{"site", "site/8/temp", "site/77"} {
		sealed, err := whole.Seal(name, []byte("x"))
		require.NoError(t, err)
		_, err = holder.Open(name, sealed)
		require.ErrorIs(t, err, ErrNoKey)
		// The secret under any other filter is of no use either.
		forged, err := key.New("site/#", secretOf(t, sub))
		require.NoError(t, err)
		_, err = testSealer(t, Config{Keys: []Key{forged}}).Open(name, sealed)
		require.ErrorIs(t, err, ErrUnknownKey)
	}
}

func TestKeysThatMeet(t *testing.T) {
	root := testKey(t, "#", 1)
	site, err := root.Sub("site/#")
	require.NoError(t, err)
	seven, err := root.Sub("site/7/#")
	require.NoError(t, err)
	other := testKey(t, "site/#", 2)
	plus, err := key.New("site/+", secretOf(t, site))
	require.NoError(t, err)
	for _, keys := range [][]Key{{site, site}, {root, site}, {seven, other, root}, {site, seven}, {site, plus}} {
		_, err := New(XAES(), Config{Keys: keys})
		require.ErrorContains(t, err, "one key id", keys)
	}
	for _, keys := range [][]Key{{site, other}, {testKey(t, "a/#", 1), testKey(t, "b/#", 1)}, {root, other, testKey(t, "+/7/#", 3)}} {
		_, err := New(XAES(), Config{Keys: keys})
		require.NoError(t, err, keys)
	}
}

// Different secrets may have one key id by chance, once in 2^32. For a single
// topic New sees it.
func TestKeysWithOneID(t *testing.T) {
	seen := make(map[[4]byte]uint32)
	keyOf := func(n uint32) Key {
		secret := make([]byte, key.SecretSize)
		binary.BigEndian.PutUint32(secret, n)
		k, err := key.New("site/7", secret)
		require.NoError(t, err)
		return k
	}
	for n := uint32(1); n < 1<<20; n++ {
		var node key.Node
		binary.BigEndian.PutUint32(node[:], n)
		id := keyID(node, 1)
		if other, ok := seen[id]; ok {
			_, err := New(XAES(), Config{Keys: []Key{keyOf(other), keyOf(n)}})
			require.ErrorContains(t, err, "one key id")
			_, err = New(Suite{ID: 2, New: newXAES}, Config{Keys: []Key{keyOf(other), keyOf(n)}})
			require.NoError(t, err, "another suite has other ids")
			return
		}
		seen[id] = n
	}
	require.Fail(t, "no two equal ids")
}

// The secrets are the same in each run: among a thousand random keys, two have one id
// by chance once in some thousand runs.
func TestManyKeys(t *testing.T) {
	keys := make([]Key, 1000)
	for i := range keys {
		secret := sha256.Sum256(binary.BigEndian.AppendUint16(nil, uint16(i)))
		k, err := key.New([]string{"#", "site/#", "site/7/+", "other"}[i%4], secret[:])
		require.NoError(t, err)
		keys[i] = k
	}
	s := testSealer(t, Config{Keys: keys})
	sealed, err := s.Seal("site/7/x", []byte("x"))
	require.NoError(t, err)
	got, err := testSealer(t, Config{Keys: keys[:1]}).Open("site/7/x", sealed)
	require.NoError(t, err)
	require.Equal(t, "x", string(got))
}
