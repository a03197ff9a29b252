package aceserver

import (
	"crypto/x509"
	"encoding/base64"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/strict"
)

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

// register registers a client that authenticates by secret.
func (f *fixture) register(t *testing.T, invitation Invitation, metadata object) (id, secret string) {
	t.Helper()
	invite, err := f.Invite(t.Context(), invitation)
	require.NoError(t, err)
	o := f.json("/register", metadata, bearer(invite)).members(t, http.StatusCreated)
	return o["client_id"].(string), o["client_secret"].(string)
}

// TestRegistration: RFC 7591, and that what has registered can get tokens as a member of its group.
func TestRegistration(t *testing.T) {
	f := start(t, func(_ *fixture, cfg *Config) {
		cfg.Policies = []Policy{{Group: "meters", Audience: "ref", Scope: Scope{{Filter: "meter/{client_id}", Publish: true}}}}
	})
	invite, err := f.Invite(t.Context(), Invitation{Group: "meters", Uses: 2})
	require.NoError(t, err)
	r := f.json("/register", object{"client_name": "Meter 7", "software_id": "passed over"}, bearer(invite))
	o := r.members(t, http.StatusCreated)
	require.Equal(t, claims.TypeJSON, r.header.Get("Content-Type"))
	require.Equal(t, "no-store", r.header.Get("Cache-Control"))
	require.Equal(t, "Meter 7", o["client_name"])
	require.Equal(t, "client_secret_basic", o["token_endpoint_auth_method"])
	require.Equal(t, []any{"client_credentials"}, o["grant_types"])
	require.EqualValues(t, 0, o["client_secret_expires_at"])
	require.WithinDuration(t, time.Now(), time.Unix(int64(o["client_id_issued_at"].(float64)), 0), time.Minute)
	id := o["client_id"].(string)
	f.secrets[id] = o["client_secret"].(string)
	require.GreaterOrEqual(t, len(f.secrets[id]), 43)

	o = f.json("/token", object{}, f.basic(id)).members(t, http.StatusOK)
	require.Equal(t, scopeText(t, Scope{{Filter: "meter/" + id, Publish: true}}), o["scope"])
	other := f.json("/register", object{}, bearer(invite)).members(t, http.StatusCreated)
	require.NotEqual(t, id, other["client_id"])
	f.json("/register", object{}, bearer(invite)).refused(t, http.StatusUnauthorized, "invalid_token")

	id, f.secrets["x"] = f.register(t, Invitation{}, object{}) // of no group
	f.json("/token", object{"client_id": id, "client_secret": f.secrets["x"]}).refused(t, http.StatusBadRequest, "invalid_request")
}

// TestRegistrationByCertificate: both methods of RFC 8705, and a key that tokens may be bound to.
func TestRegistrationByCertificate(t *testing.T) {
	key := newEd25519()
	own := certify(t, key, "own.example", nil)
	authority := certify(t, newP256(), "ca.example", nil)
	issued := certify(t, newP256(), "device.example", &authority)
	f := start(t, func(_ *fixture, cfg *Config) { cfg.ClientCAs = pool(authority) })
	invite := func() func(*http.Request) {
		token, err := f.Invite(t.Context(), Invitation{})
		require.NoError(t, err)
		return bearer(token)
	}
	jwk := jwkOf(t, key.Public(), "")["jwk"].(object)
	jwk["x5c"] = []string{base64.StdEncoding.EncodeToString(own.Leaf.Raw)}
	selfSigned := object{"token_endpoint_auth_method": "self_signed_tls_client_auth", "jwks": object{"keys": []any{jwk}}}

	for _, wrong := range [][]any{
		{object{"kty": "OKP", "crv": "Ed25519", "x": jwk["x"], "x5c": []string{base64.StdEncoding.EncodeToString(issued.Leaf.Raw)}}},
		{object{"kty": "OKP", "crv": "Ed25519", "x": jwk["x"], "x5c": []string{"?"}}},
		{jwk, jwk}, // more than one certificate
	} {
		f.with(own).json("/register", object{"jwks": object{"keys": wrong}}, invite()).
			refused(t, http.StatusBadRequest, "invalid_client_metadata")
	}
	f.json("/register", selfSigned, invite()).refused(t, http.StatusBadRequest, "invalid_client_metadata") // a key that nobody has shown
	f.with(issued).json("/register", selfSigned, invite()).refused(t, http.StatusBadRequest, "invalid_client_metadata")
	o := f.with(own).json("/register", selfSigned, invite()).members(t, http.StatusCreated)
	require.NotContains(t, o, "client_secret")
	id := o["client_id"]
	bound := object{"client_id": id, "audience": "ref", "req_cnf": jwkOf(t, key.Public(), "")}
	f.with(own).json("/token", bound).members(t, http.StatusOK)
	f.with(issued).json("/token", bound).refused(t, http.StatusUnauthorized, "invalid_client")

	o = f.json("/register", object{"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": "device.example"}, invite()).
		members(t, http.StatusCreated)
	f.with(issued).json("/token", object{"client_id": o["client_id"], "audience": "ref"}).members(t, http.StatusOK)
	f.with(own).json("/token", object{"client_id": o["client_id"], "audience": "ref"}).refused(t, http.StatusUnauthorized, "invalid_client")
}

