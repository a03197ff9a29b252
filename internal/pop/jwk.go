package pop

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"

	"github.com/mqttsec/mqttsec/internal/strict"
)

// JWK is a key as JSON has it (RFC 7517), of the kinds "oct", "OKP" with Ed25519, "EC" and "RSA". The last, and
// the larger curves, serve to recognise a broker by ("rs_cnf") and prove nothing here. Exactly one of Secret and
// Public is set. fmt and slog do not show the secret.
type JWK struct {
	// KeyID is "kid", which may be empty.
	KeyID string
	// Secret is the value of a symmetric key.
	Secret []byte
	// Public is an ed25519.PublicKey, *ecdsa.PublicKey or *rsa.PublicKey.
	Public crypto.PublicKey

	alg, use string
	ops      []string
}

// jwkFields are the members of a JWK that are looked at.
type jwkFields struct {
	Kty string          `json:"kty"`
	Kid string          `json:"kid,omitempty"`
	Alg string          `json:"alg,omitempty"`
	Use string          `json:"use,omitempty"`
	Ops []string        `json:"key_ops,omitempty"`
	Crv string          `json:"crv,omitempty"`
	X   string          `json:"x,omitempty"`
	Y   string          `json:"y,omitempty"`
	K   string          `json:"k,omitempty"`
	N   string          `json:"n,omitempty"`
	E   string          `json:"e,omitempty"`
	D   json.RawMessage `json:"d,omitempty"`
}

// maxJWK bounds a JWK in bytes: a key, not a certificate chain.
const maxJWK = 16 << 10

// ParseJWK reads one. Every error is an ErrKey: a private key is refused, for whoever shows one here has given it
// away, and so are a number that is not written at its full length, and a member that stands there twice. The names of
// members are case-sensitive (RFC 7517, 4).
func ParseJWK(b []byte) (JWK, error) {
	if len(b) > maxJWK {
		return JWK{}, fmt.Errorf("%w: a JWK of %d bytes", ErrKey, len(b))
	}
	var f jwkFields
	if err := strict.Unmarshal(b, &f); err != nil {
		return JWK{}, fmt.Errorf("%w: the JWK is not JSON of the expected shape", ErrKey)
	}
	if f.D != nil {
		return JWK{}, fmt.Errorf("%w: the JWK holds a private key", ErrKey)
	}
	k := JWK{KeyID: f.Kid, alg: f.Alg, use: f.Use, ops: f.Ops}
	var err error
	switch f.Kty {
	case "oct":
		k.Secret, err = f.secret()
	case "OKP":
		k.Public, err = f.okp()
	case "EC":
		k.Public, err = f.ec()
	case "RSA":
		k.Public, err = f.rsa()
	default:
		err = fmt.Errorf("%w: a JWK of kind %.20q", ErrKey, f.Kty)
	}
	if err != nil {
		return JWK{}, err
	}
	return k, nil
}

func (f *jwkFields) secret() ([]byte, error) {
	secret, err := jwkBytes("k", f.K)
	if err == nil && len(secret) == 0 {
		err = fmt.Errorf("%w: the JWK has no secret", ErrKey)
	}
	return secret, err
}

func (f *jwkFields) okp() (crypto.PublicKey, error) {
	if f.Crv != "Ed25519" {
		return nil, fmt.Errorf("%w: a JWK of the curve %.20q", ErrKey, f.Crv)
	}
	x, err := jwkBytes("x", f.X)
	if err != nil {
		return nil, err
	}
	if len(x) != ed25519.PublicKeySize {
		return nil, fmt.Errorf("%w: an Ed25519 key of %d bytes in the JWK", ErrKey, len(x))
	}
	return ed25519.PublicKey(x), nil
}

