package aceserver

import (
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
)

func (f *fixture) active(token string) bool {
	f.t.Helper()
	i, err := claims.ParseIntrospectionJSON(f.json("/introspect", object{"token": token}, f.basic("rs")).body)
	require.NoError(f.t, err)
	return i.Active
}

// TestRevocation: RFC 7009, for each format of token and family of request.
func TestRevocation(t *testing.T) {
	f := start(t)
	for _, audience := range formats {
		for name, revoke := range map[string]func(text string, token []byte) reply{
			"json": func(text string, _ []byte) reply {
				return f.json("/revoke", object{"token": text}, f.basic("alice"))
			},
			"form": func(text string, _ []byte) reply {
				return f.post("/revoke", claims.TypeForm, []byte(url.Values{"token": {text}}.Encode()), f.basic("alice"))
			},
			"cbor": func(_ string, token []byte) reply {
				return f.cbor("/revoke", map[int64]any{claims.LabelToken: token}, f.basic("alice"))
			},
		} {
			t.Run(audience+"/"+name, func(t *testing.T) {
				token, o := f.ask(object{"audience": audience})
				text := o["access_token"].(string)
				kept, _ := f.ask(object{"audience": "ref"})
				kid := o["cnf"].(object)["jwk"].(object)["kid"]

				f.json("/revoke", object{"token": text}, f.basic("bob")).refused(t, http.StatusBadRequest, "unauthorized_client")
				f.json("/revoke", object{"token": text}).refused(t, http.StatusUnauthorized, "invalid_client")
				require.True(t, f.active(text))
				for range 2 { // a token that is gone is revoked
					r := revoke(text, token)
					require.Equal(t, http.StatusOK, r.status)
					require.Empty(t, r.body)
					require.False(t, f.active(text))
				}
				require.True(t, f.active(string(kept)), "another token is not concerned")
				f.json("/token", object{"audience": audience, "req_cnf": object{"kid": kid}}, f.basic("alice")).
					refused(t, http.StatusBadRequest, "unsupported_pop_key")
			})
		}
	}
	require.Equal(t, http.StatusOK, f.json("/revoke", object{"token": "unknown"}, f.basic("alice")).status)
}

// TestRevokedKeyIsForgotten, a public one too: whoever revokes a token may have lost its key.
func TestRevokedKeyIsForgotten(t *testing.T) {
	f := start(t)
	key := newEd25519()
	mine := object{"audience": "jwt", "req_cnf": object{"kid": "mine"}}
	token, _ := f.with(certify(t, key, "alice.example", nil)).ask(object{"audience": "jwt", "req_cnf": jwkOf(t, key.Public(), "mine")})
	f.json("/token", mine, f.basic("alice")).members(t, http.StatusOK)
	require.Equal(t, http.StatusOK, f.json("/revoke", object{"token": string(token)}, f.basic("alice")).status)
	f.json("/token", mine, f.basic("alice")).refused(t, http.StatusBadRequest, "unsupported_pop_key")
}

func TestRemoveEndsAClientAndItsTokens(t *testing.T) {
	f := start(t)
	id, secret := f.register(t, Invitation{}, object{})
	f.secrets[id] = secret
	token := f.json("/token", object{"audience": "ref"}, f.basic(id)).members(t, http.StatusOK)["access_token"].(string)
	kept, _ := f.ask(object{"audience": "ref"})
	require.NoError(t, f.Remove(t.Context(), id))
	require.False(t, f.active(token))
	require.True(t, f.active(string(kept)))
	f.json("/token", object{"audience": "ref"}, f.basic(id)).refused(t, http.StatusUnauthorized, "invalid_client")
	require.NoError(t, f.Remove(t.Context(), id), "nobody is no error")
}
