package pake

import (
	"bytes"
	"math/big"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestScalarsAgainstBig compares with math/big, on random and extreme numbers.
func TestScalarsAgainstBig(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for _, id := range groups {
		g, err := id.arithmetic()
		require.NoError(t, err)
		f := g.order()
		q := new(big.Int).SetBytes(f.q.Nat().Bytes(f.q))
		number := func(s scalar) *big.Int { return new(big.Int).SetBytes(s[:]) }
		fixed := func(n *big.Int) (s scalar) { n.FillBytes(s[:]); return s }

		one := big.NewInt(1)
		inputs := [][]byte{
			nil, {0}, {1}, bytes.Repeat([]byte{0xff}, 32), bytes.Repeat([]byte{0xff}, 64),
			q.Bytes(), new(big.Int).Sub(q, one).Bytes(), new(big.Int).Add(q, one).Bytes(),
			new(big.Int).Lsh(q, 250).Bytes(), make([]byte, 64),
		}
		for n := range 130 {
			b := make([]byte, n)
			random.Read(b)
			inputs = append(inputs, b)
		}
		last := scalar{31: 1}
		for _, input := range inputs {
			s := f.reduce(input)
			want := new(big.Int).Mod(new(big.Int).SetBytes(input), q)
			require.Equal(t, fixed(want), s, "%v: reduce %x", id, input)
			require.Equal(t, want.Sign() == 0, s.isZero())

			sum := new(big.Int).Mul(want, number(last))
			sum.Mod(sum.Add(sum, want), q)
			require.Equal(t, fixed(sum), f.mulAdd(&s, &last, &s))

			if !s.isZero() {
				inverse, err := f.invert(&s)
				require.NoError(t, err)
				require.Equal(t, fixed(new(big.Int).ModInverse(want, q)), inverse)
				last = s
			}
		}
	}
}

func TestRandomScalars(t *testing.T) {
	for _, id := range groups {
		g, err := id.arithmetic()
		require.NoError(t, err)
		a, err := g.order().random()
		require.NoError(t, err)
		b, err := g.order().random()
		require.NoError(t, err)
		require.NotEqual(t, a, b)
		require.Equal(t, a, g.order().reduce(a[:]), "below the order")
	}
}
