package pake

import (
	"errors"
	"fmt"
)

// The errors a caller may want to tell apart with errors.Is. None of them
// says more than the peer may know.
var (
	// ErrMessage means that a message, a verifier or an element in it is
	// not well formed, or is of another version or group.
	ErrMessage = errors.New("pake: malformed message")
	// ErrProof means that the peer did not prove that it knows the password
	// or its verifier: a wrong password, another context, or an attacker.
	// Nothing may be sent in answer.
	ErrProof = errors.New("pake: the peer's proof is wrong")
	// ErrStretch means that the server asked the client for stretching
	// below its floor (Config.Stretch) or above its ceiling
	// (Config.MaxStretch).
	ErrStretch = errors.New("pake: stretching outside the client's limits")
	// ErrState means that a Client or Server was used twice, out of order,
	// after an error, or by two goroutines at once.
	ErrState = errors.New("pake: the run has ended or awaits another message")
)

var (
	errElement    = fmt.Errorf("%w: not a canonical element of the group, or the identity", ErrMessage)
	errDegenerate = errors.New("pake: an exponent or element vanished")
)
