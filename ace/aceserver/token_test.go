package aceserver

import (
	"crypto"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// TestSymmetricKeyIsMadeForClientAndBroker: and C-6, C-8 as the server has to serve them.
func TestSymmetricKeyIsMadeForClientAndBroker(t *testing.T) {
	f := start(t)
	for _, audience := range append(formats, "noclock") {
		t.Run(audience, func(t *testing.T) {
			token, o := f.ask(object{"audience": audience, "ace_profile": ""})
			require.Equal(t, "PoP", o["token_type"])
			require.Equal(t, pop.Profile, o["ace_profile"])
			require.NotContains(t, o, "rs_cnf", "not with a symmetric key (RFC 9431, section 2.2.1)")
			raw, err := json.Marshal(o["cnf"])
			require.NoError(t, err)
			given, err := claims.ParseConfirmationJSON(raw)
			require.NoError(t, err)
			require.Equal(t, pop.HS256, given.Key.Algorithm())

			set := f.open(audience, token)
			require.Equal(t, given.Key.Fingerprint(), set.Confirmation.Key.Fingerprint())
			require.Equal(t, given.ID, set.Confirmation.ID)
			require.NotEmpty(t, set.Confirmation.ID)
			require.Equal(t, issuer, set.Issuer)
			require.Equal(t, "alice", set.Subject)
			require.Equal(t, []string{audience}, set.Audience)
			require.Equal(t, pop.Profile, set.Profile)
			require.NotEmpty(t, set.ID)
			require.WithinDuration(t, time.Now(), set.IssuedAt, time.Minute)
			require.Equal(t, aif.Scope{{Filter: "news/today", Subscribe: true}}, set.Scope)
			if audience == "noclock" {
				require.Zero(t, set.Expires)
				require.Equal(t, time.Hour, set.ExpiresIn)
				return
			}
			require.EqualValues(t, 600, o["expires_in"])

			again, _ := f.ask(object{"audience": audience})
			other := f.open(audience, again)
			require.NotEqual(t, other.Confirmation.Key.Fingerprint(), set.Confirmation.Key.Fingerprint(), "each token has a fresh key")
			require.NotEqual(t, other.ID, set.ID)
		})
	}
}

// TestSecretIsNotReadable: A-3. A token with a symmetric key shows neither the key nor what it allows.
func TestSecretIsNotReadable(t *testing.T) {
	f := start(t)
	for _, audience := range []string{"jwt", "cwt"} {
		token, o := f.ask(object{"audience": audience})
		require.NotContains(t, string(token), "alice")
		k := o["cnf"].(object)["jwk"].(object)["k"].(string)
		secret, err := strict.DecodeText(k)
		require.NoError(t, err)
		require.NotContains(t, string(token), k)
		require.NotContains(t, string(token), string(secret))
	}
	f.json("/token", object{"audience": "signed"}, f.basic("alice")).refused(t, http.StatusBadRequest, "unsupported_pop_key")
}

// clientKeys has a key of each asymmetric kind.
func clientKeys() map[Algorithm]crypto.Signer {
	return map[Algorithm]crypto.Signer{EdDSA: newEd25519(), ES256: newP256()}
}

// TestMatrixOfFormatsAndKeys: A-4 for each format of token, each kind of client key and each kind of signing key.
func TestMatrixOfFormatsAndKeys(t *testing.T) {
	for signing, signer := range clientKeys() {
		f := start(t, func(f *fixture, cfg *Config) {
			f.signer = signer
			cfg.Keys = []SigningKey{{ID: "s1", Key: signer}}
		})
		for _, audience := range append(formats, "signed", "group") {
			for alg, key := range clientKeys() {
				t.Run(fmt.Sprintf("%s/%s/signed by %s", audience, alg, signing), func(t *testing.T) {
					f := f.with(certify(t, key, "alice.example", nil))
					token, o := f.ask(object{"audience": audience, "req_cnf": jwkOf(t, key.Public(), "mine")})
					_, err := cose.ParseEncrypt0(token)
					require.Error(t, err, "it is signed")
					set := f.open(audience, token)
					require.True(t, sameKey(key.Public(), set.Confirmation.Key.Public()))
					require.Equal(t, alg, set.Confirmation.Key.Algorithm())
					require.Empty(t, set.Confirmation.ID)
					require.NotContains(t, o, "cnf")
				})
			}
		}
	}
}

// TestBrokerKeyIsTold: A-7, and C-9 as the server has to serve it.
func TestBrokerKeyIsTold(t *testing.T) {
	f := start(t)
	key := newP256()
	f = f.with(certify(t, key, "alice.example", nil))
	for _, audience := range formats {
		_, o := f.ask(object{"audience": audience, "req_cnf": jwkOf(t, key.Public(), "")})
		raw, err := json.Marshal(o["rs_cnf"])
		require.NoError(t, err)
		c, err := claims.ParseConfirmationJSON(raw)
		require.NoError(t, err)
		require.True(t, sameKey(f.broker, c.Key.Public()))
	}
	_, o := f.ask(object{"audience": "group", "req_cnf": jwkOf(t, key.Public(), "")})
	require.NotContains(t, o, "rs_cnf", "a group has no one key")

	v, err := pop.PublicKey(key.Public())
	require.NoError(t, err)
	cnf, err := rawCBOR(claims.Confirmation{Key: v})
	require.NoError(t, err)
	m := f.cbor("/token", map[int64]any{claims.LabelAudience: "cwt", claims.LabelReqCnf: cnf}, f.basic("alice")).labels(t, http.StatusOK)
	require.Contains(t, m, int64(claims.LabelRSCnf))
}

// TestGroupHasNoSymmetricKey: A-10.
func TestGroupHasNoSymmetricKey(t *testing.T) {
	f := start(t)
	f.json("/token", object{"audience": "group"}, f.basic("alice")).refused(t, http.StatusBadRequest, "unsupported_pop_key")
	_, err := New(Config{
		Issuer:    issuer,
		Store:     f.store,
		Keys:      []SigningKey{{Key: newEd25519()}},
		Audiences: []Audience{{Name: "g", Format: Reference, Group: true, Algorithms: []Algorithm{HS256}}},
	})
	require.ErrorContains(t, err, "group")
}

// TestContentTypes: C-2, all families in and out.
func TestContentTypes(t *testing.T) {
	f := start(t)
	asked := Scope{{Filter: "site/alice/a", Publish: true}}
	text := scopeText(t, asked)
	bytes, err := asked.EncodeCBOR()
	require.NoError(t, err)
	body := []byte(fmt.Sprintf(`{"audience":"ref","scope":%q,"grant_type":"client_credentials"}`, text))
	form := url.Values{"audience": {"ref"}, "scope": {text}, "grant_type": {"client_credentials"}}.Encode()

	for _, c := range []struct{ in, body, accept, out string }{
		{claims.TypeACEJSON, string(body), "", claims.TypeACEJSON},
		{claims.TypeACEJSON + "; charset=utf-8", string(body), "*/*", claims.TypeACEJSON},
		{claims.TypeJSON, string(body), "", claims.TypeJSON},
		{claims.TypeForm, form, "", claims.TypeJSON},
		{claims.TypeForm, form, claims.TypeACEJSON, claims.TypeACEJSON},
		{claims.TypeJSON, string(body), "text/html, application/ace+json;q=0.9", claims.TypeACEJSON},
		{claims.TypeJSON, string(body), "text/html", claims.TypeJSON},
		{claims.TypeACEJSON, string(body), "application/json;q=0", claims.TypeACEJSON},
	} {
		r := f.post("/token", c.in, []byte(c.body), f.basic("alice"), accept(c.accept))
		o := r.members(t, http.StatusOK)
		require.Equal(t, c.out, r.header.Get("Content-Type"), "%+v", c)
		require.Equal(t, "no-store", r.header.Get("Cache-Control"))
		require.Equal(t, text, o["scope"])
	}
	m := f.cbor("/token", map[int64]any{claims.LabelAudience: "ref", claims.LabelTokenScope: bytes}, f.basic("alice")).labels(t, http.StatusOK)
	require.Equal(t, bytes, m[claims.LabelTokenScope])
	require.EqualValues(t, claims.PoPNumber, m[claims.LabelTokenType])
	require.EqualValues(t, pop.ProfileCBOR, m[claims.LabelProfile])
	require.EqualValues(t, 600, m[claims.LabelTokenExpiresIn])
	require.IsType(t, []byte{}, m[claims.LabelAccessToken])
	require.Contains(t, m, int64(claims.LabelTokenCnf))

	f.post("/token", claims.TypeJSON, body, f.basic("alice"), accept(claims.TypeACECBOR)).labels(t, http.StatusOK)
	r := f.cbor("/token", map[int64]any{claims.LabelAudience: "ref"}, f.basic("alice"), accept(claims.TypeJSON))
	require.Equal(t, claims.TypeJSON, r.header.Get("Content-Type"))
	r.members(t, http.StatusOK)
}

// TestRequestParameters: C-3, with what may be left out.
func TestRequestParameters(t *testing.T) {
	f := start(t, func(_ *fixture, cfg *Config) {
		cfg.Policies = append(cfg.Policies, Policy{Group: "staff", Audience: "jwt", Scope: Scope{{Filter: "staff/#", Publish: true}}})
	})
	t.Run("scope as the array itself", func(t *testing.T) {
		token, _ := f.ask(object{"audience": "jwt", "scope": [][2]any{{"site/alice/x", []string{"pub"}}}})
		require.Equal(t, aif.Scope{{Filter: "site/alice/x", Publish: true}}, f.open("jwt", token).Scope)
	})
	t.Run("an empty scope is one", func(t *testing.T) {
		token, o := f.ask(object{"audience": "jwt", "scope": "W10"})
		require.Empty(t, f.open("jwt", token).Scope)
		require.Equal(t, "W10", o["scope"])
	})
	t.Run("cnonce is copied", func(t *testing.T) {
		for _, audience := range formats {
			token, _ := f.ask(object{"audience": audience, "cnonce": "AQIDBAUGBwg"})
			require.Equal(t, []byte{1, 2, 3, 4, 5, 6, 7, 8}, f.open(audience, token).CNonce)
		}
		f.json("/token", object{"audience": "jwt", "cnonce": strict.EncodeText(random(65))}, f.basic("alice")).
			refused(t, http.StatusBadRequest, "invalid_request")
	})
	t.Run("a default adds up", func(t *testing.T) {
		o := f.json("/token", object{"audience": "jwt"}, f.basic("bob")).members(t, http.StatusOK)
		require.Equal(t, scopeText(t, Scope{{Filter: "news/today", Subscribe: true}, {Filter: "staff/#", Publish: true}}), o["scope"])
	})
	t.Run("profile", func(t *testing.T) {
		for _, value := range []any{nil, "", pop.Profile} {
			_, o := f.ask(object{"audience": "jwt", "ace_profile": value})
			require.Equal(t, pop.Profile, o["ace_profile"])
		}
		f.json("/token", object{"audience": "jwt", "ace_profile": "coap_dtls"}, f.basic("alice")).
			refused(t, http.StatusBadRequest, "incompatible_ace_profiles")
		f.cbor("/token", map[int64]any{claims.LabelAudience: "jwt", claims.LabelProfile: nil}, f.basic("alice")).labels(t, http.StatusOK)
	})
	t.Run("audience", func(t *testing.T) {
		f.json("/token", object{}, f.basic("alice")).refused(t, http.StatusBadRequest, "invalid_request")
		one := start(t, func(_ *fixture, cfg *Config) { cfg.Policies = cfg.Policies[:1] })
		token, _ := one.ask(object{})
		require.Equal(t, []string{"jwt"}, one.open("jwt", token).Audience)
	})
}

// TestSequenceNumbersGrow: A-6.
func TestSequenceNumbersGrow(t *testing.T) {
	f := start(t)
	for want := uint64(1); want < 4; want++ {
		token, _ := f.ask(object{"audience": "noclock"})
		got, ok := claims.ParseSequenceID("noclock", f.open("noclock", token).ID)
		require.True(t, ok)
		require.Equal(t, want, got)
	}
}

// TestAuthenticationMethods: C-1 as far as it is the server's: all methods, one at a time.
func TestAuthenticationMethods(t *testing.T) {
	own := certify(t, newEd25519(), "own.example", nil)
	authority := certify(t, newP256(), "ca.example", nil)
	issued := certify(t, newP256(), "device.example", &authority)
	stranger := certify(t, newP256(), "device.example", nil)
	f := start(t, func(_ *fixture, cfg *Config) {
		cfg.ClientCAs = pool(authority)
		cfg.Clients = append(cfg.Clients,
			Client{ID: "own", Credential: Credential{Certificate: CertificateHash(own.Leaf)}},
			Client{ID: "named", Credential: Credential{DNSName: "device.example"}})
	})
	ask := func(f *fixture, members object, edit ...func(*http.Request)) reply {
		members["audience"] = "ref"
		return f.json("/token", members, edit...)
	}
	ask(f, object{"client_id": "alice", "client_secret": f.secrets["alice"]}).members(t, http.StatusOK)
	ask(f, object{}, f.basic("alice")).members(t, http.StatusOK)
	ask(f, object{"client_id": "alice"}, f.basic("alice")).members(t, http.StatusOK)
	ask(f.with(own), object{"client_id": "own"}).members(t, http.StatusOK)
	ask(f.with(issued), object{"client_id": "named"}).members(t, http.StatusOK)
	f.cbor("/token", map[int64]any{claims.LabelAudience: "ref", claims.LabelClientID: "alice", claims.LabelClientSecret: []byte(f.secrets["alice"])}).
		labels(t, http.StatusOK)

	for name, r := range map[string]reply{
		"nothing":                    ask(f, object{}),
		"no secret":                  ask(f, object{"client_id": "alice"}),
		"empty secret":               ask(f, object{"client_id": "alice", "client_secret": ""}),
		"wrong secret":               ask(f, object{"client_id": "alice", "client_secret": f.secrets["bob"]}),
		"another's ID":               ask(f, object{"client_id": "bob", "client_secret": f.secrets["alice"]}),
		"unknown client":             ask(f, object{"client_id": "nobody", "client_secret": f.secrets["alice"]}),
		"no certificate":             ask(f, object{"client_id": "own"}),
		"another certificate":        ask(f.with(stranger), object{"client_id": "own"}),
		"nobody's certificate":       ask(f.with(stranger), object{"client_id": "named"}),
		"certificate without an ID":  ask(f.with(own), object{}),
		"certificate for a password": ask(f.with(own), object{"client_id": "alice"}),
		"secret for a certificate":   ask(f.with(own), object{"client_id": "own", "client_secret": f.secrets["alice"]}),
		"bearer":                     ask(f, object{"client_id": "alice"}, func(r *http.Request) { r.Header.Set("Authorization", "Bearer x") }),
		"a resource server":          ask(f, object{}, f.basic("rs")),
	} {
		r.refused(t, http.StatusUnauthorized, "invalid_client")
		require.Contains(t, r.header.Get("WWW-Authenticate"), "Basic", name)
	}
	ask(f, object{"client_id": "alice", "client_secret": f.secrets["alice"]}, f.basic("alice")).refused(t, http.StatusBadRequest, "invalid_request")
	ask(f, object{"client_id": "bob"}, f.basic("alice")).refused(t, http.StatusBadRequest, "invalid_request")
}

// TestTokenLastsAsLongAsTheClientIsTold: exp is in whole seconds, and not before expires_in is over.
func TestTokenLastsAsLongAsTheClientIsTold(t *testing.T) {
	f := start(t)
	base := time.Unix(1_800_000_000, 0)
	for _, fraction := range []time.Duration{0, 1, time.Millisecond, time.Second - 1} {
		f.now = func() time.Time { return base.Add(fraction) }
		token, o := f.ask(object{"audience": "jwt"})
		set := f.open("jwt", token)
		told := f.now().Add(time.Duration(o["expires_in"].(float64)) * time.Second)
		require.False(t, set.Expires.Before(told))
		require.Less(t, set.Expires.Sub(told), time.Second)
		require.False(t, set.IssuedAt.After(f.now()))
	}
}
