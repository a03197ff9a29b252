// Package presentseal is suite 2 of the sealed-message format, on PRESENT: what package present seals with, and the
// broker half of a scheme too, which must not link the client libraries that package present brings along.
package presentseal

import (
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"

	"github.com/mqttsec/mqttsec/internal/seal"
	"github.com/mqttsec/mqttsec/present/presentcipher"
)

// Suite returns suite 2.
func Suite() seal.Suite {
	return seal.Suite{
		ID:           2,
		Label:        "mqttsec v1 present",
		New:          sessionAEAD,
		NonceSize:    presentcipher.NonceSize,
		NonceTail:    4,
		TagSize:      presentcipher.Overhead,
		MaxPlaintext: presentcipher.MaxPlaintext,
		MaxAD:        presentcipher.MaxAD,
		Calls:        presentcipher.Calls,
		Budget:       1 << 16,
	}
}

// sessionAEAD returns the AEAD of one session: its key is HKDF-SHA-256 (RFC 5869) of the topic's key with the session
// as salt.
func sessionAEAD(leaf *[32]byte, session *[12]byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, leaf[:], session[:], "", presentcipher.KeySize)
	if err != nil {
		return nil, err
	}
	return presentcipher.NewAEAD([presentcipher.KeySize]byte(key))
}
