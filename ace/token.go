package ace

import (
	"context"
	"crypto"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// Scope is what a token allows: topic filters, each with the permission to publish, to subscribe, or both. It is a
// []Entry, with the methods
//
//	AllowsPublish(topic string) bool    // may this topic be published on?
//	AllowsSubscribe(filter string) bool // may this filter be subscribed to?
//	Encode() (string, error)            // the text that OAuth's "scope" holds
//
// and encoding/json reads and writes it as RFC 9431, 2.3, has it: [["site/7/#",["pub","sub"]]].
type Scope = aif.Scope

// Entry is one line of a Scope. The fields are
//
//	Filter    string // without "$share/group/" before it
//	Publish   bool   // on every topic that Filter matches
//	Subscribe bool   // to Filter and every filter that it covers
type Entry = aif.Entry

// ProofKey is the key that a token is bound to, and that the client proves to possess. [Secret] and [Signer] make one;
// the zero ProofKey is none. fmt and log/slog do not show it.
type ProofKey = pop.Prover

// Secret returns the ProofKey that is shared with the authorization server and the broker: 16 to 1024 bytes, used with
// HMAC-SHA-256.
func Secret(secret []byte) (ProofKey, error) { return pop.Secret(secret) }

// Signer returns the ProofKey of a private key of the client's own: Ed25519, or ECDSA with P-256. The key may be in
// hardware.
func Signer(signer crypto.Signer) (ProofKey, error) { return pop.Signer(signer) }

// Token is an access token with all that is needed to use it. fmt and log/slog do not show what is secret in it.
type Token struct {
	// Raw is the token as the broker is to see it. It means nothing to the client.
	Raw []byte
	// Key is what the token is bound to. It is zero for a bearer token, which only a [Bearer] uses.
	Key ProofKey
	// KeyID is what the authorization server calls Key ("kid"), if it said so.
	KeyID string
	// Scope is what the token allows as far as the authorization server said so; nil is not known, which an empty
	// Scope, that allows nothing, is not.
	Scope Scope
	// Expires is when the token ends, by this machine's clock. A token without it is not used (RFC 9200, 5.10.4).
	Expires time.Time
	// Obtained is when the token was requested. Renewal is due when four fifths of the time from then to Expires are
	// over.
	Obtained time.Time
	// Broker, if set, is the only broker that the token may be shown to ("rs_cnf").
	Broker *BrokerKey

	renewAt time.Time // set by a Cache, so that it and its connections agree
}

// TokenSource gives tokens. It must be safe for concurrent use. [AS] is one that asks an authorization server, [Static]
// holds one token, and a program that gets its tokens from elsewhere (RFC 9431 calls that a Client Authorization
// Server) has its own.
type TokenSource interface {
	// Token returns a token that is valid now. ctx bounds how long that may take.
	Token(ctx context.Context) (Token, error)
}

// Static is a TokenSource that always gives this token. When it expires, so does the connection.
type Static Token

// Token returns the token.
func (s Static) Token(context.Context) (Token, error) { return Token(s), nil }

// valid says what keeps a token from being used at this time.
func (t *Token) valid(now time.Time) error {
	switch {
	case len(t.Raw) == 0:
		return fmt.Errorf("%w: the token is empty", ErrToken)
	case t.Expires.IsZero():
		return fmt.Errorf("%w: nobody said when the token expires", ErrToken)
	case !now.Before(t.Expires):
		return fmt.Errorf("%w: at %s", ErrTokenExpired, t.Expires.Format(time.RFC3339))
	}
	return nil
}

// Renewal is due between these shares of a token's lifetime, at random, so that clients which were started together do
// not stay together.
const (
	renewFrom   = 0.78
	renewSpread = 0.04
)

// renewalOf returns when to renew the token; chance is at least 0 and below 1.
func (t *Token) renewalOf(now time.Time, chance float64) time.Time {
	if !t.renewAt.IsZero() {
		return t.renewAt
	}
	from := t.Obtained
	if from.IsZero() || from.After(now) {
		from = now
	}
	lifetime := t.Expires.Sub(from)
	return from.Add(time.Duration((renewFrom + renewSpread*chance) * float64(lifetime)))
}

func (t *Token) redacted() string {
	return fmt.Sprintf("ace.Token{%s, %d bytes, until %s}", t.Key.Verifier().Algorithm(), len(t.Raw), t.Expires.Format(time.RFC3339))
}

// Format writes the kind of key, the token's size and when it expires, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { io.WriteString(f, t.redacted()) }

// LogValue is Format for slog.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.redacted()) }

// MarshalJSON is Format for logs in JSON. It does not encode the token.
func (t Token) MarshalJSON() ([]byte, error) { return json.Marshal(t.redacted()) }

// Format is that of the Token.
func (s Static) Format(f fmt.State, verb rune) { Token(s).Format(f, verb) }

// LogValue is that of the Token.
func (s Static) LogValue() slog.Value { return Token(s).LogValue() }

// MarshalJSON is that of the Token.
func (s Static) MarshalJSON() ([]byte, error) { return Token(s).MarshalJSON() }
