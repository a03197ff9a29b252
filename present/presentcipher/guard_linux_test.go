package presentcipher

import (
	"bytes"
	"math/rand/v2"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// guarded is n bytes with pages around them that fault when touched: the
// bytes end where the page behind begins, or begin where the one before ends.
type guarded struct {
	memory []byte
	page   int
	size   int
}

func newGuarded(t *testing.T, size int) *guarded {
	page := os.Getpagesize()
	size = (size + page - 1) / page * page
	m, err := syscall.Mmap(-1, 0, size+2*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Munmap(m)) })
	require.NoError(t, syscall.Mprotect(m[:page], syscall.PROT_NONE))
	require.NoError(t, syscall.Mprotect(m[page+size:], syscall.PROT_NONE))
	return &guarded{m, page, size}
}

func (g *guarded) last(n int) []byte {
	end := g.page + g.size
	return g.memory[end-n : end : end]
}

func (g *guarded) first(n int) []byte { return g.memory[g.page : g.page+n : g.page+n] }

// TestNothingIsTouchedOutside has every slice of a call lie against a page
// that faults, first the page behind, then the page before.
func TestNothingIsTouchedOutside(t *testing.T) {
	const longest = 16384 + 64
	r := rand.NewChaCha8([32]byte{5})
	key := [KeySize]byte(randomBytes(r, KeySize))
	ref := newAEAD(key, portable)
	var at [4]*guarded
	for i := range at {
		at[i] = newGuarded(t, longest)
	}
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			a := newAEAD(key, p)
			for _, place := range []func(*guarded, int) []byte{(*guarded).last, (*guarded).first} {
				for _, n := range lengths() {
					plain, sealed := place(at[0], n), place(at[1], n+Overhead)
					ad, nonce := place(at[2], n%91), place(at[3], NonceSize)
					r.Read(plain)
					r.Read(ad)
					r.Read(nonce)
					want := ref.Seal(nil, nonce, plain, ad)
					got := a.Seal(sealed[:0], nonce, plain, ad)
					if !bytes.Equal(want, got) {
						t.Fatalf("%d bytes:\n%x\n%x", n, want, got)
					}
					opened, err := a.Open(plain[:0], nonce, sealed, ad)
					require.NoError(t, err)
					require.Len(t, opened, n)
					a.XORKeyStream(plain, plain, nonce)
					sealed[n/2] ^= 1
					_, err = a.Open(sealed[:0], nonce, sealed, ad)
					require.ErrorIs(t, err, ErrOpen)
				}
				// Additional data too long to be put in a buffer first.
				for n := range 1200 {
					ad, nonce, sealed := place(at[2], n), place(at[3], NonceSize), place(at[1], 3+Overhead)
					r.Read(ad)
					want := ref.Seal(nil, nonce, []byte("abc"), ad)
					if got := a.Seal(sealed[:0], nonce, []byte("abc"), ad); !bytes.Equal(want, got) {
						t.Fatalf("%d bytes of additional data:\n%x\n%x", n, want, got)
					}
				}
				c := newBlockFrom(a.enc(), p)
				dst, src := place(at[0], BlockSize), place(at[1], BlockSize)
				copy(src, "01234567")
				c.Encrypt(dst, src)
				c.Decrypt(dst, dst)
				require.Equal(t, src, dst)
			}
		})
	}
}
