package cose

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/stretchr/testify/require"
)

// vector is a message of the COSE working group's examples.
type vector struct {
	Name, Title, External, Plaintext, Key, Message string
	Fail                                           bool
}

func vectors(t testing.TB) []vector {
	t.Helper()
	b, err := os.ReadFile("testdata/encrypt0.json")
	require.NoError(t, err)
	var file struct{ Vectors []vector }
	require.NoError(t, json.Unmarshal(b, &file))
	require.NotEmpty(t, file.Vectors)
	return file.Vectors
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	require.NoError(t, err)
	return b
}

// open parses and decrypts with whichever algorithm the message names, which only a test may do.
func open(message, key, external []byte) ([]byte, error) {
	m, err := ParseEncrypt0(message)
	if err != nil {
		return nil, err
	}
	return m.Open(m.Algorithm(), key, external)
}

func TestEncrypt0Vectors(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.Name, func(t *testing.T) {
			got, err := open(unhex(t, v.Message), unhex(t, v.Key), unhex(t, v.External))
			if v.Fail {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, v.Plaintext, hex.EncodeToString(got))
		})
	}
}

// TestEncrypt0Mutated changes every bit of every message that opens: none may open to the same or another plaintext,
// except by a bit of a header that COSE does not protect and that nothing depends on.
func TestEncrypt0Mutated(t *testing.T) {
	for _, v := range vectors(t) {
		if v.Fail {
			continue
		}
		message, key, external := unhex(t, v.Message), unhex(t, v.Key), unhex(t, v.External)
		for i := range 8 * len(message) {
			mutant := slices.Clone(message)
			mutant[i/8] ^= 1 << (i % 8)
			_, err := open(mutant, key, external)
			require.Error(t, err, "%s: bit %d", v.Name, i)
		}
		for i := range message {
			_, err := open(message[:i], key, external)
			require.Error(t, err, "%s: %d bytes", v.Name, i)
		}
		_, err := open(append(message, 0), key, external)
		require.ErrorIs(t, err, ErrMalformed)
	}
}

func TestEncrypt0RoundTrip(t *testing.T) {
	for alg, size := range map[Algorithm]int{A128GCM: 16, A256GCM: 32, AESCCM16x64x128: 16} {
		key := make([]byte, size)
		for _, n := range []int{0, 1, 15, 16, 17, 1000, ccmMax} {
			plaintext := slices.Repeat([]byte{7}, n)
			message, err := Encrypt0(alg, key, []byte("kid"), []byte("external"), plaintext)
			require.NoError(t, err)
			m, err := ParseEncrypt0(message)
			require.NoError(t, err)
			require.Equal(t, []byte("kid"), m.KeyID())
			require.Equal(t, alg, m.Algorithm())
			got, err := m.Open(alg, key, []byte("external"))
			require.NoError(t, err)
			require.Equal(t, len(plaintext), len(got))
			require.True(t, slices.Equal(plaintext, got))

			_, err = m.Open(alg, key, nil)
			require.ErrorIs(t, err, ErrDecrypt)
			_, err = m.Open(alg, append([]byte{1}, key[1:]...), []byte("external"))
			require.ErrorIs(t, err, ErrDecrypt)
			for _, other := range [][]byte{key[1:], append(key, 0), make([]byte, 48-size)} {
				_, err = m.Open(alg, other, []byte("external"))
				require.ErrorIs(t, err, ErrKey, "a key of %d bytes", len(other))
			}
		}
		_, err := Encrypt0(alg, key, nil, nil, make([]byte, ccmMax+1))
		require.ErrorIs(t, err, ErrMalformed)
	}
	first, err := Encrypt0(A128GCM, make([]byte, 16), nil, nil, nil)
	require.NoError(t, err)
	second, err := Encrypt0(A128GCM, make([]byte, 16), nil, nil, nil)
	require.NoError(t, err)
	require.NotEqual(t, first, second, "the nonce is fresh")
	_, err = open(first, make([]byte, 16), []byte{})
	require.NoError(t, err, "no external data are empty ones (RFC 9052, section 5.3)")
}

