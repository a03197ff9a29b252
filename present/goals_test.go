package present

import (
	"crypto/aes"
	"crypto/cipher"
	"os"
	"slices"
	"testing"
	"time"
)

// TestGoals prints the ratios P1 to P7 on this machine. It asserts nothing:
// it measures, and only when asked to by PRESENT_GOALS=1.
func TestGoals(t *testing.T) {
	if os.Getenv("PRESENT_GOALS") == "" {
		t.Skip("set PRESENT_GOALS=1 to measure")
	}
	for _, p := range paths() {
		t.Logf("%v:", p)
		for _, g := range goals(p) {
			r, a, b := ratio(g.a, g.b)
			t.Logf("%-24s %7.4f <= %.4f %-5s (%v / %v)", g.name, r, g.goal, verdict(r <= g.goal), a, b)
		}
	}
}

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "short"
}

// ratio runs a and b by turns and compares the medians.
func ratio(a, b func()) (r float64, ta, tb time.Duration) {
	const turns = 41
	na, nb := calls(a), calls(b)
	var as, bs []float64
	for range turns {
		as = append(as, timed(a, na))
		bs = append(bs, timed(b, nb))
	}
	slices.Sort(as)
	slices.Sort(bs)
	ma, mb := as[turns/2], bs[turns/2]
	return ma / mb, time.Duration(ma * 10), time.Duration(mb * 10)
}

// calls is how many calls of f take about a millisecond.
func calls(f func()) int {
	n := 1
	for timed(f, n)*float64(n) < 1e5 {
		n *= 2
	}
	return n
}

// timed is the time of one call in tens of nanoseconds.
func timed(f func(), n int) float64 {
	start := time.Now()
	for range n {
		f()
	}
	return float64(time.Since(start)) / float64(n) / 10
}

type goal struct {
	name string
	goal float64
	a, b func()
}

func goals(p path) []goal {
	gcmBlock, _ := aes.NewCipher(make([]byte, 16))
	gcm, _ := cipher.NewGCM(gcmBlock)
	tab := newTable(new(roundKeys))
	a := newAEAD([KeySize]byte{}, p)
	blk := &block{path: p}
	blk.lanes.expand(&blk.rk)
	buf := make([]byte, 1024)
	dst := make([]byte, 0, 1100)
	nonce := make([]byte, 12)
	var serial [8]byte
	w := uint64(1)

	tableCTR := func() { tab.ctr(buf, buf, 0) }
	tableOne := func() { w = tab.encrypt(w) }
	gcm64 := func() { gcm.Seal(dst, nonce, buf[:64], nil) }
	gcm1k := func() { gcm.Seal(dst, nonce, buf, nil) }
	at1k := map[path]float64{portable: 0.15, avx2: 1. / 14, avx512: 1. / 30}[p]
	at64 := map[path]float64{portable: 3.3, avx2: 2.5, avx512: 1.15}[p]
	one := map[path]float64{portable: 1.6, avx2: 1.6, avx512: 0.70}[p]
	return []goal{
		{"P1-P3 CTR 1 KiB/table", at1k, func() { a.XORKeyStream(buf, buf, nonce[:6]) }, tableCTR},
		{"P4 CTR 64 B/AES-GCM", at64, func() { a.XORKeyStream(buf[:64], buf[:64], nonce[:6]) }, gcm64},
		{"P5 block/table", one, func() { blk.Encrypt(serial[:], serial[:]) }, tableOne},
		{"P6 AEAD 64 B/AES-GCM", 5, func() { a.Seal(dst, nonce[:6], buf[:64], nil) }, gcm64},
		{"P6 AEAD 1 KiB/AES-GCM", 8, func() { a.Seal(dst, nonce[:6], buf, nil) }, gcm1k},
		{"P7 set-up/AES-GCM", 1, func() {
			if p == fastest {
				setUp, _ = NewAEAD([KeySize]byte{})
			} else {
				setUp = newAEAD([KeySize]byte{}, p)
			}
		}, func() {
			c, _ := aes.NewCipher(buf[:16])
			setUp, _ = cipher.NewGCM(c)
		}},
	}
}

var setUp cipher.AEAD // keeps the compiler from leaving the work out
