package seal

import (
	"crypto/rand"
	"math"
	"sync/atomic"
)

// session numbers the messages of one Sealer. Random, so that a restart needs to
// remember nothing.
type session struct {
	id    [12]byte
	seq   atomic.Uint64
	calls atomic.Uint64
}

func newSession() *session {
	s := new(session)
	rand.Read(s.id[:]) // never fails
	return s
}

// take draws the next number for a message of so many cipher calls; false if the
// session is used up. The counters are wider than their limits, so that the many
// who may find a session used up at once do not wrap them around.
func (s *session) take(calls, budget int) (seq uint32, ok bool) {
	if budget > 0 && s.calls.Add(uint64(calls)) > uint64(budget) {
		return 0, false
	}
	n := s.seq.Add(1)
	return uint32(n), n <= math.MaxUint32
}

// NewSession begins a new session, whatever is left of the one in use.
func (s *Sealer) NewSession() {
	s.rollover.Lock()
	defer s.rollover.Unlock()
	s.session.Store(newSession())
	s.queued.Store(newSession())
}

// series is where the session stands that numbers m. Messages in a queue have one of their own: they would otherwise
// fall behind what is sent meanwhile.
func (s *Sealer) series(m *Message) *atomic.Pointer[session] {
	if m.Queued {
		return &s.queued
	}
	return &s.session
}

// next draws session and number for a message; alone says that the session is
// this message's only.
func (s *Sealer) next(series *atomic.Pointer[session], l *leaves, plaintext int, will bool) (ses *session, seq uint32, alone bool) {
	calls := 0
	if s.suite.Budget > 0 {
		calls = s.suite.Calls(plaintext, len(adLabel)+headerLen+len(l.topic))
	}
	if will || calls > s.suite.Budget {
		return newSession(), 1, true
	}
	for {
		ses = series.Load()
		if seq, ok := ses.take(calls, s.suite.Budget); ok {
			return ses, seq, false
		}
		s.roll(series, ses)
	}
}

// roll replaces a session that is used up.
func (s *Sealer) roll(series *atomic.Pointer[session], old *session) {
	s.rollover.Lock()
	defer s.rollover.Unlock()
	if series.Load() == old {
		series.Store(newSession())
	}
}
