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
// them over. Nothing that prints values shows their secrets.
type Token = token.Token

// OwnerToken is an owner's secret for the topics that its filter matches. It makes tokens offline
// ([OwnerToken.Auth1], [OwnerToken.Auth2], [OwnerToken.Issue]) and hands branches to others who then do the same
// ([OwnerToken.Delegate]). It is of use once an authority has it claimed ([Client.Claim]). Keep it: who loses it
// cannot make tokens until the claim ends.
type OwnerToken = token.Owner

// Terms are what an owner decides about a token; see OwnerToken.Issue.
type Terms = token.Terms

// TokenID names a token, to revoke it.
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
