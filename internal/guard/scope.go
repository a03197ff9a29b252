package guard

import (
	"fmt"
	"strings"

	"github.com/mqttsec/mqttsec/internal/topic"
)

// Bounds of a scope. A token is at most 64 KiB, so that these are more than any scope that a token can carry in
// practice.
const (
	MaxRules  = 1024 // rules in a scope
	maxLevels = 128  // levels of one filter
)

// Rule is one permission: what matches the Topic Filter may be published, subscribed to, or both.
type Rule struct {
	Filter             string
	Publish, Subscribe bool
}

// Scope is a set of rules, compiled, so that the cost of a question does not depend on how many rules there are, but
// on the number of levels of the topic. It never changes and is safe for concurrent use; nil is the empty scope,
// which permits nothing.
//
// A publication needs one rule whose filter matches the Topic Name. A subscription needs one single rule whose filter
// covers the requested one: what two rules permit together is not permitted (RFC 9431, section 2.3). Topics and
// filters that begin with "$" are permitted only by a rule that begins with the same level, and "$share/group/f" is
// judged as f.
type Scope struct {
	publish, subscribe *node
	rules              int
	size               int
}

// Size is about how much memory the scope takes, in bytes: it depends on the levels of its filters more than on their
// length.
func (s *Scope) Size() int {
	if s == nil {
		return 0
	}
	return s.size
}

// node is a place in a tree of topic levels. Most have one literal level below them, which needs no map: a token of
// 64 KiB can have tens of thousands of levels, and be another one for each connection.
type node struct {
	level   string // the literal level below, if there is only one
	only    *node
	literal map[string]*node // the literal levels below, if there are several
	plus    *node
	end     bool // a filter ends here
	hash    bool // a filter ends with "#" below here, which matches here, too
}

// NewScope compiles rules. It fails on a filter that is not valid or that names a shared subscription, and on too
// many rules.
func NewScope(rules []Rule) (*Scope, error) {
	if len(rules) > MaxRules {
		return nil, fmt.Errorf("guard: %d rules, more than %d", len(rules), MaxRules)
	}
	s := &Scope{rules: len(rules)}
	for _, r := range rules {
		if !topic.ValidFilter(r.Filter) || topic.Unshare(r.Filter) != r.Filter || strings.Count(r.Filter, "/") >= maxLevels {
			return nil, fmt.Errorf("guard: %q is not a topic filter for a rule", r.Filter)
		}
		if r.Publish {
			s.size += insert(&s.publish, r.Filter)
		}
		if r.Subscribe {
			s.size += insert(&s.subscribe, r.Filter)
		}
	}
	return s, nil
}

// About what they take, in bytes.
const (
	nodeSize     = 64
	branchesSize = 384
)

// insert returns about how much memory it has taken, in bytes.
func insert(root **node, filter string) (size int) {
	size = len(filter) // of which levels are parts
	if *root == nil {
		*root = new(node)
		size += nodeSize
	}
	n := *root
	for level := range strings.SplitSeq(spellOut(filter), "/") {
		switch level {
		case "#":
			n.hash = true
			return size
		case "+":
			if n.plus == nil {
				n.plus = new(node)
				size += nodeSize
			}
			n = n.plus
		default:
			next := n.below(level)
			if next == nil {
				next = new(node)
				size += n.put(level, next)
			}
			n = next
		}
	}
	n.end = true
	return size
}

// below returns the node at a literal level below n, nil if there is none.
func (n *node) below(level string) *node {
	if n.only == nil {
		return n.literal[level]
	}
	if n.level != level {
		return nil
	}
	return n.only
}

// put adds a node at a literal level that has none, and returns about how much memory that takes, in bytes.
func (n *node) put(level string, next *node) (size int) {
	switch {
	case n.literal != nil:
		n.literal[level] = next
		return 2 * nodeSize // with its place in the map
	case n.only == nil:
		n.level, n.only = level, next
		return nodeSize
	}
	n.literal = map[string]*node{n.level: n.only, level: next}
	n.level, n.only = "", nil
	return nodeSize + branchesSize
}

// spellOut returns a filter for the same names whose "#" may stand for no level; in "#" and "/#" it cannot, because a
// name has at least one level and a single empty level is not a name. Only then can filters be compared level by
// level.
func spellOut(filter string) string {
	switch filter {
	case "#":
		return "+/#"
	case "/#":
		return "/+/#"
	}
	return filter
}

// MayPublish reports whether some rule permits to publish on the Topic Name.
func (s *Scope) MayPublish(name []byte) bool {
	return s != nil && s.publish.matches(name)
}

// MayReceive reports whether some rule permits to subscribe to the Topic Name.
func (s *Scope) MayReceive(name []byte) bool {
	return s != nil && s.subscribe.matches(name)
}

// MaySubscribe reports whether one single rule covers the Topic Filter.
func (s *Scope) MaySubscribe(filter string) bool {
	if s == nil || s.subscribe == nil || !subscribable(filter) {
		return false
	}
	plain := spellOut(topic.Unshare(filter))
	if strings.Count(plain, "/") >= maxLevels {
		return false
	}
	return s.subscribe.covers(plain, plain[0] == '$')
}

// subscribable refuses what is not a filter, and what some brokers take for a shared subscription although it is not
// spelled as one: mochi-mqtt looks at "$SHARE" without regard to case, and would judge the rest.
func subscribable(filter string) bool {
	if !topic.ValidFilter(filter) {
		return false
	}
	first, _, _ := strings.Cut(filter, "/")
	return first == "$share" || !strings.EqualFold(first, "$share")
}

// matches looks for a filter that matches name.
func (n *node) matches(name []byte) bool {
	if n == nil || !topic.ValidName(name) {
		return false
	}
	return n.match(name, name[0] == '$', maxLevels)
}

// match is matches from one level on; reserved forbids a wildcard at this level.
func (n *node) match(rest []byte, reserved bool, depth int) bool {
	if n.hash && !reserved {
		return true
	}
	if depth == 0 {
		return false
	}
	level, tail, more := cut(rest)
	candidates := [2]*node{n.only, n.plus}
	if n.only == nil {
		candidates[0] = n.literal[string(level)]
	} else if n.level != string(level) {
		candidates[0] = nil
	}
	for _, next := range candidates {
		switch {
		case next == nil, next == n.plus && reserved:
		case more && next.match(tail, false, depth-1), !more && (next.end || next.hash):
			return true
		}
	}
	return false
}

// covers looks for one filter that covers the rest of another; reserved forbids a wildcard at this level.
func (n *node) covers(rest string, reserved bool) bool {
	if n.hash && !reserved {
		return true
	}
	level, tail, more := strings.Cut(rest, "/")
	if level == "#" {
		return false
	}
	candidates := [2]*node{nil, n.plus}
	if level != "+" {
		candidates[0] = n.below(level)
	}
	for _, next := range candidates {
		switch {
		case next == nil, next == n.plus && reserved:
		case more && next.covers(tail, false), !more && (next.end || next.hash):
			return true
		}
	}
	return false
}

func cut(rest []byte) (level, tail []byte, more bool) {
	for i, c := range rest {
		if c == '/' {
			return rest[:i], rest[i+1:], true
		}
	}
	return rest, nil, false
}
