package aceserver

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/cose"
)

// families of requests by number, as the fuzzer chooses them.
var families = []family{aceJSON, plainJSON, aceCBOR, form}

// fuzzed is a server for targets: its client and its resource server have no limits.
func fuzzed(f *testing.F) *Server {
	f.Helper()
	cfg := mortalConfig(store.NewMemory())
	cfg.Clients = []Client{{ID: "c", Credential: Credential{Secret: hashSecret("s")}}}
	cfg.Policies[0].Scope = Scope{{Filter: "a/{client_id}/#", Publish: true, Subscribe: true}}
	s, err := New(cfg)
	require.NoError(f, err)
	return s
}

// send is one fuzzed request; it checks what holds for every response.
func (s *Server) send(t *testing.T, path, user, password string, kind family, body []byte) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path, strings.NewReader(string(body)))
	r.Header.Set("Content-Type", string(kind))
	if user == "" {
		r.Header.Set("Authorization", "Bearer "+password)
	} else {
		r.SetBasicAuth(user, password)
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	require.Less(t, w.Code, 500, "%s", w.Body)
	require.Equal(t, "no-store", w.Header().Get("Cache-Control"))
	switch {
	case w.Body.Len() == 0:
	case kind == aceCBOR && path != "/register":
		_, err := claims.ParseMap(w.Body.Bytes())
		require.NoError(t, err)
	default:
		require.True(t, json.Valid(w.Body.Bytes()))
	}
	return w
}

// seeds are bodies of each family with the same members.
func seeds(f *testing.F, text string, form url.Values, cbor map[int64]any) {
	f.Helper()
	b, err := cose.Encoding.Marshal(cbor)
	require.NoError(f, err)
	f.Add(byte(0), []byte(text))
	f.Add(byte(1), []byte(text))
	f.Add(byte(2), b)
	f.Add(byte(3), []byte(form.Encode()))
}

// FuzzTokenBody: whatever a client asks for, it gets a scope within its policy or an error.
func FuzzTokenBody(f *testing.F) {
	s := fuzzed(f)
	scope, err := Scope{{Filter: "a/c/x", Publish: true}}.Encode()
	require.NoError(f, err)
	seeds(f,
		`{"audience":"ref","scope":"`+scope+`","cnonce":"AQID","ace_profile":"","req_cnf":{"kid":"x"},"client_id":"c"}`,
		url.Values{"audience": {"ref"}, "scope": {scope}, "req_cnf": {`{"jwk":{"kty":"oct","kid":"x"}}`}},
		map[int64]any{claims.LabelAudience: "ref", claims.LabelProfile: nil, claims.LabelGrantType: 2,
			claims.LabelTokenScope: []any{[]any{"a/c/x", []string{"pub"}}}})
	seeds(f, `{"scope":[["a/c/#",["sub"]]]}`, url.Values{"grant_type": {"password"}}, map[int64]any{claims.LabelCNonce: []byte{1}})
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		family := families[int(kind)%len(families)]
		w := s.send(t, "/token", "c", "s", family, body)
		if w.Code != http.StatusOK {
			return
		}
		var granted aif.Scope
		if family == aceCBOR {
			m, err := claims.ParseMap(w.Body.Bytes())
			require.NoError(t, err)
			granted, err = aif.DecodeClaim(m[claims.LabelTokenScope])
			require.NoError(t, err)
		} else {
			var answer struct{ Scope string }
			require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
			granted, err = aif.Decode(answer.Scope)
			require.NoError(t, err)
		}
		require.True(t, covers(Scope{{Filter: "a/c/#", Publish: true, Subscribe: true}}, granted), "%v", granted)
	})
}

// FuzzIntrospectBody: nobody guesses a token.
func FuzzIntrospectBody(f *testing.F) {
	s := fuzzed(f)
	seeds(f, `{"token":"x","token_type_hint":"pop"}`, url.Values{"token": {"x"}}, map[int64]any{claims.LabelToken: []byte("x"), claims.LabelTokenHint: 2})
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		family := families[int(kind)%len(families)]
		w := s.send(t, "/introspect", "rs", "rs", family, body)
		if w.Code == http.StatusOK && family != aceCBOR {
			require.Equal(t, inactive, w.Body.String())
		}
	})
}

// FuzzRevokeBody: nothing but success and errors.
func FuzzRevokeBody(f *testing.F) {
	s := fuzzed(f)
	seeds(f, `{"token":"x"}`, url.Values{"token": {"x"}}, map[int64]any{claims.LabelToken: []byte("x")})
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		s.send(t, "/revoke", "c", "s", families[int(kind)%len(families)], body)
	})
}

// FuzzRegisterBody: what becomes a client can be read back from the store.
func FuzzRegisterBody(f *testing.F) {
	s := fuzzed(f)
	f.Add([]byte(`{"client_name":"x","grant_types":["client_credentials"],"token_endpoint_auth_method":"client_secret_post"}`))
	f.Add([]byte(`{"token_endpoint_auth_method":"tls_client_auth","tls_client_auth_san_dns":"a.example"}`))
	f.Add([]byte(`{"jwks":{"keys":[{"kty":"OKP","crv":"Ed25519","x":"A6EHv_POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg","x5c":["AA=="]}]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		invite, err := s.Invite(t.Context(), Invitation{})
		require.NoError(t, err)
		w := s.send(t, "/register", "", invite, plainJSON, body)
		if w.Code != http.StatusCreated {
			return
		}
		var answer registered
		require.NoError(t, json.Unmarshal(w.Body.Bytes(), &answer))
		_, exists, err := s.find(answer.ID)
		require.NoError(t, err)
		require.True(t, exists)
		require.NoError(t, s.Remove(t.Context(), answer.ID))
	})
}
