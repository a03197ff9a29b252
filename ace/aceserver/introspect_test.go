package aceserver

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
)

// inactive is what is said about a token of which nothing is to be said.
const inactive = `{"active":false}`

// TestIntrospection: A-11, in all families, for tokens of each format.
func TestIntrospection(t *testing.T) {
	f := start(t)
	for _, audience := range append(formats, "noclock") {
		t.Run(audience, func(t *testing.T) {
			token, o := f.ask(object{"audience": audience, "cnonce": "AQID"})
			text := o["access_token"].(string)
			said := claims.Introspection{}
			for _, r := range []reply{
				f.json("/introspect", object{"token": text}, f.basic("rs")),
				f.json("/introspect", object{"token": text, "client_id": "rs", "client_secret": f.secrets["rs"]}),
				f.post("/introspect", claims.TypeForm, []byte(url.Values{"token": {text}, "token_type_hint": {"pop"}}.Encode()), f.basic("rs")),
			} {
				require.Equal(t, http.StatusOK, r.status)
				require.Equal(t, "no-store", r.header.Get("Cache-Control"))
				i, err := claims.ParseIntrospectionJSON(r.body)
				require.NoError(t, err)
				require.True(t, i.Active)
				said = i
			}
			for _, hint := range []any{2, "pop"} { // the RFC has both
				r := f.cbor("/introspect", map[int64]any{claims.LabelToken: token, claims.LabelTokenHint: hint}, f.basic("rs"))
				r.labels(t, http.StatusOK)
				i, err := claims.ParseIntrospectionCBOR(r.body)
				require.NoError(t, err)
				require.Equal(t, said.Confirmation.Key.Fingerprint(), i.Confirmation.Key.Fingerprint())
				require.Equal(t, said.Scope, i.Scope)
				require.Equal(t, said.ClientID, i.ClientID)
			}
			set := f.open(audience, token)
			require.Equal(t, set.ID, said.ID)
			require.Equal(t, set.Scope, said.Scope)
			require.Equal(t, set.Expires, said.Expires)
			require.Equal(t, set.ExpiresIn, said.ExpiresIn)
			require.Equal(t, set.Audience, said.Audience)
			require.Equal(t, issuer, said.Issuer)
			require.Equal(t, "alice", said.ClientID)
			require.Equal(t, []byte{1, 2, 3}, said.CNonce)
			require.Equal(t, "PoP", said.TokenType)
			require.Equal(t, set.Confirmation.Key.Fingerprint(), said.Confirmation.Key.Fingerprint(), "cnf is required (RFC 9201, section 5)")
		})
	}
}

// TestIntrospectionTellsOthersNothing: A-11. Unknown, expired, revoked and foreign tokens have one answer.
func TestIntrospectionTellsOthersNothing(t *testing.T) {
	f := start(t)
	token, o := f.ask(object{"audience": "jwt"})
	ask := func(who string) reply { return f.json("/introspect", object{"token": string(token)}, f.basic(who)) }
	require.NotEqual(t, inactive, string(ask("rs").body))

	foreign := ask("elsewhere")
	require.Equal(t, http.StatusOK, foreign.status)
	require.Equal(t, inactive, string(foreign.body))
	require.Equal(t, inactive, string(f.json("/introspect", object{"token": "unknown"}, f.basic("rs")).body))
	require.Equal(t, inactive, string(f.json("/introspect", object{"token": string(token) + "x"}, f.basic("rs")).body))
	m := f.cbor("/introspect", map[int64]any{claims.LabelToken: []byte("unknown")}, f.basic("rs")).labels(t, http.StatusOK)
	require.Equal(t, map[int64]any{claims.LabelActive: false}, m)

	f.now = func() time.Time { return time.Now().Add(10*time.Minute + time.Second) }
	require.Equal(t, inactive, string(ask("rs").body), "expired")
	f.now = time.Now
	require.Equal(t, http.StatusOK, f.json("/revoke", object{"token": o["access_token"]}, f.basic("alice")).status)
	require.Equal(t, inactive, string(ask("rs").body), "revoked")
}

// TestIntrospectionIsForResourceServers: A-11. Strangers get 401, clients 403 without a body.
func TestIntrospectionIsForResourceServers(t *testing.T) {
	f := start(t)
	token, _ := f.ask(object{"audience": "ref"})
	f.json("/introspect", object{"token": string(token)}).refused(t, http.StatusUnauthorized, "invalid_client")
	f.json("/introspect", object{"token": string(token)}, func(r *http.Request) { r.SetBasicAuth("rs", f.secrets["alice"]) }).
		refused(t, http.StatusUnauthorized, "invalid_client")
	r := f.json("/introspect", object{"token": string(token)}, f.basic("alice"))
	require.Equal(t, http.StatusForbidden, r.status)
	require.Empty(t, r.body)
	f.json("/introspect", object{}, f.basic("rs")).refused(t, http.StatusBadRequest, "invalid_request")
}

// TestResourceServerByCertificate: a broker may do without a secret (RFC 8705).
func TestResourceServerByCertificate(t *testing.T) {
	authority := certify(t, newP256(), "ca.example", nil)
	broker := certify(t, newP256(), "broker.example", &authority)
	between := certify(t, newP256(), "between.example", &authority)
	wider := certify(t, newP256(), "ca.between.example", &authority)
	chained := certify(t, newP256(), "broker.example", &wider)
	chained.Certificate = append(chained.Certificate, wider.Leaf.Raw)
	below := certify(t, newP256(), "broker.example", &between)
	below.Certificate = append(below.Certificate, between.Leaf.Raw)
	f := start(t, func(_ *fixture, cfg *Config) {
		cfg.ClientCAs = pool(authority)
		cfg.ResourceServers = append(cfg.ResourceServers, ResourceServer{
			ID: "by certificate", Credential: Credential{DNSName: "broker.example"}, Audiences: []string{"ref"},
		})
	})
	token, _ := f.ask(object{"audience": "ref"})
	ask := object{"client_id": "by certificate", "token": string(token)}
	require.Equal(t, http.StatusOK, f.with(broker).json("/introspect", ask).status)
	require.Equal(t, http.StatusOK, f.with(chained).json("/introspect", ask).status)
	f.with(below).json("/introspect", ask).refused(t, http.StatusUnauthorized, "invalid_client") // between may not issue
	f.json("/introspect", ask).refused(t, http.StatusUnauthorized, "invalid_client")
	f.with(certify(t, newP256(), "broker.example", nil)).json("/introspect", ask).refused(t, http.StatusUnauthorized, "invalid_client")
}
