package aceserver

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

func pool(certificates ...tls.Certificate) *x509.CertPool {
	p := x509.NewCertPool()
	for _, c := range certificates {
		p.AddCert(c.Leaf)
	}
	return p
}

// TestPossessionIsVerified: A-2. Also C-4: a symmetric key is not taken from a client.
func TestPossessionIsVerified(t *testing.T) {
	known, presented, stolen := newP256(), newEd25519(), newEd25519()
	f := start(t, func(f *fixture, cfg *Config) {
		secret, hash := NewSecret()
		f.secrets["carol"] = secret
		cfg.Clients = append(cfg.Clients, Client{ID: "carol", Credential: Credential{Secret: hash}, Keys: []crypto.PublicKey{known.Public()}})
	})
	certified := f.with(certify(t, presented, "carol.example", nil))
	ask := func(f *fixture, who string, cnf any) reply {
		return f.json("/token", object{"audience": "jwt", "req_cnf": cnf}, f.basic(who))
	}
	ask(f, "carol", jwkOf(t, known.Public(), "")).members(t, http.StatusOK)
	ask(certified, "alice", jwkOf(t, presented.Public(), "")).members(t, http.StatusOK)
	thumbprint, err := thumbprintOf(known.Public())
	require.NoError(t, err)
	ask(f, "carol", object{"kid": thumbprint}).members(t, http.StatusOK)

	for name, r := range map[string]reply{
		"nobody has shown it":          ask(f, "carol", jwkOf(t, stolen.Public(), "")),
		"another key is shown":         ask(certified, "carol", jwkOf(t, stolen.Public(), "")),
		"registered by another name":   ask(f, "carol", object{"kid": "nothing"}),
		"registered for another":       ask(f, "alice", jwkOf(t, known.Public(), "")),
		"another's thumbprint":         ask(f, "alice", object{"kid": thumbprint}),
		"an identifier of nothing":     ask(f, "alice", object{"kid": "nothing"}),
		"symmetric":                    ask(f, "alice", object{"jwk": object{"kty": "oct", "k": strict.EncodeText(random(32))}}),
		"symmetric, of an unknown kid": ask(f, "alice", object{"jwk": object{"kty": "oct", "kid": "x"}}),
		"encrypted":                    ask(f, "alice", object{"jwe": "a.b.c.d.e"}),
		"of a kind without a proof":    ask(f, "alice", object{"jwk": object{"kty": "EC", "crv": "P-384", "x": "AA", "y": "AA"}}),
		"two keys":                     ask(f, "alice", object{"jwk": jwkOf(t, known.Public(), "")["jwk"], "jwe": "a.b.c.d.e"}),
		"none":                         ask(f, "alice", object{}),
	} {
		t.Run(name, func(t *testing.T) { r.refused(t, http.StatusBadRequest, "unsupported_pop_key") })
	}
	ask(certified, "alice", jwkOf(t, presented.Public(), "b\xc3\xa4d")).refused(t, http.StatusBadRequest, "invalid_request")
}

// TestRightsAreUpdatedOnTheSameKey: A-8.
func TestRightsAreUpdatedOnTheSameKey(t *testing.T) {
	f := start(t)
	for _, audience := range formats {
		t.Run(audience, func(t *testing.T) {
			token, o := f.ask(object{"audience": audience})
			kid := o["cnf"].(object)["jwk"].(object)["kid"]
			before := f.open(audience, token)

			wider := scopeText(t, Scope{{Filter: "site/alice/#", Publish: true}})
			token, o = f.ask(object{"audience": audience, "req_cnf": object{"kid": kid}, "scope": wider})
			after := f.open(audience, token)
			require.Equal(t, before.Confirmation.Key.Fingerprint(), after.Confirmation.Key.Fingerprint())
			require.Equal(t, kid, after.Confirmation.ID)
			require.Equal(t, kid, o["cnf"].(object)["jwk"].(object)["kid"])
			require.NotEqual(t, before.Scope, after.Scope)

			update := object{"audience": audience, "req_cnf": object{"kid": kid}}
			f.json("/token", update, f.basic("bob")).refused(t, http.StatusBadRequest, "unsupported_pop_key")
			m := f.cbor("/token", map[int64]any{
				claims.LabelAudience: audience,
				claims.LabelReqCnf:   map[int64]any{claims.CnfKeyID: []byte(kid.(string))},
			}, f.basic("alice")).labels(t, http.StatusOK)
			require.Contains(t, m, int64(claims.LabelTokenCnf))

			update["audience"] = "noclock" // a key shared with one broker is not given to another
			f.json("/token", update, f.basic("alice")).refused(t, http.StatusBadRequest, "unsupported_pop_key")

			update["audience"] = audience
			f.now = func() time.Time { return time.Now().Add(20*time.Minute + 2*time.Second) }
			defer func() { f.now = time.Now }()
			f.json("/token", update, f.basic("alice")).refused(t, http.StatusBadRequest, "unsupported_pop_key")
		})
	}
}

// TestOwnKeyIsNamedAgain: A-8 for a key of the client's own, which it has shown once.
func TestOwnKeyIsNamedAgain(t *testing.T) {
	f := start(t)
	key := newEd25519()
	f.with(certify(t, key, "alice.example", nil)).ask(object{"audience": "jwt", "req_cnf": jwkOf(t, key.Public(), "mine")})
	for _, audience := range []string{"jwt", "ref"} { // it is no secret that a broker could use elsewhere
		token, _ := f.ask(object{"audience": audience, "req_cnf": object{"kid": "mine"}})
		require.True(t, sameKey(key.Public(), f.open(audience, token).Confirmation.Key.Public()))
	}
	f.json("/token", object{"audience": "jwt", "req_cnf": object{"kid": "mine"}}, f.basic("bob")).
		refused(t, http.StatusBadRequest, "unsupported_pop_key")
}

// thumbprintOf names a key by RFC 7638.
func thumbprintOf(key crypto.PublicKey) (string, error) {
	v, err := pop.PublicKey(key)
	if err != nil {
		return "", err
	}
	return thumbprint(v)
}
