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
	seq   atomic.Uint64 // the highest number drawn
	calls atomic.Uint64
	busy  atomic.Uint64 // the Unix second in which two drew a number at once, and one more
	_     [64]byte      // what is written elsewhere is not to slow down those who draw
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

// numbers are sequence numbers that one goroutine at a time has to give, drawn in a second.
type numbers struct {
	of         *session
	next, last uint64
	second     uint32
}

// How many numbers are drawn at once where many draw, and by how much one may be behind the highest drawn. A receiver
// has room for that beside what MQTT may deliver late (package replay, windowSize).
const (
	blockLen = 64
	maxLag   = 4096
)

// draw is take for a session without a budget. A counter that several processors write at each message would cost them
// as much as the cipher; so where two are seen to draw at once, they take blocks of numbers for the rest of that
// second. Whoever is alone draws one by one, so that its receivers see numbers in order. Of a block that is not used in
// time the numbers are skipped.
func (s *session) draw(from *numbers, now uint32) (seq uint32, ok bool) {
	n := s.seq.Load()
	if from.next < from.last && from.of == s && from.second == now && n-from.next < maxLag {
		from.next++
		return uint32(from.next), true
	}
	if s.busy.Load() != uint64(now)+1 {
		if s.seq.CompareAndSwap(n, n+1) {
			return uint32(n + 1), n < math.MaxUint32
		}
		s.busy.Store(uint64(now) + 1)
	}
	last := s.seq.Add(blockLen)
	if last > math.MaxUint32 {
		return 0, false
	}
	*from = numbers{of: s, next: last - blockLen + 1, last: last, second: now}
	return uint32(from.next), true
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

// next draws session and number for a message with so much associated data and plaintext, sealed now; alone says that
// the session is this message's only.
func (s *Sealer) next(m *Message, from *numbers, ad, plaintext int, now uint32) (ses *session, seq uint32, alone bool) {
	calls := 0
	if s.suite.Budget > 0 {
		calls = s.suite.Calls(plaintext, ad)
	}
	if m.Will || calls > s.suite.Budget {
		return newSession(), 1, true
	}
	for {
		ses = s.series(m).Load()
		var ok bool
		if s.suite.Budget > 0 || m.Retain { // a retained message's number is above that of all before it
			seq, ok = ses.take(calls, s.suite.Budget)
		} else {
			seq, ok = ses.draw(from, now)
		}
		if ok {
			return ses, seq, false
		}
		s.roll(s.series(m), ses)
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