// TestEncrypt0AlgorithmIsTheKeys: what a message says of itself never chooses the algorithm.
func TestEncrypt0AlgorithmIsTheKeys(t *testing.T) {
	message, err := Encrypt0(A128GCM, make([]byte, 16), nil, nil, []byte("x"))
	require.NoError(t, err)
	m, err := ParseEncrypt0(message)
	require.NoError(t, err)
	_, err = m.Open(AESCCM16x64x128, make([]byte, 16), nil)
	require.ErrorIs(t, err, ErrAlgorithm)
	for _, alg := range []Algorithm{0, HMAC256, ES256, EdDSA, 2} {
		_, err = Encrypt0(alg, make([]byte, 16), nil, nil, nil)
		require.ErrorIs(t, err, ErrAlgorithm)
	}
	// "none" has no number in COSE; a message without an algorithm is one for none.
	m, err = ParseEncrypt0(unhex(t, "d08340a1054c02d1f7e6f26c43d4868d87ce41aa"))
	require.NoError(t, err)
	_, err = m.Open(m.Algorithm(), make([]byte, 16), nil)
	require.ErrorIs(t, err, ErrAlgorithm)
}

func TestEncrypt0Malformed(t *testing.T) {
	for name, message := range map[string]string{
		"empty":                      "",
		"another tag":                "d28343a10101a0f641aa",
		"no tag":                     "8343a10101a041aa",
		"two parts":                  "d08243a10101a0",
		"four parts":                 "d08443a10101a041aa41aa",
		"protected is a map":         "d083a10101a041aa",
		"protected has bytes behind": "d08344a1010100a041aa",
		"alg unprotected":            "d08340a1010141aa",
		"alg twice":                  "d08343a10101a1010141aa",
		"kid twice":                  "d08346a201010441aaa10441aa41aa",
		"crit":                       "d08347a2010102816161a041aa",
		"partial iv":                 "d08343a10101a1064101" + "41aa",
		"indefinite":                 "d09f43a10101a041aaff",
		"detached":                   "d08343a10101a1054c02d1f7e6f26c43d4868d87cef6" + "00",
		"repeated label":             "d08343a10101a20541aa0541bb41aa",
		"iv is text":                 "d08343a10101a1056161" + "41aa",
		"nested":                     "d0" + hex.EncodeToString(slices.Repeat([]byte{0x81}, 40)) + "00",
	} {
		_, err := ParseEncrypt0(unhex(t, message))
		require.ErrorIs(t, err, ErrMalformed, name)
	}
	large, err := Encoding.Marshal(cbor.Tag{Number: TagEncrypt0, Content: []any{
		unhex(t, "a10101"), map[int]int{}, make([]byte, MaxSize),
	}})
	require.NoError(t, err)
	_, err = ParseEncrypt0(large)
	require.ErrorIs(t, err, ErrMalformed)
}

// TestCCMAgainstRFC3610 is packet vector 1 of RFC 3610, section 8, which has the M and L of this package.
func TestCCMAgainstRFC3610(t *testing.T) {
	aead, err := newAEAD(AESCCM16x64x128, unhex(t, "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf"))
	require.NoError(t, err)
	nonce, aad := unhex(t, "00000003020100a0a1a2a3a4a5"), unhex(t, "0001020304050607")
	plaintext := unhex(t, "08090a0b0c0d0e0f101112131415161718191a1b1c1d1e")
	want := "588c979a61c663d2f066d0c2c0f989806d5f6b61dac38417e8d12cfdf926e0"
	got := aead.Seal([]byte("x"), nonce, plaintext, aad)
	require.Equal(t, "78"+want, hex.EncodeToString(got))
	back, err := aead.Open([]byte("y"), nonce, got[1:], aad)
	require.NoError(t, err)
	require.Equal(t, append([]byte("y"), plaintext...), back)
	require.Equal(t, 13, aead.NonceSize())
	require.Equal(t, 8, aead.Overhead())
	_, err = aead.Open(nil, nonce, make([]byte, 7), nil)
	require.Error(t, err)
	require.Panics(t, func() { aead.Seal(nil, nonce[1:], nil, nil) })
}

func FuzzEncrypt0(f *testing.F) {
	for _, v := range vectors(f) {
		f.Add(unhex(f, v.Message))
	}
	key := unhex(f, "849b57219dae48de646d07dbb533566e")
	f.Fuzz(func(t *testing.T, message []byte) {
		m, err := ParseEncrypt0(message)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformed)
			return
		}
		if _, err := m.Open(A128GCM, key, nil); err == nil {
			require.Equal(t, A128GCM, m.Algorithm())
		}
		_, _ = m.Open(AESCCM16x64x128, key, nil)
	})
}
