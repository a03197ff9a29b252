package seal

import (
	"bytes"
	"crypto/sha3"
	"encoding/hex"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
)

// The vectors of https://c2sp.org/XAES-256-GCM.
func TestXAESVectors(t *testing.T) {
	for _, v := range []struct {
		key                    byte
		derived, ad, encrypted string
	}{
		{0x01, "c8612c9ed53fe43e8e005b828a1631a0bbcb6ab2f46514ec4f439fcfd0fa969b", "",
			"ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271"},
		{0x03, "e9c621d4cdd9b11b00a6427ad7e559aeedd66b3857646677748f8ca796cb3fd8", "c2sp.org/XAES-256-GCM",
			"986ec1832593df5443a179437fd083bf3fdb41abd740a21f71eb769d"},
	} {
		key := [32]byte(bytes.Repeat([]byte{v.key}, 32))
		nonce := []byte("ABCDEFGHIJKLMNOPQRSTUVWX")
		derived, err := xaesKey(&key, (*[12]byte)(nonce))
		require.NoError(t, err)
		require.Equal(t, v.derived, hex.EncodeToString(derived[:]))
		aead, err := newXAES(&key, (*[12]byte)(nonce))
		require.NoError(t, err)
		encrypted := aead.Seal(nil, nonce[12:], []byte("XAES-256-GCM"), []byte(v.ad))
		require.Equal(t, v.encrypted, hex.EncodeToString(encrypted))
	}
}

// The accumulated vector there: 10,000 random messages of all lengths up to 255.
func TestXAESAccumulated(t *testing.T) {
	random, sum := sha3.NewSHAKE128(), sha3.NewSHAKE128()
	read := func(n int) []byte {
		b := make([]byte, n)
		io.ReadFull(random, b)
		return b
	}
	for range 10_000 {
		key, nonce := [32]byte(read(32)), read(24)
		plaintext := read(int(read(1)[0]))
		ad := read(int(read(1)[0]))
		aead, err := newXAES(&key, (*[12]byte)(nonce))
		require.NoError(t, err)
		sum.Write(aead.Seal(nil, nonce[12:], plaintext, ad))
	}
	digest := make([]byte, 32)
	sum.Read(digest)
	require.Equal(t, "e6b9edf2df6cec60c8cbd864e2211b597fb69a529160cd040d56c0c210081939", hex.EncodeToString(digest))
}
