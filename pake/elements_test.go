package pake

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// invalidElements returns by name what no side may accept as an element.
func invalidElements(t testing.TB, g Group) map[string]hexadecimal {
	var file struct {
		Note         string
		P256         map[string]hexadecimal `json:"P-256"`
		Ristretto255 map[string]hexadecimal `json:"ristretto255"`
	}
	load(t, "invalid_elements.json", &file)
	if g == P256 {
		require.Len(t, file.P256, 25)
		return file.P256
	}
	require.Len(t, file.Ristretto255, 35)
	return file.Ristretto255
}

// TestInvalidElements: the server refuses them as X, the client as Y, and
// neither takes one as W from a file. The run is over for both.
func TestInvalidElements(t *testing.T) {
	for _, g := range groups {
		cfg := quick(g)
		v := enrol(t, cfg)
		verifier, err := v.MarshalBinary()
		require.NoError(t, err)
		for name, element := range invalidElements(t, g) {
			t.Run(g.String()+" "+name, func(t *testing.T) {
				for number, prefix := range map[int]int{1: headerLen + groupLen, 2: headerLen + groupLen + recipeLen} {
					r := run{client: cfg, server: cfg, verifier: v, tamper: func(n int, m []byte) []byte {
						if n == number {
							return append(m[:prefix], element...)
						}
						return m
					}}
					require.ErrorIs(t, r.login(), ErrMessage)
					require.Equal(t, number, r.reached)
				}
				prefix := verifier[:headerLen+groupLen+recipeLen]
				err := new(Verifier).UnmarshalBinary(append(prefix[:len(prefix):len(prefix)], element...))
				require.ErrorIs(t, err, ErrMessage)
			})
		}
	}
}

// TestVanishingExponents: with probability 2^-256, or by an attacker's choice,
// an exponent or the blinded verifier is neutral, and K would be known.
func TestVanishingExponents(t *testing.T) {
	for _, id := range groups {
		t.Run(id.String(), func(t *testing.T) {
			g, err := id.arithmetic()
			require.NoError(t, err)
			f := g.order()
			fresh := func(X element) *transcript {
				tr, err := newTranscript("alice", "broker", nil, g.elementLen())
				require.NoError(t, err)
				tr.add(X)
				return &tr
			}
			one, zero := scalar{31: 1}, scalar{}
			minusOne := sub(f, zero, one)

			X := g.base(&one)
			r := fresh(X).challenge(g)
			inverse := f.invert(&r)
			minusInverse := f.mulAdd(&minusOne, &inverse, &zero) // w' with x + w'·r = 0

			_, err = serve(g, fresh(X), X, g.base(&minusInverse), &one)
			require.ErrorIs(t, err, errDegenerate, "X·W^r = 1")
			_, err = serve(g, fresh(X), X, X, &zero)
			require.ErrorIs(t, err, errDegenerate, "y = 0")
			Y := g.base(&minusOne)
			octets := Y.appendTo(nil)
			require.ErrorIs(t, join(g, fresh(X), Y, octets, &one, &minusInverse), errDegenerate, "x + w'·r = 0")
			require.ErrorIs(t, join(g, fresh(X), Y, octets, &one, &zero), errDegenerate, "w' = 0")
			require.NoError(t, join(g, fresh(X), Y, octets, &one, &one))

			never := vanishing{g}
			_, err = serve(never, fresh(X), X, X, &one)
			require.ErrorIs(t, err, errDegenerate, "r = 0")
			require.ErrorIs(t, join(never, fresh(X), Y, octets, &one, &one), errDegenerate, "r = 0")
			require.True(t, X.mul(g.base(&minusOne)).isIdentity())
		})
	}
}

// vanishing is a group whose challenge is zero.
type vanishing struct{ group }

func (vanishing) challenge([]byte) scalar { return scalar{} }

// sub returns a - b.
func sub(f *field, a, b scalar) scalar {
	minus := f.q.Nat()
	minus.SubOne(f.q)
	minusOne := f.store(minus)
	return f.mulAdd(&minusOne, &b, &a)
}

func TestWipedElementIsTheIdentity(t *testing.T) {
	for _, id := range groups {
		g, err := id.arithmetic()
		require.NoError(t, err)
		e := g.base(&scalar{31: 7})
		e.wipe()
		require.True(t, e.isIdentity(), fmt.Sprint(id))
	}
}
