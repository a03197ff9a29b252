// Package claims is what an access token for an MQTT broker says, in both of its forms: [Set] is the claim set of a
// JSON Web Token (RFC 7519) or CBOR Web Token (RFC 8392), [Introspection] what an Authorization Server answers about a
// token (RFC 7662; RFC 9200, section 5.9.2). The names and numbers around them, of RFC 9200, 9201 and 9431, are here
// as well.
//
// Nothing here is signed or encrypted: whoever makes or takes a token does that around it. Parsing is strict where two
// readers could understand two things: members that are repeated, claims of another type than theirs, bytes behind the
// end. Claims that are not known are passed over (RFC 7519, section 4).
package claims

import (
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// Errors, for errors.Is.
var (
	// ErrMalformed is about bytes that are no claim set, or a claim that is not of its type.
	ErrMalformed = strict.ErrMalformed
	// ErrScope is about a scope that is not one of AIF-MQTT (RFC 9431, section 2.3).
	ErrScope = errors.New("claims: scope not understood")
	// ErrConfirmation is about a "cnf" that does not say which key is meant.
	ErrConfirmation = errors.New("claims: key not understood")
)

// MaxSize is the length in bytes of the largest claim set that is looked at; the longest token of MQTT is shorter.
const MaxSize = 1 << 16

// Set is the claim set of an access token. A field with its zero value is a claim that is not there.
type Set struct {
	Issuer   string   // iss
	Subject  string   // sub
	Audience []string // aud
	// Expires, NotBefore and IssuedAt are exp, nbf and iat, in whole seconds.
	Expires, NotBefore, IssuedAt time.Time
	// ExpiresIn is exi, for brokers without a clock: the lifetime from the moment the broker first sees the token.
	ExpiresIn time.Duration
	// ID is jti, or the bytes of cti.
	ID string
	// Scope is nil if there is no such claim, which means no rights on protected topics.
	Scope aif.Scope
	// Confirmation is cnf.
	Confirmation Confirmation
	// ClientID is client_id, which a CBOR Web Token does not have; there Subject says who the client is.
	ClientID string
	// Profile is the name of the ACE profile, pop.Profile for the one of RFC 9431. One that has only a number here is
	// given as that number's digits.
	Profile string
	// CNonce is cnonce: a copy of what the broker gave the client to show that a token is fresh.
	CNonce []byte
}

// Confirmation says which key the token is bound to (RFC 7800, RFC 8747).
type Confirmation struct {
	// Key verifies proofs of possession. It is the zero Verifier if only ID or Encrypted is known.
	Key pop.Verifier
	// ID is the key's identifier: the text of "kid" in JSON, its bytes in CBOR.
	ID string
	// Encrypted is a symmetric key that is encrypted to the broker: a JWE in JSON, an Encrypted_COSE_Key in CBOR.
	Encrypted []byte
}

// IsZero reports whether no key is named.
func (c Confirmation) IsZero() bool {
	return c.Key.Algorithm() == "" && c.ID == "" && len(c.Encrypted) == 0
}

// Introspection is the answer of an Authorization Server about a token.
type Introspection struct {
	// Active is false for a token that is unknown, expired, revoked, or not for the one who asks. Nothing else counts
	// then.
	Active bool
	// Set is what the token says.
	Set
	// TokenType is [PoP] or [Bearer], or empty.
	TokenType string
}

// farthest is the latest time that is understood, in seconds since 1970: far enough, and no time.Time overflows.
const farthest = 1 << 37

// instant makes the time of a NumericDate.
func instant(seconds float64) (time.Time, error) {
	if math.IsNaN(seconds) || seconds < 1 || seconds > farthest {
		return time.Time{}, fmt.Errorf("%w: time out of range", ErrMalformed)
	}
	return time.Unix(int64(seconds), 0), nil
}

// lifetime makes the duration of exi.
func lifetime(seconds float64) (time.Duration, error) {
	if math.IsNaN(seconds) || seconds < 1 || seconds > 1<<31 {
		return 0, fmt.Errorf("%w: exi out of range", ErrMalformed)
	}
	return time.Duration(seconds) * time.Second, nil
}

// SequenceID is the ID of a token with ExpiresIn (RFC 9200, section 5.10.3): the broker's identifier, which is the
// audience, and a number that grows with every token for it, as 16 hexadecimal digits.
func SequenceID(audience string, number uint64) string {
	return fmt.Sprintf("%s%016x", audience, number)
}

// ParseSequenceID returns the number in such an ID.
func ParseSequenceID(audience, id string) (number uint64, ok bool) {
	if len(id) != len(audience)+16 || id[:len(audience)] != audience {
		return 0, false
	}
	for _, c := range []byte(id[len(audience):]) {
		switch {
		case '0' <= c && c <= '9':
			number = number<<4 | uint64(c-'0')
		case 'a' <= c && c <= 'f':
			number = number<<4 | uint64(c-'a'+10)
		default:
			return 0, false
		}
	}
	return number, true
}
