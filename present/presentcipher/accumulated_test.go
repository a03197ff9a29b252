package presentcipher

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// A thousand pseudo-random cases of everything, hashed into one value each.
// The inputs are the ChaCha8 stream of math/rand/v2 under the seed below.
var accumulated = map[string]string{
	"PRESENT-80":  "f564e75d0113be07234f3b8b6666bf0f38deb12b2fe7f1c27bb88f37471e63e0",
	"PRESENT-128": "67b15d7f5021118efbbcddf2db7b1b8b7d51dac90898f3266954b19d64c75dcc",
	"LightMAC":    "83853965dc01e05ccdb03ebba25d1a742efd3fcbce00f693f00a7a69ebef054d",
	"AEAD":        "ba8e8123e1f4836e2268abe63829b33bc9a626b9eed211ad548929015703bba9",
}

const accumulatedCases = 1000

func requireAccumulated(t *testing.T, name string, f func(r *rand.ChaCha8, i int) []byte) {
	t.Helper()
	r := rand.NewChaCha8(sha256.Sum256([]byte(name)))
	h := sha256.New()
	for i := range accumulatedCases {
		h.Write(f(r, i))
	}
	require.Equal(t, accumulated[name], hex.EncodeToString(h.Sum(nil)), name)
}

func TestAccumulatedBlocks(t *testing.T) {
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			for _, size := range []int{10, 16} {
				name := fmt.Sprint("PRESENT-", 8*size)
				requireAccumulated(t, name, func(r *rand.ChaCha8, i int) []byte {
					key, plain := randomBytes(r, size), randomBytes(r, BlockSize)
					c := newBlock(t, key, p)
					got, back := make([]byte, BlockSize), make([]byte, BlockSize)
					c.Encrypt(got, plain)
					c.Decrypt(back, got)
					require.Equal(t, plain, back)
					if i%10 == 0 {
						require.Equal(t, referenceEncrypt(key, plain), got)
					}
					return got
				})
			}
		})
	}
}

func TestAccumulatedLightMAC(t *testing.T) {
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			requireAccumulated(t, "LightMAC", func(r *rand.ChaCha8, i int) []byte {
				k1, k2, msg := randomBytes(r, 16), randomBytes(r, 16), randomBytes(r, i)
				got := lightMACTag(k1, k2, msg, p)
				if i%100 == 5 {
					require.Equal(t, referenceLightMAC(k1, k2, msg), got)
				}
				return got
			})
		})
	}
}

func TestAccumulatedAEAD(t *testing.T) {
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			requireAccumulated(t, "AEAD", func(r *rand.ChaCha8, i int) []byte {
				key, nonce := randomBytes(r, KeySize), randomBytes(r, NonceSize)
				plain, ad := randomBytes(r, i), randomBytes(r, i*i%131)
				a := newAEAD([KeySize]byte(key), p)
				got := a.Seal(nil, nonce, plain, ad)
				if i%100 == 7 {
					require.Equal(t, referenceSeal(key, nonce, plain, ad), got)
				}
				return got
			})
		})
	}
}

func TestLightMACVectors(t *testing.T) {
	for _, p := range paths() {
		t.Run(p.String(), func(t *testing.T) {
			for _, v := range vectors(t).LightMAC {
				require.Equal(t, []byte(v.Tag), lightMACTag(v.K1, v.K2, v.Msg, p))
				require.Equal(t, []byte(v.Tag), referenceLightMAC(v.K1, v.K2, v.Msg))
			}
		})
	}
}

func newBlock(t testing.TB, key []byte, p path) *block {
	c, err := NewCipher(key)
	require.NoError(t, err)
	b := c.(*block)
	b.path = p
	return b
}

// lightMACTag is LightMAC by itself, with keys that the AEAD did not derive.
func lightMACTag(k1, k2, msg []byte, p path) []byte {
	a := newAEAD([KeySize]byte{}, p)
	a.lanes = new(aeadLanes)
	a.mac().expand128((*[16]byte)(k1))
	a.fin().expand128((*[16]byte)(k2))
	a.lanes.mac.expand(a.mac())
	a.lanes.fin.expand(a.fin())
	m := lightMAC{keys: a, next: 1}
	// In pieces of odd sizes, as the AEAD's parts have.
	for n := 1; len(msg) > 0; n = n*3 + 1 {
		n = min(n, len(msg))
		m.write(msg[:n])
		msg = msg[n:]
	}
	return binary.BigEndian.AppendUint64(nil, m.tag())
}
