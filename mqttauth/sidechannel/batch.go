package sidechannel

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"sync"
	"time"
)

// What a batch seals:
//
//	version 1 | 'B' | id 16 | u64 expiry | AES-256-GCM of the token | tag 16
//
// under HKDF-SHA-256(batch key, salt: id, "mqttauth v1 batch"), a key of this envelope alone, with an all-zero nonce;
// what stands before the ciphertext is the associated data.
const (
	envelopeVersion = 1
	kindBatch       = 'B'
	batchHeader     = 2 + idSize + 8
	idSize          = 16
	batchKeySize    = 32

	maxEnvelope = 4096
	maxOpened   = 4096
)

// ErrFull: so many envelopes were opened whose time is not over that no more can be told apart from them.
var ErrFull = errors.New("sidechannel: too many envelopes were opened lately")

// Batch seals tokens under the key of a production run, which all its devices have from the factory on, and opens
// them. A device that is taken apart gives the key of its run away: end the run's key then. A Batch is safe for
// concurrent use.
type Batch struct {
	key func() []byte // a function, so that no verb of fmt prints it
	now clock

	mu     sync.Mutex
	opened map[[idSize]byte]time.Time // until when an envelope would open again
}

// NewBatch returns a Batch with a key of 32 random octets.
func NewBatch(key []byte) (*Batch, error) {
	if len(key) != batchKeySize {
		return nil, fmt.Errorf("sidechannel: the key of a batch has %d octets, not %d", len(key), batchKeySize)
	}
	own := append([]byte(nil), key...)
	return &Batch{key: func() []byte { return own }, opened: make(map[[idSize]byte]time.Time)}, nil
}

// Format writes the type alone.
func (b *Batch) Format(f fmt.State, _ rune) { io.WriteString(f, "sidechannel.Batch") }

// Seal seals a token for any device of the run, until a time, in whole seconds.
func (b *Batch) Seal(t Token, expires time.Time) ([]byte, error) {
	content, err := t.MarshalBinary()
	if err != nil {
		return nil, err
	}
	if expires.Unix() <= 0 {
		return nil, errors.New("sidechannel: an envelope needs an expiry")
	}
	header := make([]byte, 0, maxEnvelope)
	header = append(header, envelopeVersion, kindBatch)
	var id [idSize]byte
	rand.Read(id[:]) // never fails
	header = append(header, id[:]...)
	header = binary.BigEndian.AppendUint64(header, uint64(expires.Unix()))
	aead, err := b.aead(id)
	if err != nil {
		return nil, err
	}
	return aead.Seal(header, make([]byte, aead.NonceSize()), content, header), nil
}

// Open opens an envelope, once: this Batch remembers it until it expires. Other devices of the run, and this one once
// it has restarted, can open it too; a token that is for one of them has Terms.Once.
func (b *Batch) Open(envelope []byte) (Token, error) {
	if len(envelope) < batchHeader || len(envelope) > maxEnvelope || envelope[0] != envelopeVersion || envelope[1] != kindBatch {
		return Token{}, ErrMalformed
	}
	header, sealed := envelope[:batchHeader], envelope[batchHeader:]
	id := [idSize]byte(header[2:])
	aead, err := b.aead(id)
	if err != nil {
		return Token{}, err
	}
	content, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed, header)
	if err != nil {
		return Token{}, ErrOpen
	}
	defer clear(content)
	at := binary.BigEndian.Uint64(header[2+idSize:])
	if at > math.MaxInt64/2 {
		return Token{}, ErrMalformed
	}
	var t Token
	if err := t.UnmarshalBinary(content); err != nil {
		return Token{}, ErrMalformed
	}
	if err := b.use(id, time.Unix(int64(at), 0)); err != nil {
		return Token{}, err
	}
	return t, nil
}

func (b *Batch) aead(id [idSize]byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, b.key(), id[:], "mqttauth v1 batch", batchKeySize)
	if err != nil {
		return nil, err
	}
	defer clear(key)
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// use notes that an envelope was opened.
func (b *Batch) use(id [idSize]byte, until time.Time) error {
	now := b.now.now()
	if !now.Before(until) {
		return ErrExpired
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if _, ok := b.opened[id]; ok {
		return ErrUsed
	}
	if len(b.opened) >= maxOpened {
		for other, end := range b.opened {
			if !now.Before(end) {
				delete(b.opened, other)
			}
		}
	}
	if len(b.opened) >= maxOpened {
		return ErrFull
	}
	b.opened[id] = until
	return nil
}
