package seal

import (
	"crypto/aes"
	"crypto/cipher"
)

// XAES is suite 1: XAES-256-GCM of C2SP (https://c2sp.org/XAES-256-GCM). Its
// 24-byte nonce is session ‖ 0000 ‖ time ‖ sequence number, and since it derives
// the AES-256-GCM key from the first 12 bytes, a session has one such key.
func XAES() Suite {
	return Suite{
		ID:           1,
		Label:        "mqttsec v1 aes",
		New:          newXAES,
		NonceSize:    12,
		NonceTail:    8,
		TagSize:      16,
		MaxPlaintext: maxPacket,
		MaxAD:        len(adLabel) + headerLen + 65535,
	}
}

// newXAES returns AES-256-GCM under the key that XAES-256-GCM derives from key
// and the first half of its nonce; it takes the second half as its own nonce.
func newXAES(key *[32]byte, prefix *[12]byte) (cipher.AEAD, error) {
	derived, err := xaesKey(key, prefix)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(derived[:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// xaesKey is the KDF in counter mode with CMAC-AES-256 (NIST SP 800-108r1,
// section 4.1), label X, cut down to what one-block messages leave of it.
func xaesKey(key *[32]byte, prefix *[12]byte) (derived [32]byte, err error) {
	block, err := aes.NewCipher(key[:])
	if err != nil {
		return derived, err
	}
	var k1 [16]byte
	block.Encrypt(k1[:], k1[:])
	var carry byte
	for i := len(k1) - 1; i >= 0; i-- {
		k1[i], carry = k1[i]<<1|carry, k1[i]>>7
	}
	k1[15] ^= carry * 0x87 // x^128 + x^7 + x^2 + x + 1; no branch on the secret

	for i := range 2 {
		m := derived[16*i : 16*i+16]
		m[1], m[2] = byte(i+1), 'X'
		copy(m[4:], prefix[:])
		for j := range m {
			m[j] ^= k1[j]
		}
		block.Encrypt(m, m)
	}
	return derived, nil
}
