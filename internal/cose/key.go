package cose

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"fmt"
	"log/slog"
	"slices"

	"github.com/fxamacker/cbor/v2"
)

// KeyType is the kty of a key (RFC 9053, section 7).
type KeyType int64

// The key types that are known.
const (
	OKP    KeyType = 1 // Ed25519
	EC2    KeyType = 2 // P-256
	Octets KeyType = 4 // "Symmetric": a shared secret
)

// Curve is the crv of a key (RFC 9053, section 7.1).
type Curve int64

// The curves that are known.
const (
	P256         Curve = 1
	CurveEd25519 Curve = 6
)

// Operation is one of a key's key_ops (RFC 9052, table 5).
type Operation int64

// The operations that matter for a proof of possession and for tokens.
const (
	OpSign      Operation = 1
	OpVerify    Operation = 2
	OpEncrypt   Operation = 3
	OpDecrypt   Operation = 4
	OpMACCreate Operation = 9
	OpMACVerify Operation = 10
)

// The labels of a COSE_Key (RFC 9052, section 7.1; RFC 9053, section 7).
const (
	labelKty   = 1
	labelKid   = 2
	labelAlg   = 3
	labelOps   = 4
	labelCurve = -1 // also k of a symmetric key
	labelX     = -2
	labelY     = -3
	labelD     = -4
)

// Key is a COSE_Key: the shared secret of a symmetric key, or an Ed25519 or P-256 public key. Make one with
// [Symmetric] or [PublicKey], or decode it; String, GoString and LogValue show no secret.
type Key struct {
	Type  KeyType
	ID    []byte      // kid, may be nil
	Alg   Algorithm   // 0: whatever suits the key
	Ops   []Operation // empty: whatever suits the key
	Curve Curve       // of OKP and EC2
	X, Y  []byte      // of OKP (X alone) and EC2, 32 bytes each
	K     []byte      // of a symmetric key: the secret
}

// Symmetric returns the key with the secret k.
func Symmetric(k []byte) Key { return Key{Type: Octets, K: k} }

// PublicKey returns pub, an ed25519.PublicKey or an *ecdsa.PublicKey on P-256, as a COSE_Key.
func PublicKey(pub crypto.PublicKey) (Key, error) {
	switch pub := pub.(type) {
	case ed25519.PublicKey:
		if len(pub) != ed25519.PublicKeySize {
			return Key{}, fmt.Errorf("%w: Ed25519 key of %d bytes", ErrKey, len(pub))
		}
		return Key{Type: OKP, Curve: CurveEd25519, X: slices.Clone(pub)}, nil
	case *ecdsa.PublicKey:
		if pub.Curve != elliptic.P256() {
			return Key{}, fmt.Errorf("%w: ECDSA key on another curve than P-256", ErrKey)
		}
		point, err := pub.Bytes()
		if err != nil {
			return Key{}, fmt.Errorf("%w: %w", ErrKey, err)
		}
		return Key{Type: EC2, Curve: P256, X: point[1:33], Y: point[33:]}, nil
	}
	return Key{}, fmt.Errorf("%w: %T", ErrKey, pub)
}

// Public returns the key as an ed25519.PublicKey or an *ecdsa.PublicKey. A point that is not on the curve, a
// symmetric key and an alg that is not for the curve are refused with [ErrKey].
func (k Key) Public() (crypto.PublicKey, error) {
	switch {
	case k.Type == OKP && k.Curve == CurveEd25519:
		if k.Alg != 0 && k.Alg != EdDSA && k.Alg != Ed25519 {
			return nil, fmt.Errorf("%w: algorithm %d on Ed25519", ErrKey, k.Alg)
		}
		if len(k.X) != ed25519.PublicKeySize {
			return nil, fmt.Errorf("%w: Ed25519 key of %d bytes", ErrKey, len(k.X))
		}
		return ed25519.PublicKey(slices.Clone(k.X)), nil
	case k.Type == EC2 && k.Curve == P256:
		if k.Alg != 0 && k.Alg != ES256 && k.Alg != ESP256 {
			return nil, fmt.Errorf("%w: algorithm %d on P-256", ErrKey, k.Alg)
		}
		if len(k.X) != 32 || len(k.Y) != 32 {
			return nil, fmt.Errorf("%w: coordinates of %d and %d bytes", ErrKey, len(k.X), len(k.Y))
		}
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, k.X, k.Y))
		if err != nil {
			return nil, fmt.Errorf("%w: not a point of P-256", ErrKey)
		}
		return pub, nil
	}
	return nil, fmt.Errorf("%w: type %d, curve %d", ErrKey, k.Type, k.Curve)
}

// Allows reports whether the key's key_ops permit op; without any, every operation is permitted (RFC 9052, section
// 7.1).
func (k Key) Allows(op Operation) bool { return len(k.Ops) == 0 || slices.Contains(k.Ops, op) }

