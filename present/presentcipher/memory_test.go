package presentcipher

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// lengths are 0 to 1100 and the neighbours of every batch size.
func lengths() []int {
	var n []int
	for i := 0; i <= 1100; i++ {
		n = append(n, i)
	}
	for _, batch := range []int{1536, 2048, 4096, 16384} {
		for i := batch - 17; i <= batch+17; i++ {
			n = append(n, i)
		}
	}
	return n
}

// TestUnalignedAndInPlace seals at every offset from an aligned address, into
// the same memory, with canaries around it.
func TestUnalignedAndInPlace(t *testing.T) {
	const canary = 0xc3
	r := rand.NewChaCha8([32]byte{4})
	key := [KeySize]byte(randomBytes(r, KeySize))
	ref := newAEAD(key, portable)
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			a := newAEAD(key, p)
			for _, n := range lengths() {
				nonce, plain, ad := randomBytes(r, NonceSize), randomBytes(r, n), randomBytes(r, n%77)
				want := ref.Seal(nil, nonce, plain, ad)
				at := 64 + n*13%64
				memory := bytes.Repeat([]byte{canary}, at+n+Overhead+64)
				copy(memory[at:], plain)
				got := a.Seal(memory[at:at], nonce, memory[at:at+n], ad)
				if !bytes.Equal(want, got) {
					t.Fatalf("%d bytes at %d:\n%x\n%x", n, at, want, got)
				}
				requireCanary(t, canary, memory[:at], memory[at+n+Overhead:])
				opened, err := a.Open(memory[at:at], nonce, got, ad)
				require.NoError(t, err)
				if !bytes.Equal(plain, opened) {
					t.Fatalf("%d bytes at %d opened:\n%x\n%x", n, at, plain, opened)
				}
				require.Equal(t, want[n:], memory[at+n:at+n+Overhead], "Open wrote behind the plaintext")
				requireCanary(t, canary, memory[:at], memory[at+n+Overhead:])
			}
		})
	}
}

func requireCanary(t *testing.T, canary byte, around ...[]byte) {
	t.Helper()
	for _, b := range around {
		if len(bytes.Trim(b, string([]byte{canary}))) != 0 {
			t.Fatalf("written outside: %x", b)
		}
	}
}
