package present

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAEADDoesNotAllocate(t *testing.T) {
	a, err := NewAEAD([KeySize]byte{1})
	require.NoError(t, err)
	nonce, ad := make([]byte, NonceSize), make([]byte, 33)
	for _, size := range []int{0, 1, 64, 1024, 5000} {
		plain := make([]byte, size)
		dst := make([]byte, 0, size+Overhead)
		out := make([]byte, 0, size)
		require.Zero(t, testing.AllocsPerRun(50, func() {
			sealed := a.Seal(dst, nonce, plain, ad)
			if _, err := a.Open(out, nonce, sealed, ad); err != nil {
				panic(err)
			}
		}), "%d bytes", size)
	}
}
