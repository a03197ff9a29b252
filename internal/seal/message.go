package seal

import (
	"crypto/ed25519"
	"crypto/subtle"
	"encoding/binary"
	"slices"

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
	ln, known := lineFor(&s.scratch().sealing, m.Topic)
	defer s.release(ln)
	l, err := ln.leaves, error(nil)
	if known {
		if !m.Retain && !m.Will && !m.Queued && len(m.Properties) == 0 {
			if out, ok := s.sealNext(ln, dst, m.flags(), m.Payload); ok {
				return out, nil
			}
		}
	} else if l, err = s.leavesOf(m.Topic); err != nil {
		return dst, err
	}
	out, err := s.sealWith(ln, dst, l, m)
	if err != nil {
		return dst, err
	}
	return out, nil
}

// sealNext is sealWith, in one straight run, for what nearly all messages are: on the same topic as the last one, in
// the same session, without RETAIN, properties and signature. On all others it does nothing and is false.
func (s *Sealer) sealNext(ln *line, dst []byte, flags byte, payload []byte) (out []byte, ok bool) {
	now := s.now() // before the session is looked at, as in sealWith
	if ln.session != s.session.Load() || len(payload) > ln.alike {
		return nil, false
	}
	seq, ok := ln.session.draw(&ln.of.numbers, now)
	if !ok {
		return nil, false
	}
	header, timeAndSeq := ln.header, uint64(now)<<32|uint64(seq)
	header[flagsAt] = s.suite.ID<<suiteShift | flags
	binary.BigEndian.PutUint64(header[timeAt:], timeAndSeq)
	n := len(dst)
	if need := headerLen + len(payload) + s.suite.TagSize; cap(dst)-n < need {
		dst = slices.Grow(dst, need)
	}
	dst = dst[:n+headerLen]
	copyHeader((*[headerLen]byte)(dst[n:]), header)
	return ln.box.aead.Seal(dst, ln.nonceOf(&s.suite, timeAndSeq), payload, ln.ad), true
}

// sealWith is seal for the topic of l, under its first key.
func (s *Sealer) sealWith(ln *line, dst []byte, l *leaves, m *Message) ([]byte, error) {
	plaintext, flags := len(m.Payload), m.flags()
	if len(m.Properties) > 0 || s.signer != nil {
		plaintext = s.contentLen(len(m.Properties), len(m.Payload))
		flags |= s.inside(m.Properties)
	}
	if plaintext > s.suite.MaxPlaintext || s.adLen(l) > s.suite.MaxAD {
		return nil, ErrTooLarge
	}
	now := s.now() // before the session is drawn: if the time has jumped, there is a new one
	ses, seq, alone := s.next(m, &ln.of.numbers, s.adLen(l), plaintext, now)
	if ln.leaves != l || ln.session != ses {
		if err := s.aim(ln, l, ses, alone); err != nil {
			return nil, err
		}
	}
	ln.header[flagsAt] = s.suite.ID<<suiteShift | flags
	binary.BigEndian.PutUint64(ln.header[timeAt:], uint64(now)<<32|uint64(seq))
	dst = slices.Grow(dst, headerLen+plaintext+s.suite.TagSize)
	return s.encrypt(dst, ln, ln.box, l.topic, m.Properties, m.Payload)
}

// aim makes a line one for messages under a topic's first key in a session.
func (s *Sealer) aim(ln *line, l *leaves, ses *session, alone bool) error {
	k := &l.keys[0]
	b, err := s.sealingBox(k, ses, alone)
	if err != nil {
		return err
	}
	ln.box, ln.session, ln.leaves, ln.alike = b, ses, l, s.suite.MaxPlaintext
	if s.signer != nil || s.suite.Budget > 0 {
		ln.alike = -1
	}
	ln.setTopic(l.topic)
	putHeader(ln.header, s.suite.ID, 0, &k.id, &ses.id, 0, 0)
	return nil
}