// MarshalCBOR returns the key as a map in deterministic encoding.
func (k Key) MarshalCBOR() ([]byte, error) {
	m := map[int64]any{labelKty: int64(k.Type)}
	switch {
	case k.Type == OKP && k.X != nil:
		m[labelCurve], m[labelX] = int64(k.Curve), k.X
	case k.Type == EC2 && k.X != nil && k.Y != nil:
		m[labelCurve], m[labelX], m[labelY] = int64(k.Curve), k.X, k.Y
	case k.Type == Octets && k.K != nil:
		m[labelCurve] = k.K
	case k.Type == Octets && k.ID != nil: // one that the recipient has already
	default:
		return nil, fmt.Errorf("%w: type %d, incomplete or unknown", ErrKey, k.Type)
	}
	if k.ID != nil {
		m[labelKid] = k.ID
	}
	if k.Alg != 0 {
		m[labelAlg] = int64(k.Alg)
	}
	if len(k.Ops) > 0 {
		m[labelOps] = k.Ops
	}
	return Encoding.Marshal(m)
}

// UnmarshalCBOR reads a map. A key of a type that is not known is read as far as its common parameters, so that the
// caller can say whose key it cannot use; labels that are not known are ignored, as RFC 9052 wants, and a private key
// is refused.
func (k *Key) UnmarshalCBOR(b []byte) error {
	if len(b) > MaxSize {
		return fmt.Errorf("%w: key of %d bytes", ErrMalformed, len(b))
	}
	var m map[any]cbor.RawMessage
	if err := Decoding.Unmarshal(b, &m); err != nil {
		return fmt.Errorf("%w: key is not a map", ErrMalformed)
	}
	r := reader{m: m}
	var got Key
	r.read(labelKty, &got.Type)
	r.read(labelKid, &got.ID)
	r.read(labelAlg, &got.Alg)
	got.Ops = r.operations()
	switch got.Type {
	case OKP:
		r.read(labelCurve, &got.Curve)
		r.read(labelX, &got.X)
		r.refuse(labelD)
	case EC2:
		r.read(labelCurve, &got.Curve)
		r.read(labelX, &got.X)
		got.Y = r.second(got.Curve, got.X)
		r.refuse(labelD)
	case Octets:
		r.read(labelCurve, &got.K)
	case 0:
		r.fail("key without a type")
	}
	if r.err != nil {
		return r.err
	}
	*k = got
	return nil
}

// reader takes parameters out of a decoded key. The first failure sticks.
type reader struct {
	m   map[any]cbor.RawMessage
	err error
}

func (r *reader) fail(what string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", ErrMalformed, what)
	}
}

// read decodes the parameter into to, which it leaves alone if there is none.
func (r *reader) read(label int64, to any) {
	raw, ok := r.m[label]
	if !ok || r.err != nil {
		return
	}
	const null, undefined = 0xF6, 0xF7 // which Go would take for any type's zero
	if bytes.Equal(raw, []byte{null}) || bytes.Equal(raw, []byte{undefined}) || Decoding.Unmarshal(raw, to) != nil {
		r.fail(fmt.Sprintf("key parameter %d", label))
	}
}

func (r *reader) refuse(label int64) {
	if _, ok := r.m[label]; ok {
		r.fail("private key")
	}
}

// operations reads key_ops. One that is a text string is none that we know, and counts: a key that may only do that
// may do nothing here.
func (r *reader) operations() (ops []Operation) {
	var raw []any
	r.read(labelOps, &raw)
	for _, op := range raw {
		switch op := op.(type) {
		case int64:
			ops = append(ops, Operation(op))
		case string:
			ops = append(ops, 0)
		default:
			r.fail("key parameter 4")
		}
	}
	return ops
}

// second reads y, which may be there in full or as its sign alone (RFC 9053, section 7.1.1).
func (r *reader) second(curve Curve, x []byte) (y []byte) {
	const no, yes = 0xF4, 0xF5
	raw := r.m[int64(labelY)]
	sign := bytes.Equal(raw, []byte{yes})
	if !sign && !bytes.Equal(raw, []byte{no}) {
		r.read(labelY, &y)
		return y
	}
	if curve != P256 || len(x) != 32 {
		r.fail("compressed point on an unknown curve")
		return nil
	}
	head := byte(2)
	if sign {
		head = 3
	}
	px, py := elliptic.UnmarshalCompressed(elliptic.P256(), slices.Concat([]byte{head}, x))
	if px == nil {
		r.fail("not a point of P-256")
		return nil
	}
	return py.FillBytes(make([]byte, 32))
}

// String describes the key without any of its bytes.
func (k Key) String() string {
	switch k.Type {
	case Octets:
		return "COSE_Key(Symmetric, [redacted])"
	case OKP:
		return "COSE_Key(OKP)"
	case EC2:
		return "COSE_Key(EC2)"
	}
	return fmt.Sprintf("COSE_Key(%d)", int64(k.Type))
}

// GoString is String.
func (k Key) GoString() string { return k.String() }

// LogValue is String.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }
