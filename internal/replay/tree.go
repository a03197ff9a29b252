package replay

import (
	"hash/maphash"
	"strings"
)

// node is a realm or a level of topics: what is known at it and below, and what has been forgotten.
type node struct {
	item
	hash     uint64
	lost     lost
	children []child                // a heap: the heaviest first, among equals the oldest
	sessions map[sessionID]*session // nil while there are few children
	mark     *mark                  // among the children, nil if there is none
}

// child is what hangs at a node: another node, a session, a mark.
type child interface {
	it() *item
	age() uint32 // among equals, less goes first
}

// item is the place of a child in the tree.
type item struct {
	parent *node // for good, for inOrder reads it without the lock
	place  int32 // among the parent's children
	weight int32 // of it and all below, 0 once it is forgotten
}

func (i *item) it() *item { return i }

func (n *node) age() uint32 { return max(n.lost.upTo, n.lost.to) }

// realm keeps apart what must not touch: kinds of messages, publishers, keys.
type realm uint64

const (
	liveKind = iota
	willKind
	shownKind
)

func realmOf(msg *Message) realm {
	r := realm(msg.Publisher)<<32 | realm(msg.Key)<<2
	if msg.Will {
		r |= willKind
	}
	return r
}

// place is where a realm's node is found for a topic of this hash. Nobody knows the seed of the hash, and so nobody
// finds two topics that meet.
func (r realm) place(hash uint64) uint64 {
	x := hash ^ uint64(r)*0x9E3779B97F4A7C15
	x ^= x >> 32
	return x * 0xD6E8FEB86659FD93
}

// levels calls yield with the place of each level of a topic, from the realm's own to the whole name, until it returns
// false.
func (m *Memory) levels(r realm, topic string, yield func(place uint64) bool) {
	if !yield(r.place(0)) {
		return
	}
	for end := 0; end < len(topic); end++ {
		i := strings.IndexByte(topic[end:], '/')
		if i < 0 {
			break
		}
		end += i
		if !yield(r.place(maphash.String(m.cfg.Seed, topic[:end]))) {
			return
		}
	}
	yield(r.place(maphash.String(m.cfg.Seed, topic)))
}

// deepest returns the last node on the way to a topic.
func (m *Memory) deepest(r realm, topic string) *node {
	n := &m.root
	m.levels(r, topic, func(place uint64) bool {
		next := m.nodes[place]
		if next != nil {
			n = next
		}
		return next != nil
	})
	return n
}

// grow returns the node of a message's topic, made if it is not there.
func (m *Memory) grow(r realm, msg *Message) *node {
	if n := m.nodes[r.place(msg.Hash)]; n != nil {
		return n
	}
	if m.nodes == nil {
		m.nodes = make(map[uint64]*node)
	}
	n := &m.root
	m.levels(r, msg.Topic, func(place uint64) bool {
		next := m.nodes[place]
		if next == nil {
			next = &node{hash: place}
			m.nodes[place] = next
			n.adopt(next)
		}
		n = next
		return true
	})
	return n
}

// noteNeeds is what noting a message for a stream takes at most: a session, two blocks, a pending number.
const noteNeeds = 6

func (m *Memory) hasRoom(need int) bool { return int(m.root.weight)+need <= m.cfg.Limit }

// makeRoom forgets until a message can be noted, whatever it takes. It comes before anything of the message is looked
// up for good, since that may be what is forgotten.
func (m *Memory) makeRoom(msg *Message, how *Arrival) {
	need := noteNeeds * max(1, len(how.Streams))
	if m.nodes[realmOf(msg).place(msg.Hash)] == nil {
		need += strings.Count(msg.Topic, "/") + 2
	}
	if msg.Retain {
		need += strings.Count(msg.Topic, "/") + 3
	}
	for !m.hasRoom(need) && m.forget() {
	}
}

// forget gives up one thing: of the heaviest child of the heaviest child and so on, the lowest numbers if it is a
// session with a window, or else all. It is false if only realms are left, which do not become each other's.
func (m *Memory) forget() bool {
	n := &m.root
	for len(n.children) > 0 {
		c := n.children[0]
		switch c := c.(type) {
		case *node:
			if len(c.children) > 0 {
				n = c
				continue
			}
			if n == &m.root {
				return false
			}
			n.lost.merge(&c.lost)
			delete(m.nodes, c.hash)
		case *session:
			if c.giveUp() {
				return true
			}
			n.lost.add(c, m.cfg.Now())
			delete(n.sessions, c.id)
		case *mark:
			n.mark = nil
		}
		n.drop(c)
		return true
	}
	return false
}

// manySessions is the number of a node's children beyond which a map finds its sessions.
const manySessions = 8

// session returns the session of a message, in a stream, at its topic's node; nil if there is none.
func (n *node) session(msg *Message, stream uint32) *session {
	if n == nil {
		return nil
	}
	id := sessionID{msg.Session, stream}
	if n.sessions != nil {
		return n.sessions[id]
	}
	for _, c := range n.children {
		if s, ok := c.(*session); ok && s.id == id {
			return s
		}
	}
	return nil
}

// adopt hangs c at n.
func (n *node) adopt(c child) {
	i := c.it()
	i.parent, i.weight, i.place = n, 1, int32(len(n.children))
	n.children = append(n.children, c)
	n.up(len(n.children) - 1)
	n.gain(1)
	if k, ok := c.(*mark); ok {
		n.mark = k
	}
	s, _ := c.(*session)
	if n.sessions != nil {
		if s != nil {
			n.sessions[s.id] = s
		}
		return
	}
	if s == nil || len(n.children) <= manySessions {
		return
	}
	n.sessions = make(map[sessionID]*session)
	for _, c := range n.children {
		if s, ok := c.(*session); ok {
			n.sessions[s.id] = s
		}
	}
}

// drop takes c, which has nothing below it, from n.
func (n *node) drop(c child) {
	i := c.it()
	at, last := int(i.place), len(n.children)-1
	n.swap(at, last)
	n.children[last] = nil
	n.children = n.children[:last]
	if at < last {
		n.fix(at)
	}
	if last == 0 {
		n.children, n.sessions = nil, nil
	} else if cap(n.children) > 4*last && last > manySessions {
		n.children = append(make([]child, 0, 2*last), n.children...)
	}
	n.gain(-i.weight)
	i.weight = 0
}

// gain adds to the weight of i and all above.
func (i *item) gain(by int32) {
	for {
		i.weight += by
		p := i.parent
		if p == nil {
			return
		}
		p.fix(int(i.place))
		i = &p.item
	}
}

// The heap of a node's children.

func (n *node) before(i, j int) bool {
	a, b := n.children[i], n.children[j]
	if x, y := a.it().weight, b.it().weight; x != y {
		return x > y
	}
	return a.age() < b.age()
}

func (n *node) swap(i, j int) {
	c := n.children
	c[i], c[j] = c[j], c[i]
	c[i].it().place, c[j].it().place = int32(i), int32(j)
}

func (n *node) up(i int) {
	for i > 0 && n.before(i, (i-1)/2) {
		n.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
}

// fix puts child i, whose weight or age has changed, where it belongs.
func (n *node) fix(i int) {
	n.up(i)
	for {
		first := i
		for j := 2*i + 1; j <= 2*i+2 && j < len(n.children); j++ {
			if n.before(j, first) {
				first = j
			}
		}
		if first == i {
			return
		}
		n.swap(i, first)
		i = first
	}
}