// encrypt appends the frame whose header and topic stand in ln.
func (s *Sealer) encrypt(dst []byte, ln *line, b *box, topic string, properties, payload []byte) ([]byte, error) {
	nonce := ln.makeNonce(&s.suite)
	header := ln.header[:]
	dst = append(dst, header...)
	if header[flagsAt]&(flagProperties|flagSigned) == 0 {
		return b.aead.Seal(dst, nonce, payload, ln.ad), nil
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
	return b.aead.Seal(dst, nonce, plain[start:], ln.ad), nil
}

// reseal seals m once more under a stamp, and appends the frame to dst if it is
// the very frame that the stamp was taken from. If m is another message than the
// one sealed then (or the signer does not sign alike twice), the result is false
// and the frame is wiped: no nonce ever shows two plaintexts. On false and on an
// error dst is as it was. It must not overlap m.
func (s *Sealer) reseal(dst []byte, m *Message, st stamp) ([]byte, bool, error) {
	l, err := s.leavesOf(m.Topic)
	if err != nil {
		return dst, false, err
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
		if b, err = s.newBox(k, session); err != nil {
			return dst, false, err
		}
	}
	ln, _ := lineFor(&s.scratch().sealing, m.Topic)
	ln.leaves = nil
	ln.setTopic(l.topic)
	*ln.header = st.header
	out := slices.Grow(dst, headerLen+plaintext+s.suite.TagSize)
	out, err = s.encrypt(out, ln, b, l.topic, m.Properties, m.Payload)
	s.release(ln)
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
func (s *Sealer) allFlags(m *Message) byte { return m.flags() | s.inside(m.Properties) }

// inside are the flags that tell what stands before the payload.
func (s *Sealer) inside(properties []byte) (f byte) {
	if len(properties) > 0 {
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
func (s *Sealer) open(dst []byte, m *Message, how *replay.Arrival, r *replay.Memory) (o opened, err error) {
	ln, known := lineFor(&s.scratch().opening, m.Topic)
	l := ln.leaves
	if known && how != nil {
		if out, ok, err := s.openNext(dst, ln, m.Payload, how, r); ok {
			s.release(ln)
			if err == nil {
				o.Payload = out[len(dst):]
			}
			return o, err
		}
	}
	if err = s.inspect(m.Payload); err == nil {
		if !known {
			if l = s.topics.findBytes(m.Topic); l == nil {
				l, err = s.derive(string(m.Topic))
			}
		}
	}
	if err == nil {
		_, err = s.openFrame(dst, ln, l, m.Payload, how, r, &o)
	}
	s.release(ln)
	if err != nil {
		return opened{}, err
	}
	return o, nil
}

// openFrame opens an inspected frame into o, and returns dst with the plaintext.
// Nothing is remembered of a frame, neither here nor in r, before it has proved
// authentic. On an error o is worth nothing.
func (s *Sealer) openFrame(dst []byte, ln *line, l *leaves, frame []byte, how *replay.Arrival, r *replay.Memory, o *opened) ([]byte, error) {
	flags, facts := frame[flagsAt], &ln.of.facts
	if !ln.goesOn(l, frame) {
		if err := s.aimAt(ln, l, frame); err != nil {
			return nil, err
		}
	}
	copyHeader(ln.header, (*[headerLen]byte)(frame))
	if how != nil {
		readFacts(facts, ln.header, l, ln.key)
		if err := s.checkAge(facts, how); err != nil {
			return nil, err
		}
		if len(s.publishers) == 0 { // or else nobody knows yet whose it is
			if err := r.Check(facts, how); err != nil {
				return nil, err
			}
		}
	}
	b, fresh := ln.box, false
	if b == nil {
		var err error
		if b, fresh, err = s.openingBox(ln.key, frame); err != nil {
			return nil, err
		}
	}
	out, err := b.aead.Open(dst, ln.makeNonce(&s.suite), frame[headerLen:], ln.ad)
	if err != nil {
		return nil, ErrAuthentication
	}
	plain := out[len(dst):]
	if how != nil && len(s.publishers) > 0 { // or else the client's own, whose signer need not be among the Publishers
		o.Publisher, facts.Publisher, err = s.publishers.verify(ln.header[:], l.topic, plain)
	}
	o.Payload = plain
	if err == nil && flags&(flagProperties|flagSigned) != 0 {
		o.Properties, o.Payload, err = contents(plain, flags)
	}
	if err == nil && how != nil {
		o.Entry, err = r.Commit(facts, how)
	}
	if err != nil {
		clear(plain)
		return nil, err
	}
	if fresh {
		s.topics.keep(l)
		s.boxes.put(b.hash, b)
		b.key.opening.Store(b)
	}
	ln.leaves, ln.box = l, b
	if how != nil && len(s.publishers) == 0 {
		ln.run = r.Run(facts)
	}
	return out, nil
}

// openNext is inspect and openFrame, in one straight run, for what nearly all messages are: on the topic of the last
// one, sealed under the same key in the same session, the next in order, without RETAIN, properties, signature and
// acknowledgement. On all others it does nothing and is false.
func (s *Sealer) openNext(dst []byte, ln *line, frame []byte, how *replay.Arrival, r *replay.Memory) (out []byte, ok bool, err error) {
	n := len(frame) - headerLen - s.suite.TagSize
	if n < 0 || n > s.suite.MaxPlaintext || frame[0] != version || frame[flagsAt]&^flagOnce != s.suite.ID<<suiteShift ||
		!ln.goesOn(ln.leaves, frame) || !ln.run.Of(r) || !how.Plain() {
		return nil, false, nil
	}
	timeAndSeq := binary.BigEndian.Uint64(frame[timeAt:])
	time, seq := uint32(timeAndSeq>>32), uint32(timeAndSeq)
	if !ln.run.Follows(time, seq) || s.config.MaxAge > 0 && !s.isYoung(time) {
		return nil, false, nil
	}
	copyHeader(ln.header, (*[headerLen]byte)(frame))
	out, err = ln.box.aead.Open(dst, ln.nonceOf(&s.suite, timeAndSeq), frame[headerLen:], ln.ad)
	if err != nil {
		return nil, true, ErrAuthentication
	}
	if ln.run.Note(time, seq) {
		return out, true, nil
	}
	facts := &ln.of.facts
	readFacts(facts, ln.header, ln.leaves, ln.key)
	if _, err = r.Commit(facts, how); err != nil {
		clear(out[len(dst):])
		return nil, true, err
	}
	return out, true, nil
}

// goesOn says that a frame is of the line's topic, key and session.
func (ln *line) goesOn(l *leaves, frame []byte) bool {
	return ln.leaves == l && [timeAt - idAt]byte(frame[idAt:]) == [timeAt - idAt]byte(ln.header[idAt:])
}

// aimAt makes a line one for a frame; until the frame has proved authentic, it goes on with no other.
func (s *Sealer) aimAt(ln *line, l *leaves, frame []byte) error {
	k := l.find([4]byte(frame[idAt:]))
	if k == nil || s.hop && k.number == sealsHop {
		return ErrUnknownKey
	}
	if s.adLen(l) > s.suite.MaxAD {
		return ErrTooLarge
	}
	ln.leaves, ln.key, ln.box, ln.run = nil, k, nil, replay.Run{}
	ln.setTopic(l.topic)
	return nil
}

// contents parts an authentic plaintext.
func contents(plain []byte, flags byte) (properties, payload []byte, err error) {
	if flags&flagSigned != 0 {
		plain = plain[signatureLen:]
	}
	return split(plain, flags)
}
