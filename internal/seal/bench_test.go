package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

const benchTopic = "site/7/line/3/temperature"

// rawGCM is what the goals compare with: AES-256-GCM with the same associated data.
func rawGCM(t testing.TB) (aead cipher.AEAD, nonce, ad []byte) {
	block, err := aes.NewCipher(make([]byte, 32))
	require.NoError(t, err)
	aead, err = cipher.NewGCM(block)
	require.NoError(t, err)
	return aead, make([]byte, 12), make([]byte, len(adLabel)+headerLen+len(benchTopic))
}

func BenchmarkRawSeal(b *testing.B) {
	for _, n := range []int{64, 1024} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			aead, nonce, ad := rawGCM(b)
			payload, dst := make([]byte, n), make([]byte, 0, n+16)
			b.ReportAllocs()
			for b.Loop() {
				aead.Seal(dst, nonce, payload, ad)
			}
		})
	}
}

func BenchmarkAppendSeal(b *testing.B) {
	for _, n := range []int{64, 1024} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s := testSealer(b, Config{Keys: []Key{testKey(b, "site/#", 1)}})
			payload, dst := make([]byte, n), make([]byte, 0, n+42)
			b.ReportAllocs()
			for b.Loop() {
				s.AppendSeal(dst, benchTopic, payload)
			}
		})
	}
}

func BenchmarkAppendOpen(b *testing.B) {
	for _, n := range []int{64, 1024} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			key := testKey(b, "site/#", 1)
			sender, s := testSealer(b, Config{Keys: []Key{key}}), testSealer(b, Config{Keys: []Key{key}})
			payload, dst := make([]byte, n), make([]byte, 0, n)
			const batch = 1024
			var sealed [batch][]byte
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%batch == 0 {
					b.StopTimer()
					for j := range sealed {
						sealed[j], _ = sender.AppendSeal(sealed[j][:0], benchTopic, payload)
					}
					b.StartTimer()
				}
				if _, err := s.AppendOpen(dst, benchTopic, sealed[i%batch]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkColdTopic is the first message on a topic of seven levels.
func BenchmarkColdTopic(b *testing.B) {
	s := testSealer(b, Config{Keys: []Key{testKey(b, "#", 1)}})
	names := make([]string, 1<<16) // far more than are remembered
	for i := range names {
		names[i] = fmt.Sprintf("a/b/c/d/e/f/%d", i)
	}
	payload, dst := make([]byte, 64), make([]byte, 0, 256)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if _, err := s.AppendSeal(dst, names[i%len(names)], payload); err != nil {
			b.Fatal(err)
		}
	}
}
