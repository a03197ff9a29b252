package presentcipher

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// paths are those this processor can run; the first is the reference. With NEON there are
// these two alone.
func paths() []path {
	if fastest == neon {
		return []path{portable, neon}
	}
	p := []path{portable}
	for q := portable + 1; q <= fastest; q++ {
		p = append(p, q)
	}
	return p
}

func newAEAD(key [KeySize]byte, p path) *aead {
	a := new(aead)
	a.setKey(&key, p)
	return a
}

func randomBytes(r *rand.ChaCha8, n int) []byte {
	b := make([]byte, n)
	r.Read(b)
	return b
}

func TestPathsAgree(t *testing.T) {
	r := rand.NewChaCha8([32]byte{1})
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			key := [KeySize]byte(randomBytes(r, KeySize))
			ref, a := newAEAD(key, portable), newAEAD(key, p)
			require.Equal(t, ref.rk, a.rk)
			require.Equal(t, ref.macFinal(0x0123456789abcdef), a.macFinal(0x0123456789abcdef))
			iv := counterIV(randomBytes(r, NonceSize))
			for n := 0; n <= 1100; n++ {
				src := randomBytes(r, n)
				want, got := make([]byte, n), make([]byte, n)
				ref.ctr(want, src, iv)
				a.ctr(got, src, iv)
				if !bytes.Equal(want, got) {
					t.Fatalf("%d bytes of counter mode:\n%x\n%x", n, want, got)
				}
			}
			for n := 1; n <= 200; n++ {
				src := randomBytes(r, n*macPiece)
				next := uint64(1 + n%97)
				require.Equal(t, ref.macPieces(src, next), a.macPieces(src, next), "%d pieces", n)
			}
		})
	}
}

func TestPathsSealAndOpenAlike(t *testing.T) {
	r := rand.NewChaCha8([32]byte{2})
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			key := [KeySize]byte(randomBytes(r, KeySize))
			ref, a := newAEAD(key, portable), newAEAD(key, p)
			for n := 0; n <= 1100; n++ {
				plain, nonce := randomBytes(r, n), randomBytes(r, NonceSize)
				for _, adLen := range []int{0, n * 7 % 60, n % 400} {
					ad := randomBytes(r, adLen)
					want := ref.Seal(nil, nonce, plain, ad)
					got := a.Seal(nil, nonce, plain, ad)
					require.Equal(t, want, got, "%d bytes, %d additional", n, adLen)
					opened, err := a.Open(nil, nonce, got, ad)
					require.NoError(t, err)
					require.Equal(t, string(plain), string(opened))
					got[n%len(got)] ^= 1
					_, err = a.Open(nil, nonce, got, ad)
					require.ErrorIs(t, err, ErrOpen)
				}
			}
		})
	}
}

func TestPortableIsTheSame(t *testing.T) {
	a, err := NewAEAD([KeySize]byte{7})
	require.NoError(t, err)
	v, ok := a.(*vectorAEAD)
	if !ok {
		require.Equal(t, portable, fastest)
		return
	}
	p := v.Portable()
	require.Equal(t, portable, p.(*aead).path)
	nonce, plain := make([]byte, NonceSize), make([]byte, 700)
	require.Equal(t, a.Seal(nil, nonce, plain, nil), p.Seal(nil, nonce, plain, nil))
}
