package cose

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// TagEncrypt0 is the CBOR tag of a COSE_Encrypt0 (RFC 9052, table 1).
const TagEncrypt0 = 16

// The header labels that matter here (RFC 9052, section 3.1).
const (
	headerAlg       = 1
	headerCrit      = 2
	headerKid       = 4
	headerIV        = 5
	headerPartialIV = 6
)

// Encrypt0 returns plaintext encrypted under key as a tagged COSE_Encrypt0, with a fresh random nonce. kid, if not
// nil, names the key to the recipient, in the clear; external is additional data that the recipient must know, often
// nil. An algorithm that does not encrypt is an [ErrAlgorithm], a key of another length an [ErrKey].
//
// With the 12-byte nonces of AES-GCM a key is good for some 2^32 messages, which one Authorization Server does not
// issue within the life of a key.
func Encrypt0(alg Algorithm, key, kid, external, plaintext []byte) ([]byte, error) {
	aead, err := newAEAD(alg, key)
	if err != nil {
		return nil, err
	}
	if len(plaintext) > ccmMax {
		return nil, fmt.Errorf("%w: plaintext of %d bytes", ErrMalformed, len(plaintext))
	}
	protected, err := Encoding.Marshal(map[int64]int64{headerAlg: int64(alg)})
	if err != nil {
		return nil, err
	}
	aad, err := additional(protected, external)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	rand.Read(nonce)
	unprotected := map[int64][]byte{headerIV: nonce}
	if kid != nil {
		unprotected[headerKid] = kid
	}
	return Encoding.Marshal(cbor.Tag{Number: TagEncrypt0, Content: []any{
		protected, unprotected, aead.Seal(nil, nonce, plaintext, aad),
	}})
}

// additional is the Enc_structure (RFC 9052, section 5.3).
func additional(protected, external []byte) ([]byte, error) {
	if len(external) > 1<<15 {
		return nil, fmt.Errorf("%w: external data of %d bytes", ErrMalformed, len(external))
	}
	if external == nil {
		external = []byte{}
	}
	return Encoding.Marshal([]any{"Encrypt0", protected, external})
}

func newAEAD(alg Algorithm, key []byte) (cipher.AEAD, error) {
	size := map[Algorithm]int{A128GCM: 16, A256GCM: 32, AESCCM16x64x128: 16}[alg]
	if size == 0 {
		return nil, fmt.Errorf("%w: %d does not encrypt", ErrAlgorithm, alg)
	}
	if len(key) != size {
		return nil, fmt.Errorf("%w: %d bytes instead of %d", ErrKey, len(key), size)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrKey, err)
	}
	if alg == AESCCM16x64x128 {
		return ccm{block}, nil
	}
	return cipher.NewGCM(block)
}

// Message is a COSE_Encrypt0 that has been taken apart and not yet decrypted: nothing in it can be trusted but to
// choose a key.
type Message struct {
	protected  []byte
	alg        Algorithm
	kid, iv    []byte
	ciphertext []byte
}

// ParseEncrypt0 takes apart a COSE_Encrypt0, which must carry its tag. It refuses what this package would not
// process: an algorithm in the unprotected header, critical headers, a partial IV.
func ParseEncrypt0(b []byte) (*Message, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: message of %d bytes", ErrMalformed, len(b))
	}
	var tag cbor.RawTag
	if err := Decoding.Unmarshal(b, &tag); err != nil || tag.Number != TagEncrypt0 {
		return nil, fmt.Errorf("%w: not a tagged COSE_Encrypt0", ErrMalformed)
	}
	var parts struct {
		_           struct{} `cbor:",toarray"`
		Protected   []byte
		Unprotected map[any]cbor.RawMessage
		Ciphertext  []byte
	}
	if err := Decoding.Unmarshal(tag.Content, &parts); err != nil {
		return nil, fmt.Errorf("%w: not a COSE_Encrypt0", ErrMalformed)
	}
	m := &Message{protected: parts.Protected, ciphertext: parts.Ciphertext}
	if err := m.headers(parts.Unprotected); err != nil {
		return nil, err
	}
	return m, nil
}

// headers reads both buckets, in which no label may stand twice (RFC 9052, section 3).
func (m *Message) headers(unprotected map[any]cbor.RawMessage) error {
	var protected map[any]cbor.RawMessage
	if len(m.protected) > 0 {
		if err := Decoding.Unmarshal(m.protected, &protected); err != nil {
			return fmt.Errorf("%w: protected header", ErrMalformed)
		}
	}
	all := make(map[any]cbor.RawMessage, len(protected)+len(unprotected))
	for label, value := range protected {
		all[label] = value
	}
	for label, value := range unprotected {
		if _, twice := all[label]; twice || label == int64(headerAlg) {
			return fmt.Errorf("%w: unprotected header", ErrMalformed)
		}
		all[label] = value
	}
	r := reader{m: all}
	for _, label := range []int64{headerCrit, headerPartialIV} {
		if _, ok := all[label]; ok {
			r.fail("header that is not supported")
		}
	}
	r.read(headerAlg, &m.alg)
	r.read(headerKid, &m.kid)
	r.read(headerIV, &m.iv)
	return r.err
}

// KeyID returns the kid by which the sender names the key, nil if it does not. It is not authenticated.
func (m *Message) KeyID() []byte { return m.kid }

// Algorithm returns the algorithm in the protected header. Open refuses it unless it is the key's own.
func (m *Message) Algorithm() Algorithm { return m.alg }

// Open decrypts the message with a key that is for alg and nothing else. It fails with [ErrAlgorithm] if the message
// names another algorithm, [ErrKey] if the key has not that algorithm's length, and [ErrDecrypt], without a reason,
// otherwise.
func (m *Message) Open(alg Algorithm, key, external []byte) ([]byte, error) {
	if m.alg != alg {
		return nil, fmt.Errorf("%w: message with %d, key for %d", ErrAlgorithm, m.alg, alg)
	}
	aead, err := newAEAD(alg, key)
	if err != nil {
		return nil, err
	}
	aad, err := additional(m.protected, external)
	if err != nil {
		return nil, err
	}
	if len(m.iv) != aead.NonceSize() || len(aad) > ccmMax {
		return nil, ErrDecrypt
	}
	plaintext, err := aead.Open(nil, m.iv, m.ciphertext, aad)
	if err != nil {
		return nil, ErrDecrypt
	}
	return plaintext, nil
}
