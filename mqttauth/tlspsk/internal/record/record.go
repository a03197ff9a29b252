// Package record protects the records of one direction of a connection: TLS 1.3 (RFC 8446 section 5), and TLS 1.2 with
// AES-GCM (RFC 5288) or ChaCha20-Poly1305 (RFC 7905).
package record

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"math"

	"golang.org/x/crypto/chacha20poly1305"
)

// Type is the first octet of a record (ContentType, RFC 8446 section 5.1).
type Type uint8

// The types of records. There is no other that a peer may send.
const (
	ChangeCipherSpec Type = 20
	Alert            Type = 21
	Handshake        Type = 22
	Data             Type = 23
)

// Lengths in octets.
const (
	HeaderLen    = 5
	MaxPlaintext = 1 << 14
	Overhead     = HeaderLen + explicitLen + 1 + 16 // the most that Append adds to a piece

	maxExpansion13 = 256  // RFC 8446 section 5.2
	maxExpansion12 = 2048 // RFC 5246 section 6.2.3
	explicitLen    = 8    // explicit nonce, RFC 5288 section 3
)

const version12 = 0x0303 // what stands in every record's header, the very first one aside

// What Open returns; each has an alert of its own.
var (
	ErrAuthentication = errors.New("record is not authentic")                  // bad_record_mac
	ErrOverflow       = errors.New("record is too long")                       // record_overflow
	ErrType           = errors.New("record of a type that is not for here")    // unexpected_message
	ErrExhausted      = errors.New("no sequence number is left for this key")  // of Append as well
	errKeyLen         = errors.New("key or IV of a wrong length for the AEAD") // of the constructors
)

// AEAD is the algorithm of a cipher suite.
type AEAD uint8

// The two algorithms.
const (
	AES128GCM AEAD = iota + 1
	ChaCha20Poly1305
)

// KeyLen is the length of a key in octets.
func (a AEAD) KeyLen() int {
	if a == AES128GCM {
		return 16
	}
	return chacha20poly1305.KeySize
}

// IVLen12 is the length of the IV that TLS 1.2 derives, in octets.
func (a AEAD) IVLen12() int {
	if a == AES128GCM {
		return 4
	}
	return chacha20poly1305.NonceSize
}

