// Package token is what an owner of topics hands out and an authority checks: Auth1, which lets its holder publish
// below a claimed filter, and Auth2, which lets it subscribe there.
//
// An owner draws 32 random octets T for a filter F. At the root of F stand three trees (package key)
//
//	P = HMAC-SHA-256(T, 0x00 | "publish")
//	S = HMAC-SHA-256(T, 0x00 | "subscribe")
//	K = HMAC-SHA-256(T, 0x00 | "payload")
//
// of which the authority gets P and S. For a filter G within F, whose levels before the first wildcard lead from the
// root to P_G, S_G and K_G,
//
//	secret of Auth1 = HMAC-SHA-256(P_G, 0x00 | "until" | u64 expiry | flags | serial 8 | G)
//	secret of Auth2 = HMAC-SHA-256(S_G, the same)
//	token id        = HMAC-SHA-256(secret, 0x00 | "id"), the first 16 octets
//	proof           = HMAC-SHA-256(secret, 0x00 | "mqttauth v1 present" | binding of the session)
//
// so that the authority recomputes a token from what it claims to be, and nothing about it can be changed. The serial
// makes tokens for the same filter and time different ones. K_G is the key of package aesmsg or present that comes
// with both kinds; the authority can derive it from nothing that it has.
package token

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"time"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
)

// Kind is what a token is for.
type Kind byte

// The kinds of tokens.
const (
	Auth1 Kind = 1 // create topics and publish
	Auth2 Kind = 2 // subscribe and read
)

// String returns the kind's name.
func (k Kind) String() string {
	switch k {
	case Auth1:
		return "Auth1"
	case Auth2:
		return "Auth2"
	}
	return fmt.Sprintf("Kind(%d)", byte(k))
}

// MaxFilter is the length of the longest filter of a claim or a token.
const MaxFilter = 512

var (
	// ErrFilter: not a topic filter, or not one that may be handed out.
	ErrFilter = errors.New("mqttauth: invalid filter")
	// ErrInvalid: a token that does not prove itself.
	ErrInvalid = errors.New("mqttauth: invalid token")
	// ErrExpired: a token whose time is over.
	ErrExpired = errors.New("mqttauth: expired token")
	// ErrSuperseded: a token of another epoch than the claim.
	ErrSuperseded = errors.New("mqttauth: token of another epoch")
	// ErrText: the text form of a token or an owner's secret is not one.
	ErrText = errors.New("mqttauth: not the text of a token or of an owner's secret")
)

// ID names a token, to revoke it. It tells nothing about the token.
type ID [16]byte

// String returns the id in hexadecimal.
func (id ID) String() string { return fmt.Sprintf("%x", id[:]) }

// Token is an Auth1 or an Auth2. It is a small value; the zero Token is not usable. Nothing that prints values shows
// its secrets; MarshalText does.
type Token struct {
	kind   Kind
	terms  terms
	epoch  uint32
	claim  string
	secret func() key.Node // a function: see package key
	key    key.Key
}

// terms is what the secret of a token covers.
type terms struct {
	until  int64 // Unix seconds
	once   bool
	serial [8]byte
	filter string
}

const flagOnce = 1

func (t *terms) flags() byte {
	if t.once {
		return flagOnce
	}
	return 0
}

// label is what the token's secret hangs under at its node.
func (t *terms) label() string {
	b := binary.BigEndian.AppendUint64([]byte("until"), uint64(t.until))
	b = append(b, t.flags())
	b = append(b, t.serial[:]...)
	return string(append(b, t.filter...))
}

func (t *terms) check() error {
	if t.until <= 0 || t.until > math.MaxInt64/2 {
		return codec.Malformed("a token without an expiry")
	}
	return checkFilter(t.filter)
}

// checkFilter refuses what cannot be the filter of a claim or a token.
func checkFilter(filter string) error {
	if len(filter) > MaxFilter || !topic.ValidFilter(filter) || topic.Unshare(filter) != filter {
		return fmt.Errorf("%w: %.80q", ErrFilter, filter)
	}
	return nil
}

// node returns the place of filter in the tree of k, whose own filter contains it.
func node(k key.Key, filter string) (key.Node, error) {
	tree, err := key.Plant(k)
	if err != nil {
		return key.Node{}, err
	}
	levels, prefix := topic.Prefix(filter)
	if levels <= tree.Levels() {
		return tree.Root(), nil
	}
	return tree.Node(prefix), nil
}

// Kind tells an Auth1 from an Auth2.
func (t Token) Kind() Kind { return t.kind }

// Filter returns the topics that the token is for.
func (t Token) Filter() string { return t.terms.filter }

// Claim returns the filter of the claim that the token was made under.
func (t Token) Claim() string { return t.claim }

// Expires returns when the token ends.
func (t Token) Expires() time.Time { return time.Unix(t.terms.until, 0) }

// Once tells that the token is for the one user who presents it first.
func (t Token) Once() bool { return t.terms.once }

// Epoch returns the epoch of the claim that the token was made in.
func (t Token) Epoch() uint32 { return t.epoch }

// ID returns the token's id.
func (t Token) ID() ID {
	if t.secret == nil {
		return ID{}
	}
	return idOf(t.secret())
}

func idOf(secret key.Node) ID {
	leaf := secret.Leaf("id")
	return ID(leaf[:16])
}

// Key returns the key of the payloads on the token's topics.
func (t Token) Key() key.Key { return t.key }

// IsZero reports whether t is the zero Token.
func (t Token) IsZero() bool { return t.secret == nil }

// Equal reports whether two tokens are the same.
func (t Token) Equal(other Token) bool {
	if t.IsZero() || other.IsZero() {
		return t.IsZero() && other.IsZero()
	}
	return t.ID() == other.ID() && t.claim == other.claim && t.epoch == other.epoch && t.key.Equal(other.key)
}

// String names the token and shows no secret.
func (t Token) String() string {
	if t.IsZero() {
		return "mqttauth.Token(none)"
	}
	return fmt.Sprintf("mqttauth.Token(%v %q until %s, secret hidden)", t.kind, t.terms.filter, t.Expires().UTC().Format(time.RFC3339))
}

// GoString is String.
func (t Token) GoString() string { return t.String() }

// Format writes String whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.String()) }

// LogValue is String, for slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

func randomSerial() (serial [8]byte) {
	rand.Read(serial[:]) // never fails
	return serial
}
