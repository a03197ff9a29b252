package acebroker

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/layer/layertest"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// TestKeySetThatReturnsMore: a KeySet is somebody else's. A key that it returns counts only for its own kid.
func TestKeySetThatReturnsMore(t *testing.T) {
	a := newAS(t, "as")
	keys := a.keys()
	cfg := configFor(a, layertest.NewClock(base))
	cfg.Issuers[0].Keys = keySet(func(string, Algorithm) []Key { return keys })
	v := newTestVerifier(t, cfg)
	token := a.sign(jsonOf(t, a.claimSet(holder(t, pop.EdDSA).Verifier())), EdDSA, nil)
	for i := range keys {
		if keys[i].Algorithm == EdDSA {
			keys[i].ID += "another"
		}
	}
	_, err := v.verify(context.Background(), token)
	require.ErrorIs(t, err, ErrWrapper)
	keys = a.keys()
	_, err = v.verify(context.Background(), token)
	require.NoError(t, err)
}

// TestKeyOfAnotherAlgorithm: a key counts only for its algorithm, whatever a KeySet returns (RFC 8725, section 3.1).
func TestKeyOfAnotherAlgorithm(t *testing.T) {
	a := newAS(t, "as")
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	require.NoError(t, err)
	cfg := configFor(a, layertest.NewClock(base))
	cfg.Algorithms = []Algorithm{PS256, RS256}
	keys := []Key{{ID: "rsa", Algorithm: PS256, Key: key.Public()}}
	cfg.Issuers[0].Keys = keySet(func(string, Algorithm) []Key { return keys })
	v := newTestVerifier(t, cfg)
	payload := jsonOf(t, a.claimSet(holder(t, pop.EdDSA).Verifier()))
	for algorithm, want := range map[Algorithm]error{PS256: nil, RS256: ErrWrapper} {
		signer, err := jose.NewSigner(jose.SigningKey{
			Algorithm: jose.SignatureAlgorithm(algorithm), Key: jose.JSONWebKey{Key: key, KeyID: "rsa"},
		}, nil)
		require.NoError(t, err)
		jws, err := signer.Sign(payload)
		require.NoError(t, err)
		token, err := jws.CompactSerialize()
		require.NoError(t, err)
		_, err = v.verify(t.Context(), []byte(token))
		require.ErrorIs(t, err, want, algorithm)
	}
}

// TestJWKSNamesAreCaseSensitive: another member than "keys", or a second one, has no keys to verify tokens with.
func TestJWKSNamesAreCaseSensitive(t *testing.T) {
	const set = `[{"kty":"OKP","crv":"Ed25519","kid":"a","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}]`
	keys, err := parseJWKS([]byte(`{"keys":` + set + `,"Keys":[],"KEYS":7}`))
	require.NoError(t, err)
	require.Len(t, keys, 1)
	for _, bad := range []string{`{"Keys":` + set + `}`, `{"keys":` + set + `,"keys":` + set + `}`, `{"keys":null}`, `null`, `{"keys":` + set + `}}`} {
		_, err := parseJWKS([]byte(bad))
		require.Error(t, err, bad)
	}
	keys, err = parseJWKS([]byte(`{"keys":[{"KTY":"OKP","crv":"Ed25519","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"}]}`))
	require.NoError(t, err)
	require.Empty(t, keys)
	keys, err = parseJWKS([]byte(strings.Replace(`{"keys":`+set+`}`, `"x"`, `"x":"AA","x"`, 1)))
	require.NoError(t, err)
	require.Empty(t, keys)
}
