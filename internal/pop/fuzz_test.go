package pop

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzAuthData: what parses is what is encoded again, byte for byte.
func FuzzAuthData(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 1, 'a'})
	f.Add(append([]byte{0, 1, 'a'}, make([]byte, 32)...))
	f.Add(append([]byte{0, 1, 'a'}, make([]byte, 64)...))
	f.Add(make([]byte, 72))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := ParseAuthData(b); err == nil && len(b) <= maxField {
			again, err := a.Append(nil)
			require.NoError(t, err)
			require.True(t, bytes.Equal(b, again))
		}
		if r, err := ParseReply(b); err == nil {
			require.True(t, bytes.Equal(b, r.Append(nil)))
		}
	})
}

// FuzzUsername: a token in base64url has one User Name.
func FuzzUsername(f *testing.F) {
	f.Add([]byte("acecmVmLXRva2VuLTAwMDE"))
	f.Add([]byte("aceeyJhbGciOiJFUzI1NiJ9.e30.c2ln"))
	f.Add([]byte("ace"))
	f.Fuzz(func(t *testing.T, b []byte) {
		token, err := ParseUsername(b)
		if err != nil || bytes.IndexByte(b, '.') >= 0 || len(b) > maxField {
			return
		}
		again, err := Username(token)
		require.NoError(t, err)
		require.Equal(t, string(b), again)
	})
}

// FuzzJWK: a key that parses can be written and read again as the same.
func FuzzJWK(f *testing.F) {
	f.Add([]byte(`{"kty":"oct","k":"AAECAwQFBgcICQoLDA0ODw","kid":"1","key_ops":["sign"]}`))
	f.Add([]byte(`{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`))
	f.Add([]byte(`{"kty":"OKP","crv":"Ed25519","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"}`))
	f.Add([]byte(`{"kty":"RSA","n":"AQAB","e":"AQAB"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseJWK(b)
		if err != nil {
			require.ErrorIs(t, err, ErrKey)
			return
		}
		v, err := k.Verifier()
		if err != nil {
			require.ErrorIs(t, err, ErrKey)
			return
		}
		text, err := k.Encode()
		require.NoError(t, err)
		again, err := ParseJWK(text)
		require.NoError(t, err)
		w, err := again.Verifier()
		require.NoError(t, err)
		require.Equal(t, v.Fingerprint(), w.Fingerprint())
		_ = v.Verify(b, b)
	})
}
