// Package cose reads and writes the two COSE structures that no kept Go library has in a form that suits access
// tokens: keys ([Key], a COSE_Key) and messages that are encrypted directly with a shared key (COSE_Encrypt0:
// [Encrypt0], [ParseEncrypt0]). A CBOR Web Token that carries a symmetric proof-of-possession key is such a message,
// and the key inside is such a map.
//
// Decoding is strict where being lenient would let two readers see two things: no indefinite lengths, no repeated map
// keys, no bytes behind the item, no algorithm outside the protected header, no critical header, no private key where
// a public one belongs. Sizes and nesting are bounded. Encoding is deterministic (RFC 8949, section 4.2.1), apart
// from the random nonce.
//
// Sources: RFC 9052 (COSE), RFC 9053 (its algorithms), RFC 3610 (AES-CCM), RFC 8949 (CBOR).
package cose

import (
	"errors"

	"github.com/fxamacker/cbor/v2"
)

// MaxSize is the size in bytes of the largest structure that is looked at: more than any token that MQTT can carry.
const MaxSize = 1 << 17

// Errors of this package; errors.Is finds them.
var (
	// ErrMalformed is about bytes that are not the structure that was asked for.
	ErrMalformed = errors.New("cose: malformed")
	// ErrKey is about a key that is well-formed and cannot be used: of another type, length, curve or purpose.
	ErrKey = errors.New("cose: unusable key")
	// ErrAlgorithm is about an algorithm that is unknown, or another than the one that the key is for.
	ErrAlgorithm = errors.New("cose: wrong algorithm")
	// ErrDecrypt says that a message was not made with this key, or was changed since.
	ErrDecrypt = errors.New("cose: decryption failed")
)

// Algorithm is a COSE algorithm identifier (RFC 9053; IANA "COSE Algorithms"). Zero is none.
type Algorithm int64

// The algorithms that this package or the tokens around it know.
const (
	A128GCM         Algorithm = 1   // AES-GCM, 128-bit key, 128-bit tag
	A256GCM         Algorithm = 3   // AES-GCM, 256-bit key, 128-bit tag
	HMAC256         Algorithm = 5   // HMAC with SHA-256, 256-bit tag
	AESCCM16x64x128 Algorithm = 10  // AES-CCM, 128-bit key, 13-byte nonce, 64-bit tag
	ES256           Algorithm = -7  // ECDSA with SHA-256
	EdDSA           Algorithm = -8  // EdDSA on the key's curve
	ESP256          Algorithm = -9  // ECDSA with SHA-256 on P-256 alone (RFC 9864)
	Ed25519         Algorithm = -19 // EdDSA on Ed25519 alone (RFC 9864)
)

// Encoding writes CBOR as every structure of ACE is written here: deterministically. It is safe for concurrent use.
var Encoding = must(cbor.EncOptions{
	Sort:          cbor.SortBytewiseLexical,
	ShortestFloat: cbor.ShortestFloat16,
	NaNConvert:    cbor.NaNConvert7e00,
	InfConvert:    cbor.InfConvertFloat16,
	IndefLength:   cbor.IndefLengthForbidden,
}.EncMode())

// Decoding reads CBOR as every structure of ACE is read here: strictly and within bounds. Integers without a type of
// their own become int64. It is safe for concurrent use.
var Decoding = must(cbor.DecOptions{
	DupMapKey:         cbor.DupMapKeyEnforcedAPF,
	IndefLength:       cbor.IndefLengthForbidden,
	MaxNestedLevels:   16,
	MaxArrayElements:  4096,
	MaxMapPairs:       256,
	IntDec:            cbor.IntDecConvertSignedOrFail,
	UTF8:              cbor.UTF8RejectInvalid,
	FieldNameMatching: cbor.FieldNameMatchingCaseSensitive,
}.DecMode())

// must is for options that are constants: a mistake shows in the first test.
func must[M any](mode M, err error) M {
	if err != nil {
		panic(err)
	}
	return mode
}
