package seal

import (
	"errors"
	"fmt"
	"slices"
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

// setKeys gives the Sealer its keys, before anything is sealed or opened.
func (s *Sealer) setKeys(keys []Key) error {
	trees, err := plant(keys, s.suite.ID)
	if err != nil {
		return err
	}
	s.trees, s.filters = trees, filterTree{}
	for i, t := range trees {
		s.filters.Add(t.Filter(), i)
	}
	return nil
}

// stand is where a key stands in the tree of topics: the levels before its filter's first wildcard.
type stand struct {
	levels int
	prefix string
}

// plant makes keys ready, and refuses those that cannot work together: two whose
// secrets meet at one node would seal under the same key id, and which of them
// did could not be told. A key meets another where the lower one stands, or nowhere.
func plant(keys []Key, suite byte) ([]*key.Tree, error) {
	if len(keys) == 0 {
		return nil, errors.New("mqttsec: Config.Keys is empty: at least one key is needed")
	}
	trees := make([]*key.Tree, len(keys))
	stands := make([]stand, len(keys))
	ids := make([][4]byte, len(keys)) // where the key stands
	numbers := make(map[stand]int, len(keys))
	for i, k := range keys {
		var err error
		if trees[i], err = key.Plant(k); err != nil {
			return nil, fmt.Errorf("mqttsec: Keys[%d] is the zero Key: NewKey, GenerateKey or UnmarshalText make one", i)
		}
		stands[i].levels, stands[i].prefix = topic.Prefix(k.Filter())
		ids[i] = keyID(trees[i].Root(), suite)
		if _, ok := numbers[stands[i]]; !ok {
			numbers[stands[i]] = len(numbers)
		}
	}
	if err := besideEachOther(trees, stands, numbers, ids); err != nil {
		return nil, err
	}
	above := standing(trees, stands, numbers)
	if len(above) == 0 {
		return trees, nil
	}
	var found []int
	for i := range trees {
		at := map[[4]byte]int{ids[i]: i}
		for higher := range stands[i].higher {
			t := above[higher]
			if t == nil {
				continue
			}
			found = t.Overlapping(found[:0], trees[i].Filter())
			slices.Sort(found)
			for _, j := range found {
				id := keyID(trees[j].Node(stands[i].prefix), suite)
				if other, taken := at[id]; taken {
					return nil, errMeet(trees, min(other, j), max(other, j))
				}
				at[id] = j
			}
		}
	}
	return trees, nil
}

// besideEachOther refuses keys that stand at one place under one id and have topics in common.
func besideEachOther(trees []*key.Tree, stands []stand, numbers map[stand]int, ids [][4]byte) error {
	type node struct {
		stand int
		id    [4]byte
	}
	last := make(map[node]int, len(trees)) // of the keys at a node, plus 1
	before := make([]int, len(trees))      // the one before at its node, plus 1
	for i, at := range stands {
		n := node{numbers[at], ids[i]}
		for j := last[n]; j > 0; j = before[j-1] {
			if topic.Overlap(trees[i].Filter(), trees[j-1].Filter()) {
				return errMeet(trees, j-1, i)
			}
		}
		before[i], last[n] = last[n], i+1
	}
	return nil
}

// standing returns the keys at each place that others stand below.
func standing(trees []*key.Tree, stands []stand, numbers map[stand]int) map[stand]*topic.Tree[int] {
	above := make(map[stand]*topic.Tree[int])
	for at := range numbers {
		for higher := range at.higher {
			if _, ok := numbers[higher]; ok && above[higher] == nil {
				above[higher] = new(topic.Tree[int])
			}
		}
	}
	for i, at := range stands {
		if t := above[at]; t != nil {
			t.Add(trees[i].Filter(), i)
		}
	}
	return above
}

// higher yields the stands on the way from the root down to s.
func (s stand) higher(yield func(stand) bool) {
	if s.levels == 0 || !yield(stand{}) {
		return
	}
	end := 0
	for n := 1; n < s.levels; n++ {
		end += strings.IndexByte(s.prefix[end:], '/')
		if !yield(stand{n, s.prefix[:end]}) {
			return
		}
		end++
	}
}

func errMeet(trees []*key.Tree, i, j int) error {
	return fmt.Errorf("mqttsec: Keys[%d] (%q) and Keys[%d] (%q) have one key id: "+
		"they are the same, or one is a sub-key of the other (or, by rare chance, one must be made anew)",
		i, trees[i].Filter(), j, trees[j].Filter())
}
