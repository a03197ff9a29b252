package pake

import (
	"crypto/rand"
	"crypto/subtle"
	"fmt"
	"math/bits"

	"filippo.io/bigmod"
)

// scalar is an exponent: big-endian, below the order of its group.
type scalar [32]byte

func (s *scalar) isZero() bool {
	return subtle.ConstantTimeCompare(s[:], make([]byte, len(s))) == 1
}

// digitLen is how many octets reduce takes at a time: the most that stay below
// both group orders without a comparison.
const digitLen = 31

// field is constant-time arithmetic modulo the order of a group.
type field struct {
	q        *bigmod.Modulus
	digit    *bigmod.Nat // 2^(8*digitLen) mod q
	minusTwo []byte      // q - 2
}

// newField takes the order of a group, 32 octets big-endian, and panics if
// that is no modulus: orders are constants of this package.
func newField(order []byte) *field {
	q, err := bigmod.NewModulus(order)
	if err != nil {
		panic(fmt.Sprintf("pake: group order: %v", err))
	}
	two := bigmod.NewNat().SetUint(2).ExpandFor(q)
	return &field{
		q:        q,
		digit:    bigmod.NewNat().ExpShortVarTime(two, 8*digitLen, q),
		minusTwo: bigmod.NewNat().ExpandFor(q).Sub(two, q).Bytes(q),
	}
}

// reduce reads octets as a big-endian integer modulo q, the RFC's H' applied
// to a digest. Its time depends on the length alone.
func (f *field) reduce(octets []byte) scalar {
	sum := bigmod.NewNat().ExpandFor(f.q)
	piece := bigmod.NewNat()
	for first := (len(octets)-1)%digitLen + 1; len(octets) > 0; first = digitLen {
		f.load(piece, octets[:first])
		sum.Mul(f.digit, f.q).Add(piece, f.q)
		octets = octets[first:]
	}
	return f.store(sum)
}

// random draws a scalar from [1, q-1]; 512 bits are reduced, so that its bias
// is below 2^-256. A zero means a broken source of randomness.
func (f *field) random() (scalar, error) {
	var wide [64]byte
	defer clear(wide[:])
	if _, err := rand.Read(wide[:]); err != nil {
		return scalar{}, fmt.Errorf("pake: %w", err)
	}
	s := f.reduce(wide[:])
	if s.isZero() {
		return scalar{}, errDegenerate
	}
	return s, nil
}

// mulAdd returns a·b + c.
func (f *field) mulAdd(a, b, c *scalar) scalar {
	n, m := bigmod.NewNat(), bigmod.NewNat()
	f.load(n, a[:])
	f.load(m, b[:])
	n.Mul(m, f.q)
	f.load(m, c[:])
	return f.store(n.Add(m, f.q))
}

// invert returns 1/a, and 0 for 0. It computes a^(q-2), which is slower than
// Euclid's algorithm and takes the same time for every a.
func (f *field) invert(a *scalar) scalar {
	n := bigmod.NewNat()
	f.load(n, a[:])
	return f.store(bigmod.NewNat().Exp(n, f.minusTwo, f.q))
}

func (f *field) load(n *bigmod.Nat, octets []byte) {
	if _, err := n.SetBytes(octets, f.q); err != nil {
		panic("pake: internal error: a scalar is not below the group order")
	}
}

func (f *field) store(n *bigmod.Nat) (s scalar) {
	const limbLen = bits.UintSize / 8
	for i, limb := range n.Bits() {
		for j := range limbLen {
			s[len(s)-1-i*limbLen-j] = byte(limb >> (8 * j))
		}
	}
	return s
}
