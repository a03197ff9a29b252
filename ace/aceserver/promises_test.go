package aceserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// TestAnotherAuthorizationHeader: whoever authenticates by a scheme that is not known here is not authenticated by what
// the body says beside it (RFC 6749, section 2.3: one method).
func TestAnotherAuthorizationHeader(t *testing.T) {
	f := start(t)
	token, _ := f.ask(object{"audience": "ref"})
	for _, header := range []string{"Bearer x", "Digest x", "Basic", "Basic ?", "x"} {
		edit := func(r *http.Request) { r.Header.Set("Authorization", header) }
		in := func(id string, more object) object {
			o := object{"client_id": id, "client_secret": f.secrets[id]}
			for name, value := range more {
				o[name] = value
			}
			return o
		}
		f.json("/token", in("alice", object{"audience": "ref"}), edit).refused(t, http.StatusUnauthorized, "invalid_client")
		f.json("/revoke", in("alice", object{"token": string(token)}), edit).refused(t, http.StatusUnauthorized, "invalid_client")
		f.json("/introspect", in("rs", object{"token": string(token)}), edit).refused(t, http.StatusUnauthorized, "invalid_client")
	}
	require.True(t, f.active(string(token)))
}

// TestResourceServersAreLimited: a resource server may ask a hundred times as often as a client, and no more often;
// what one does is nothing to the others.
func TestResourceServersAreLimited(t *testing.T) {
	f := start(t, func(_ *fixture, cfg *Config) { cfg.Limits.Client = Rate{Interval: time.Hour, Burst: 1} })
	now := time.Now()
	f.now = func() time.Time { return now }
	ask := func(id string) int {
		return f.json("/introspect", object{"token": "x"}, f.basic(id)).status
	}
	for i := range serverShare {
		require.Equal(t, http.StatusOK, ask("rs"), i)
	}
	r := f.json("/introspect", object{"token": "x"}, f.basic("rs"))
	require.Equal(t, http.StatusTooManyRequests, r.status)
	require.Equal(t, fmt.Sprint(3600/serverShare), r.header.Get("Retry-After"))
	require.Equal(t, http.StatusOK, ask("elsewhere"))
	f.ask(object{"audience": "ref"})
	now = now.Add(time.Hour / serverShare)
	require.Equal(t, http.StatusOK, ask("rs"))
	require.Equal(t, http.StatusTooManyRequests, ask("rs"))
}

// TestCovers: each permission of an entry is that of a single allowed entry, whose filter covers the wanted one; two
// permissions may be those of two.
func TestCovers(t *testing.T) {
	pub := func(filter string) aif.Entry { return aif.Entry{Filter: filter, Publish: true} }
	sub := func(filter string) aif.Entry { return aif.Entry{Filter: filter, Subscribe: true} }
	both := func(filter string) aif.Entry { return aif.Entry{Filter: filter, Publish: true, Subscribe: true} }
	for _, tt := range []struct {
		allowed, wanted Scope
		want            bool
	}{
		{nil, nil, true},
		{Scope{both("#")}, Scope{}, true},
		{nil, Scope{pub("a")}, false},
		{Scope{pub("a")}, Scope{pub("a")}, true},
		{Scope{pub("a")}, Scope{sub("a")}, false},
		{Scope{sub("a")}, Scope{pub("a")}, false},
		{Scope{pub("a")}, Scope{both("a")}, false},
		{Scope{sub("a")}, Scope{both("a")}, false},
		{Scope{both("a")}, Scope{pub("a"), sub("a")}, true},
		{Scope{pub("a"), sub("a")}, Scope{both("a")}, true},
		{Scope{sub("a"), pub("a")}, Scope{both("a")}, true},
		{Scope{pub("a"), pub("a")}, Scope{both("a")}, false},
		{Scope{pub("a/#"), sub("a/+")}, Scope{both("a/b")}, true},
		{Scope{pub("a/#"), sub("a/+")}, Scope{both("a/b/c")}, false},
		{Scope{both("b"), both("a/+")}, Scope{both("a/#")}, false},
		{Scope{both("a/+"), both("a/#")}, Scope{both("a/b"), both("b")}, false},
		{Scope{both("a/+"), both("b")}, Scope{both("a/b"), both("b")}, true},
	} {
		require.Equal(t, tt.want, covers(tt.allowed, tt.wanted), "%v in %v", tt.wanted, tt.allowed)
	}
}

