package handshake

import (
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
)

// Session is the authority's side of an established session. It is safe for concurrent use.
type Session struct {
	*Keys
	User, ClientID, Source string
	Since                  time.Time
	// Verifier is the SHA-256 of the binary form of the verifier that the run began with: a user who has been removed,
	// or has another password by now, has another one.
	Verifier [sha256.Size]byte

	proof [frame.ProofSize]byte // V_S

	mu      sync.Mutex
	welcome []byte
	highest uint64
	pending bool // the operation with the highest counter has no result yet
	answers [answersKept]answer
}

// answersKept is how many responses a session can repeat. A client has one request under way at a time; a few more
// cover frames that were duplicated on the way.
const answersKept = 4

type answer struct {
	counter  uint64
	response []byte
}

// Format writes the type and the names.
func (s *Session) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "handshake.Session{user %q, client %q}", s.User, s.ClientID)
}

// Welcome returns the welcome. A session has one: later calls return the first one's, whatever w.
func (s *Session) Welcome(w Welcome) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.welcome != nil {
		return s.welcome, nil
	}
	plaintext, err := w.encode()
	if err != nil {
		return nil, err
	}
	f := frame.WelcomeFrame{Session: s.session, Proof: s.proof, Sealed: s.seal(s.authority, frame.Welcome, 0, plaintext)}
	b, err := f.Append(nil)
	if err != nil {
		return nil, err
	}
	s.welcome = b
	return b, nil
}

// made returns the welcome if there is one.
func (s *Session) made() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.welcome
}

// Operation is what a request asks for.
type Operation struct {
	Counter uint64
	Octets  []byte // to carry out once, and to answer with Respond; nil: nothing to do
	Repeat  []byte // the response to send again, if the request is a repetition
}

// Request opens a request. Each counter yields its operation once: a repetition yields the response that was given, or
// nothing while there is none. A counter below the highest one whose response is forgotten is ErrReplay.
func (s *Session) Request(b []byte) (Operation, error) {
	f, err := frame.ParseSealed(b, frame.Request)
	if err != nil {
		return Operation{}, err
	}
	if f.Session != s.session {
		return Operation{}, ErrSession
	}
	operation, err := s.Keys.open(s.client, f.Type, f.Counter, f.Sealed)
	if err != nil {
		return Operation{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.Counter > s.highest {
		if s.pending {
			return Operation{}, ErrState // one at a time; the client sends it again
		}
		s.highest, s.pending = f.Counter, true
		if operation == nil {
			operation = []byte{}
		}
		return Operation{Counter: f.Counter, Octets: operation}, nil
	}
	if f.Counter == s.highest && s.pending {
		return Operation{Counter: f.Counter}, nil
	}
	for _, a := range s.answers {
		if a.counter == f.Counter {
			return Operation{Counter: f.Counter, Repeat: a.response}, nil
		}
	}
	return Operation{}, ErrReplay
}

// Respond seals the result of the operation under way, once.
func (s *Session) Respond(counter uint64, result []byte) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pending || counter != s.highest {
		return nil, ErrState
	}
	f := frame.SealedFrame{Type: frame.Response, Session: s.session, Counter: counter}
	f.Sealed = s.seal(s.authority, f.Type, counter, result)
	b, err := f.Append(nil)
	if err != nil {
		return nil, err
	}
	s.pending = false
	s.answers[counter%answersKept] = answer{counter, b}
	return b, nil
}
