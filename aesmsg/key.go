package aesmsg

import "github.com/mqttsec/mqttsec/internal/key"

// Key is a secret for all topics that match its filter. [NewKey], [GenerateKey]
// and its text form make one; the zero Key is refused. It has these methods:
//
//	Filter() string                 // the topic filter
//	Sub(filter string) (Key, error) // the key of one branch: "site/7/#" of "site/#"
//	Equal(Key) bool                 // in constant time
//	MarshalText() ([]byte, error)   // "mqttsec:..." with the secret, to be stored
//	UnmarshalText([]byte) error
//	String() string                 // without the secret, as all that prints values
//
// Every topic has a secret of its own, derived from the key level by level. A
// sub-key therefore opens its branch and nothing else, can be made by any holder
// of the key, and works with everybody who has the whole key. It must name at
// least one level more than the key does; wildcards alone narrow nothing.
//
// Neither fmt, with any verb, nor log/slog shows the secret. encoding/json and
// whatever else uses MarshalText does.
//
// A Key of this package may be used with package present, and the other way round.
type Key = key.Key

// NewKey returns the key with this secret, 32 bytes from a cryptographic random
// generator, for the topics that filter matches. A secret of another length or of
// one byte repeated, or a filter that is not valid, is ErrInvalidKey.
func NewKey(filter string, secret []byte) (Key, error) { return key.New(filter, secret) }

// GenerateKey returns a new random key for the topics that filter matches.
func GenerateKey(filter string) (Key, error) { return key.Generate(filter) }
