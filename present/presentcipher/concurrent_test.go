package presentcipher

import (
	"bytes"
	"crypto/cipher"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestManyGoroutinesShareOneAEAD has each begin on a new stack, which has to grow
// below the functions that need a frame, and seal both small and large messages.
func TestManyGoroutinesShareOneAEAD(t *testing.T) {
	shared, err := NewAEAD([KeySize]byte{9})
	require.NoError(t, err)
	aeads := []cipher.AEAD{shared}
	for _, p := range paths() {
		aeads = append(aeads, newAEAD([KeySize]byte{9}, p))
	}
	nonce, ad := make([]byte, NonceSize), make([]byte, 500)
	for _, n := range []int{0, 5, 130, 3000} {
		plain := bytes.Repeat([]byte{0x5a}, n)
		want := newAEAD([KeySize]byte{9}, portable).Seal(nil, nonce, plain, ad)
		var all sync.WaitGroup
		for _, a := range aeads {
			for range 50 {
				all.Go(func() {
					sealed := a.Seal(nil, nonce, plain, ad)
					opened, err := a.Open(nil, nonce, sealed, ad)
					if err != nil || !bytes.Equal(sealed, want) || !bytes.Equal(opened, plain) {
						t.Errorf("%v, %d bytes: %v", a, n, err)
					}
				})
			}
		}
		all.Wait()
	}
}
