package sidechannel

import (
	"crypto/ecdh"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

// An offer and its answer:
//
//	version 1 | 'O' | id 16 | u64 expiry | public key 32
//	version 1 | 'A' | id 16 | encapsulated key and ciphertext
//
// HPKE (RFC 9180) in base mode with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and AES-256-GCM; info is "mqttauth v1
// handover" and the offer.
const (
	kindOffer     = 'O'
	kindAnswer    = 'A'
	publicKeySize = 32
	offerSize     = 2 + idSize + 8 + publicKeySize
	answerHeader  = 2 + idSize

	handoverLabel = "mqttauth v1 handover"
)

func kem() hpke.KEM { return hpke.DHKEM(ecdh.X25519()) }

// Recipient is a device that is to get a token over a channel that it has already, such as a topic: it publishes its
// offer, which has a public key of its own for this one use, and the owner answers with the token sealed to that key.
// Nobody else on the channel can read the answer. A channel on which others can write needs the owner to know that
// the offer is the device's: compare [Fingerprint], or use a topic on which the device alone may publish.
//
// The device does not learn who answered: whoever saw the offer could, with a token of his own, and was first. Look
// at the token's filter and claim, and take its key for the owner's only once the authority has accepted the token.
type Recipient struct {
	offer []byte
	until time.Time
	now   clock

	mu  sync.Mutex
	key hpke.PrivateKey // nil once it has been used
}

// NewRecipient draws a key whose offer can be answered during a lifetime, in whole seconds.
func NewRecipient(lifetime time.Duration) (*Recipient, error) { return newRecipient(lifetime, nil) }

func newRecipient(lifetime time.Duration, now clock) (*Recipient, error) {
	if lifetime < time.Second {
		return nil, fmt.Errorf("sidechannel: a lifetime of %v: it must be at least one second", lifetime)
	}
	key, err := kem().GenerateKey()
	if err != nil {
		return nil, err
	}
	until := time.Unix(now.now().Add(lifetime).Unix(), 0)
	offer := []byte{envelopeVersion, kindOffer}
	var id [idSize]byte
	rand.Read(id[:]) // never fails
	offer = append(offer, id[:]...)
	offer = binary.BigEndian.AppendUint64(offer, uint64(until.Unix()))
	offer = append(offer, key.PublicKey().Bytes()...)
	return &Recipient{offer: offer, until: until, now: now, key: key}, nil
}

// Format writes the type alone.
func (r *Recipient) Format(f fmt.State, _ rune) { io.WriteString(f, "sidechannel.Recipient") }

// Offer returns what the device publishes. It is no secret.
func (r *Recipient) Offer() []byte { return append([]byte(nil), r.offer...) }

// Open opens an answer, once, and then forgets the key. An answer that does not open changes nothing.
func (r *Recipient) Open(answer []byte) (Token, error) {
	if len(answer) < answerHeader || len(answer) > maxEnvelope || answer[0] != envelopeVersion || answer[1] != kindAnswer {
		return Token{}, ErrMalformed
	}
	if string(answer[2:answerHeader]) != string(r.offer[2:answerHeader]) {
		return Token{}, ErrOpen // to another offer
	}
	if !r.now.now().Before(r.until) {
		return Token{}, ErrExpired
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.key == nil {
		return Token{}, ErrUsed
	}
	content, err := hpke.Open(r.key, hpke.HKDFSHA256(), hpke.AES256GCM(), info(r.offer), answer[answerHeader:])
	if err != nil {
		return Token{}, ErrOpen
	}
	defer clear(content)
	var t Token
	if err := t.UnmarshalBinary(content); err != nil {
		return Token{}, ErrMalformed
	}
	r.key = nil
	return t, nil
}

func info(offer []byte) []byte { return append([]byte(handoverLabel), offer...) }

// Answer seals a token to the device that made an offer.
func Answer(offer []byte, t Token) ([]byte, error) { return answer(offer, t, nil) }

func answer(offer []byte, t Token, now clock) ([]byte, error) {
	key, until, err := parseOffer(offer)
	if err != nil {
		return nil, err
	}
	if !now.now().Before(until) {
		return nil, ErrExpired
	}
	content, err := t.MarshalBinary()
	if err != nil {
		return nil, err
	}
	defer clear(content)
	sealed, err := hpke.Seal(key, hpke.HKDFSHA256(), hpke.AES256GCM(), info(offer), content)
	if err != nil {
		return nil, errors.Join(ErrMalformed, err) // a public key that has no secret with anybody
	}
	b := append([]byte{envelopeVersion, kindAnswer}, offer[2:answerHeader]...)
	return append(b, sealed...), nil
}

func parseOffer(offer []byte) (hpke.PublicKey, time.Time, error) {
	if len(offer) != offerSize || offer[0] != envelopeVersion || offer[1] != kindOffer {
		return nil, time.Time{}, ErrMalformed
	}
	at := binary.BigEndian.Uint64(offer[answerHeader:])
	if at > math.MaxInt64/2 {
		return nil, time.Time{}, ErrMalformed
	}
	key, err := kem().NewPublicKey(offer[answerHeader+8:])
	if err != nil {
		return nil, time.Time{}, ErrMalformed
	}
	return key, time.Unix(int64(at), 0), nil
}

// Fingerprint returns 16 characters that a person can compare on two displays: 80 bits of SHA-256 of the offer.
func Fingerprint(offer []byte) string {
	sum := sha256.Sum256(offer)
	s := base32.StdEncoding.EncodeToString(sum[:10])
	return s[:4] + "-" + s[4:8] + "-" + s[8:12] + "-" + s[12:]
}

// Topics returns the two topics of an exchange over MQTT below a prefix of the application's choice: prefix/offer/ID,
// on which the device publishes its offer, and prefix/answer/ID, on which it then waits for the answer. The owner
// subscribes to prefix/offer/+. Neither message needs to be retained.
func Topics(prefix string, offer []byte) (offers, answers string, err error) {
	if _, _, err := parseOffer(offer); err != nil {
		return "", "", err
	}
	id := hex.EncodeToString(offer[2:answerHeader])
	return prefix + "/offer/" + id, prefix + "/answer/" + id, nil
}
