package mqttauth

import (
	"errors"
	"fmt"

	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

// How a connection can fail, to be found with errors.Is in what the client library reports.
var (
	// ErrPassword: the authority ended the run after the client's proof and said nothing, as it does for a wrong
	// password and for a user who does not exist. With TwoPhase, where the authority cannot end the connection, it
	// comes when Config.Timeout or the client's own is over.
	ErrPassword = errors.New("mqttauth: not admitted: wrong user name or password")
	// ErrUnproved: the authority did not prove that it knows the user. Somebody else answered.
	ErrUnproved = errors.New("mqttauth: the authority did not prove itself")
	// ErrDowngrade: the broker calls the connection a success, without the handshake or against what the authority
	// says.
	ErrDowngrade = errors.New("mqttauth: success without authentication")
	// ErrTimeout: the handshake took longer than Config.Timeout.
	ErrTimeout = errors.New("mqttauth: handshake timed out")
	// ErrServerName: the authority bears another name than Config.Server.
	ErrServerName = handshake.ErrServerName
	// ErrMethod: CONNECT names an authentication method already: two authentication schemes on one connection.
	ErrMethod = errors.New("mqttauth: CONNECT has an authentication method already")
	// ErrClientID: the client's identifier is not 1 to 64 of A-Z, a-z, 0-9, ".", "_" and "-", or not Config.ClientID.
	ErrClientID = errors.New("mqttauth: unfit Client Identifier")
	// ErrPlaintext: the second phase would send its password without TLS.
	ErrPlaintext = errors.New("mqttauth: a ticket needs TLS or Config.AllowPlaintext")
	// ErrLeak: CONNECT carries Config.Password, which must never leave the device.
	ErrLeak = errors.New("mqttauth: the CONNECT packet carries the password of Config")
	// ErrNotConnected: there is no authenticated connection to send a request on.
	ErrNotConnected = errors.New("mqttauth: not connected")
	// ErrNoKeys: keying material was asked for before the handshake was done.
	ErrNoKeys = errors.New("mqttauth: no keying material before the handshake is done")
)

// What an authority can have against a request, to be found with errors.Is in a *RefusedError.
var (
	ErrForbidden   error = operation.Forbidden   // the administrator's policy does not let the user do this
	ErrTaken       error = operation.Taken       // the filter overlaps a claim of another owner
	ErrUnclaimed   error = operation.Unclaimed   // there is no such claim, or it is somebody else's
	ErrInvalid     error = operation.Invalid     // the token does not prove itself
	ErrExpired     error = operation.Expired     // the token or its claim has expired
	ErrRevoked     error = operation.Revoked     // the token was revoked
	ErrUsed        error = operation.Used        // the single-use token is another user's
	ErrSuperseded  error = operation.Superseded  // the claim has another epoch, or was made with another owner token
	ErrLimit       error = operation.Limit       // too many claims, tokens or revocations
	ErrUnavailable error = operation.Unavailable // the authority cannot do it now
)

// What can be wrong with a token, an owner's secret or their text.
var (
	ErrFilter = token.ErrFilter // not a filter, or not one that may be handed out
	ErrText   = token.ErrText   // not the text of a token or of an owner's secret
)

// RefusedError is an authority's refusal of a request.
type RefusedError struct {
	// Request is what was refused: "claim", "release", "epoch", "present", "revoke" or "ticket".
	Request string
	// Filter is the topic filter that it was about, if any.
	Filter string
	// Err is one of the errors above.
	Err error
}

// Error says what was refused and why.
func (e *RefusedError) Error() string {
	if e.Filter == "" {
		return fmt.Sprintf("mqttauth: %s: %v", e.Request, e.Err)
	}
	return fmt.Sprintf("mqttauth: %s %q: %v", e.Request, e.Filter, e.Err)
}

// Unwrap returns why.
func (e *RefusedError) Unwrap() error { return e.Err }

var requestNames = map[operation.Kind]string{
	operation.Claim: "claim", operation.Release: "release", operation.Epoch: "epoch", operation.Present: "present",
	operation.Revoke: "revoke", operation.Ticket: "ticket",
}

// refused returns the refusal in a result, nil if there is none.
func refused(o *operation.Operation, code operation.Code) error {
	if code == operation.Done {
		return nil
	}
	return &RefusedError{Request: requestNames[o.Kind], Filter: o.Filter, Err: code}
}
