package presentcipher

import (
	"bytes"
	"testing"
)

// FuzzPaths seals the same on every path, opens what it sealed, and refuses it
// with one bit changed.
func FuzzPaths(f *testing.F) {
	f.Add([]byte("0123456789abcdef"), []byte("nonce1"), []byte("21.5"), []byte("room/3"), uint(0), byte(0))
	f.Add(make([]byte, 16), make([]byte, 6), make([]byte, 64), []byte{}, uint(70), byte(1))
	f.Add(make([]byte, 16), make([]byte, 6), make([]byte, 184), []byte{}, uint(191), byte(7))
	f.Add(make([]byte, 16), make([]byte, 6), make([]byte, 520), make([]byte, 400), uint(1), byte(63))
	f.Add(make([]byte, 16), make([]byte, 6), []byte{}, make([]byte, 370), uint(3), byte(33))
	f.Fuzz(func(t *testing.T, key, nonce, plain, ad []byte, flip uint, shift byte) {
		if len(key) != KeySize || len(nonce) != NonceSize || len(plain) > MaxPlaintext || len(ad) > MaxAD {
			return
		}
		want := newAEAD([KeySize]byte(key), portable).Seal(nil, nonce, plain, ad)
		for _, p := range paths() {
			a := newAEAD([KeySize]byte(key), p)
			at := int(shift % 64)
			memory := make([]byte, at+len(plain)+Overhead)
			copy(memory[at:], plain)
			got := a.Seal(memory[at:at], nonce, memory[at:at+len(plain)], ad)
			if !bytes.Equal(want, got) {
				t.Fatalf("%v: %x, want %x", p, got, want)
			}
			opened, err := a.Open(nil, nonce, got, ad)
			if err != nil || !bytes.Equal(opened, plain) {
				t.Fatalf("%v: opened %x, %v", p, opened, err)
			}
			bad := bytes.Clone(got)
			bad[flip/8%uint(len(bad))] ^= 1 << (flip % 8)
			if _, err := a.Open(nil, nonce, bad, ad); err == nil {
				t.Fatalf("%v: opened with bit %d changed", p, flip)
			}
		}
	})
}

// FuzzOpen has every path say the same of what may be no message at all.
func FuzzOpen(f *testing.F) {
	sealed := newAEAD([KeySize]byte{}, portable).Seal(nil, make([]byte, NonceSize), []byte("hello"), []byte("a"))
	f.Add(sealed, []byte("a"))
	f.Add(sealed[:7], []byte{})
	f.Add(make([]byte, 300), make([]byte, 100))
	f.Fuzz(func(t *testing.T, sealed, ad []byte) {
		want, wantErr := newAEAD([KeySize]byte{}, portable).Open(nil, make([]byte, NonceSize), sealed, ad)
		for _, p := range paths() {
			a := newAEAD([KeySize]byte{}, p)
			got, err := a.Open(nil, make([]byte, NonceSize), sealed, ad)
			if err != wantErr || !bytes.Equal(want, got) {
				t.Fatalf("%v: %x, %v; want %x, %v", p, got, err, want, wantErr)
			}
			if err == nil && !bytes.Equal(a.Seal(nil, make([]byte, NonceSize), got, ad), sealed) {
				t.Fatalf("%v: %x is not what is sealed", p, sealed)
			}
		}
	})
}

// FuzzBlock has every path agree with the definition, and Decrypt undo Encrypt.
func FuzzBlock(f *testing.F) {
	f.Add(make([]byte, 10), make([]byte, 8))
	f.Add([]byte("0123456789abcdef"), []byte("01234567"))
	f.Fuzz(func(t *testing.T, key, src []byte) {
		if len(key) != 10 && len(key) != 16 || len(src) != BlockSize {
			return
		}
		want := referenceEncrypt(key, src)
		for _, p := range paths() {
			c := newBlock(t, key, p)
			got := make([]byte, BlockSize)
			c.Encrypt(got, src)
			if !bytes.Equal(want, got) {
				t.Fatalf("%v: %x, want %x", p, got, want)
			}
			c.Decrypt(got, got)
			if !bytes.Equal(src, got) {
				t.Fatalf("%v: decrypted to %x, want %x", p, got, src)
			}
		}
	})
}
