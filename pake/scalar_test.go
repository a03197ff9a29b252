package pake

import (
	"bytes"
	"crypto/rand"
	"math/big"
	mathrand "math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestScalarsAgainstBig compares with math/big, on random and extreme numbers.
func TestScalarsAgainstBig(t *testing.T) {
	random := mathrand.NewChaCha8([32]byte{1})
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
				require.Equal(t, fixed(new(big.Int).ModInverse(want, q)), f.invert(&s))
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

// endless reads as one octet, over and over.
type endless byte

func (e endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(e)
	}
	return len(b), nil
}

// TestBrokenRandomness: a source of zeros ends the run before there is a
// message; y is never the draw itself.
func TestBrokenRandomness(t *testing.T) {
	sound := rand.Reader
	defer func() { rand.Reader = sound }()
	for _, id := range groups {
		cfg := quick(id)
		v := enrol(t, cfg)
		hello, _, err := Start(cfg, "alice", "broker", password)
		require.NoError(t, err)

		rand.Reader = endless(0)
		msg1, client, err := Start(cfg, "alice", "broker", password)
		require.ErrorIs(t, err, errDegenerate)
		require.Nil(t, client)
		require.Nil(t, msg1)
		msg2, server, err := Respond(cfg, "alice", "broker", v, hello)
		require.ErrorIs(t, err, errDegenerate)
		require.Nil(t, server)
		require.Nil(t, msg2)

		rand.Reader = endless(1)
		r := run{client: cfg, server: cfg, verifier: v}
		r.mustLogin(t)
		g, err := id.arithmetic()
		require.NoError(t, err)
		drawn := g.order().reduce(bytes.Repeat([]byte{1}, 64))
		require.Equal(t, encodeHello(g, g.base(&drawn).appendTo(nil)), r.msg1, "the draw is x itself")
		transcript, err := newTranscript("alice", "broker", nil, g.elementLen())
		require.NoError(t, err)
		X := g.base(&drawn)
		transcript.add(X)
		Y, err := serve(g, &transcript, X, v.w, &drawn)
		require.NoError(t, err)
		require.NotEqual(t, encodeStretched(kindChallenge, g, v.recipe, Y), r.msg2, "the draw is not y' itself")
		rand.Reader = sound
	}
}
