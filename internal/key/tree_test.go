package key

import (
	"crypto/hmac"
	"crypto/sha256"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func hmacOf(key []byte, message string) []byte {
	h := hmac.New(sha256.New, key)
	h.Write([]byte(message))
	return h.Sum(nil)
}

func TestMAC(t *testing.T) {
	key := [32]byte{1, 2, 3, 31: 4}
	for n := range 300 {
		message := strings.Repeat("m", n)
		var out [32]byte
		mac(&out, &key, message)
		require.Equal(t, hmacOf(key[:], message), out[:], n)
		out = key
		mac(&out, &out, message)
		require.Equal(t, hmacOf(key[:], message), out[:], "in place")
	}
}

func TestSubRefuses(t *testing.T) {
	for _, c := range []struct{ parent, sub string }{
		{"site/#", "site/#"},         // the same
		{"site/#", "site/+"},         // narrower by a wildcard alone
		{"site/#", "site/+/temp"},    // the same secret for fewer topics
		{"site/#", "site"},           // likewise
		{"+/#", "+/temp"},            // likewise
		{"site/#", "#"},              // wider
		{"site/#", "other/#"},        // elsewhere
		{"site/+", "site/7/#"},       // deeper than the key reaches
		{"#", "$SYS/#"},              // 4.7.2: not under #
		{"site/#", "site/#/x"},       // not a filter
		{"site/#", ""},               // not a filter
		{"site/7", "site/7/x"},       // below a single topic
		{"site/#", "$share/g/site/"}, // fine: see below
	} {
		key, err := testKey(t, c.parent, 1).Sub(c.sub)
		if c.sub == "$share/g/site/" {
			require.NoError(t, err)
			require.Equal(t, "site/", key.Filter())
			continue
		}
		require.ErrorIs(t, err, ErrInvalid, "%s under %s", c.sub, c.parent)
	}
	_, err := Key{}.Sub("a")
	require.ErrorIs(t, err, ErrInvalid)
}

// Each level of a topic behind the filter's prefix takes one step, and a leaf hangs at a node under its label.
func TestNode(t *testing.T) {
	k := testKey(t, "site/+/temp", 1)
	tree, err := Plant(k)
	require.NoError(t, err)
	require.Equal(t, "site/+/temp", tree.Filter())
	require.Equal(t, 1, tree.Levels())
	root := tree.Root()
	require.Equal(t, k.secret()[:], root[:])
	node := tree.Node("site/7/temp")
	require.Equal(t, hmacOf(hmacOf(root[:], "7"), "temp"), node[:])
	seven := root.Child("7")
	require.Equal(t, node, seven.Child("temp"))
	leaf := node.Leaf("until")
	require.Equal(t, hmacOf(node[:], "\x00until"), leaf[:])
	require.NotEqual(t, seven.Child("until"), Node(seven.Leaf("until")))

	_, err = Plant(Key{})
	require.ErrorIs(t, err, ErrInvalid)
}

// Trees derived from one secret have nothing in common, and each has the sub-keys that any key has.
func TestDerive(t *testing.T) {
	k := testKey(t, "site/#", 1)
	publish, err := Derive(k, "publish")
	require.NoError(t, err)
	subscribe, err := Derive(k, "subscribe")
	require.NoError(t, err)
	require.Equal(t, "site/#", publish.Filter())
	require.Equal(t, hmacOf(k.secret()[:], "\x00publish"), publish.secret()[:])
	require.False(t, publish.Equal(subscribe))
	sub, err := publish.Sub("site/7/#")
	require.NoError(t, err)
	require.Equal(t, hmacOf(publish.secret()[:], "7"), sub.secret()[:])
	_, err = Derive(Key{}, "publish")
	require.ErrorIs(t, err, ErrInvalid)
}