func (a AEAD) open(key []byte) (cipher.AEAD, error) {
	if len(key) != a.KeyLen() {
		return nil, errKeyLen
	}
	if a == ChaCha20Poly1305 {
		return chacha20poly1305.New(key)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// Cipher is the state of one direction under one key. A nil Cipher protects nothing, as before the keys are there.
type Cipher struct {
	aead     cipher.AEAD
	iv       [12]byte
	modern   bool // TLS 1.3
	explicit bool // the nonce is sent, TLS 1.2 with AES-GCM
	seq      uint64
	blocks   uint64
	nonce    [12]byte
	aad      [13]byte
}

// New13 returns a Cipher for TLS 1.3. Key and iv are copied.
func New13(a AEAD, key, iv []byte) (*Cipher, error) {
	aead, err := a.open(key)
	if err != nil || len(iv) != 12 {
		return nil, errors.Join(err, errKeyLen)
	}
	c := &Cipher{aead: aead, modern: true}
	copy(c.iv[:], iv)
	return c, nil
}

// New12 returns a Cipher for TLS 1.2. Key and iv are copied.
func New12(a AEAD, key, iv []byte) (*Cipher, error) {
	aead, err := a.open(key)
	if err != nil || len(iv) != a.IVLen12() {
		return nil, errors.Join(err, errKeyLen)
	}
	c := &Cipher{aead: aead, explicit: a == AES128GCM}
	copy(c.iv[:], iv)
	return c, nil
}

// Wipe overwrites what of the key is within reach. The Cipher is of no use afterwards.
func (c *Cipher) Wipe() {
	if c != nil {
		*c = Cipher{seq: math.MaxUint64}
	}
}

// Modern tells whether the Cipher is one of TLS 1.3.
func (c *Cipher) Modern() bool { return c != nil && c.modern }

// Blocks is how many blocks of 16 octets have passed under the key: what the limits on its use are in (RFC 8446 section
// 5.5).
func (c *Cipher) Blocks() uint64 {
	if c == nil {
		return 0
	}
	return c.blocks
}

// MaxBody is the length of the longest record that a peer may send, without its header.
func (c *Cipher) MaxBody() int {
	switch {
	case c == nil:
		return MaxPlaintext
	case c.modern:
		return MaxPlaintext + maxExpansion13
	}
	return MaxPlaintext + maxExpansion12
}

// next prepares the nonce for the current sequence number and counts on.
func (c *Cipher) next(octets int) error {
	if c.seq == math.MaxUint64 {
		return ErrExhausted
	}
	c.nonce = c.iv
	if c.explicit {
		binary.BigEndian.PutUint64(c.nonce[4:], c.seq)
	} else {
		tail := binary.BigEndian.Uint64(c.iv[4:])
		binary.BigEndian.PutUint64(c.nonce[4:], tail^c.seq)
	}
	binary.BigEndian.PutUint64(c.aad[:8], c.seq) // of TLS 1.2
	c.seq++
	c.blocks += uint64(octets+15)/16 + 2 // the lengths and the mask are blocks, too
	return nil
}

// Append appends one whole record with at most MaxPlaintext octets to dst.
func (c *Cipher) Append(dst []byte, t Type, plaintext []byte) ([]byte, error) {
	return c.append(dst, t, version12, plaintext)
}

// AppendFirst is Append for the first record of a connection, which says TLS 1.0 so that old peers answer (RFC 8446
// section 5.1).
func AppendFirst(dst []byte, t Type, plaintext []byte) []byte {
	dst, _ = (*Cipher)(nil).append(dst, t, 0x0301, plaintext) // without a key there is nothing to fail
	return dst
}

func (c *Cipher) append(dst []byte, t Type, version uint16, plaintext []byte) ([]byte, error) {
	if c == nil {
		dst = appendHeader(dst, t, version, len(plaintext))
		return append(dst, plaintext...), nil
	}
	if err := c.next(len(plaintext)); err != nil {
		return dst, err
	}
	if c.modern {
		start := len(dst)
		dst = appendHeader(dst, Data, version, len(plaintext)+1+c.aead.Overhead())
		body := len(dst)
		dst = append(dst, plaintext...)
		dst = append(dst, byte(t))
		return c.aead.Seal(dst[:body], c.nonce[:], dst[body:], dst[start:body]), nil
	}
	c.aad12(t, len(plaintext))
	n := len(plaintext) + c.aead.Overhead()
	if c.explicit {
		dst = appendHeader(dst, t, version, explicitLen+n)
		dst = append(dst, c.nonce[4:]...)
	} else {
		dst = appendHeader(dst, t, version, n)
	}
	return c.aead.Seal(dst, c.nonce[:], plaintext, c.aad[:]), nil
}

func appendHeader(dst []byte, t Type, version uint16, n int) []byte {
	return append(dst, byte(t), byte(version>>8), byte(version), byte(n>>8), byte(n))
}

// aad12 fills in the additional data of TLS 1.2 (RFC 5246 section 6.2.3.3) behind the sequence number.
func (c *Cipher) aad12(t Type, n int) {
	c.aad[8] = byte(t)
	binary.BigEndian.PutUint16(c.aad[9:], version12)
	binary.BigEndian.PutUint16(c.aad[11:], uint16(n))
}

// Open takes the protection off a whole record, in place.
func (c *Cipher) Open(record []byte) (Type, []byte, error) {
	header, body := record[:HeaderLen], record[HeaderLen:]
	t := Type(header[0])
	if len(body) > c.MaxBody() {
		return 0, nil, ErrOverflow
	}
	switch {
	case c == nil:
		return t, body, nil
	case c.modern:
		return c.open13(t, header, body)
	}
	return c.open12(t, header, body)
}

func (c *Cipher) open13(t Type, header, body []byte) (Type, []byte, error) {
	if t != Data {
		return 0, nil, ErrType
	}
	if err := c.next(len(body)); err != nil {
		return 0, nil, err
	}
	inner, err := c.aead.Open(body[:0], c.nonce[:], body, header)
	if err != nil {
		return 0, nil, ErrAuthentication
	}
	if len(inner) > MaxPlaintext+1 {
		return 0, nil, ErrOverflow
	}
	for len(inner) > 0 && inner[len(inner)-1] == 0 {
		inner = inner[:len(inner)-1]
	}
	if len(inner) == 0 {
		return 0, nil, ErrType // padding and nothing else, RFC 8446 section 5.4
	}
	last := len(inner) - 1
	return Type(inner[last]), inner[:last], nil
}

func (c *Cipher) open12(t Type, header, body []byte) (Type, []byte, error) {
	n := len(body) - c.aead.Overhead()
	if c.explicit {
		n -= explicitLen
	}
	if n < 0 || header[1] != version12>>8 || header[2] != version12&0xff {
		return 0, nil, ErrAuthentication
	}
	if err := c.next(n); err != nil {
		return 0, nil, err
	}
	if c.explicit {
		copy(c.nonce[4:], body)
		body = body[explicitLen:]
	}
	c.aad12(t, n)
	plaintext, err := c.aead.Open(body[:0], c.nonce[:], body, c.aad[:])
	if err != nil {
		return 0, nil, ErrAuthentication
	}
	if len(plaintext) > MaxPlaintext {
		return 0, nil, ErrOverflow
	}
	return t, plaintext, nil
}
