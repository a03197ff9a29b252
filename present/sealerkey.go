package present

import (
	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/internal/seal"
)

// Key is a secret for all topics that match its filter: the same type as aesmsg.Key, with
// the same methods, and of use in both packages. What a topic's messages are sealed with
// differs between the two.
type Key = key.Key

// NewKey returns the key with this secret, 32 bytes from a cryptographic random generator,
// for the topics that filter matches, or ErrInvalidKey.
func NewKey(filter string, secret []byte) (Key, error) { return key.New(filter, secret) }

// GenerateKey returns a new random key for the topics that filter matches.
func GenerateKey(filter string) (Key, error) { return key.Generate(filter) }

// Rejection tells Config.Rejected of one message that was withheld, and why.
type Rejection = seal.Rejection

// Delivery tells Config.Delivered of one message that was opened.
type Delivery = seal.Delivery

// What can be wrong with a message or a key, as in package aesmsg; find them with errors.Is.
var (
	ErrNotSealed      = seal.ErrNotSealed
	ErrMalformed      = seal.ErrMalformed
	ErrUnknownKey     = seal.ErrUnknownKey
	ErrAuthentication = seal.ErrAuthentication
	ErrReplay         = seal.ErrReplay
	ErrStale          = seal.ErrStale
	ErrTooOld         = seal.ErrTooOld
	ErrTooLarge       = seal.ErrTooLarge
	ErrNoKey          = seal.ErrNoKey
	ErrTopicName      = seal.ErrTopicName
	ErrInvalidKey     = seal.ErrInvalidKey
)
