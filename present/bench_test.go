package present

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"testing"
)

// table is the yardstick: PRESENT with S-box and permutation of each byte in
// one lookup, the usual fast and leaky implementation. It is not constant time
// and exists only to be compared with.
type table struct {
	rk roundKeys
	sp *[8][256]uint64
}

func newTable(rk *roundKeys) *table {
	s := [16]uint64{0xC, 5, 6, 0xB, 9, 0, 0xA, 0xD, 3, 0xE, 0xF, 8, 4, 7, 1, 2}
	t := &table{rk: *rk, sp: new([8][256]uint64)}
	for b := range t.sp {
		for v := range t.sp[b] {
			y := s[v&15] | s[v>>4]<<4
			for bit := range 8 {
				i := 8*b + bit
				t.sp[b][v] |= y >> bit & 1 << (i/4 + i%4*16)
			}
		}
	}
	return t
}

func (t *table) encrypt(w uint64) uint64 {
	sp := t.sp
	for _, k := range t.rk[:rounds] {
		w ^= k
		w = sp[0][w&255] ^ sp[1][w>>8&255] ^ sp[2][w>>16&255] ^ sp[3][w>>24&255] ^
			sp[4][w>>32&255] ^ sp[5][w>>40&255] ^ sp[6][w>>48&255] ^ sp[7][w>>56]
	}
	return w ^ t.rk[rounds]
}

func (t *table) ctr(dst, src []byte, iv uint64) {
	for len(src) >= 8 {
		binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src)^t.encrypt(iv))
		dst, src, iv = dst[8:], src[8:], iv+1
	}
}

func BenchmarkTableCTR(b *testing.B) {
	t := newTable(new(roundKeys))
	for _, n := range []int{64, 1024} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			for b.Loop() {
				t.ctr(buf, buf, 0)
			}
		})
	}
}

func BenchmarkTableBlock(b *testing.B) {
	t := newTable(new(roundKeys))
	w := uint64(1)
	for b.Loop() {
		w = t.encrypt(w)
	}
	sink = w
}

var sink uint64

func BenchmarkBlock(b *testing.B) {
	c, _ := NewCipher(make([]byte, 16))
	var buf [8]byte
	for b.Loop() {
		c.Encrypt(buf[:], buf[:])
	}
}

func BenchmarkCTR(b *testing.B) {
	a := newAEAD([KeySize]byte{}, fastest)
	for _, n := range []int{64, 256, 1024} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			buf := make([]byte, n)
			b.SetBytes(int64(n))
			for b.Loop() {
				a.ctr(buf, buf, 0)
			}
		})
	}
}

func BenchmarkSeal(b *testing.B) {
	p, _ := NewAEAD([KeySize]byte{})
	c, _ := aes.NewCipher(make([]byte, 16))
	g, _ := cipher.NewGCM(c)
	for _, n := range []int{64, 256, 1024, 16384} {
		for _, x := range []struct {
			name string
			a    cipher.AEAD
		}{{"present", p}, {"aes", g}} {
			b.Run(fmt.Sprint(x.name, "/", n), func(b *testing.B) {
				nonce := make([]byte, x.a.NonceSize())
				src := make([]byte, n)
				dst := make([]byte, 0, n+16)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					x.a.Seal(dst, nonce, src, nil)
				}
			})
		}
	}
}

func BenchmarkNewAEAD(b *testing.B) {
	b.Run("present", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			NewAEAD([KeySize]byte{})
		}
	})
	b.Run("aes", func(b *testing.B) {
		b.ReportAllocs()
		key := make([]byte, 16)
		for b.Loop() {
			c, _ := aes.NewCipher(key)
			cipher.NewGCM(c)
		}
	})
}
