package presentcipher

import (
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

type hexBytes []byte

func (h *hexBytes) UnmarshalText(text []byte) (err error) {
	*h, err = hex.DecodeString(string(text))
	return err
}

type vectorFile struct {
	Block    []struct{ Key, Plaintext, Ciphertext hexBytes }
	LightMAC []struct{ K1, K2, Msg, Tag hexBytes }
	AEAD     []struct{ Key, Nonce, AD, Plaintext, Sealed hexBytes }
}

func vectors(t testing.TB) (v vectorFile) {
	t.Helper()
	f, err := os.Open("testdata/vectors.json")
	require.NoError(t, err)
	defer f.Close()
	d := json.NewDecoder(f)
	d.DisallowUnknownFields()
	require.NoError(t, d.Decode(&v))
	require.NotEmpty(t, v.Block)
	require.NotEmpty(t, v.LightMAC)
	require.NotEmpty(t, v.AEAD)
	return v
}

func TestBlockVectors(t *testing.T) {
	for _, v := range vectors(t).Block {
		c, err := NewCipher(v.Key)
		require.NoError(t, err)
		got := make([]byte, BlockSize)
		c.Encrypt(got, v.Plaintext)
		require.Equal(t, []byte(v.Ciphertext), got, "key %x", v.Key)
		c.Decrypt(got, got)
		require.Equal(t, []byte(v.Plaintext), got, "key %x", v.Key)
	}
}

func TestAEADVectors(t *testing.T) {
	for _, v := range vectors(t).AEAD {
		a, err := NewAEAD([KeySize]byte(v.Key))
		require.NoError(t, err)
		require.Equal(t, NonceSize, a.NonceSize())
		require.Equal(t, Overhead, a.Overhead())
		sealed := a.Seal(nil, v.Nonce, v.Plaintext, v.AD)
		require.Equal(t, []byte(v.Sealed), sealed)
		opened, err := a.Open(nil, v.Nonce, sealed, v.AD)
		require.NoError(t, err)
		require.Equal(t, string(v.Plaintext), string(opened))
	}
}
