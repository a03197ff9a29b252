package acebroker

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"math/big"
	"strings"
	"testing"
	"time"

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

// TestKeyFitsItsAlgorithm: of everything else a Config, and a published set, is made no use.
func TestKeyFitsItsAlgorithm(t *testing.T) {
	modulus := func(bits uint) *rsa.PublicKey {
		return &rsa.PublicKey{N: new(big.Int).Lsh(big.NewInt(1), bits-1), E: 65537}
	}
	a := newAS(t, "as")
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	require.NoError(t, err)
	for _, k := range append(a.keys(), Key{Algorithm: PS256, Key: modulus(2048)}, Key{Algorithm: RS256, Key: modulus(2048)}) {
		require.NoError(t, k.check(), "%v", k)
	}
	for _, k := range []Key{
		{Algorithm: ES256, Key: a.ed.Public()}, {Algorithm: EdDSA, Key: a.ed.Public().(ed25519.PublicKey)[1:]}, {Algorithm: EdDSA, Key: a.ed},
		{Algorithm: EdDSA, Key: a.ec.Public()}, {Algorithm: ES256, Key: p384.Public()}, {Algorithm: ES256, Key: (*ecdsa.PublicKey)(nil)},
		{Algorithm: PS256, Key: modulus(2047)}, {Algorithm: ES256, Key: modulus(2048)}, {Algorithm: PS256, Key: &rsa.PublicKey{E: 3}},
		{Algorithm: RS256, Key: (*rsa.PublicKey)(nil)},
		{Algorithm: A128GCM, Key: a.secret}, {Algorithm: A256GCM, Key: a.short}, {Algorithm: EdDSA, Key: []byte{}}, {Key: []byte{}}, {Algorithm: EdDSA},
	} {
		require.Error(t, k.check(), "%v", k)
	}
}

// TestStaticKeys: those of the name for the algorithm, so many as are tried on one token and no more.
func TestStaticKeys(t *testing.T) {
	keys := StaticKeys{{ID: "a", Algorithm: ES256}, {Algorithm: EdDSA}}
	for range maxCandidates + 1 {
		keys = append(keys, Key{Algorithm: ES256})
	}
	found, err := keys.Keys(t.Context(), "", ES256)
	require.NoError(t, err)
	require.Equal(t, []Key(keys[2:2+maxCandidates]), found)
}

// TestJWKSPurposes: a key counts for what it says it is for.
func TestJWKSPurposes(t *testing.T) {
	for more, want := range map[string]int{
		``: 1, `,"use":"sig"`: 1, `,"use":"enc"`: 0, `,"alg":"EdDSA"`: 1, `,"alg":"Ed25519"`: 1, `,"alg":"ES256"`: 0, `,"alg":"A128GCM"`: 0,
	} {
		keys, err := parseJWKS([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg"` + more + `}]}`))
		require.NoError(t, err)
		require.Len(t, keys, want, more)
		if want > 0 {
			require.Equal(t, EdDSA, keys[0].Algorithm)
		}
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

// TestKnownKeys: the key that a name stands for is the last, of that owner, for as long as the longest token with it.
func TestKnownKeys(t *testing.T) {
	k := knownKeys{recent: recent[keyName, knownKey]{limit: 10}}
	key, other := holder(t, pop.EdDSA).Verifier(), holder(t, pop.EdDSA).Verifier()
	is := func(want pop.Verifier, owner, id string, hours int) {
		t.Helper()
		got, ok := k.get(owner, id, base.Add(time.Duration(hours)*time.Hour-time.Second))
		require.Equal(t, want.Algorithm() != "", ok)
		require.Equal(t, want.Fingerprint(), got.Fingerprint())
	}
	for _, hours := range []int{2, 1, 3, 2} {
		k.put("alice", "kid", key, base.Add(time.Duration(hours)*time.Hour), base)
	}
	is(key, "alice", "kid", 3)
	is(pop.Verifier{}, "alice", "kid", 4)
	is(pop.Verifier{}, "bob", "kid", 1)
	is(pop.Verifier{}, "alice", "another", 1)
	k.put("alice", "kid", other, base.Add(time.Hour), base)
	is(other, "alice", "kid", 1)
	is(pop.Verifier{}, "alice", "kid", 2)
}