// TestDefaultScopeOfTooManyEntries: policies whose default scopes are too much for one token together are told of, and
// not cut off; a part can be asked for.
func TestDefaultScopeOfTooManyEntries(t *testing.T) {
	f := start(t, func(_ *fixture, cfg *Config) {
		cfg.Policies = nil
		for _, half := range []string{"a", "b"} {
			scope := make(Scope, aif.MaxEntries/2+1)
			for i := range scope {
				scope[i] = aif.Entry{Filter: fmt.Sprint(half, i), Subscribe: true}
			}
			cfg.Policies = append(cfg.Policies, Policy{Client: AnyClient, Audience: "ref", Scope: scope})
		}
	})
	r := f.json("/token", object{"audience": "ref"}, f.basic("alice"))
	r.refused(t, http.StatusBadRequest, "invalid_scope")
	require.Contains(t, string(r.body), "ask for a part")
	part := scopeText(t, Scope{{Filter: "a0", Subscribe: true}, {Filter: "b0", Subscribe: true}})
	f.json("/token", object{"audience": "ref", "scope": part}, f.basic("alice")).members(t, http.StatusOK)
}

// TestC4NoSecretFromTheClient: a symmetric key in req_cnf is refused, in clear and encrypted, also beside the name of a
// key that the client has (RFC 9201, section 3.1).
func TestC4NoSecretFromTheClient(t *testing.T) {
	f := start(t)
	_, o := f.ask(object{"audience": "ref"})
	kid := o["cnf"].(object)["jwk"].(object)["kid"].(string)
	f.ask(object{"audience": "ref", "req_cnf": object{"kid": kid}})
	for why, cnf := range map[string]object{
		"encrypted":                     {"kid": kid, "jwe": "e30.e30.e30.e30.e30"},
		"a client must not send one":    {"jwk": object{"kty": "oct", "k": strict.EncodeText(random(32))}},
		"symmetric keys are generated ": {"jwk": object{"kty": "oct", "kid": kid, "k": o["cnf"].(object)["jwk"].(object)["k"]}},
	} {
		r := f.json("/token", object{"audience": "ref", "req_cnf": cnf}, f.basic("alice"))
		r.refused(t, http.StatusBadRequest, "unsupported_pop_key")
		require.Contains(t, string(r.body), why)
	}
}

// TestInvitationIsForgottenAtItsLastUse: what is used up is not kept until it expires.
func TestInvitationIsForgottenAtItsLastUse(t *testing.T) {
	f := start(t)
	invite, err := f.Invite(t.Context(), Invitation{Uses: 2})
	require.NoError(t, err)
	left := func() (record inviteRecord, found bool) {
		require.NoError(t, f.store.View(func(tx store.Tx) (err error) {
			found, err = load(tx, bucketInvites, hashOf([]byte(invite)), &record)
			return err
		}))
		return record, found
	}
	record, found := left()
	require.True(t, found)
	require.Equal(t, 2, record.Uses)
	f.json("/register", object{}, bearer(invite)).members(t, http.StatusCreated)
	record, found = left()
	require.True(t, found)
	require.Equal(t, 1, record.Uses)
	f.json("/register", object{}, bearer(invite)).members(t, http.StatusCreated)
	_, found = left()
	require.False(t, found)
}

// TestRevokedMeanwhile: a token that is gone by the time that its record is to be written is revoked already.
func TestRevokedMeanwhile(t *testing.T) {
	f, m := meddled(t)
	token, _ := f.ask(object{"audience": "ref"})
	m.before = func() error { return f.Remove(t.Context(), "alice") }
	require.Equal(t, http.StatusOK, f.json("/revoke", object{"token": string(token)}, f.basic("alice")).status)
	require.False(t, f.active(string(token)))
}

