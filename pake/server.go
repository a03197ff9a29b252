package pake

import (
	"errors"
	"sync"
)

// Server is the server's side of one run, between Respond and Finish. It serves
// one proof; any error, and Abort, end the run. Calls from several goroutines
// are safe, but only one of them can succeed.
type Server struct {
	mu         sync.Mutex
	step       step
	transcript transcript
	decoy      bool
	guess      *Guess
}

// Respond answers message 1 with message 2, given the verifier that server
// stores for user: 94 octets on P-256, 61 on ristretto255. cfg.Group must be
// the verifier's. For a user who does not exist, pass what Decoys returns: an
// error or a silence of another kind would tell who exists.
//
// With cfg.Budget a guess is counted here, after message 1 was found well
// formed and before anything is computed with v.
func Respond(cfg Config, user, server string, v *Verifier, msg1 []byte) (msg2 []byte, s *Server, err error) {
	g, cfg, err := cfg.resolve()
	if err != nil {
		return nil, nil, err
	}
	if v == nil || v.group != g {
		return nil, nil, errors.New("pake: no verifier, or one of another group than Config.Group")
	}
	t, err := newTranscript(user, server, cfg.Context, g.elementLen())
	if err != nil {
		return nil, nil, err
	}
	X, octets, err := decodeHello(msg1, g)
	if err != nil {
		return nil, nil, err
	}
	guess, err := cfg.spend(user)
	if err != nil {
		return nil, nil, err
	}
	y, err := g.order().random()
	if err != nil {
		return nil, nil, err
	}
	defer clear(y[:])
	t.addReceived(octets)
	y = hedge(g, &y)
	Y, err := serve(g, &t, X, v.w, &y)
	if err != nil {
		return nil, nil, err
	}
	msg2 = encodeStretched(kindChallenge, g, v.recipe, Y)
	return msg2, &Server{step: awaitsProof, transcript: t, decoy: v.decoy, guess: guess}, nil
}

// Finish takes message 3 and returns message 4, 34 octets, and the key of the
// run, 32 octets that both sides have and nobody else. An ErrProof means that
// the client does not know the password: there is no message 4, and nothing may
// be sent in its place that tells more than the end of the connection.
func (s *Server) Finish(msg3 []byte) (msg4, key []byte, err error) {
	if !s.mu.TryLock() {
		return nil, nil, ErrState
	}
	defer s.mu.Unlock()
	defer s.end()
	if s.step != awaitsProof {
		return nil, nil, ErrState
	}
	proof, err := decodeProof(msg3, kindProof)
	if err != nil {
		return nil, nil, err
	}
	user, err := s.transcript.verifyUser(proof)
	if err != nil || s.decoy {
		return nil, nil, ErrProof
	}
	if err := s.guess.Refund(); err != nil {
		return nil, nil, err
	}
	return encodeProof(kindWelcome, user.serverProof()), user.key(), nil
}

// Abort ends the run and overwrites its secrets; for a run that times out. A
// guess that was counted stays counted. It does nothing after the end.
func (s *Server) Abort() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.end()
}

func (s *Server) end() {
	s.step = ended
	s.transcript.wipe()
}
