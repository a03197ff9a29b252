package presentcipher

import (
	"bytes"
	"crypto/cipher"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAEADDoesNotAllocate(t *testing.T) {
	made, err := NewAEAD([KeySize]byte{1})
	require.NoError(t, err)
	aeads := []cipher.AEAD{made}
	for _, p := range paths() {
		aeads = append(aeads, newAEAD([KeySize]byte{1}, p))
	}
	for _, a := range aeads {
		nonce, ad := make([]byte, NonceSize), make([]byte, 33)
		for _, size := range []int{0, 1, 64, 150, 1024, 5000} {
			plain := make([]byte, size)
			dst := make([]byte, 0, size+Overhead)
			out := make([]byte, 0, size)
			require.Zero(t, testing.AllocsPerRun(50, func() {
				sealed := a.Seal(dst, nonce, plain, ad)
				if _, err := a.Open(out, nonce, sealed, ad); err != nil {
					panic(err)
				}
			}), "%T %v, %d bytes", a, a, size)
		}
	}
}

// TestEveryMutationIsRefused changes every byte of the key, the nonce, the
// additional data, the ciphertext and the tag of every vector, cuts and
// lengthens each, and looks for plaintext in the destination.
func TestEveryMutationIsRefused(t *testing.T) {
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			for _, v := range vectors(t).AEAD {
				refuse := func(what string, i int, key, nonce, ad, sealed []byte) {
					t.Helper()
					a := newAEAD([KeySize]byte(key), p)
					dst := bytes.Repeat([]byte{0xa5}, len(sealed))
					got, err := a.Open(dst[:0], nonce, sealed, ad)
					require.ErrorIs(t, err, ErrOpen, "%s %d", what, i)
					require.Nil(t, got)
					require.Equal(t, bytes.Repeat([]byte{0xa5}, len(sealed)), dst, "%s %d: dst was written", what, i)
					inPlace := bytes.Clone(sealed)
					_, err = a.Open(inPlace[:0], nonce, inPlace, ad)
					require.ErrorIs(t, err, ErrOpen, "%s %d", what, i)
					require.Equal(t, string(sealed), string(inPlace), "%s %d: in place", what, i)
				}
				in := [][]byte{v.Key, v.Nonce, v.AD, v.Sealed}
				for part, name := range []string{"key", "nonce", "additional data", "sealed"} {
					for i := range in[part] {
						for _, bit := range []byte{1, 0x80} {
							m := [][]byte{v.Key, v.Nonce, v.AD, v.Sealed}
							m[part] = bytes.Clone(in[part])
							m[part][i] ^= bit
							refuse(name, i, m[0], m[1], m[2], m[3])
						}
					}
				}
				for i := range v.Sealed {
					refuse("sealed cut to", i, v.Key, v.Nonce, v.AD, v.Sealed[:i])
				}
				for i := range v.AD {
					refuse("additional data cut to", i, v.Key, v.Nonce, v.AD[:i], v.Sealed)
				}
				refuse("longer by", 1, v.Key, v.Nonce, v.AD, append(bytes.Clone(v.Sealed), 0))
				refuse("additional data longer by", 1, v.Key, v.Nonce, append(bytes.Clone(v.AD), 0), v.Sealed)
			}
		})
	}
}

// TestBoundaryOfAdditionalDataIsAuthentic moves bytes between the additional
// data and the ciphertext, which stand side by side under the MAC.
func TestBoundaryOfAdditionalDataIsAuthentic(t *testing.T) {
	for _, p := range paths() {
		a := newAEAD([KeySize]byte{7}, p)
		nonce := make([]byte, NonceSize)
		ad := []byte("0123456789")
		sealed := a.Seal(nil, nonce, []byte("abcdefghij"), ad)
		all := append(bytes.Clone(ad), sealed...)
		for cut := 0; cut <= len(all)-Overhead; cut++ {
			_, err := a.Open(nil, nonce, all[cut:], all[:cut])
			require.Equal(t, cut == len(ad), err == nil, "%v, cut at %d", p, cut)
		}
	}
}

