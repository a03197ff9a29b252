package seal

import (
	"crypto/ed25519"
	"crypto/subtle"
	"slices"
	"sync/atomic"

	"github.com/mqttsec/mqttsec/internal/replay"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// opened is a message that passed.
type opened struct {
	// Properties (nil if none) and Payload alias the plaintext appended to dst.
	Properties, Payload []byte
	// Publisher is who signed; nil without Config.Publishers.
	Publisher ed25519.PublicKey
	// Entry is for replay.Memory.Done; zero if no acknowledgement is awaited.
	Entry replay.Entry
}

// seal appends m, sealed under the next session, time and sequence number, to
// dst, which must not overlap m. What it adds is sealedSize long. On an error dst
// is as it was.
func (s *Sealer) seal(dst []byte, m *Message) ([]byte, error) {
	l := s.topics.findBytes(m.Topic)
	if l == nil {
		var err error
		if l, err = s.learn(string(m.Topic)); err != nil {
			return dst, err
		}
	}
	out, err := s.sealIn(s.series(m), dst, l, m.flags(), m.Properties, m.Payload)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// sealNew is sealIn for what is sent at once.
func (s *Sealer) sealNew(dst []byte, l *leaves, flags byte, properties, payload []byte) ([]byte, error) {
	return s.sealIn(&s.session, dst, l, flags, properties, payload)
}

// sealIn seals under a new header, of the session that stands in series, and the first key.
func (s *Sealer) sealIn(series *atomic.Pointer[session], dst []byte, l *leaves, flags byte, properties, payload []byte) ([]byte, error) {
	plaintext := s.contentLen(len(properties), len(payload))
	if plaintext > s.suite.MaxPlaintext || s.adLen(l) > s.suite.MaxAD {
		return nil, ErrTooLarge
	}
	if len(properties) > 0 {
		flags |= flagProperties
	}
	if s.signer != nil {
		flags |= flagSigned
	}
	k := &l.keys[0]
	now := s.now() // before the session is drawn: if the time has jumped, there is a new one
	ses, seq, alone := s.next(series, l, plaintext, flags&flagWill != 0)
	b, err := s.sealingBox(k, ses, alone)
	if err != nil {
		return nil, err
	}
	sc := s.scratches.Get().(*scratch)
	putHeader(sc.header(), s.suite.ID, flags, &k.id, &ses.id, now, seq)
	dst = slices.Grow(dst, headerLen+plaintext+s.suite.TagSize)
	out, err := s.encrypt(dst, sc, b, l.topic, properties, payload)
	s.release(sc)
	return out, err
}

// encrypt appends the frame whose header stands in sc.
func (s *Sealer) encrypt(dst []byte, sc *scratch, b *box, topic string, properties, payload []byte) ([]byte, error) {
	nonce := sc.finish(&s.suite, topic)
	header := sc.header()[:]
	dst = append(dst, header...)
	if header[flagsAt]&(flagProperties|flagSigned) == 0 {
		return b.aead.Seal(dst, nonce, payload, sc.ad), nil
	}

	// The plaintext is put together where its ciphertext will be, given room.
	start := len(dst)
	plain := dst
	if header[flagsAt]&flagSigned != 0 {
		plain = slices.Grow(plain, signatureLen)[:start+signatureLen]
	}
	rest := len(plain)
	if len(properties) > 0 {
		plain = wire.AppendVarint(plain, len(properties))
		plain = append(plain, properties...)
	}
	plain = append(plain, payload...)
	if header[flagsAt]&flagSigned != 0 {
		if err := s.signer.sign(plain[start:rest], header, topic, plain[rest:]); err != nil {
			clear(plain[start:])
			return nil, err
		}
	}
	return b.aead.Seal(dst, nonce, plain[start:], sc.ad), nil
}

// reseal seals m once more under a stamp, and appends the frame to dst if it is
// the very frame that the stamp was taken from. If m is another message than the
// one sealed then (or the signer does not sign alike twice), the result is false
// and the frame is wiped: no nonce ever shows two plaintexts. On false and on an
// error dst is as it was. It must not overlap m.
func (s *Sealer) reseal(dst []byte, m *Message, st stamp) ([]byte, bool, error) {
	l := s.topics.findBytes(m.Topic)
	if l == nil {
		var err error
		if l, err = s.learn(string(m.Topic)); err != nil {
			return dst, false, err
		}
	}
	if st.header[flagsAt] != s.suite.ID<<suiteShift|s.allFlags(m) {
		return dst, false, nil
	}
	k := l.find([4]byte(st.header[idAt:]))
	if k == nil {
		return dst, false, nil // another topic
	}
	plaintext := s.contentLen(len(m.Properties), len(m.Payload))
	if plaintext > s.suite.MaxPlaintext || s.adLen(l) > s.suite.MaxAD {
		return dst, false, ErrTooLarge
	}
	b := k.sealing.Load()
	if session := [12]byte(st.header[sessionAt:]); b == nil || b.session != session {
		var err error
		if b, err = s.newBox(k, session); err != nil {
			return dst, false, err
		}
	}
	sc := s.scratches.Get().(*scratch)
	*sc.header() = st.header
	out := slices.Grow(dst, headerLen+plaintext+s.suite.TagSize)
	out, err := s.encrypt(out, sc, b, l.topic, m.Properties, m.Payload)
	s.release(sc)
	if err != nil {
		return dst, false, err
	}
	if subtle.ConstantTimeCompare(out[len(out)-s.suite.TagSize:], st.tag[:s.suite.TagSize]) != 1 {
		clear(out[len(dst):])
		return dst, false, nil
	}
	return out, true, nil
}

// allFlags are the flags that m is sealed with.
func (s *Sealer) allFlags(m *Message) byte {
	f := m.flags()
	if len(m.Properties) > 0 {
		f |= flagProperties
	}
	if s.signer != nil {
		f |= flagSigned
	}
	return f
}

// open opens the frame in m.Payload and judges it by r and how it came. Without how, which is for what lies in the
// client's own store, it is not judged. The plaintext is appended to dst. That must not overlap the frame, unless it is
// frame[26:26], which decrypts in place: then the plaintext replaces the ciphertext, and zeros do if the message is
// refused. Of m only Topic and Payload are read.
//
// The caller, who alone knows how the message came, must still check that the
// properties are well formed and of a kind that moves inside.
func (s *Sealer) open(dst []byte, m *Message, how *replay.Arrival, r *replay.Memory) (opened, error) {
	if err := s.inspect(m.Payload); err != nil {
		return opened{}, err
	}
	l := s.topics.findBytes(m.Topic)
	if l == nil {
		var err error
		if l, err = s.derive(string(m.Topic)); err != nil {
			return opened{}, err
		}
	}
	var o opened
	if _, err := s.openFrame(dst, l, m.Payload, how, r, &o); err != nil {
		return opened{}, err
	}
	return o, nil
}

// openFrame opens an inspected frame into o, and returns dst with the plaintext.
// Nothing is remembered of a frame, neither here nor in r, before it has proved
// authentic. On an error o is worth nothing.
func (s *Sealer) openFrame(dst []byte, l *leaves, frame []byte, how *replay.Arrival, r *replay.Memory, o *opened) ([]byte, error) {
	key := l.find([4]byte(frame[idAt:]))
	if key == nil || s.hop && key.number == sealsHop {
		return nil, ErrUnknownKey
	}
	if s.adLen(l) > s.suite.MaxAD {
		return nil, ErrTooLarge
	}
	sc := s.scratches.Get().(*scratch)
	copy(sc.header()[:], frame)
	out, err := s.decrypt(dst, sc, l, key, frame[headerLen:], how, r, o)
	s.release(sc)
	return out, err
}

// decrypt does openFrame's work on the ciphertext of the header in sc.
func (s *Sealer) decrypt(dst []byte, sc *scratch, l *leaves, key *leafKey, ciphertext []byte, how *replay.Arrival, r *replay.Memory, o *opened) ([]byte, error) {
	nonce := sc.finish(&s.suite, l.topic)
	header := sc.header()[:]
	if how != nil {
		readFacts(&sc.facts, header, l, key)
		if err := s.checkAge(&sc.facts, how); err != nil {
			return nil, err
		}
		if len(s.publishers) == 0 { // or else nobody knows yet whose it is
			if err := r.Check(&sc.facts, how); err != nil {
				return nil, err
			}
		}
	}
	b, fresh, err := s.openingBox(key, header)
	if err != nil {
		return nil, err
	}
	out, err := b.aead.Open(dst, nonce, ciphertext, sc.ad)
	if err != nil {
		return nil, ErrAuthentication
	}
	plain := out[len(dst):]
	if how != nil { // or else the client's own, whose signer need not be among the Publishers
		o.Publisher, sc.facts.Publisher, err = s.publishers.verify(header, l.topic, plain)
	}
	if err == nil {
		o.Properties, o.Payload, err = contents(plain, header[flagsAt])
	}
	if err == nil && how != nil {
		o.Entry, err = r.Commit(&sc.facts, how)
	}
	if err != nil {
		clear(plain)
		return nil, err
	}
	if fresh {
		s.topics.keep(l)
		s.boxes.put(b.hash, b)
		key.opening.Store(b)
	}
	return out, nil
}

// contents parts an authentic plaintext.
func contents(plain []byte, flags byte) (properties, payload []byte, err error) {
	if flags&flagSigned != 0 {
		plain = plain[signatureLen:]
	}
	return split(plain, flags)
}
