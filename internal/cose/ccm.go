package cose

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"slices"
)

// ccm is AES-CCM with a 13-byte nonce and an 8-byte tag (RFC 3610 with L = 2 and M = 8; AES-CCM-16-64-128 of RFC
// 9053). It is a cipher.AEAD for messages and additional data below 65,280 bytes each, which is what L and the short
// form of the length of the additional data allow.
type ccm struct{ block cipher.Block }

const (
	ccmNonce = 13
	ccmTag   = 8
	ccmMax   = 1<<16 - 1<<8 - 1
)

var errCCMOpen = errors.New("cose: message authentication failed")

func (ccm) NonceSize() int { return ccmNonce }
func (ccm) Overhead() int  { return ccmTag }

// Seal implements cipher.AEAD.
func (c ccm) Seal(dst, nonce, plaintext, data []byte) []byte {
	c.check(nonce, plaintext, data)
	tag := c.tag(nonce, plaintext, data)
	start := len(dst)
	dst = append(dst, plaintext...)
	c.stream(nonce).XORKeyStream(dst[start:], dst[start:])
	return append(dst, tag[:]...)
}

// Open implements cipher.AEAD.
func (c ccm) Open(dst, nonce, ciphertext, data []byte) ([]byte, error) {
	if len(ciphertext) < ccmTag || len(ciphertext)-ccmTag > ccmMax || len(data) > ccmMax {
		return nil, errCCMOpen
	}
	c.check(nonce, nil, data)
	sealed, theirs := ciphertext[:len(ciphertext)-ccmTag], ciphertext[len(ciphertext)-ccmTag:]
	plaintext := slices.Clone(sealed)
	c.stream(nonce).XORKeyStream(plaintext, plaintext)
	tag := c.tag(nonce, plaintext, data)
	if subtle.ConstantTimeCompare(tag[:], theirs) != 1 {
		clear(plaintext)
		return nil, errCCMOpen
	}
	return append(dst, plaintext...), nil
}

// check panics on a misuse by the caller, as the AEADs of the standard library do.
func (ccm) check(nonce, plaintext, data []byte) {
	if len(nonce) != ccmNonce || len(plaintext) > ccmMax || len(data) > ccmMax {
		panic("cose: AES-CCM with lengths that it does not have")
	}
}

// counter returns A_i of RFC 3610, section 2.3.
func (ccm) counter(nonce []byte, i uint16) (a [16]byte) {
	a[0] = 1 // L - 1
	copy(a[1:], nonce)
	binary.BigEndian.PutUint16(a[14:], i)
	return a
}

// stream is the key stream for the message, which begins at block 1.
func (c ccm) stream(nonce []byte) cipher.Stream {
	first := c.counter(nonce, 1)
	return cipher.NewCTR(c.block, first[:])
}

// tag is the encrypted CBC-MAC over lengths, additional data and message (RFC 3610, section 2.2).
func (c ccm) tag(nonce, plaintext, data []byte) (tag [ccmTag]byte) {
	x := c.counter(nonce, uint16(len(plaintext)))
	x[0] |= (ccmTag - 2) / 2 << 3
	if len(data) > 0 {
		x[0] |= 1 << 6
	}
	c.block.Encrypt(x[:], x[:])
	if len(data) > 0 {
		c.mac(&x, append(binary.BigEndian.AppendUint16(nil, uint16(len(data))), data...))
	}
	c.mac(&x, plaintext)
	mask := c.counter(nonce, 0)
	c.block.Encrypt(mask[:], mask[:])
	subtle.XORBytes(tag[:], x[:ccmTag], mask[:ccmTag])
	return tag
}

// mac goes on with the CBC-MAC x over b, padded with zeros.
func (c ccm) mac(x *[16]byte, b []byte) {
	for len(b) > 0 {
		n := subtle.XORBytes(x[:], x[:], b[:min(16, len(b))])
		c.block.Encrypt(x[:], x[:])
		b = b[n:]
	}
}
