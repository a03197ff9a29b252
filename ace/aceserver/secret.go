package aceserver

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
)

// SecretHash is what the server keeps of a secret: SHA-256 of a salt of its own and the secret. That is enough for
// secrets that no one can guess, which is why [HashSecret] refuses short ones, and keeps a request to the server as
// cheap for it as for the client; it is not a way to store passwords that people choose. The zero value fits no secret.
//
// Its text form is "sha256:SALT:SUM" in base64url, as in configuration files.
type SecretHash struct {
	salt [16]byte
	sum  [sha256.Size]byte
}

// shortest is the least length of a secret: 128 bits in base64 without padding.
const shortest = 22

var errSecretHash = errors.New(`aceserver: a secret's hash is "sha256:" and, in base64url, salt and sum`)

// NewSecret makes a secret of 256 bits, as text that any HTTP client can send, and its hash.
func NewSecret() (secret string, hash SecretHash) {
	secret = randomText(32)
	return secret, hashSecret(secret)
}

// HashSecret hashes a secret, of at least 22 characters; it must have been made by a random generator.
func HashSecret(secret string) (SecretHash, error) {
	if len(secret) < shortest {
		return SecretHash{}, fmt.Errorf("aceserver: a secret of %d characters is too short, make one of at least %d at random", len(secret), shortest)
	}
	return hashSecret(secret), nil
}

func hashSecret(secret string) (h SecretHash) {
	rand.Read(h.salt[:]) // never fails
	h.sum = h.with(secret)
	return h
}

func (h SecretHash) with(secret string) [sha256.Size]byte {
	digest := sha256.New()
	digest.Write(h.salt[:])
	digest.Write([]byte(secret))
	return [sha256.Size]byte(digest.Sum(nil))
}

// IsZero reports whether h is the hash of no secret.
func (h SecretHash) IsZero() bool { return h == SecretHash{} }

// matches takes the same time for every secret of one length.
func (h SecretHash) matches(secret string) bool {
	sum := h.with(secret)
	return subtle.ConstantTimeCompare(sum[:], h.sum[:]) == 1 && !h.IsZero()
}

// MarshalText implements [encoding.TextMarshaler].
func (h SecretHash) MarshalText() ([]byte, error) {
	if h.IsZero() {
		return nil, nil
	}
	encode := base64.RawURLEncoding.EncodeToString
	return []byte("sha256:" + encode(h.salt[:]) + ":" + encode(h.sum[:])), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (h *SecretHash) UnmarshalText(text []byte) error {
	*h = SecretHash{}
	if len(text) == 0 {
		return nil
	}
	parts := strings.Split(string(text), ":")
	if len(parts) != 3 || parts[0] != "sha256" {
		return errSecretHash
	}
	decode := base64.RawURLEncoding.Strict().DecodeString
	salt, err := decode(parts[1])
	if err != nil || len(salt) != len(h.salt) {
		return errSecretHash
	}
	sum, err := decode(parts[2])
	if err != nil || len(sum) != len(h.sum) {
		return errSecretHash
	}
	*h = SecretHash{salt: [16]byte(salt), sum: [sha256.Size]byte(sum)}
	return nil
}

// String hides the hash: it does not reveal the secret, but nobody needs it in a log.
func (h SecretHash) String() string { return "[hash of a secret]" }

// GoString is String.
func (h SecretHash) GoString() string { return h.String() }

// randomText is n random bytes in base64url.
func randomText(n int) string {
	b := make([]byte, n)
	rand.Read(b) // never fails
	return base64.RawURLEncoding.EncodeToString(b)
}