// TestHashOfNoSecret has no text, and the text of none fits none.
func TestHashOfNoSecret(t *testing.T) {
	text, err := SecretHash{}.MarshalText()
	require.NoError(t, err)
	require.Empty(t, text)
	_, h := NewSecret()
	require.NoError(t, h.UnmarshalText(nil))
	require.True(t, h.IsZero())
	require.False(t, h.matches(""))
}

// TestAcceptOfAnything: who takes anything is answered in the family of the request, whatever else is listed.
func TestAcceptOfAnything(t *testing.T) {
	f := start(t)
	for _, accepted := range []string{"application/ace+cbor, */*", "application/ace+cbor, application/*", "application/ace+cbor, application/ace+json"} {
		r := f.json("/token", object{"audience": "ref"}, f.basic("alice"), accept(accepted))
		r.members(t, http.StatusOK)
		require.Equal(t, "application/ace+json", r.header.Get("Content-Type"), accepted)
	}
}

// TestPruneNow: once in pruneEvery, and when the clock has gone back, too.
func TestPruneNow(t *testing.T) {
	s, now := new(Server), time.Now()
	for i, step := range []struct {
		by   time.Duration
		want bool
	}{{0, true}, {0, false}, {pruneEvery - 1, false}, {1, true}, {-pruneEvery + 1, false}, {-1, true}, {pruneEvery, true}} {
		now = now.Add(step.by)
		require.Equal(t, step.want, s.pruneNow(now), i)
	}
}

// TestBehindProxyNobodyShowsAKey: without TLS there is no certificate whose key a token could be bound to.
func TestBehindProxyNobodyShowsAKey(t *testing.T) {
	f := start(t, func(_ *fixture, cfg *Config) { cfg.BehindProxy, cfg.Address = true, address })
	body, err := json.Marshal(object{"audience": "ref", "req_cnf": jwkOf(t, newEd25519().Public(), "")})
	require.NoError(t, err)
	r := httptest.NewRequest(http.MethodPost, "/token", bytes.NewReader(body))
	r.Header.Set("Content-Type", claims.TypeACEJSON)
	f.basic("alice")(r)
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	reply{w.Code, w.Header(), w.Body.Bytes()}.refused(t, http.StatusBadRequest, "unsupported_pop_key")
}

// TestProfileInCBOR: a client asks for it by null or its number; another one is not to be had (RFC 9200, section
// 5.8.4.3).
func TestProfileInCBOR(t *testing.T) {
	f := start(t)
	for _, ask := range []any{nil, pop.ProfileCBOR} {
		m := f.cbor("/token", map[int64]any{claims.LabelAudience: "ref", claims.LabelProfile: ask}, f.basic("alice")).labels(t, http.StatusOK)
		require.EqualValues(t, pop.ProfileCBOR, m[claims.LabelProfile])
	}
	for ask, want := range map[any]int64{1: 8, 1000: 8, pop.Profile: 1} {
		m := f.cbor("/token", map[int64]any{claims.LabelAudience: "ref", claims.LabelProfile: ask}, f.basic("alice")).labels(t, http.StatusBadRequest)
		require.EqualValues(t, want, m[claims.LabelError], ask)
	}
}

// TestRequestsInTwoMinds: two content types and a scope of nothing are not guessed at.
func TestRequestsInTwoMinds(t *testing.T) {
	f := start(t)
	twice := func(r *http.Request) { r.Header.Add("Content-Type", claims.TypeForm) }
	f.json("/token", object{"audience": "ref"}, f.basic("alice"), twice).refused(t, http.StatusUnsupportedMediaType, "invalid_request")
	f.json("/token", object{"audience": "ref", "scope": nil}, f.basic("alice")).refused(t, http.StatusBadRequest, "invalid_scope")
}
