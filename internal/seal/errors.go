package seal

import (
	"crypto/ed25519"
	"errors"
	"fmt"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/internal/replay"
)

// What can be wrong with a message. Branch with errors.Is; most come wrapped.
var (
	// ErrNotSealed: the payload is not a sealed message of this version.
	ErrNotSealed = errors.New("mqttsec: not a sealed message")
	// ErrMalformed: a sealed message that no Sealer of this suite makes.
	ErrMalformed = errors.New("mqttsec: malformed sealed message")
	// ErrUnknownKey: sealed under a key that this Sealer does not hold for the topic.
	ErrUnknownKey = errors.New("mqttsec: message sealed under an unknown key or for another topic")
	// ErrAuthentication: the tag or the signature is wrong, or a signature that
	// must be there is not. It says no more on purpose.
	ErrAuthentication = errors.New("mqttsec: message authentication failed")
	// ErrReplay: the message has been delivered before.
	ErrReplay = replay.ErrReplay
	// ErrStale: too far behind what has been delivered to tell whether it was too.
	ErrStale = replay.ErrStale
	// ErrForgotten: an ErrStale of a publisher that is not remembered, though others, as late, were and are no more.
	ErrForgotten = replay.ErrForgotten
	// ErrTooOld: outside Config.MaxAge, in the past or in the future.
	ErrTooOld = errors.New("mqttsec: message outside the accepted age")
	// ErrTooLarge: more than the suite, or an MQTT packet, can carry.
	ErrTooLarge = errors.New("mqttsec: message too large")
	// ErrNoKey: no key's filter matches the topic.
	ErrNoKey = errors.New("mqttsec: no key for this topic")
	// ErrTopicName: the topic cannot be published to (MQTT 5.0 section 4.7).
	ErrTopicName = errors.New("mqttsec: invalid topic name")
	// ErrInvalidKey: the key's filter, secret or text form is unfit.
	ErrInvalidKey = key.ErrInvalid
)

// Shades of the errors above, made once: a peer that sends rubbish must not make
// the receiver allocate for it.
var (
	errShort    = fmt.Errorf("%w: too short", ErrMalformed)
	errSuite    = fmt.Errorf("%w: another cipher suite", ErrMalformed)
	errSequence = fmt.Errorf("%w: impossible sequence number", ErrMalformed)
	errContents = fmt.Errorf("%w: impossible contents", ErrMalformed)

	errWildcard = fmt.Errorf("%w: it has a wildcard", ErrTopicName)
)

// Delivery tells of one message that a connection opened for its client.
type Delivery struct {
	// ClientID of the MQTT session.
	ClientID string
	// Topic of the message.
	Topic string
	// Publisher is the one of Config.Publishers who signed; nil if there are none.
	Publisher ed25519.PublicKey
	// Payload is what the client gets. It is valid during the call and must not be
	// changed.
	Payload []byte
	// Unsealed tells that the message was not sealed, and was accepted because of
	// Config.InsecureAcceptUnsealed. Anybody may have published it.
	Unsealed bool
}

// Rejection tells of one message that was withheld on a connection.
type Rejection struct {
	// ClientID of the MQTT session.
	ClientID string
	// Topic of the message.
	Topic string
	// Outgoing is true for a message that the client published, false for one
	// that it was sent.
	Outgoing bool
	// Err says why: errors.Is finds the Err variables of this package in it.
	Err error
}
