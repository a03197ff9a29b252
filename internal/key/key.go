// Package key holds keys for trees of topics: their text form, sub-keys, and the walk from a key's secret down to
// one topic. Sealing walks them for the keys of messages, and tokens for what they grant.
//
// A secret stands at the levels before its filter's first wildcard. From there each level of a topic takes one step,
//
//	node = HMAC-SHA-256(node, level)
//
// and at a node any number of secrets hang, one for each label, which keep uses apart:
//
//	leaf = HMAC-SHA-256(node, 0x00 ‖ label)
//
// A level never contains U+0000, so nodes and leaves are apart too. Whoever has a node has everything below it and
// nothing beside it; [Key.Sub] hands one out.
//
// The methods of a Key are what applications see (aesmsg.Key is this type); what only schemes need, secrets in the
// open, is a function: [Plant], [Derive].
package key

import (
	"crypto/rand"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"

	"github.com/mqttsec/mqttsec/internal/topic"
)

// SecretSize is the length of a key's secret in bytes.
const SecretSize = 32

// Key is the secret of a tree of topics: those that its filter matches. The zero
// Key is not usable. A Key is a small value that is copied freely, and compared
// with [Key.Equal].
//
// Each topic has a secret of its own, which is derived from the key level by
// level. Whoever holds a key can therefore hand out a sub-key ([Key.Sub]) that
// opens one branch of the tree and nothing else.
//
// Nothing that prints values shows the secret: not fmt with any verb, not slog.
// [Key.MarshalText] does, and with it encoding/json and its like, for that is
// how a key is stored.
type Key struct {
	filter string
	// A function, for fmt calls no method of a Key in an unexported field of another
	// struct. It would print an array, and for some verbs what a pointer points to.
	secret func() *[SecretSize]byte
}

func hide(secret [SecretSize]byte) func() *[SecretSize]byte {
	return func() *[SecretSize]byte { return &secret }
}

// ErrInvalid is an unfit filter, secret or text form of a key.
var ErrInvalid = errors.New("mqttsec: invalid key")

// New returns the key with this secret for the topics that filter matches.
// The secret is 32 bytes from a cryptographic random generator, never a
// password; it is copied. A shared subscription ("$share/group/filter") stands
// for the filter in it. All errors are ErrInvalid.
func New(filter string, secret []byte) (Key, error) {
	filter, err := keyFilter(filter)
	if err != nil {
		return Key{}, err
	}
	if len(secret) != SecretSize {
		return Key{}, fmt.Errorf("%w: the secret has %d bytes, not %d", ErrInvalid, len(secret), SecretSize)
	}
	if weak(secret) {
		return Key{}, fmt.Errorf("%w: the secret is one byte repeated", ErrInvalid)
	}
	return Key{filter, hide([SecretSize]byte(secret))}, nil
}

// Generate returns a new random key for the topics that filter matches. The
// error, if any, is ErrInvalid and about the filter.
func Generate(filter string) (Key, error) {
	filter, err := keyFilter(filter)
	if err != nil {
		return Key{}, err
	}
	var secret [SecretSize]byte
	rand.Read(secret[:]) // never fails
	return Key{filter, hide(secret)}, nil
}

func keyFilter(filter string) (string, error) {
	switch {
	case filter == "":
		return "", fmt.Errorf("%w: the topic filter is empty", ErrInvalid)
	case topic.ValidFilter(filter):
	case strings.ContainsAny(filter, "+#"):
		return "", fmt.Errorf("%w: %.256q is not a topic filter: + and # stand for whole levels, # for the last", ErrInvalid, filter)
	default:
		return "", fmt.Errorf("%w: %.256q is not a topic filter", ErrInvalid, filter)
	}
	return topic.Unshare(filter), nil
}

// weak reports a secret that was never filled, or filled with a constant.
func weak(secret []byte) bool {
	var differ byte
	for _, b := range secret {
		differ |= b ^ secret[0]
	}
	return subtle.ConstantTimeByteEq(differ, 0) == 1
}

// Filter returns the topic filter whose topics the key is for.
func (k Key) Filter() string { return k.filter }

// Equal reports whether both keys are for the same filter and have the same
// secret. It takes constant time in the secrets.
func (k Key) Equal(other Key) bool {
	if k.secret == nil || other.secret == nil {
		return k.secret == nil && other.secret == nil
	}
	return k.filter == other.filter &&
		subtle.ConstantTimeCompare(k.secret()[:], other.secret()[:]) == 1
}

// Sub returns the key of a branch: what the branch's topics are sealed with is
// the same under both, so a holder of k need not hear of it, while a holder of
// the sub-key opens nothing beside the branch. Key{site/#}.Sub("site/7/#") is
// for site/7 and all below it.
//
// The branch is named by the levels before a filter's first wildcard, so filter
// must have more of those than the key's own. One that narrows by a wildcard
// alone ("site/+" under "site/#") would come with the undiminished secret and is
// an error, as is a filter that the key's own does not contain; both are
// ErrInvalid. For the same reason a sub-key for "site/7/+" says that it is
// used for one level, and can open all of "site/7/#".
func (k Key) Sub(filter string) (Key, error) {
	if k.secret == nil {
		return Key{}, fmt.Errorf("%w: the zero Key", ErrInvalid)
	}
	filter, err := keyFilter(filter)
	if err != nil {
		return Key{}, err
	}
	if !topic.Contains(k.filter, filter) {
		return Key{}, fmt.Errorf("%w: %q reaches beyond %q", ErrInvalid, filter, k.filter)
	}
	from, _ := topic.Prefix(k.filter)
	to, prefix := topic.Prefix(filter)
	if to <= from {
		return Key{}, fmt.Errorf("%w: %q names no level more than %q", ErrInvalid, filter, k.filter)
	}
	return Key{filter, hide(walk(*k.secret(), prefix, from))}, nil
}
