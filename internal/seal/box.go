package seal

import (
	"crypto/cipher"
	"encoding/binary"
	"hash/maphash"
	"math"

	"github.com/mqttsec/mqttsec/internal/replay"
)

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
	session := [12]byte(header[sessionAt:])
	if b := k.opening.Load(); b != nil && b.session == session {
		return b, false, nil
	}
	hash := maphash.Bytes(s.topics.seed, header[idAt:timeAt])
	r := s.boxes.row(hash)
	for i := range r.slots() {
		b := r.slot[i].Load()
		if b == nil {
			break
		}
		if b.key == k && b.session == session {
			r.touch(i)
			k.opening.Store(b)
			return b, false, nil
		}
	}
	b, err = s.newBox(k, session)
	if err != nil {
		return nil, false, err
	}
	b.hash = hash
	return b, true, nil
}

// line is the associated data and the nonce of messages on one topic in one session. What changes from one to the next
// are the flags, the time and the sequence number, so it serves the next of its kind as it is.
type line struct {
	of      *scratch         // which it is part of
	ad      []byte           // label, header, topic
	header  *[headerLen]byte // its place there
	nonce   [24]byte
	leaves  *leaves // the topic's, nil if the line is not to be used again
	key     *leafKey
	box     *box
	session *session   // of the box, when sealing
	alike   int        // the longest payload for sealNext
	run     replay.Run // when opening
}

func newLine() (ln line) {
	ln.setTopic("")
	return ln
}

// setTopic puts the topic behind label and header.
func (ln *line) setTopic(topic string) {
	if ln.ad == nil {
		ln.ad = make([]byte, 0, len(adLabel)+headerLen+len(topic))
		ln.ad = append(ln.ad, adLabel...)
	}
	ln.ad = append(ln.ad[:len(adLabel)+headerLen], topic...)
	ln.header = (*[headerLen]byte)(ln.ad[len(adLabel):])
}

// copyHeader copies a header in two parts, each of which goes through registers: all at once would be a call.
func copyHeader(to, from *[headerLen]byte) {
	*(*[16]byte)(to[:]) = [16]byte(from[:])
	*(*[headerLen - 16]byte)(to[16:]) = [headerLen - 16]byte(from[16:])
}

// makeNonce makes the nonce that belongs to the header.
func (ln *line) makeNonce(suite *Suite) []byte {
	return ln.nonceOf(suite, binary.BigEndian.Uint64(ln.header[timeAt:]))
}

// nonceOf makes the nonce for a time and a sequence number.
func (ln *line) nonceOf(suite *Suite, timeAndSeq uint64) []byte {
	if suite.NonceTail == 4 {
		timeAndSeq &= math.MaxUint32
	}
	binary.BigEndian.PutUint64(ln.nonce[len(ln.nonce)-8:], timeAndSeq)
	return ln.nonce[len(ln.nonce)-suite.NonceSize:]
}

// scratch is what one goroutine at a time works with. What is in it would otherwise be allocated for each message, as
// all is that goes to an interface's method; and a processor that seals or opens one message finds what it needs for
// the next there, where no other writes. Topics that are in use by turns mostly have a line each.
type scratch struct {
	sealing, opening lines
	numbers          numbers
	facts            replay.Message // of the frame being opened
}

// lines are those of some topics, and the one used last.
type lines struct {
	last *line
	lane [8]line
}

// lineFor returns a topic's line, and whether it has been the topic's before.
func lineFor[T string | []byte](ls *lines, topic T) (ln *line, known bool) {
	if l := ls.last.leaves; l != nil && l.topic == string(topic) {
		return ls.last, true
	}
	ls.last = &ls.lane[place16(topic)%uint(len(ls.lane))]
	l := ls.last.leaves
	return ls.last, l != nil && l.topic == string(topic)
}

func newScratch() *scratch {
	sc := new(scratch)
	for _, ls := range []*lines{&sc.sealing, &sc.opening} {
		ls.last = &ls.lane[0]
		for i := range ls.lane {
			ls.lane[i].of = sc
		}
	}
	return sc
}

func (s *Sealer) scratch() *scratch { return s.scratches.Get().(*scratch) }

// release gives the scratch of a line back, without the line if a long topic has made it large.
func (s *Sealer) release(ln *line) {
	sc := ln.of
	if cap(ln.ad) > 2*maxKept {
		*ln = line{of: sc}
	}
	s.scratches.Put(sc)
}
