package key

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/mqttsec/mqttsec/internal/topic"
)

// Node is the secret at one place of a tree: what is at and below that place follows from it. It is
// for a function to work with and not to be kept: in an unexported field fmt would print it.
type Node [SecretSize]byte

// Leaf returns the secret that hangs at the node under a label.
func (n *Node) Leaf(label string) (l [SecretSize]byte) {
	mac(&l, (*[32]byte)(n), "\x00"+label)
	return l
}

// Child returns the node one level further down.
func (n *Node) Child(level string) (c Node) {
	mac((*[32]byte)(&c), (*[32]byte)(n), level)
	return c
}

// String hides the node.
func (n Node) String() string { return "mqttsec.Node(hidden)" }

// GoString is String.
func (n Node) GoString() string { return n.String() }

// Format writes String whatever the verb.
func (n Node) Format(f fmt.State, _ rune) { io.WriteString(f, n.String()) }

// LogValue is String, for slog.
func (n Node) LogValue() slog.Value { return slog.StringValue(n.String()) }

// Tree is a Key made ready to be walked.
type Tree struct {
	filter string
	levels int
	root   func() *[SecretSize]byte // as in a Key
}

// Plant returns the tree of a key; the zero Key is ErrInvalid.
func Plant(k Key) (*Tree, error) {
	if k.secret == nil {
		return nil, fmt.Errorf("%w: the zero Key", ErrInvalid)
	}
	levels, _ := topic.Prefix(k.filter)
	return &Tree{filter: k.filter, levels: levels, root: k.secret}, nil
}

// Derive returns the key of another tree for the same topics: its secret is what hangs at the root of k under label. A
// sub-key of the derived tree is the derived tree's, not the derivation of a sub-key.
func Derive(k Key, label string) (Key, error) {
	t, err := Plant(k)
	if err != nil {
		return Key{}, err
	}
	root := t.Root()
	return Key{k.filter, hide(root.Leaf(label))}, nil
}

// Format writes the tree's filter whatever the verb.
func (t Tree) Format(f fmt.State, _ rune) { fmt.Fprintf(f, "mqttsec.Tree(%q)", t.filter) }

// Filter returns the topic filter whose topics the tree is for.
func (t *Tree) Filter() string { return t.filter }

// Levels returns how many levels stand before the filter's first wildcard.
func (t *Tree) Levels() int { return t.levels }

// Root returns the node of the key itself: where its filter's first wildcard stands, or its one topic.
func (t *Tree) Root() Node { return *t.root() }

// Node returns the node of a topic, whose name the filter matches.
func (t *Tree) Node(name string) Node { return walk(t.Root(), name, t.levels) }

// walk goes down the tree from node by the levels of name, less the first skip. A name of no more levels than that
// stays at the node.
func walk(node Node, name string, skip int) Node {
	for more := true; more; {
		var level string
		level, name, more = strings.Cut(name, "/")
		if skip > 0 {
			skip--
			continue
		}
		mac((*[32]byte)(&node), (*[32]byte)(&node), level)
	}
	return node
}

// mac sets out to HMAC-SHA-256(key, message). It is crypto/hmac's result without its allocations: a topic of seven
// levels takes nine of these. out may be key.
func mac(out, key *[32]byte, message string) {
	const inner, outer = 0x3636363636363636, 0x5C5C5C5C5C5C5C5C
	if len(message) > 128 {
		h := hmac.New(sha256.New, key[:])
		io.WriteString(h, message)
		h.Sum(out[:0])
		return
	}
	var in [sha256.BlockSize + 128]byte
	var ex [sha256.BlockSize + sha256.Size]byte
	le := binary.LittleEndian
	for i := 0; i < len(key); i += 8 {
		w := le.Uint64(key[i:])
		le.PutUint64(in[i:], w^inner)
		le.PutUint64(ex[i:], w^outer)
	}
	for i := len(key); i < sha256.BlockSize; i += 8 {
		le.PutUint64(in[i:], inner)
		le.PutUint64(ex[i:], outer)
	}
	n := copy(in[sha256.BlockSize:], message)
	sum := sha256.Sum256(in[:sha256.BlockSize+n])
	copy(ex[sha256.BlockSize:], sum[:])
	*out = sha256.Sum256(ex[:])
}
