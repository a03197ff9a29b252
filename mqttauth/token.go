package mqttauth

import (
	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

// Token is what an owner of topics hands to those who may use them: an Auth1, with which its holder creates topics and
// publishes, or an Auth2, with which it subscribes. It always expires. [Token.Key] goes straight into aesmsg.Config or
// present.Config, for the payloads: the broker and the authority never have that key.
//
// Tokens have a text form ([Token.MarshalText]) for files and QR codes; package sidechannel has other ways to hand
// them over. Nothing that prints values shows their secrets. The methods are
//
//	Kind() Kind                   // Auth1 or Auth2
//	Filter() string               // the topics that it is for
//	Claim() string                // the claim that it was made under
//	Expires() time.Time           // in whole seconds
//	Once() bool                   // for the first user who presents it alone
//	Epoch() uint32                // of its claim
//	ID() TokenID                  // what Client.Revoke takes
//	Key() Key                     // of the payloads
//	IsZero() bool                 // whether it is no token
//	Equal(Token) bool             // in constant time
//	MarshalText() ([]byte, error) // with the secret, to be stored or handed over
//	UnmarshalText([]byte) error   // ErrText for anything else
//	MarshalBinary() ([]byte, error)
//	UnmarshalBinary([]byte) error
//	String() string               // without the secret
type Token = token.Token

// OwnerToken is an owner's secret for the topics that its filter matches. It makes tokens offline
// ([OwnerToken.Auth1], [OwnerToken.Auth2], [OwnerToken.Issue]) and hands branches to others who then do the same
// ([OwnerToken.Delegate]). It is of use once an authority has it claimed ([Client.Claim]). Keep it: who loses it
// cannot make tokens until the claim ends. The methods are
//
//	Auth1(filter string, expires time.Time) (Token, error) // to publish
//	Auth2(filter string, expires time.Time) (Token, error) // to subscribe
//	Issue(Terms) (Token, error)                 // either, and more
//	Delegate(filter string) (OwnerToken, error) // the secret of one branch
//	Next() (OwnerToken, error)                  // the secret of the next epoch, for Client.NewEpoch
//	Filter() string                             // the topics that it makes tokens for
//	Claim() string                              // the claim: the filter that it was drawn for
//	Epoch() uint32                              // of the claim
//	Key() Key                                   // of the payloads
//	IsZero() bool                               // whether it is none
//	Equal(OwnerToken) bool                      // in constant time
//	MarshalText() ([]byte, error)               // with the secret, to be stored
//	UnmarshalText([]byte) error                 // ErrText for anything else
//	MarshalBinary() ([]byte, error)
//	UnmarshalBinary([]byte) error
//	String() string                             // without the secret
//
// A filter that is not within the owner's is ErrFilter. Delegate gives away the whole branch at the levels before the
// first wildcard, whatever is behind: the delegate of "a/b/+/c" can make tokens for "a/b/#". Its filter must have more
// such levels than the owner's; who is to have less gets tokens.
type OwnerToken = token.Owner

// Terms are what an owner decides about a token; see OwnerToken.Issue. The fields are
//
//	Kind    Kind      // Auth1 or Auth2; required
//	Filter  string    // within the owner's; required
//	Expires time.Time // in whole seconds; required
//	Once    bool      // for the one user who presents it first
type Terms = token.Terms

// TokenID names a token, to revoke it: 16 octets, which tell nothing about the token. String is hexadecimal.
type TokenID = token.ID

// Key is the key of a tree of topics: the same type as aesmsg.Key and present.Key.
type Key = key.Key

// Kind is what a token is for.
type Kind = token.Kind

// The kinds of tokens.
const (
	Auth1 = token.Auth1 // create topics and publish
	Auth2 = token.Auth2 // subscribe and read
)

// NewOwnerToken draws a new secret for the topics that filter matches.
func NewOwnerToken(filter string) (OwnerToken, error) { return token.GenerateOwner(filter) }
