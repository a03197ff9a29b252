package aesmsg

import "github.com/mqttsec/mqttsec/internal/seal"

// Rejection tells Config.Rejected of one message that was withheld. The fields are
//
//	ClientID string // of the MQTT session
//	Topic    string
//	Outgoing bool   // published by this client; false: on its way to it
//	Err      error  // why: one of the errors of this package, for errors.Is
type Rejection = seal.Rejection

// Delivery tells Config.Delivered of one message. The fields, which must not be changed, are
//
//	ClientID  string            // of the MQTT session
//	Topic     string
//	Publisher ed25519.PublicKey // who signed; nil without Config.Publishers
//	Payload   []byte            // valid during the call only
//	Unsealed  bool              // not sealed, and let in by InsecureAcceptUnsealed: anybody may have published it
type Delivery = seal.Delivery

// What can be wrong with a message or a key; find them with errors.Is.
var (
	// ErrNotSealed: not a sealed message, though the topic demands one.
	ErrNotSealed = seal.ErrNotSealed
	// ErrMalformed: begins like a sealed message and is none, or none of this
	// cipher suite.
	ErrMalformed = seal.ErrMalformed
	// ErrUnknownKey: sealed with a key that the Sealer does not hold, or moved from
	// another topic, for each topic has a key of its own.
	ErrUnknownKey = seal.ErrUnknownKey
	// ErrAuthentication: changed on the way, or not signed by one of
	// Config.Publishers. It does not say which, on purpose.
	ErrAuthentication = seal.ErrAuthentication
	// ErrReplay: delivered before, or passed off as a retained message.
	ErrReplay = seal.ErrReplay
	// ErrStale: so far behind what was delivered that it cannot be told whether it
	// was too (see Config.MaxSessions), or an older retained message than the topic's
	// last.
	ErrStale = seal.ErrStale
	// ErrForgotten: an ErrStale that is due to Config.MaxSessions: the publisher is not
	// remembered, and the message is no newer than what was forgotten.
	ErrForgotten = seal.ErrForgotten
	// ErrTooOld: outside Config.MaxAge, or sealed by a device without a clock though
	// there is one.
	ErrTooOld = seal.ErrTooOld
	// ErrTooLarge: more than a message, a Will or a packet that the server accepts
	// can carry.
	ErrTooLarge = seal.ErrTooLarge
	// ErrNoKey: no key's filter matches the topic.
	ErrNoKey = seal.ErrNoKey
	// ErrTopicName: not a valid topic to publish on, or one of more than Config.MaxLevels
	// levels.
	ErrTopicName = seal.ErrTopicName
	// ErrInvalidKey: the filter, the secret or the text form of a key is unfit.
	ErrInvalidKey = seal.ErrInvalidKey
)
