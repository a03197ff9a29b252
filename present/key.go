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

// Rejection tells Config.Rejected of one message that was withheld, and why: the same type as aesmsg.Rejection, which
// lists its fields.
type Rejection = seal.Rejection

// Delivery tells Config.Delivered of one message that was opened: the same type as aesmsg.Delivery, which lists its
// fields.
type Delivery = seal.Delivery

// What can be wrong with a message or a key, as in package aesmsg; find them with errors.Is.
var (
	// ErrNotSealed: not a sealed message, though the topic demands one.
	ErrNotSealed = seal.ErrNotSealed
	// ErrMalformed: begins like a sealed message and is none, or none of this cipher suite.
	ErrMalformed = seal.ErrMalformed
	// ErrUnknownKey: sealed with a key that the Sealer does not hold, or moved from another topic.
	ErrUnknownKey = seal.ErrUnknownKey
	// ErrAuthentication: changed on the way, or not signed by one of Config.Publishers.
	ErrAuthentication = seal.ErrAuthentication
	// ErrReplay: delivered before, or passed off as a retained message.
	ErrReplay = seal.ErrReplay
	// ErrStale: so far behind what was delivered that it cannot be told whether it was too.
	ErrStale = seal.ErrStale
	// ErrForgotten: an ErrStale of a publisher that Config.MaxSessions left no room for.
	ErrForgotten = seal.ErrForgotten
	// ErrTooOld: outside Config.MaxAge.
	ErrTooOld = seal.ErrTooOld
	// ErrTooLarge: more than a message, a Will or a packet that the server accepts can carry.
	ErrTooLarge = seal.ErrTooLarge
	// ErrNoKey: no key's filter matches the topic.
	ErrNoKey = seal.ErrNoKey
	// ErrTopicName: not a valid topic to publish on, or one of more than Config.MaxLevels levels.
	ErrTopicName = seal.ErrTopicName
	// ErrInvalidKey: the filter, the secret or the text form of a key is unfit.
	ErrInvalidKey = seal.ErrInvalidKey
)
