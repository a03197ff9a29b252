package presentcipher

import (
	"cmp"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"
)

// TestTimingLeaks is a leak test after O. Reparaz, J. Balasch and I. Verbauwhede
// ("Dude, is my code constant time?", DATE 2017): two classes of input, one
// fixed and one random, measured in random order, and Welch's t-test on the
// times. |t| stays below 4.5 where there is no leak to be seen. It runs for a
// minute, wants a quiet machine, and asserts nothing: PRESENT_DUDECT=1.
func TestTimingLeaks(t *testing.T) {
	if os.Getenv("PRESENT_DUDECT") == "" {
		t.Skip("set PRESENT_DUDECT=1 to measure")
	}
	nonce, ad, plain := make([]byte, NonceSize), make([]byte, 20), make([]byte, 64)
	dst := make([]byte, 0, 1100)
	// What leaks has to be seen, or the rest means nothing.
	t.Logf("%-30s max |t| = %.2f", "control: stops at the first 1", dudect(64, func([]byte) {}, func(in []byte) {
		for i := range in {
			if in[i] != 0 {
				dst[:300][i] ^= 1
				return
			}
		}
	}))
	for _, p := range paths() {
		var fixed aead
		fixed.setKey(&[KeySize]byte{}, p)
		for _, test := range []struct {
			name string
			size int
			f    func(in []byte)
		}{
			{"block, data", 8, func() func([]byte) {
				b := newBlockFrom(fixed.enc(), p)
				return func(in []byte) { b.Encrypt(dst[:8], in) }
			}()},
			{"key set-up", KeySize, func(in []byte) { fixed.setKey((*[KeySize]byte)(in), p) }},
			{"seal 16 B, data", 16, func(in []byte) { fixed.Seal(dst, nonce, in, ad) }},
			{"seal 64 B, data", 64, func(in []byte) { fixed.Seal(dst, nonce, in, ad) }},
			{"seal 256 B, data", 256, func(in []byte) { fixed.Seal(dst, nonce, in, ad) }},
			{"seal 1 KiB, data", 1024, func(in []byte) { fixed.Seal(dst, nonce, in, ad) }},
			{"open 64 B, forged", 72, func(in []byte) { _, _ = fixed.Open(dst, nonce, in, ad) }},
		} {
			t.Logf("%-9v %-20s max |t| = %.2f", p, test.name, dudect(test.size, func([]byte) {}, test.f))
		}
		t.Logf("%-9v %-20s max |t| = %.2f", p, "seal 64 B, key", dudect(KeySize,
			func(in []byte) { fixed.setKey((*[KeySize]byte)(in), p) },
			func([]byte) { fixed.Seal(dst, nonce, plain, ad) }))
	}
}

// dudect is the largest |t| over several croppings of the slowest times.
// What prepare does is not measured.
func dudect(size int, prepare, f func(in []byte)) (worst float64) {
	const samples = 200_000
	r := rand.NewChaCha8([32]byte{6})
	type sample struct {
		class int
		time  float64
	}
	times := make([]sample, samples)
	const pool = 1024
	inputs, classes := make([][]byte, pool), make([]int, pool)
	for i := 0; i < samples; i += pool {
		for j := range inputs {
			inputs[j], classes[j] = make([]byte, size), int(r.Uint64()&1)
			if classes[j] == 1 {
				r.Read(inputs[j])
			}
		}
		for j := 0; j < pool && i+j < samples; j++ {
			in := inputs[j]
			prepare(in)
			start := time.Now()
			for range 8 {
				f(in)
			}
			times[i+j] = sample{classes[j], float64(time.Since(start))}
		}
	}
	slices.SortFunc(times, func(a, b sample) int { return cmp.Compare(a.time, b.time) })
	for _, keep := range []float64{0.5, 0.8, 0.9, 0.95, 0.99, 1} {
		var n, mean, m2 [2]float64
		for _, s := range times[:int(keep*samples)] {
			n[s.class]++
			d := s.time - mean[s.class]
			mean[s.class] += d / n[s.class]
			m2[s.class] += d * (s.time - mean[s.class])
		}
		v := m2[0]/(n[0]-1)/n[0] + m2[1]/(n[1]-1)/n[1]
		worst = max(worst, math.Abs(mean[0]-mean[1])/math.Sqrt(v))
	}
	return worst
}
