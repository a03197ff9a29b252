package seal

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// storedLabel derives the key for messages in a client's store from the topic's, so that
// what lies there is worth nothing on the wire, and what was on the wire nothing there.
const storedLabel = "mqttsec v1 stored"

// errNotOwn: what lies in a store is not what Freeze made of this packet.
var errNotOwn = fmt.Errorf("%w: not as this client stored it", ErrMalformed)

// slot is a place in a client's store. What was stored in one opens in no other.
type slot struct {
	client string
	id     uint16 // 0 in a queue
	out    bool   // the client sends it
}

// Freeze returns the PUBLISH p for a client's own store: sealed if its topic is covered,
// p itself if not. session is the Client Identifier; out tells that the client sends
// the message.
//
// A message that is to be sent is sealed now, for its receivers, and the stamp of the frame
// is stored with it: a client that sends it again, after a restart even, must send the same
// frame, or the receivers would take it for another message. One that waits in a queue has a
// number of its own series, for it may be long before it is sent.
func (s *Sealer) Freeze(session string, v wire.Version, p wire.Packet, out bool) (wire.Packet, error) {
	m, err := wire.ParsePublish(p, v)
	if err != nil {
		return nil, err
	}
	name, err := s.leaving(m.Topic)
	if err != nil {
		return nil, err
	}
	if name == nil {
		return p, nil
	}
	st, payload, stamped := s.unwrap(m.Payload)
	props := s.part(new(parted), m.Properties)
	m.Properties = props.outside
	if len(m.Payload) == 0 && m.Retain {
		return m.Append(nil, v) // it clears a retained message, and is sent like this too
	}
	msg := Message{Topic: name, Retain: m.Retain, Once: m.QoS == 0, Queued: m.ID == 0, Properties: props.inside, Payload: payload}
	if out && !stamped {
		frame, err := s.seal(nil, &msg)
		if err != nil {
			return nil, err
		}
		st = s.stamp(frame)
	}
	if m.Payload, err = s.sealStored(&msg, slot{session, m.ID, out}, st); err != nil {
		return nil, err
	}
	if out && m.ID != 0 {
		s.mqtt.stored(session, m.ID, st)
	}
	return m.Append(nil, v)
}

// Thaw is the inverse of Freeze, but that the payload of a message which is to be sent has
// the frame's stamp before it: such a message leaves as the frame that was stored, or not
// at all. It fails for what was not frozen in the same slot under a key of this Sealer.
// Signer and PlainProperties must be what they were, or the message does not leave.
func (s *Sealer) Thaw(session string, v wire.Version, p wire.Packet, out bool) (wire.Packet, error) {
	m, err := wire.ParsePublish(p, v)
	if err != nil {
		return nil, err
	}
	name := actual(m.Topic)
	if !s.covers(name) || len(m.Payload) == 0 && m.Retain {
		return p, nil
	}
	if len(m.Payload) == 0 || m.Payload[0] != version {
		if time.Now().Before(s.config.InsecureSealStored) || allows(s.config.InsecureSendUnsealed, name) {
			return p, nil // stored before there was a Sealer, or while it need not seal
		}
	}
	msg := Message{Topic: name, Retain: m.Retain, Once: m.QoS == 0, Payload: m.Payload}
	o, st, err := s.openStored(&msg, slot{session, m.ID, out})
	if err != nil {
		return nil, err
	}
	if m.Properties, err = s.join(m.Properties, o.Properties); err != nil {
		return nil, err
	}
	m.Payload = o.Payload
	if out {
		m.Payload = s.wrap(st, o.Payload)
	}
	return m.Append(nil, v)
}

// wrap returns a payload for the client to send, with the stamp of its frame before it. The
// token in front is known to this Sealer alone.
func (s *Sealer) wrap(st stamp, payload []byte) []byte {
	b := make([]byte, 0, ticketLen+len(payload))
	b = append(append(b, s.token[:]...), st.header[:]...)
	return append(append(b, st.tag[:]...), payload...)
}

const ticketLen = len(Sealer{}.token) + headerLen + len(stamp{}.tag)

// unwrap is the inverse of wrap; a payload that wrap has not made is returned as it is.
func (s *Sealer) unwrap(b []byte) (st stamp, payload []byte, ok bool) {
	if len(b) < ticketLen || subtle.ConstantTimeCompare(b[:len(s.token)], s.token[:]) != 1 {
		return stamp{}, b, false
	}
	b = b[len(s.token):]
	copy(st.header[:], b)
	copy(st.tag[:], b[headerLen:])
	return st, b[headerLen+len(st.tag):], true
}

