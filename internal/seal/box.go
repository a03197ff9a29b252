package seal

import (
	"crypto/cipher"
	"hash/maphash"

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

// scratch is where the associated data and the nonce of one message are put
// together: as arguments of an interface's method they would be allocated.
type scratch struct {
	ad    []byte
	nonce [24]byte
	facts replay.Message // of the frame being opened
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