func TestRegistrationThatIsRefused(t *testing.T) {
	f := start(t)
	invite, err := f.Invite(t.Context(), Invitation{})
	require.NoError(t, err)
	expired, err := f.Invite(t.Context(), Invitation{Lifetime: time.Nanosecond})
	require.NoError(t, err)
	p256, err := x509.MarshalPKIXPublicKey(newP256().Public())
	require.NoError(t, err)
	for name, metadata := range map[string]object{
		"grant type":     {"grant_types": []string{"client_credentials", "password"}},
		"type":           {"client_name": 1},
		"long name":      {"client_name": string(make([]byte, maxName+1))},
		"method":         {"token_endpoint_auth_method": "none"},
		"no certificate": {"token_endpoint_auth_method": "self_signed_tls_client_auth"},
		"no DNS name":    {"token_endpoint_auth_method": "tls_client_auth"},
		"long DNS name":  {"token_endpoint_auth_method": "tls_client_auth", "tls_client_auth_san_dns": strings.Repeat("x", 254)},
		"no keys":        {"jwks": object{"keys": []any{}}},
		"secret key":     {"jwks": object{"keys": []any{object{"kty": "oct", "k": "AAAAAAAAAAAAAAAAAAAAAA"}}}},
		"not a key":      {"jwks": object{"keys": []any{"x"}}},
		"unproven key":   {"jwks": object{"keys": []any{jwkOf(t, newEd25519().Public(), "")["jwk"]}}},
		"key's case":     {"jwks": object{"keys": []any{object{"KTY": "OKP", "crv": "Ed25519", "x": strict.EncodeText(random(32))}}}},
		"keys' case":     {"jwks": object{"Keys": []any{jwkOf(t, newEd25519().Public(), "")["jwk"]}}},
		"x5c":            {"jwks": object{"keys": []any{object{"kty": "OKP", "crv": "Ed25519", "x": strict.EncodeText(random(32)), "x5c": []string{base64.StdEncoding.EncodeToString(p256)}}}}},
	} {
		t.Run(name, func(t *testing.T) {
			f.json("/register", metadata, bearer(invite)).refused(t, http.StatusBadRequest, "invalid_client_metadata")
			// Without a token nobody learns what is wrong with the rest.
			f.json("/register", metadata, bearer("wrong")).refused(t, http.StatusUnauthorized, "invalid_token")
		})
	}
	for name, edit := range map[string]func(*http.Request){
		"nothing": func(*http.Request) {}, "another scheme": func(r *http.Request) { r.Header.Set("Authorization", "Basic "+invite) }, "wrong": bearer("wrong"), "empty": bearer(""), "expired": bearer(expired),
	} {
		t.Run(name, func(t *testing.T) {
			r := f.json("/register", object{}, edit)
			r.refused(t, http.StatusUnauthorized, "invalid_token")
			require.Contains(t, r.header.Get("WWW-Authenticate"), "Bearer")
		})
	}
	key := newEd25519()
	many := make([]any, maxKeys+1)
	for i := range many {
		many[i] = jwkOf(t, key.Public(), "")["jwk"]
	}
	f.with(certify(t, key, "own.example", nil)).json("/register", object{"jwks": object{"keys": many}}, bearer(invite)).
		refused(t, http.StatusBadRequest, "invalid_client_metadata")
	f.post("/register", claims.TypeForm, []byte("client_name=x"), bearer(invite)).refused(t, http.StatusUnsupportedMediaType, "invalid_client_metadata")
	f.json("/register", object{}, bearer(invite)).members(t, http.StatusCreated) // it has not been used up by all that
	for _, bad := range []Invitation{{Uses: -1}, {Lifetime: -1}} {
		_, err = f.Invite(t.Context(), bad)
		require.Error(t, err)
	}
}

// TestRegistrationNamesAreCaseSensitive: members of another case are unknown ones, which are passed over, and two of
// one name are refused, on every level.
func TestRegistrationNamesAreCaseSensitive(t *testing.T) {
	f := start(t)
	invite, err := f.Invite(t.Context(), Invitation{})
	require.NoError(t, err)
	register := func(body string) reply {
		return f.post("/register", claims.TypeJSON, []byte(body), bearer(invite))
	}
	for _, twice := range []string{
		`{"client_name":"a","client_name":"b"}`, `{"jwks":{"keys":[],"keys":[]}}`, `{"jwks":{"keys":[{"kty":"OKP","kty":"OKP"}]}}`,
	} {
		register(twice).refused(t, http.StatusBadRequest, "invalid_client_metadata")
	}
	o := register(`{"CLIENT_NAME":"a","Token_Endpoint_Auth_Method":"none","Grant_Types":["password"],"JWKS":{"keys":[]}}`).members(t, http.StatusCreated)
	require.NotContains(t, o, "client_name")
	require.Equal(t, "client_secret_basic", o["token_endpoint_auth_method"])
}

// TestInitialAccessTokenIsNotReplayed: of many who use one at the same time one becomes a client.
func TestInitialAccessTokenIsNotReplayed(t *testing.T) {
	f := start(t)
	invite, err := f.Invite(t.Context(), Invitation{})
	require.NoError(t, err)
	var registered atomic.Int32
	var running sync.WaitGroup
	for range 16 {
		running.Go(func() {
			if f.json("/register", object{}, bearer(invite)).status == http.StatusCreated {
				registered.Add(1)
			}
		})
	}
	running.Wait()
	require.EqualValues(t, 1, registered.Load())
}
