package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mqttsec/mqttsec/internal/topic"
)

// idLabel derives the key id; the suite's number follows as one byte.
const idLabel = "mqttsec v1 id"

// mac sets out to HMAC-SHA-256(key, message). It is crypto/hmac's result without
// its allocations: a topic of seven levels takes nine of these.
func mac(out, key *[32]byte, message string) {
	const inner, outer = 0x36, 0x5C
	if len(message) > 128 {
		*out = longMAC(*key, message)
		return
	}
	var in [sha256.BlockSize + 128]byte
	var ex [sha256.BlockSize + sha256.Size]byte
	for i := range sha256.BlockSize {
		in[i], ex[i] = inner, outer
	}
	for i, b := range key {
		in[i] ^= b
		ex[i] ^= b
	}
	n := copy(in[sha256.BlockSize:], message)
	sum := sha256.Sum256(in[:sha256.BlockSize+n])
	copy(ex[sha256.BlockSize:], sum[:])
	*out = sha256.Sum256(ex[:])
}

func longMAC(key [32]byte, message string) (sum [32]byte) {
	h := hmac.New(sha256.New, key[:])
	io.WriteString(h, message)
	h.Sum(sum[:0])
	return sum
}

// leaf derives the secret that label names from a topic's node. The zero byte
// keeps leaves and nodes apart, for no level of a topic contains one.
func leaf(node *[32]byte, label string) (l [32]byte) {
	mac(&l, node, "\x00"+label)
	return l
}

// keyID is the public name of a topic's leaf for a suite.
func keyID(node *[32]byte, suite byte) [4]byte {
	l := leaf(node, idLabel+string([]byte{suite}))
	return [4]byte(l[:])
}

// tree is a Key made ready.
type tree struct {
	filter string
	levels int // before the first wildcard
	node   [32]byte
}

// nodeOf is the tree's secret for a topic that its filter matches.
func (t *tree) nodeOf(topic string) [32]byte { return walk(t.node, topic, t.levels) }

// plant makes keys ready, and refuses those that cannot work together: two whose
// secrets meet at one node would seal under the same key id, and which of them
// did could not be told.
func plant(keys []Key, suite byte) ([]*tree, error) {
	if len(keys) == 0 {
		return nil, errors.New("mqttsec: Config.Keys is empty: at least one key is needed")
	}
	trees := make([]*tree, len(keys))
	prefixes := make([]string, len(keys))
	ids := make([][4]byte, len(keys)) // at the node where the key stands
	for i, k := range keys {
		if k.secret == nil {
			return nil, fmt.Errorf("mqttsec: Keys[%d] is the zero Key: NewKey, GenerateKey or UnmarshalText make one", i)
		}
		trees[i] = &tree{filter: k.filter, node: *k.secret()}
		trees[i].levels, prefixes[i] = topic.Prefix(k.filter)
		ids[i] = keyID(&trees[i].node, suite)
	}
	for i := range trees {
		// All keys' ids at the node where key i stands.
		at := make(map[[4]byte]int)
		for j := range trees {
			// The first two only spare the third.
			if trees[j].levels > trees[i].levels || !strings.HasPrefix(prefixes[i], prefixes[j]) ||
				!topic.Overlap(trees[i].filter, trees[j].filter) {
				continue
			}
			id := ids[j]
			if trees[j].levels < trees[i].levels {
				node := trees[j].nodeOf(prefixes[i])
				id = keyID(&node, suite)
			}
			if other, taken := at[id]; taken {
				return nil, fmt.Errorf("mqttsec: Keys[%d] (%q) and Keys[%d] (%q) have one key id: "+
					"they are the same, or one is a sub-key of the other (or, by rare chance, one must be made anew)",
					other, trees[other].filter, j, trees[j].filter)
			}
			at[id] = j
		}
	}
	return trees, nil
}
