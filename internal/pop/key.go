package pop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
)

// Algorithm is how a key proves that it is there, under its name in JOSE (RFC 7518, RFC 8037).
type Algorithm string

// The algorithms. RFC 9431, 2.2.5, demands the first two of a broker; ES256 is what hardware keys have.
const (
	HS256 Algorithm = "HS256" // HMAC with SHA-256 (RFC 2104)
	EdDSA Algorithm = "EdDSA" // Ed25519 (RFC 8032), over the input itself
	ES256 Algorithm = "ES256" // ECDSA with P-256 over the input's SHA-256, as r‖s (RFC 7518, 3.4)
)

const (
	macSize       = sha256.Size
	signatureSize = 64
	// MinSecret is the length of the shortest secret in bytes. JWS wants 32 for HS256 (RFC 7518, 3.2); the keys
	// of TLS with a pre-shared key that the same server hands out (RFC 9202, 3.3) have 16.
	MinSecret = 16
	// MaxSecret is the length of the longest, in bytes.
	MaxSecret = 1024
)

// ProofSize is the length in bytes of a proof, 0 for an algorithm that is not known.
func (a Algorithm) ProofSize() int {
	switch a {
	case HS256:
		return macSize
	case EdDSA, ES256:
		return signatureSize
	}
	return 0
}

// Verifier checks proofs of possession. [SharedKey] and [PublicKey] make one; the zero Verifier verifies
// nothing. It is safe for concurrent use. For a shared key it holds the secret, which fmt and slog do not show.
type Verifier struct {
	alg    Algorithm
	secret hidden[[]byte] // of HS256 alone
	ed     ed25519.PublicKey
	ec     *ecdsa.PublicKey
}

// SharedKey returns the Verifier of a secret of MinSecret to MaxSecret bytes, which it copies.
func SharedKey(secret []byte) (Verifier, error) {
	if len(secret) < MinSecret || len(secret) > MaxSecret {
		return Verifier{}, fmt.Errorf("%w: a secret of %d bytes, not %d to %d", ErrKey, len(secret), MinSecret, MaxSecret)
	}
	return Verifier{alg: HS256, secret: hide(slices.Clone(secret))}, nil
}

// PublicKey returns the Verifier of an ed25519.PublicKey, or of an *ecdsa.PublicKey on P-256.
func PublicKey(key crypto.PublicKey) (Verifier, error) {
	switch key := key.(type) {
	case ed25519.PublicKey:
		if len(key) != ed25519.PublicKeySize {
			return Verifier{}, fmt.Errorf("%w: an Ed25519 public key of %d bytes", ErrKey, len(key))
		}
		return Verifier{alg: EdDSA, ed: slices.Clone(key)}, nil
	case *ecdsa.PublicKey:
		if key == nil || key.Curve != elliptic.P256() {
			return Verifier{}, fmt.Errorf("%w: of the ECDSA curves only P-256 is supported", ErrKey)
		}
		if _, err := key.Bytes(); err != nil { // checks that the point is on the curve
			return Verifier{}, fmt.Errorf("%w: not a point on P-256", ErrKey)
		}
		return Verifier{alg: ES256, ec: key}, nil
	}
	return Verifier{}, fmt.Errorf("%w: %T is neither Ed25519 nor ECDSA with P-256", ErrKey, key)
}

// Algorithm is the one of the key, empty for the zero Verifier.
func (v Verifier) Algorithm() Algorithm { return v.alg }

// Symmetric reports whether both sides share one secret.
func (v Verifier) Symmetric() bool { return v.alg == HS256 }

// Public returns the public key, nil for a shared secret.
func (v Verifier) Public() crypto.PublicKey {
	switch v.alg {
	case EdDSA:
		return v.ed
	case ES256:
		return v.ec
	}
	return nil
}

// Verify returns nil if proof is that of the key over input, else ErrProof. MACs are compared in constant time.
func (v Verifier) Verify(input, proof []byte) error {
	ok := false
	switch v.alg {
	case HS256:
		ok = hmac.Equal(mac(v.secret.value(), input), proof)
	case EdDSA:
		ok = ed25519.Verify(v.ed, input, proof)
	case ES256:
		ok = verifyES256(v.ec, input, proof)
	}
	if !ok {
		return ErrProof
	}
	return nil
}

func mac(secret, input []byte) []byte {
	h := hmac.New(sha256.New, secret)
	h.Write(input)
	return h.Sum(nil)
}

