package seal

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
	"time"
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

// next draws session and number for a message; alone says that the session is
// this message's only.
func (s *Sealer) next(l *leaves, plaintext int, will bool) (ses *session, seq uint32, alone bool) {
	calls := 0
	if s.suite.Budget > 0 {
		calls = s.suite.Calls(plaintext, len(adLabel)+headerLen+len(l.topic))
	}
	if will || calls > s.suite.Budget {
		return newSession(), 1, true
	}
	for {
		ses = s.session.Load()
		if seq, ok := ses.take(calls, s.suite.Budget); ok {
			return ses, seq, false
		}
		s.roll(ses)
	}
}

// roll replaces a session that is used up.
func (s *Sealer) roll(old *session) {
	s.rollover.Lock()
	defer s.rollover.Unlock()
	if s.session.Load() == old {
		s.session.Store(newSession())
	}
}

// box is the AEAD of one topic in one session.
type box struct {
	key     *leafKey
	session [12]byte
	hash    uint64
	aead    cipher.AEAD
}

func (s *Sealer) newBox(k *leafKey, session [12]byte) (*box, error) {
	aead, err := s.suite.New(&k.secret, &session)
	if err != nil {
		return nil, err
	}
	return &box{key: k, session: session, aead: aead}, nil
}

// sealingBox returns the box of the key's current session.
func (s *Sealer) sealingBox(k *leafKey, ses *session, alone bool) (*box, error) {
	if b := k.sealing.Load(); b != nil && b.session == ses.id {
		return b, nil
	}
	b, err := s.newBox(k, ses.id)
	if err == nil && !alone {
		k.sealing.Store(b)
	}
	return b, err
}

// openingBox returns the box of a frame's session; fresh says that it was made
// for this frame and is not remembered.
func (s *Sealer) openingBox(k *leafKey, header []byte) (b *box, fresh bool, err error) {
	hash := maphash.Bytes(s.topics.seed, header[idAt:timeAt])
	r := s.boxes.row(hash)
	for i := range r.slot {
		b := r.slot[i].Load()
		if b == nil {
			break
		}
		if b.key == k && b.session == [12]byte(header[sessionAt:]) {
			r.touch(i)
			return b, false, nil
		}
	}
	b, err = s.newBox(k, [12]byte(header[sessionAt:]))
	if err != nil {
		return nil, false, err
	}
	b.hash = hash
	return b, true, nil
}

// scratch is where the associated data and the nonce of one message are put
// together: as arguments of an interface's method they would be allocated.
type scratch struct {
	ad    []byte
	nonce [24]byte
}

func newScratch() *scratch {
	sc := &scratch{ad: make([]byte, len(adLabel)+headerLen, 256)}
	copy(sc.ad, adLabel)
	return sc
}

// header is the place of the header in the associated data.
func (sc *scratch) header() *[headerLen]byte {
	return (*[headerLen]byte)(sc.ad[len(adLabel):])
}

// finish appends the topic to the label and the header, and returns the nonce.
func (sc *scratch) finish(suite *Suite, topic string) (nonce []byte) {
	sc.ad = append(sc.ad[:len(adLabel)+headerLen], topic...)
	nonce = sc.nonce[:suite.NonceSize]
	if suite.NonceTail == 8 {
		copy(nonce[len(nonce)-8:], sc.header()[headerLen-8:])
	} else {
		copy(nonce[len(nonce)-4:], sc.header()[headerLen-4:])
	}
	return nonce
}

// release gives a scratch back, unless a long topic has made it large.
func (s *Sealer) release(sc *scratch) {
	if cap(sc.ad) <= 2*maxKept {
		s.scratches.Put(sc)
	}
}

// putHeader writes the header of a new message.
func putHeader(h *[headerLen]byte, suite, flags byte, id *[4]byte, session *[12]byte, time, seq uint32) {
	h[0] = version
	h[flagsAt] = suite<<4 | flags
	copy(h[idAt:], id[:])
	copy(h[sessionAt:], session[:])
	binary.BigEndian.PutUint32(h[timeAt:], time)
	binary.BigEndian.PutUint32(h[seqAt:], seq)
}

// clock tells the Unix second for the price of a load. Reading the system's clock
// costs as much as sealing half a small message; so a reading is kept, and a timer
// that lives no longer than the second withdraws it. No timer runs while nobody
// asks.
type clock struct {
	second atomic.Int64 // 0: ask the system
	setup  sync.Mutex
	timer  *time.Timer
}

func (c *clock) unix() int64 {
	if t := c.second.Load(); t != 0 {
		return t
	}
	return c.read()
}

func (c *clock) read() int64 {
	c.setup.Lock()
	defer c.setup.Unlock()
	if t := c.second.Load(); t != 0 {
		return t
	}
	now := time.Now()
	left := time.Second - time.Duration(now.Nanosecond())
	c.second.Store(now.Unix())
	if c.timer == nil {
		c.timer = time.AfterFunc(left, func() { c.second.Store(0) })
	} else {
		c.timer.Reset(left)
	}
	return now.Unix()
}
