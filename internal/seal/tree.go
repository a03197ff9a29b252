package seal

import (
	"errors"
	"fmt"
	"strings"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/internal/topic"
)

// Key is the secret of a tree of topics.
type Key = key.Key

// idLabel derives the key id; the suite's number follows as one byte.
const idLabel = "mqttsec v1 id"

// keyID is the public name of a topic's leaf for a suite.
func keyID(node key.Node, suite byte) [4]byte {
	l := node.Leaf(idLabel + string([]byte{suite}))
	return [4]byte(l[:])
}

// plant makes keys ready, and refuses those that cannot work together: two whose
// secrets meet at one node would seal under the same key id, and which of them
// did could not be told.
func plant(keys []Key, suite byte) ([]*key.Tree, error) {
	if len(keys) == 0 {
		return nil, errors.New("mqttsec: Config.Keys is empty: at least one key is needed")
	}
	trees := make([]*key.Tree, len(keys))
	prefixes := make([]string, len(keys))
	ids := make([][4]byte, len(keys)) // at the node where the key stands
	for i, k := range keys {
		var err error
		if trees[i], err = key.Plant(k); err != nil {
			return nil, fmt.Errorf("mqttsec: Keys[%d] is the zero Key: NewKey, GenerateKey or UnmarshalText make one", i)
		}
		_, prefixes[i] = topic.Prefix(k.Filter())
		ids[i] = keyID(trees[i].Root(), suite)
	}
	for i := range trees {
		// All keys' ids at the node where key i stands.
		at := make(map[[4]byte]int)
		for j := range trees {
			// The first two only spare the third.
			if trees[j].Levels() > trees[i].Levels() || !strings.HasPrefix(prefixes[i], prefixes[j]) ||
				!topic.Overlap(trees[i].Filter(), trees[j].Filter()) {
				continue
			}
			id := ids[j]
			if trees[j].Levels() < trees[i].Levels() {
				id = keyID(trees[j].Node(prefixes[i]), suite)
			}
			if other, taken := at[id]; taken {
				return nil, fmt.Errorf("mqttsec: Keys[%d] (%q) and Keys[%d] (%q) have one key id: "+
					"they are the same, or one is a sub-key of the other (or, by rare chance, one must be made anew)",
					other, trees[other].Filter(), j, trees[j].Filter())
			}
			at[id] = j
		}
	}
	return trees, nil
}
