package token

import (
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
)

// Owner is the secret behind a claim, or behind a branch of one: whoever has it makes tokens, without asking anybody.
// It is a small value; the zero Owner is not usable. Nothing that prints values shows the secret; MarshalText does.
type Owner struct {
	claim  string
	epoch  uint32
	filter string // of the three trees: claim, or a branch
	trees  [3]key.Key
}

// The trees of an Owner.
const (
	publish = iota
	subscribe
	payload
)

var treeNames = [3]string{publish: "publish", subscribe: "subscribe", payload: "payload"}

// Roots is what the authority checks tokens of a claim with.
type Roots struct {
	Publish, Subscribe key.Node
}

// Append appends both in 64 octets.
func (r *Roots) Append(dst []byte) []byte {
	return append(append(dst, r.Publish[:]...), r.Subscribe[:]...)
}

// ReadRoots reads what Append wrote.
func ReadRoots(r *codec.Reader) (roots Roots) {
	r.Fill(roots.Publish[:])
	r.Fill(roots.Subscribe[:])
	return roots
}

// GenerateOwner returns a new random secret for the topics that filter matches, in epoch 1.
func GenerateOwner(filter string) (Owner, error) { return generate(filter, 1) }

func generate(filter string, epoch uint32) (Owner, error) {
	if err := checkFilter(filter); err != nil {
		return Owner{}, err
	}
	t, err := key.Generate(filter)
	if err != nil {
		return Owner{}, err
	}
	return newOwner(t, epoch)
}

// newOwner derives the three trees of T.
func newOwner(t key.Key, epoch uint32) (Owner, error) {
	o := Owner{claim: t.Filter(), filter: t.Filter(), epoch: epoch}
	for i, name := range treeNames {
		var err error
		if o.trees[i], err = key.Derive(t, name); err != nil {
			return Owner{}, err
		}
	}
	return o, nil
}

// Filter returns the topics that the owner can make tokens for.
func (o Owner) Filter() string { return o.filter }

// Claim returns the filter of the claim. It is Filter, but for a delegate.
func (o Owner) Claim() string { return o.claim }

// Epoch returns the epoch of the secret, from 1.
func (o Owner) Epoch() uint32 { return o.epoch }

// IsZero reports whether o is the zero Owner.
func (o Owner) IsZero() bool { return o.claim == "" }

// Key returns the key of the payloads on the owner's topics.
func (o Owner) Key() key.Key { return o.trees[payload] }

// Roots returns what the authority gets. A delegate has none to give.
func (o Owner) Roots() (Roots, error) {
	if o.IsZero() || o.claim != o.filter {
		return Roots{}, fmt.Errorf("%w: %q was delegated and cannot be claimed", ErrFilter, o.filter)
	}
	p, err := node(o.trees[publish], o.filter)
	if err != nil {
		return Roots{}, err
	}
	s, err := node(o.trees[subscribe], o.filter)
	return Roots{p, s}, err
}

// Next returns a new secret for the same filter in the next epoch.
func (o Owner) Next() (Owner, error) {
	if _, err := o.Roots(); err != nil {
		return Owner{}, err
	}
	if o.epoch+1 == 0 {
		return Owner{}, fmt.Errorf("%w: no epoch after the last", ErrInvalid)
	}
	return generate(o.claim, o.epoch+1)
}

// Delegate returns the secret of a branch, which makes tokens for that branch and nothing beside it. The branch is all
// that is at or below the levels of filter before its first wildcard: whoever takes the secret out of the delegate of
// "a/b/+/c", or of "a/b", makes tokens for "a/b/#" with it. filter must name more such levels than the owner's own: one
// that narrows by a wildcard alone would come with the undiminished secret. Who is to have less gets tokens.
func (o Owner) Delegate(filter string) (Owner, error) {
	branch, err := o.branch(filter)
	if err == nil && branch.filter == o.filter {
		err = fmt.Errorf("%w: %q is no branch of itself", ErrFilter, filter)
	}
	return branch, err
}

// branch is Delegate, or o itself for its own filter.
func (o Owner) branch(filter string) (Owner, error) {
	if o.IsZero() {
		return Owner{}, fmt.Errorf("%w: the zero Owner", ErrFilter)
	}
	if err := checkFilter(filter); err != nil {
		return Owner{}, err
	}
	if filter == o.filter {
		return o, nil
	}
	b := Owner{claim: o.claim, epoch: o.epoch, filter: filter}
	for i := range b.trees {
		var err error
		if b.trees[i], err = o.trees[i].Sub(filter); err != nil {
			return Owner{}, fmt.Errorf("%w: %w", ErrFilter, err)
		}
	}
	return b, nil
}

// Terms are what an owner decides about a token.
type Terms struct {
	Kind    Kind
	Filter  string    // within the owner's; see Delegate
	Expires time.Time // in whole seconds; required
	Once    bool      // for the one user who presents it first
}

// Issue makes a token. Nobody is asked.
func (o Owner) Issue(t Terms) (Token, error) {
	b, err := o.branch(t.Filter)
	if err != nil {
		return Token{}, err
	}
	tree, err := treeOf(t.Kind)
	if err != nil {
		return Token{}, err
	}
	n, err := node(b.trees[tree], t.Filter)
	if err != nil {
		return Token{}, err
	}
	made := terms{until: t.Expires.Unix(), once: t.Once, serial: randomSerial(), filter: t.Filter}
	if err := made.check(); err != nil {
		return Token{}, err
	}
	return newToken(t.Kind, made, o.epoch, o.claim, n.Leaf(made.label()), b.trees[payload]), nil
}

func newToken(kind Kind, t terms, epoch uint32, claim string, secret key.Node, k key.Key) Token {
	return Token{kind: kind, terms: t, epoch: epoch, claim: claim, secret: func() key.Node { return secret }, key: k}
}

func treeOf(k Kind) (int, error) {
	switch k {
	case Auth1:
		return publish, nil
	case Auth2:
		return subscribe, nil
	}
	return 0, codec.Malformed("a token of kind %d", byte(k))
}

// Equal reports whether two owners' secrets are the same.
func (o Owner) Equal(other Owner) bool {
	same := o.claim == other.claim && o.filter == other.filter && o.epoch == other.epoch
	for i := range o.trees {
		same = o.trees[i].Equal(other.trees[i]) && same
	}
	return same
}

// String names the owner's topics and shows no secret.
func (o Owner) String() string {
	if o.IsZero() {
		return "mqttauth.Owner(none)"
	}
	return fmt.Sprintf("mqttauth.Owner(%q, epoch %d, secret hidden)", o.filter, o.epoch)
}

// GoString is String.
func (o Owner) GoString() string { return o.String() }

// Format writes String whatever the verb.
func (o Owner) Format(f fmt.State, _ rune) { io.WriteString(f, o.String()) }

// LogValue is String, for slog.
func (o Owner) LogValue() slog.Value { return slog.StringValue(o.String()) }

// Auth1 makes a token to publish below filter until a time.
func (o Owner) Auth1(filter string, expires time.Time) (Token, error) {
	return o.Issue(Terms{Kind: Auth1, Filter: filter, Expires: expires})
}

// Auth2 makes a token to subscribe below filter until a time.
func (o Owner) Auth2(filter string, expires time.Time) (Token, error) {
	return o.Issue(Terms{Kind: Auth2, Filter: filter, Expires: expires})
}