// storedBox returns the AEAD of one message in a slot.
func (s *Sealer) storedBox(k *leafKey, session *[12]byte, in slot) (*box, error) {
	mac := hmac.New(sha256.New, k.secret[:])
	io.WriteString(mac, storedLabel)
	place := binary.BigEndian.AppendUint16([]byte{0}, in.id)
	if in.out {
		place[0] = 1
	}
	mac.Write(place)
	io.WriteString(mac, in.client)
	derived := [32]byte(mac.Sum(nil))
	aead, err := s.suite.New(&derived, session)
	if err != nil {
		return nil, err
	}
	return &box{key: k, session: *session, aead: aead}, nil
}

// sealStored returns m and the stamp sealed for a slot, in a session of its own. It is not
// signed: nobody else is to open it.
func (s *Sealer) sealStored(m *Message, in slot, st stamp) ([]byte, error) {
	l, err := s.leavesOf(m.Topic)
	if err != nil {
		return nil, err
	}
	const stampLen = headerLen + len(st.tag)
	if stampLen+s.contentLen(len(m.Properties), len(m.Payload)) > s.suite.MaxPlaintext || s.adLen(l) > s.suite.MaxAD {
		return nil, ErrTooLarge
	}
	flags := m.flags()
	if len(m.Properties) > 0 {
		flags |= flagProperties
	}
	k, ses := &l.keys[0], newSession()
	b, err := s.storedBox(k, &ses.id, in)
	if err != nil {
		return nil, err
	}
	ln := newLine()
	putHeader(ln.header, s.suite.ID, flags, &k.id, &ses.id, 0, 1)
	plain := append(append([]byte(nil), st.header[:]...), st.tag[:]...)
	if len(m.Properties) > 0 {
		plain = append(wire.AppendVarint(plain, len(m.Properties)), m.Properties...)
	}
	plain = append(plain, m.Payload...)
	ln.setTopic(l.topic)
	nonce := ln.makeNonce(&s.suite)
	return b.aead.Seal(append([]byte(nil), ln.header[:]...), nonce, plain, ln.ad), nil
}

// openStored opens what sealStored made.
func (s *Sealer) openStored(m *Message, in slot) (o opened, st stamp, err error) {
	if err := s.inspect(m.Payload); err != nil {
		return opened{}, stamp{}, err
	}
	l, err := s.leavesOf(m.Topic)
	if err != nil {
		return opened{}, stamp{}, err
	}
	if s.adLen(l) > s.suite.MaxAD {
		return opened{}, stamp{}, ErrTooLarge
	}
	header := [headerLen]byte(m.Payload)
	if header[flagsAt]&(flagRetain|flagWill|flagOnce) != m.flags() {
		return opened{}, stamp{}, errNotOwn
	}
	k := l.find([4]byte(header[idAt:]))
	if k == nil {
		return opened{}, stamp{}, ErrUnknownKey
	}
	session := [12]byte(header[sessionAt:])
	b, err := s.storedBox(k, &session, in)
	if err != nil {
		return opened{}, stamp{}, err
	}
	ln := newLine()
	*ln.header = header
	ln.setTopic(l.topic)
	nonce := ln.makeNonce(&s.suite)
	plain, err := b.aead.Open(nil, nonce, m.Payload[headerLen:], ln.ad)
	if err != nil {
		return opened{}, stamp{}, ErrAuthentication
	}
	if len(plain) < headerLen+len(st.tag) {
		return opened{}, stamp{}, errContents
	}
	copy(st.header[:], plain)
	copy(st.tag[:], plain[headerLen:])
	o.Properties, o.Payload, err = split(plain[headerLen+len(st.tag):], header[flagsAt])
	return o, st, err
}

// adLen is the length of the associated data of a topic's messages.
func (s *Sealer) adLen(l *leaves) int { return len(adLabel) + headerLen + len(l.topic) }

// leavesOf returns the keys of a topic of the application's own.
func (s *Sealer) leavesOf(topic []byte) (*leaves, error) {
	if l := s.topics.findBytes(topic); l != nil {
		return l, nil
	}
	return s.learn(string(topic))
}
