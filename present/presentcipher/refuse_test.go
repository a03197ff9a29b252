package presentcipher

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestRefusedMessagesLeaveNothing opens messages of every length with one bit
// wrong, into another buffer with more room than needed and in place. Not a
// byte of either may have changed.
func TestRefusedMessagesLeaveNothing(t *testing.T) {
	r := rand.NewChaCha8([32]byte{7})
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			a := newAEAD([KeySize]byte(randomBytes(r, KeySize)), p)
			for _, n := range lengths() {
				nonce, ad := randomBytes(r, NonceSize), randomBytes(r, n%50)
				sealed := a.Seal(nil, nonce, randomBytes(r, n), ad)
				for _, bad := range []int{0, n, n + Overhead - 1} { // ciphertext, and both ends of the tag
					sealed[bad] ^= 0x80
					dst := bytes.Repeat([]byte{0xa5}, n+64)
					got, err := a.Open(dst[:3], nonce, sealed, ad)
					require.ErrorIs(t, err, ErrOpen)
					require.Nil(t, got)
					requireCanary(t, 0xa5, dst)
					inPlace := bytes.Clone(sealed)
					_, err = a.Open(inPlace[:0], nonce, inPlace, ad)
					require.ErrorIs(t, err, ErrOpen)
					if !bytes.Equal(sealed, inPlace) {
						t.Fatalf("%d bytes, wrong at %d: written to", n, bad)
					}
					sealed[bad] ^= 0x80
				}
			}
		})
	}
}
