package presentcipher

import (
	"fmt"
	"testing"
)

// What these functions cost beside others is measured by the program examples/bench. Here
// is what somebody looks at who works on one of them; GODEBUG=cpu.avx512f=off,
// cpu.avx2=off and cpu.asimd=off choose the path. An emulator's time means nothing, but
// qemu-aarch64 -singlestep -d nochain,exec prints a line for each instruction: take those
// of two values of -test.benchtime=Nx from each other.

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
	a, _ := NewAEAD([KeySize]byte{})
	for _, n := range []int{64, 256, 1024, 16384} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			nonce, src := make([]byte, NonceSize), make([]byte, n)
			dst := make([]byte, 0, n+Overhead)
			b.SetBytes(int64(n))
			b.ReportAllocs()
			for b.Loop() {
				a.Seal(dst, nonce, src, nil)
			}
		})
	}
}

func BenchmarkNewAEAD(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NewAEAD([KeySize]byte{})
	}
}
