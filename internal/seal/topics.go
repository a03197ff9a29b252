package seal

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/internal/topic"
)

// How much is remembered: 8192 topics and 8192 AEADs, in rows that fill unevenly, 512 topics without a key, and 64
// nodes of levels above topics. Longer topics than maxKept work, and are derived anew for each message.
const (
	topicRows   = 1024
	boxRows     = 1024
	foreignRows = 64
	parentRows  = 8
	maxKept     = 1024
)

// filterTree finds the keys for a topic, by their numbers in Config.Keys.
type filterTree = topic.Tree[int]

// leaves are the keys of one topic, in the order of Config.Keys.
type leaves struct {
	topic string
	hash  uint64
	keys  []leafKey
}

// leafKey is what one key gives for one topic.
type leafKey struct {
	id      [4]byte
	number  uint32 // of the key, in Config.Keys
	secret  [32]byte
	sealing atomic.Pointer[box] // of the session in use
	opening atomic.Pointer[box] // of the session heard last
}

// find returns the key that an id names.
func (l *leaves) find(id [4]byte) *leafKey {
	for i := range l.keys {
		if l.keys[i].id == id {
			return &l.keys[i]
		}
	}
	return nil
}

// topics remembers the keys of topics, and topics that have none. What a peer
// sends gets in only once it has been authenticated, so that nobody without a key
// can drive out what is in use.
type topics struct {
	seed    maphash.Seed
	front   [16]atomic.Pointer[leaves]
	known   *cache[leaves]
	foreign *cache[string]
	parents *cache[parent]
}

// parent is the node of the level above a topic, from which it is one step to the topic and those beside it.
type parent struct {
	tree *key.Tree
	name string
	node key.Node
}

func newTopics() *topics {
	return &topics{
		seed:    maphash.MakeSeed(),
		known:   newCache[leaves](topicRows),
		foreign: newCache[string](foreignRows),
		parents: newCache[parent](parentRows),
	}
}

func (t *topics) findString(name string) *leaves {
	if l := t.front[place16(name)].Load(); l != nil && l.topic == name {
		return l
	}
	return findLeaves(t.known, maphash.String(t.seed, name), name)
}

func (t *topics) findBytes(name []byte) *leaves {
	if l := t.front[place16(name)].Load(); l != nil && l.topic == string(name) {
		return l
	}
	return findLeaves(t.known, maphash.Bytes(t.seed, name), name)
}

// place16 is where in front a topic may be. A client with a few topics, as most are,
// finds them there without the cost of a hash.
func place16[T string | []byte](name T) uint {
	if len(name) == 0 {
		return 0
	}
	return (uint(len(name)) + uint(name[len(name)-1])) % 16
}

func findLeaves[T string | []byte](c *cache[leaves], hash uint64, name T) *leaves {
	r := c.row(hash)
	for i := range r.slots() {
		l := r.slot[i].Load()
		if l == nil {
			return nil // slots fill up in order and are never emptied
		}
		if l.hash == hash && l.topic == string(name) {
			r.touch(i)
			return l
		}
	}
	return nil
}

// keep remembers l, once: it may be in use by others and must not change any more.
func (t *topics) keep(l *leaves) {
	if len(l.topic) > maxKept || findLeaves(t.known, l.hash, l.topic) != nil {
		return
	}
	t.known.put(l.hash, l)
	t.front[place16(l.topic)].Store(l)
}

// isForeign reports that name is remembered as a topic without a key.
func (t *topics) isForeign(name []byte) bool {
	r := t.foreign.row(maphash.Bytes(t.seed, name))
	for i := range r.slots() {
		if f := r.slot[i].Load(); f != nil && *f == string(name) {
			r.touch(i)
			return true
		}
	}
	return false
}

func (t *topics) keepForeign(name []byte) {
	if len(name) <= maxKept {
		s := string(name)
		t.foreign.put(maphash.String(t.seed, s), &s)
	}
}

// covers reports whether a key's filter matches the topic, so that messages on it
// must be sealed. It does not ask whether the name is valid: an invalid one is
// covered too if a filter matches it, and then refused.
func (s *Sealer) covers(name []byte) bool {
	if s.hop || s.topics.findBytes(name) != nil {
		return true
	}
	if s.topics.isForeign(name) {
		return false
	}
	var room [8]int
	if len(s.filters.Match(room[:0], name)) > 0 {
		return true
	}
	s.topics.keepForeign(name)
	return false
}

// node is tree.Node(name) from the parent, if that is remembered. It is from then on if the topic is the application's
// own.
func (t *topics) node(tree *key.Tree, name string, own bool) key.Node {
	end := strings.LastIndexByte(name, '/')
	if end < 0 || end > maxKept || strings.Count(name[:end], "/")+1 <= tree.Levels() {
		return tree.Node(name)
	}
	above, level := name[:end], name[end+1:]
	hash := maphash.String(t.seed, above)
	r := t.parents.row(hash)
	for i := range r.slots() {
		if p := r.slot[i].Load(); p != nil && p.tree == tree && p.name == above {
			r.touch(i)
			return p.node.Child(level)
		}
	}
	node := tree.Node(above)
	if own {
		t.parents.put(hash, &parent{tree, strings.Clone(above), node})
	}
	return node.Child(level)
}

// derive makes the keys of a topic, whose name may be part of something large.
func (s *Sealer) derive(name string) (*leaves, error) { return s.deriveFor(name, false) }

// deriveFor is derive; own tells that the topic is not one that only a peer has named.
func (s *Sealer) deriveFor(name string, own bool) (*leaves, error) {
	if !topic.ValidName(name) {
		return nil, ErrTopicName
	}
	if n := strings.Count(name, "/") + 1; n > s.config.MaxLevels && !s.hop {
		return nil, fmt.Errorf("%w: %d levels, more than Config.MaxLevels", ErrTopicName, n)
	}
	matching := s.matching(name)
	if len(matching) == 0 {
		return nil, ErrNoKey
	}
	l := &leaves{topic: strings.Clone(name), hash: maphash.String(s.topics.seed, name), keys: make([]leafKey, len(matching))}
	for at, i := range matching {
		node := s.trees[i].Root()
		if !s.hop {
			node = s.topics.node(s.trees[i], name, own)
		}
		k := &l.keys[at]
		k.id, k.number, k.secret = keyID(node, s.suite.ID), uint32(i), node.Leaf(s.suite.Label)
	}
	return l, nil
}

// matching returns the numbers of the keys for a topic, in the order of Config.Keys, of which the first seals.
func (s *Sealer) matching(name string) []int {
	if s.hop {
		return []int{sealsHop, opensHop}
	}
	var room [8]int
	found := s.filters.Match(room[:0], []byte(name))
	slices.Sort(found)
	return slices.Clone(found)
}

// learn is derive for a topic of the application's own choosing.
func (s *Sealer) learn(name string) (*leaves, error) {
	l, err := s.deriveFor(name, true)
	if err == nil {
		s.topics.keep(l)
	}
	return l, err
}