func TestLimits(t *testing.T) {
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			a := newAEAD([KeySize]byte{3}, p)
			nonce := make([]byte, NonceSize)
			r := rand.NewChaCha8([32]byte{3})
			plain, ad := randomBytes(r, MaxPlaintext+1), randomBytes(r, MaxAD+1)

			sealed := a.Seal(nil, nonce, plain[:MaxPlaintext], ad[:MaxAD])
			require.Len(t, sealed, MaxPlaintext+Overhead)
			opened, err := a.Open(nil, nonce, sealed, ad[:MaxAD])
			require.NoError(t, err)
			require.True(t, bytes.Equal(plain[:MaxPlaintext], opened))
			// The last block has the largest counter.
			last := newBlockFrom(a.enc(), p)
			ks := make([]byte, BlockSize)
			last.Encrypt(ks, append(bytes.Clone(nonce), 0x7f, 0xff))
			for i := range ks {
				require.Equal(t, ks[i], sealed[MaxPlaintext-BlockSize+i]^plain[MaxPlaintext-BlockSize+i])
			}

			require.PanicsWithError(t, ErrPlaintextSize.Error(), func() { a.Seal(nil, nonce, plain, nil) })
			require.PanicsWithError(t, ErrADSize.Error(), func() { a.Seal(nil, nonce, nil, ad) })
			_, err = a.Open(nil, nonce, make([]byte, MaxPlaintext+1+Overhead), nil)
			require.ErrorIs(t, err, ErrPlaintextSize)
			_, err = a.Open(nil, nonce, make([]byte, Overhead), ad)
			require.ErrorIs(t, err, ErrADSize)
		})
	}
}

func newBlockFrom(rk *roundKeys, p path) *block {
	b := &block{rk: *rk, path: p}
	b.lanes.expand(rk)
	return b
}

func TestMisusePanics(t *testing.T) {
	a, err := NewAEAD([KeySize]byte{})
	require.NoError(t, err)
	buf := make([]byte, 64)
	for _, size := range []int{0, 5, 7, 12} {
		require.Panics(t, func() { a.Seal(nil, make([]byte, size), nil, nil) })
		require.Panics(t, func() { _, _ = a.Open(nil, make([]byte, size), buf, nil) })
	}
	nonce := make([]byte, NonceSize)
	require.Panics(t, func() { a.Seal(buf[1:1], nonce, buf[:16], nil) }, "output behind the input")
	require.Panics(t, func() { a.Seal(buf[:0], nonce, buf[1:16], nil) }, "output before the input")
	require.Panics(t, func() { a.Seal(buf[:0], nonce, nil, buf[4:5]) }, "output over the additional data")
	require.Panics(t, func() { _, _ = a.Open(buf[1:1], nonce, buf[:16], nil) })

	c, err := NewCipher(make([]byte, 16))
	require.NoError(t, err)
	require.Equal(t, BlockSize, c.BlockSize())
	for _, f := range []func(dst, src []byte){c.Encrypt, c.Decrypt} {
		require.Panics(t, func() { f(buf, buf[:7]) })
		require.Panics(t, func() { f(buf[:7], buf) })
		require.Panics(t, func() { f(buf[1:], buf) })
	}
}

func TestKeySizes(t *testing.T) {
	for size := range 33 {
		c, err := NewCipher(make([]byte, size))
		if size == 10 || size == 16 {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, ErrKeySize)
		require.Nil(t, c)
	}
}

func TestAEADIsSafeForConcurrentUse(t *testing.T) {
	a := newAEAD([KeySize]byte{9}, fastest)
	done := make(chan bool)
	for g := range 4 {
		go func() {
			defer func() { done <- true }()
			nonce := []byte{0, 0, 0, 0, 0, byte(g)}
			plain := bytes.Repeat([]byte{byte(g)}, 300)
			for n := range plain {
				sealed := a.Seal(nil, nonce, plain[:n], nonce)
				opened, err := a.Open(nil, nonce, sealed, nonce)
				if err != nil || !bytes.Equal(opened, plain[:n]) {
					t.Errorf("%d bytes: %v", n, err)
				}
			}
		}()
	}
	for range 4 {
		<-done
	}
}