func (f *jwkFields) ec() (crypto.PublicKey, error) {
	var curve elliptic.Curve
	switch f.Crv {
	case "P-256":
		curve = elliptic.P256()
	case "P-384":
		curve = elliptic.P384()
	case "P-521":
		curve = elliptic.P521()
	default:
		return nil, fmt.Errorf("%w: a JWK of the curve %.20q", ErrKey, f.Crv)
	}
	x, err := jwkBytes("x", f.X)
	if err != nil {
		return nil, err
	}
	y, err := jwkBytes("y", f.Y)
	if err != nil {
		return nil, err
	}
	if size := (curve.Params().BitSize + 7) / 8; len(x) != size || len(y) != size {
		return nil, fmt.Errorf("%w: coordinates of the wrong length in the JWK", ErrKey)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(curve, slices.Concat([]byte{4}, x, y))
	if err != nil {
		return nil, fmt.Errorf("%w: the JWK is not a point on %s", ErrKey, f.Crv)
	}
	return key, nil
}

func (f *jwkFields) rsa() (crypto.PublicKey, error) {
	n, err := jwkBytes("n", f.N)
	if err != nil {
		return nil, err
	}
	e, err := jwkBytes("e", f.E)
	if err != nil {
		return nil, err
	}
	exponent := new(big.Int).SetBytes(e)
	if len(n) < 128 || len(n) > 2048 || n[0] == 0 || exponent.BitLen() > 31 || exponent.Int64() < 3 {
		return nil, fmt.Errorf("%w: unfit RSA numbers in the JWK", ErrKey)
	}
	return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
}

func jwkBytes(name, text string) ([]byte, error) {
	b, err := strict.DecodeText(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %q of the JWK is not base64url", ErrKey, name)
	}
	return b, nil
}

// NewJWK returns the key that v verifies with, under the given key identifier, which may be empty. It names the
// algorithm. For a shared key its encoded form contains the secret.
func NewJWK(v Verifier, keyID string) JWK {
	return JWK{KeyID: keyID, Secret: v.PSK(), Public: v.Public(), alg: string(v.alg)}
}

// Encode returns the JSON form, with the secret if the key is symmetric. RSA keys, and a JWK without a key, are an
// ErrKey.
func (k JWK) Encode() ([]byte, error) {
	f := jwkFields{Kid: k.KeyID, Alg: k.alg, Use: k.use, Ops: k.ops}
	switch key := k.Public.(type) {
	case nil:
		if k.Secret == nil {
			return nil, fmt.Errorf("%w: an empty JWK", ErrKey)
		}
		f.Kty, f.K = "oct", strict.EncodeText(k.Secret)
	case ed25519.PublicKey:
		f.Kty, f.Crv, f.X = "OKP", "Ed25519", strict.EncodeText(key)
	case *ecdsa.PublicKey:
		point, err := key.Bytes()
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrKey, err)
		}
		half := len(point) / 2
		f.Kty, f.Crv = "EC", key.Params().Name
		f.X, f.Y = strict.EncodeText(point[1:1+half]), strict.EncodeText(point[1+half:])
	default:
		return nil, fmt.Errorf("%w: %T", ErrKey, key)
	}
	return json.Marshal(f)
}

// Verifier returns what checks proofs of the key, or an ErrKey if it is of a kind that makes none, or if its
// "alg", "use" or "key_ops" says that it is meant for something else (RFC 9201, 5).
func (k JWK) Verifier() (Verifier, error) {
	var v Verifier
	var err error
	if k.Secret != nil {
		v, err = SharedKey(k.Secret)
	} else {
		v, err = PublicKey(k.Public)
	}
	if err != nil {
		return Verifier{}, err
	}
	if err := k.fits(v.alg); err != nil {
		return Verifier{}, err
	}
	return v, nil
}

func (k JWK) fits(alg Algorithm) error {
	switch {
	case k.alg != "" && k.alg != string(alg) && !(alg == EdDSA && k.alg == "Ed25519"): // RFC 9864
		return fmt.Errorf("%w: the JWK is for %.20q, not %s", ErrKey, k.alg, alg)
	case k.use != "" && k.use != "sig":
		return fmt.Errorf("%w: the JWK is for the use %.20q, not \"sig\"", ErrKey, k.use)
	case k.ops != nil && !slices.Contains(k.ops, "sign") && !slices.Contains(k.ops, "verify"):
		return fmt.Errorf("%w: the JWK is neither to sign nor to verify", ErrKey)
	}
	return nil
}
