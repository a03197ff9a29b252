package pop

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestT2Identity is the identity of a pre-shared key that the broker has from a token, in both forms.
func TestT2Identity(t *testing.T) {
	id := PSKIdentityCBOR("\x01\x02\x03\x04\x05\x06\x07\x08")
	require.Equal(t, "a108a101a201040248"+"0102030405060708", hex.EncodeToString([]byte(id)))
	text, err := PSKIdentityJSON("key-7")
	require.NoError(t, err)
	require.JSONEq(t, `{"cnf":{"jwk":{"kty":"oct","kid":"key-7"}}}`, text)

	for _, n := range []int{1, 8, 23, 24, 255, 256, maxKeyID} {
		keyID := strings.Repeat("k", n)
		got, ok := ParsePSKIdentity(PSKIdentityCBOR(keyID))
		require.True(t, ok, n)
		require.Equal(t, keyID, got)
		text, err := PSKIdentityJSON(keyID)
		require.NoError(t, err)
		got, ok = ParsePSKIdentity(text)
		require.True(t, ok, n)
		require.Equal(t, keyID, got)
	}
}

// TestIdentityIsNoText: JSON has no name for it, and must not give it another key's.
func TestIdentityIsNoText(t *testing.T) {
	_, err := PSKIdentityJSON("\xff")
	require.ErrorIs(t, err, ErrKey)
}

func TestOtherIdentities(t *testing.T) {
	cbor := PSKIdentityCBOR("12345678")
	for _, id := range []string{
		"", "device-7", "eyJhbGciOiJkaXIifQ..x.y.z", cbor[:8], cbor[:len(cbor)-1], cbor + "x", cbor[:8] + "\x58\x08" + cbor[9:],
		cbor[:8] + "\x40", cbor[:8] + "\x59\x00\x18" + strings.Repeat("k", 24), PSKIdentityCBOR(strings.Repeat("k", maxKeyID+1)),
		cbor[:8], cbor[:8] + "\x58", cbor[:8] + "\x59\x01", cbor[:8] + "\x5f" + strings.Repeat("k", 31),
		` {"cnf":{"jwk":{"kty":"oct","kid":"a"}}}`, `{"cnf":{"jwk":{"kty":"oct","kid":"` + strings.Repeat("k", maxKeyID+1) + `"}}}`,
		`{"cnf":{"jwk":{"kty":"oct","kid":"a"}}` + strings.Repeat(" ", 6*maxKeyID) + `}`,
		`{}`, `{"cnf":{"jwk":{"kty":"EC","kid":"a"}}}`, `{"cnf":{"jwk":{"kty":"oct"}}}`, `{"cnf":{"jwk":{"kty":"oct","kid":"a","k":"AA"}}}`,
		`{"cnf":{"jwk":{"kty":"oct","kid":"a"}}}{}`, `{"cnf":{"kid":"a"}}`, `{"cnf":`,
		`{"cnf":{"jwk":{"kty":"oct","kid":"a"}}}}`, `{"cnf":{"jwk":{"kty":"oct","kid":"a"}}}]`, `{"cnf":{"jwk":{"kty":"oct","kid":"a"}}}x`,
		`{"cnf":{"jwk":{"kty":"oct","kid":"a","kid":"b"}}}`, `{"cnf":{"jwk":{"kty":"oct","KID":"a"}}}`, `{"CNF":{"jwk":{"kty":"oct","kid":"a"}}}`,
		`{"cnf":{"jwk":{"kty":"oct","kid":"a"},"jwk":{"kty":"oct","kid":"a"}}}`, `{"cnf":{"jwk":{"kty":"oct","kid":"a"},"kid":"a"}}`,
		`{"cnf":{"jwk":{"kty":"oct","kid":null}}}`, `{"cnf":{"jwk":{"kty":"oct","kid":7}}}`, `{"cnf":null}`, `{"jwk":{"kty":"oct","kid":"a"}}`,
		`{"cnf":{"jwk":{"kty":"oct","kid":"a"}},"x":1}`,
	} {
		_, ok := ParsePSKIdentity(id)
		require.False(t, ok, "%q", id)
	}
}

func TestPSKIsTheSharedSecret(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, 32)
	v, err := SharedKey(secret)
	require.NoError(t, err)
	got := v.PSK()
	require.Equal(t, secret, got)
	clear(got)
	require.Equal(t, secret, v.PSK(), "a copy")
	public, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	v, err = PublicKey(public)
	require.NoError(t, err)
	require.Nil(t, v.PSK())
	require.Nil(t, Verifier{}.PSK())
}

func FuzzPSKIdentity(f *testing.F) {
	f.Add(PSKIdentityCBOR("12345678"))
	f.Add(`{"cnf":{"jwk":{"kty":"oct","kid":"key-7"}}}`)
	f.Fuzz(func(t *testing.T, identity string) {
		keyID, ok := ParsePSKIdentity(identity)
		if !ok {
			return
		}
		again, ok := ParsePSKIdentity(PSKIdentityCBOR(keyID))
		require.True(t, ok)
		require.Equal(t, keyID, again)
	})
}