// verifyES256 works on a public key and a public signature only.
func verifyES256(key *ecdsa.PublicKey, input, proof []byte) bool {
	if len(proof) != signatureSize {
		return false
	}
	digest := sha256.Sum256(input)
	r, s := new(big.Int).SetBytes(proof[:32]), new(big.Int).SetBytes(proof[32:])
	return ecdsa.Verify(key, digest[:], r, s)
}

// Fingerprint tells keys apart: two Verifiers have the same one if and only if they verify the same proofs. It
// is a SHA-256, of the secret too, and so no less guessable than that; it is meant for maps in memory.
func (v Verifier) Fingerprint() [sha256.Size]byte {
	b := append([]byte(v.alg), 0)
	switch v.alg {
	case HS256:
		b = append(b, v.canonicalSecret()...)
	case EdDSA:
		b = append(b, v.ed...)
	case ES256:
		point, _ := v.ec.Bytes() // checked by PublicKey
		b = append(b, point...)
	}
	return sha256.Sum256(b)
}

// canonicalSecret is what HMAC makes of the secret: beyond a block its hash, then without the zeros that HMAC
// fills up with, which make no difference to it.
func (v Verifier) canonicalSecret() []byte {
	secret := v.secret.value()
	if len(secret) > sha256.BlockSize {
		sum := sha256.Sum256(secret)
		secret = sum[:]
	}
	block := make([]byte, sha256.BlockSize)
	copy(block, secret)
	return block
}

// Prover proves that it holds a key. [Secret] and [Signer] make one; the zero Prover proves nothing. It is safe
// for concurrent use if the crypto.Signer is. fmt and slog do not show a secret.
type Prover struct {
	key    Verifier
	signer hidden[crypto.Signer] // none for a shared secret
}

// Secret returns the Prover that shares a secret with the verifying side, see [SharedKey].
func Secret(secret []byte) (Prover, error) {
	key, err := SharedKey(secret)
	return Prover{key: key}, err
}

// Signer returns the Prover of a private key: an ed25519.PrivateKey, an *ecdsa.PrivateKey on P-256, or any other
// crypto.Signer with such a public key, such as one in a security module.
func Signer(signer crypto.Signer) (Prover, error) {
	if signer == nil {
		return Prover{}, fmt.Errorf("%w: no signer", ErrKey)
	}
	key, err := PublicKey(signer.Public())
	if err != nil {
		return Prover{}, err
	}
	return Prover{key: key, signer: hide(signer)}, nil
}

// Verifier returns what the other side checks the proofs with.
func (p Prover) Verifier() Verifier { return p.key }

// Prove returns the proof over input. Its errors are those of a crypto.Signer, and ErrKey if the signer's
// signature is none of its public key.
func (p Prover) Prove(input []byte) ([]byte, error) {
	if p.signer.value() == nil {
		if p.key.alg != HS256 {
			return nil, fmt.Errorf("%w: no key", ErrKey)
		}
		return mac(p.key.secret.value(), input), nil
	}
	proof, err := p.sign(input)
	if err != nil {
		return nil, fmt.Errorf("pop: sign: %w", err)
	}
	if p.key.Verify(input, proof) != nil {
		return nil, fmt.Errorf("%w: the signer's signature does not verify with its own public key", ErrKey)
	}
	return proof, nil
}

func (p Prover) sign(input []byte) ([]byte, error) {
	if p.key.alg == EdDSA {
		return p.signer.value().Sign(rand.Reader, input, crypto.Hash(0))
	}
	digest := sha256.Sum256(input)
	der, err := p.signer.value().Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		return nil, err
	}
	return fixedSize(der)
}

// fixedSize turns an ECDSA signature from ASN.1, as crypto.Signer has it, into r‖s.
func fixedSize(der []byte) ([]byte, error) {
	var sig struct{ R, S *big.Int }
	rest, err := asn1.Unmarshal(der, &sig)
	if err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: the signer's signature is not in ASN.1", ErrKey)
	}
	if sig.R.Sign() <= 0 || sig.S.Sign() <= 0 || sig.R.BitLen() > 256 || sig.S.BitLen() > 256 {
		return nil, fmt.Errorf("%w: the signer's signature is not of P-256", ErrKey)
	}
	proof := make([]byte, signatureSize)
	sig.R.FillBytes(proof[:32])
	sig.S.FillBytes(proof[32:])
	return proof, nil
}
