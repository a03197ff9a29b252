package acebroker

import (
	"cmp"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"

	"github.com/mqttsec/mqttsec/internal/cose"
)

// Algorithm is how an Authorization Server protects its tokens, by the name that JOSE gives it. What COSE has, too,
// goes by the same name there.
type Algorithm string

// The algorithms. The first four are signatures, with the issuer's public key; the others encrypt under a key that
// the issuer and this broker share ("dir" in JOSE, COSE_Encrypt0 in COSE), which authenticates the issuer only as
// long as nobody else has it.
const (
	EdDSA           Algorithm = "EdDSA"             // Ed25519: JWT and CWT
	ES256           Algorithm = "ES256"             // ECDSA on P-256: JWT and CWT
	PS256           Algorithm = "PS256"             // RSASSA-PSS: JWT
	RS256           Algorithm = "RS256"             // RSASSA-PKCS1-v1_5: JWT
	A128GCM         Algorithm = "A128GCM"           // AES-GCM: JWT and CWT
	A256GCM         Algorithm = "A256GCM"           // AES-GCM: JWT and CWT
	AESCCM16x64x128 Algorithm = "AES-CCM-16-64-128" // CWT
)

// Key is a key of an issuer, for one algorithm and nothing else. Formatting and logging a Key does not show it.
type Key struct {
	// ID is the kid that tokens name the key by; empty matches only tokens that name none.
	ID string
	// Algorithm is the only one that the key is used with.
	Algorithm Algorithm
	// Key is an ed25519.PublicKey, an *ecdsa.PublicKey on P-256, an *rsa.PublicKey of 2048 bits or more, or a []byte
	// of the algorithm's length.
	Key any
}

func (k Key) check() error {
	fits := false
	switch key := k.Key.(type) {
	case ed25519.PublicKey:
		fits = k.Algorithm == EdDSA && len(key) == ed25519.PublicKeySize
	case *ecdsa.PublicKey:
		fits = k.Algorithm == ES256 && key != nil && key.Curve == elliptic.P256()
	case *rsa.PublicKey:
		fits = (k.Algorithm == PS256 || k.Algorithm == RS256) && key != nil && key.N != nil && key.N.BitLen() >= 2048
	case []byte:
		fits = k.Algorithm.secretSize() == len(key) && len(key) > 0
	}
	if !fits {
		return fmt.Errorf("acebroker: a %T is no key for %q", k.Key, k.Algorithm)
	}
	return nil
}

// secretSize is the length of a shared key in bytes, 0 for a signature algorithm.
func (a Algorithm) secretSize() int {
	switch a {
	case A128GCM, AESCCM16x64x128:
		return 16
	case A256GCM:
		return 32
	}
	return 0
}

func (a Algorithm) known() bool {
	return a.secretSize() > 0 || slices.Contains([]Algorithm{EdDSA, ES256, PS256, RS256}, a)
}

// cose returns the algorithm's number in COSE, 0 if it has none here.
func (a Algorithm) cose() cose.Algorithm {
	return map[Algorithm]cose.Algorithm{
		EdDSA: cose.EdDSA, ES256: cose.ES256, A128GCM: cose.A128GCM, A256GCM: cose.A256GCM, AESCCM16x64x128: cose.AESCCM16x64x128,
	}[a]
}

// String describes the key without showing it.
func (k Key) String() string { return fmt.Sprintf("Key(%q, %s, %T)", k.ID, k.Algorithm, k.Key) }

// GoString is String.
func (k Key) GoString() string { return k.String() }

// LogValue is String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }

// MarshalJSON is String for logs in JSON. It does not encode the key.
func (k Key) MarshalJSON() ([]byte, error) { return json.Marshal(k.String()) }

// KeySet finds the keys of an issuer. [StaticKeys] and [JWKS] are such.
type KeySet interface {
	// Keys returns the keys with this kid, which may be empty, for the algorithm. It returns none and no error if
	// there is none, and an error if it cannot tell.
	Keys(ctx context.Context, id string, algorithm Algorithm) ([]Key, error)
}

// StaticKeys are keys that do not change. To rotate, list both the old one and the new one for a while.
type StaticKeys []Key

// Keys implements KeySet.
func (s StaticKeys) Keys(_ context.Context, id string, algorithm Algorithm) ([]Key, error) {
	return matching(s, id, algorithm), nil
}

// maxCandidates bounds how many keys are tried on one token: some issuers have several without a kid.
const maxCandidates = 4

func matching(keys []Key, id string, algorithm Algorithm) (found []Key) {
	for _, k := range keys {
		if k.ID == id && k.Algorithm == algorithm && len(found) < maxCandidates {
			found = append(found, k)
		}
	}
	return found
}

// publicAlgorithm is the algorithm of a public key that names none, empty if that is not the only one.
func publicAlgorithm(named string, key crypto.PublicKey) Algorithm {
	switch key.(type) {
	case ed25519.PublicKey:
		if named == "Ed25519" { // RFC 9864
			named = ""
		}
		return Algorithm(cmp.Or(named, string(EdDSA)))
	case *ecdsa.PublicKey:
		return Algorithm(cmp.Or(named, string(ES256)))
	}
	return Algorithm(named)
}
