package aceserver

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
)

// TestErrorsInBothFamilies: A-9, each error that a client can get, with its status, in JSON and CBOR.
func TestErrorsInBothFamilies(t *testing.T) {
	f := start(t)
	alice, nobody := f.basic("alice"), func(*http.Request) {}
	for _, c := range []struct {
		name   string
		status int
		code   string
		number int64
		edit   func(*http.Request)
		json   object
		cbor   map[int64]any
	}{
		{"parameter of another type", 400, "invalid_request", 1, alice,
			object{"audience": 1}, map[int64]any{claims.LabelAudience: 1}},
		{"no audience", 400, "invalid_request", 1, alice,
			object{}, map[int64]any{}},
		{"nobody", 401, "invalid_client", 2, nobody,
			object{"audience": "jwt"}, map[int64]any{claims.LabelAudience: "jwt"}},
		{"audience that it may not have", 400, "unauthorized_client", 4, alice,
			object{"audience": "elsewhere"}, map[int64]any{claims.LabelAudience: "elsewhere"}},
		{"another grant type", 400, "unsupported_grant_type", 5, alice,
			object{"audience": "jwt", "grant_type": "password"}, map[int64]any{claims.LabelAudience: "jwt", claims.LabelGrantType: 0}},
		{"unknown grant type", 400, "unsupported_grant_type", 5, alice,
			object{"audience": "jwt", "grant_type": "novel"}, map[int64]any{claims.LabelAudience: "jwt", claims.LabelGrantType: 99}},
		{"refresh token", 400, "unsupported_grant_type", 5, alice, // and with that C-5
			object{"audience": "jwt", "refresh_token": "x"}, map[int64]any{claims.LabelAudience: "jwt", claims.LabelRefreshToken: []byte("x")}},
		{"scope beyond the policy", 400, "invalid_scope", 6, alice,
			object{"audience": "jwt", "scope": [][2]any{{"#", []string{"sub"}}}},
			map[int64]any{claims.LabelAudience: "jwt", claims.LabelTokenScope: []any{[]any{"#", []string{"sub"}}}}},
		{"scope of another kind", 400, "invalid_scope", 6, alice,
			object{"audience": "jwt", "scope": "read write"}, map[int64]any{claims.LabelAudience: "jwt", claims.LabelTokenScope: "read write"}},
		{"key that is unknown", 400, "unsupported_pop_key", 7, alice,
			object{"audience": "jwt", "req_cnf": object{"kid": "x"}},
			map[int64]any{claims.LabelAudience: "jwt", claims.LabelReqCnf: map[int64]any{claims.CnfKeyID: []byte("x")}}},
		{"another profile", 400, "incompatible_ace_profiles", 8, alice,
			object{"audience": "jwt", "ace_profile": "coap_oscore"}, map[int64]any{claims.LabelAudience: "jwt", claims.LabelProfile: 2}},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := f.json("/token", c.json, c.edit)
			r.refused(t, c.status, c.code)
			require.Equal(t, claims.TypeACEJSON, r.header.Get("Content-Type"))
			r = f.cbor("/token", c.cbor, c.edit)
			m := r.labels(t, c.status)
			require.Equal(t, c.number, m[claims.LabelError])
			require.NotEmpty(t, m[claims.LabelErrorDescription])
			require.Equal(t, "no-store", r.header.Get("Cache-Control"))
			require.Equal(t, c.status == http.StatusUnauthorized, r.header.Get("WWW-Authenticate") != "")
		})
	}
}

// TestBodiesThatAreNotUnderstood are refused before anybody is asked who they are.
func TestBodiesThatAreNotUnderstood(t *testing.T) {
	f := start(t)
	big := `{"audience":"` + strings.Repeat("a", maxBody) + `"}`
	for _, path := range []string{"/token", "/introspect", "/revoke"} {
		for _, c := range []struct {
			contentType, body string
			status            int
		}{
			{claims.TypeACEJSON, ``, 400},
			{claims.TypeACEJSON, `{`, 400},
			{claims.TypeACEJSON, `[]`, 400},
			{claims.TypeACEJSON, `{"a":1}{}`, 400},
			{claims.TypeACEJSON, `{"audience":"jwt","audience":"cwt"}`, 400},
			{claims.TypeACEJSON, `{"client_id":null}`, 400},
			{claims.TypeACEJSON, "\xa0", 400}, // CBOR
			{claims.TypeACECBOR, `{}`, 400},   // JSON
			{claims.TypeACECBOR, "\xa0\xa0", 400},
			{claims.TypeACECBOR, "\xa2\x05\x61a\x05\x61b", 400},
			{claims.TypeACECBOR, "\xbf\xff", 400},
			{claims.TypeACECBOR, "\xa1\x18\x18\x01", 400},
			{claims.TypeForm, `a=%zz`, 400},
			{claims.TypeForm, `audience=a&audience=b`, 400},
			{claims.TypeForm, "audience=%ff", 400},
			{claims.TypeForm, `{"audience":"jwt"}`, 400},
			{claims.TypeACEJSON, big, 413},
			{claims.TypeACECBOR, big, 413},
			{claims.TypeForm, big, 413},
			{"", `{}`, 415},
			{"text/plain", `{}`, 415},
			{"application/xml", `<x/>`, 415},
			{claims.TypeACEJSON + "; charset=utf-16", `{}`, 415},
			{"multipart/form-data; boundary=x", `--x--`, 415},
		} {
			r := f.post(path, c.contentType, []byte(c.body), accept(claims.TypeJSON))
			if c.status == 400 && path == "/token" && c.contentType == claims.TypeForm && c.body[0] == '{' {
				continue // a form with a strange name, and nobody's
			}
			r.refused(t, c.status, "invalid_request")
		}
	}
	r := f.post("/token", claims.TypeACEJSON, []byte(`{}`), f.basic("alice"), func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") })
	r.refused(t, http.StatusUnsupportedMediaType, "invalid_request")
}

func TestMethodsAndPaths(t *testing.T) {
	f := start(t)
	for _, path := range []string{"/token", "/introspect", "/revoke", "/register"} {
		require.Equal(t, http.StatusMethodNotAllowed, f.get(path).status)
	}
	require.Equal(t, http.StatusNotFound, f.get("/").status)
	require.Equal(t, http.StatusNotFound, f.json("/authorize", object{}).status)
}
