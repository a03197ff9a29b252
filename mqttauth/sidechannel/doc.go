// Package sidechannel hands tokens of MQTT-Auth from their owner to a device by ways that the broker has no part in.
//
//	a camera                               QR: an image file, or a terminal
//	a touch                                NDEF: the record of an NFC tag
//	one production run                     Batch: sealed under a key that all devices of the run have
//	a channel that both have already       Recipient: sealed to the device's own public key (HPKE)
//	copy and paste, a file                 Token.MarshalText, without this package
//
// A QR symbol, a tag and a text are the token itself: whoever sees them has it. Give such tokens a short time, and
// Terms.Once so that the first user who presents one is the only one. What Batch and Recipient seal may go over any
// channel, and can be opened once and for a limited time only. Everything here refuses what was changed by as little
// as a bit.
//
// The package links no MQTT client: where messages go is the application's choice.
package sidechannel

import (
	"errors"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

// Token is mqttauth.Token.
type Token = token.Token

// What can be wrong with what arrives.
var (
	// ErrMalformed: not what this package makes, or changed on the way.
	ErrMalformed = errors.New("sidechannel: malformed or changed")
	// ErrExpired: its time is over.
	ErrExpired = errors.New("sidechannel: expired")
	// ErrUsed: it was opened before.
	ErrUsed = errors.New("sidechannel: used before")
	// ErrOpen: it does not open: changed, for somebody else, or sealed under another key.
	ErrOpen = errors.New("sidechannel: does not open")
)

// clock tells the time; tests have their own.
type clock func() time.Time

func (c clock) now() time.Time {
	if c == nil {
		return time.Now()
	}
	return c()
}
