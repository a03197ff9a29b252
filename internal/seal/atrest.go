package seal

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// storedLabel derives the key for messages in a client's store from the topic's, so that
// what lies there is worth nothing on the wire: with a sequence number of its own it
// would be delivered a second time.
const storedLabel = "mqttsec v1 stored"

// errNotOwn: what lies in a store is authentic but not what Freeze made of this packet.
var errNotOwn = fmt.Errorf("%w: not as this client stored it", ErrMalformed)

// Freeze returns the PUBLISH p for a client's own store: sealed if its topic is covered,
// p itself if not. session is the Client Identifier; out tells that the client sends
// the message.
//
// A message that is to be sent and has a packet identifier is stored as the frame that
// will go on the wire, since a client that sends it again, after a restart even, must
// send the same frame, or the receivers would take it for another message.
func (s *Sealer) Freeze(session string, v wire.Version, p wire.Packet, out bool) (wire.Packet, error) {
	m, err := wire.ParsePublish(p, v)
	if err != nil {
		return nil, err
	}
	if !s.covers(m.Topic) {
		return p, nil
	}
	props := s.part(new(parted), m.Properties)
	m.Properties = props.outside
	if len(m.Payload) == 0 && m.Retain {
		return m.Append(nil, v) // it clears a retained message, and is sent like this too
	}
	msg := Message{Topic: m.Topic, Retain: m.Retain, Once: m.QoS == 0, Properties: props.inside, Payload: m.Payload}
	if out && m.ID != 0 {
		m.Payload, err = s.seal(nil, &msg)
		if err == nil {
			s.mqtt.stored(session, m.ID, s.stamp(m.Payload))
		}
	} else {
		m.Payload, err = s.sealStored(&msg)
	}
	if err != nil {
		return nil, err
	}
	return m.Append(nil, v)
}

// Thaw is the inverse of Freeze. It fails if the message was not frozen under a key of
// this Sealer, or if a message that is to be sent would not leave as the frame that was
// stored. Signer and PlainProperties must therefore be what they were.
func (s *Sealer) Thaw(session string, v wire.Version, p wire.Packet, out bool) (wire.Packet, error) {
	m, err := wire.ParsePublish(p, v)
	if err != nil {
		return nil, err
	}
	if !s.covers(m.Topic) || len(m.Payload) == 0 && m.Retain {
		return p, nil
	}
	var o opened
	msg := Message{Topic: m.Topic, Retain: m.Retain, Once: m.QoS == 0, Payload: m.Payload}
	own := out && m.ID != 0
	if own {
		o, err = s.openOwn(&msg)
	} else {
		o, err = s.openStored(&msg)
	}
	if err != nil {
		return nil, err
	}
	if m.Properties, err = s.join(m.Properties, o.Properties); err != nil {
		return nil, err
	}
	m.Payload = o.Payload
	if own {
		s.mqtt.stored(session, m.ID, s.stamp(msg.Payload))
	}
	return m.Append(nil, v)
}

// openOwn opens a frame that the client is to send again. It must be one that the
// client makes of this very message: whoever can write to the store but has no key
// could otherwise have an old frame, or another publisher's, sealed and signed anew.
func (s *Sealer) openOwn(m *Message) (opened, error) {
	plain := make([]byte, 0, len(m.Payload))
	o, err := s.open(plain, m, nil, nil)
	if err != nil {
		return opened{}, err
	}
	again := Message{Retain: m.Retain, Once: m.Once}
	if !s.config.PlainProperties {
		again.Properties = o.Properties
	}
	header := m.Payload[:headerLen]
	if header[flagsAt] != s.suite.ID<<suiteShift|s.allFlags(&again) {
		return opened{}, errNotOwn
	}
	if s.signer == nil {
		return o, nil
	}
	own := publishers{s.signer.hint: {{key: s.signer.Public().(ed25519.PublicKey)}}}
	_, _, err = own.verify(header, string(m.Topic), plain[:len(m.Payload)-headerLen-s.suite.TagSize])
	return o, err
}

// storedBox returns the AEAD of one stored message.
func (s *Sealer) storedBox(k *leafKey, session *[12]byte) (*box, error) {
	mac := hmac.New(sha256.New, k.secret[:])
	mac.Write([]byte(storedLabel))
	key := [32]byte(mac.Sum(nil))
	aead, err := s.suite.New(&key, session)
	if err != nil {
		return nil, err
	}
	return &box{key: k, session: *session, aead: aead}, nil
}

// sealStored returns m sealed for the store, in a session of its own. It is not signed:
// nobody else is to open it.
func (s *Sealer) sealStored(m *Message) ([]byte, error) {
	l, err := s.leavesOf(m.Topic)
	if err != nil {
		return nil, err
	}
	if s.contentLen(len(m.Properties), len(m.Payload)) > s.suite.MaxPlaintext {
		return nil, ErrTooLarge
	}
	flags := m.flags()
	if len(m.Properties) > 0 {
		flags |= flagProperties
	}
	k, ses := &l.keys[0], newSession()
	b, err := s.storedBox(k, &ses.id)
	if err != nil {
		return nil, err
	}
	sc := newScratch()
	putHeader(sc.header(), s.suite.ID, flags, &k.id, &ses.id, 0, 1)
	return s.encrypt(nil, sc, b, l.topic, m.Properties, m.Payload)
}

// openStored opens what sealStored made.
func (s *Sealer) openStored(m *Message) (o opened, err error) {
	if err := s.inspect(m.Payload); err != nil {
		return opened{}, err
	}
	l, err := s.leavesOf(m.Topic)
	if err != nil {
		return opened{}, err
	}
	header := [headerLen]byte(m.Payload)
	if header[flagsAt]&(flagRetain|flagWill|flagOnce) != m.flags() {
		return opened{}, errNotOwn
	}
	k := l.find([4]byte(header[idAt:]))
	if k == nil {
		return opened{}, ErrUnknownKey
	}
	session := [12]byte(header[sessionAt:])
	b, err := s.storedBox(k, &session)
	if err != nil {
		return opened{}, err
	}
	sc := newScratch()
	*sc.header() = header
	nonce := sc.finish(&s.suite, l.topic)
	plain, err := b.aead.Open(nil, nonce, m.Payload[headerLen:], sc.ad)
	if err != nil {
		return opened{}, ErrAuthentication
	}
	o.Properties, o.Payload, err = split(plain, header[flagsAt])
	return o, err
}

// leavesOf returns the keys of a topic of the application's own.
func (s *Sealer) leavesOf(topic []byte) (*leaves, error) {
	if l := s.topics.findBytes(topic); l != nil {
		return l, nil
	}
	return s.learn(string(topic))
}
