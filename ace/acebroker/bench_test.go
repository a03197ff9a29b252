package acebroker

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/layer/layertest"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// BenchmarkVerify is the validation of a token and of a proof, without a connection; raw is two verifications of
// Ed25519 signatures, which no token and proof by EdDSA can do without.
func BenchmarkVerify(b *testing.B) {
	a := newAS(b, "as")
	v := newTestVerifier(b, configFor(a, layertest.NewClock(base)))
	key := newAS(b, "").ed
	public, err := pop.PublicKey(key.Public())
	require.NoError(b, err)
	set := a.claimSet(public)
	input := make([]byte, pop.ExporterSize)
	proof := ed25519.Sign(key, input)
	for name, form := range a.encodings() {
		token := form.make(set)
		b.Run("first/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				v.cache.recent = recent[[sha256.Size]byte, *access]{limit: v.cache.recent.limit}
				got, err := v.verify(context.Background(), token)
				if err != nil || got.key.Verify(input, proof) != nil {
					b.Fatal(err)
				}
			}
		})
	}
	token := a.encodings()["JWS EdDSA"].make(set)
	b.Run("known", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			got, err := v.verify(context.Background(), token)
			if err != nil || got.key.Verify(input, proof) != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("raw", func(b *testing.B) {
		for b.Loop() {
			for range 2 { // the token's and the proof's
				if !ed25519.Verify(key.Public().(ed25519.PublicKey), input, proof) {
					b.Fatal("bad signature")
				}
			}
		}
	})
}
