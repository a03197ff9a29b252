package aceserver

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"
)

// jwks reads the JWK Set as a broker does.
func (f *fixture) jwks() *jose.JSONWebKeySet {
	f.t.Helper()
	r := f.get("/jwks")
	require.Equal(f.t, http.StatusOK, r.status)
	require.Equal(f.t, "application/jwk-set+json", r.header.Get("Content-Type"))
	require.Contains(f.t, r.header.Get("Cache-Control"), "max-age")
	var set jose.JSONWebKeySet
	require.NoError(f.t, json.Unmarshal(r.body, &set))
	return &set
}

// TestKeysRotateUnderTokensThatAreOut: every token verifies with the published keys before, during and after a
// rotation.
func TestKeysRotateUnderTokensThatAreOut(t *testing.T) {
	f := start(t)
	client := newP256()
	f = f.with(certify(t, client, "alice.example", nil))
	ask := func() string {
		token, _ := f.ask(object{"audience": "signed", "req_cnf": jwkOf(t, client.Public(), "")})
		return string(token)
	}
	verify := func(token, kid string) {
		t.Helper()
		signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.EdDSA, jose.ES256})
		require.NoError(t, err)
		require.Equal(t, kid, signed.Signatures[0].Header.KeyID)
		set := f.jwks()
		keys := set.Key(kid)
		require.Len(t, keys, 1)
		require.True(t, keys[0].IsPublic())
		require.Equal(t, "sig", keys[0].Use)
		require.Equal(t, signed.Signatures[0].Header.Algorithm, keys[0].Algorithm)
		_, err = signed.Verify(keys[0])
		require.NoError(t, err)
	}
	first := ask()
	old, next := SigningKey{"s1", f.signer}, SigningKey{"s2", newP256()}
	require.NoError(t, f.SetKeys([]SigningKey{old, next})) // announced
	verify(ask(), "s1")
	require.NoError(t, f.SetKeys([]SigningKey{next, old})) // in use
	verify(first, "s1")
	second := ask()
	verify(second, "s2")
	require.NoError(t, f.SetKeys([]SigningKey{next})) // alone
	verify(second, "s2")
	require.Error(t, f.SetKeys(nil))
	verify(ask(), "s2")
	r := f.get("/jwks")
	require.NotContains(t, string(r.body), `"d"`)
}

// TestKeysAreNamedByThumbprint: RFC 7638, unless the program has a name for them.
func TestKeysAreNamedByThumbprint(t *testing.T) {
	key := newEd25519()
	f := start(t, func(_ *fixture, cfg *Config) { cfg.Keys = []SigningKey{{Key: key}} })
	want, err := thumbprintOf(key.Public())
	require.NoError(t, err)
	require.Len(t, f.jwks().Key(want), 1)
}

// TestMetadata: RFC 8414, also for an issuer with a path.
func TestMetadata(t *testing.T) {
	for _, path := range []string{"", "/mqtt/as"} {
		f := start(t, func(_ *fixture, cfg *Config) { cfg.Issuer = "https://as.example" + path })
		o := f.get("/.well-known/oauth-authorization-server"+path).members(t, http.StatusOK)
		require.Equal(t, "https://as.example"+path, o["issuer"])
		require.Equal(t, []any{"client_credentials"}, o["grant_types_supported"])
		require.Equal(t, []any{}, o["response_types_supported"])
		require.NotContains(t, o["token_endpoint_auth_methods_supported"], "tls_client_auth")
		for member, status := range map[string]int{
			"token_endpoint": 415, "introspection_endpoint": 415, "revocation_endpoint": 415, "registration_endpoint": 415,
		} {
			at := strings.TrimPrefix(o[member].(string), "https://as.example")
			require.Equal(t, status, f.post(at, "text/plain", nil).status, member)
		}
		require.Equal(t, http.StatusOK, f.get(strings.TrimPrefix(o["jwks_uri"].(string), "https://as.example")).status)
	}
}
