package aceserver

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/ace/internal/claims"
)

// meddler is a store in which something happens, or fails, before a change.
type meddler struct {
	store.Store
	before func() error
}

func (m *meddler) Update(fn func(store.Tx) error) error {
	if before := m.before; before != nil {
		m.before = nil
		if err := before(); err != nil {
			return err
		}
	}
	return m.Store.Update(fn)
}

func meddled(t *testing.T) (*fixture, *meddler) {
	m := &meddler{Store: store.NewMemory()}
	return start(t, func(_ *fixture, cfg *Config) { cfg.Store = m }), m
}

// TestStoreFails: what has not been written has not been done, and what was wrong is nobody's business but the log's.
func TestStoreFails(t *testing.T) {
	f, m := meddled(t)
	fail := func() error { return errors.New("disk full at /var/lib/as") }
	token, _ := f.ask(object{"audience": "ref"})
	invite, err := f.Invite(t.Context(), Invitation{})
	require.NoError(t, err)
	for name, request := range map[string]func() reply{
		"token":    func() reply { return f.json("/token", object{"audience": "ref"}, f.basic("alice")) },
		"noclock":  func() reply { return f.json("/token", object{"audience": "noclock"}, f.basic("alice")) },
		"revoke":   func() reply { return f.json("/revoke", object{"token": string(token)}, f.basic("alice")) },
		"register": func() reply { return f.json("/register", object{}, bearer(invite)) },
	} {
		m.before = fail
		r := request()
		r.refused(t, http.StatusInternalServerError, "server_error")
		require.NotContains(t, string(r.body), "disk", name)
	}
	m.before = fail
	r := f.cbor("/token", map[int64]any{claims.LabelAudience: "ref"}, f.basic("alice"))
	require.NotContains(t, r.labels(t, http.StatusInternalServerError), int64(claims.LabelError), "there is no number for it")
	m.before = fail
	require.Error(t, f.Remove(t.Context(), "alice"))
	m.before = fail
	_, err = f.Invite(t.Context(), Invitation{})
	require.Error(t, err)

	require.True(t, f.active(string(token)))
	f.json("/register", object{}, bearer(invite)).members(t, http.StatusCreated)
}

// TestClientIsRemovedWhileItAsks: no token is issued to who has just been removed, or on a key that has just been
// revoked.
func TestClientIsRemovedWhileItAsks(t *testing.T) {
	f, m := meddled(t)
	id, secret := f.register(t, Invitation{}, object{})
	f.secrets[id] = secret
	m.before = func() error { return f.Remove(t.Context(), id) }
	f.json("/token", object{"audience": "ref"}, f.basic(id)).refused(t, http.StatusUnauthorized, "invalid_client")

	token, o := f.ask(object{"audience": "ref"})
	kid := o["cnf"].(object)["jwk"].(object)["kid"]
	m.before = func() error {
		require.Equal(t, http.StatusOK, f.json("/revoke", object{"token": string(token)}, f.basic("alice")).status)
		return nil
	}
	f.json("/token", object{"audience": "ref", "req_cnf": object{"kid": kid}}, f.basic("alice")).
		refused(t, http.StatusBadRequest, "unsupported_pop_key")
}

// TestDamagedRecords: one that cannot be read is an error for those whom it concerns, and is removed with its time.
func TestDamagedRecords(t *testing.T) {
	f, _ := meddled(t)
	token, _ := f.ask(object{"audience": "ref"})
	require.NoError(t, f.store.Update(func(tx store.Tx) error {
		return errors.Join(
			tx.Put(bucketTokens, hashOf(token), []byte("{")),
			tx.Put(bucketClients, "broken", []byte("{")),
			tx.Put(bucketExpiry, strings.Repeat("\x00", 8)+"x", []byte("1")))
	}))
	f.json("/introspect", object{"token": string(token)}, f.basic("rs")).refused(t, http.StatusInternalServerError, "server_error")
	f.json("/token", object{"client_id": "broken", "client_secret": "x"}).refused(t, http.StatusInternalServerError, "server_error")
	require.ErrorIs(t, f.Remove(t.Context(), "alice"), ErrDamaged)
	f.now = func() time.Time { return time.Now().Add(time.Hour) }
	f.ask(object{"audience": "ref"})
	require.False(t, f.active(string(token)))
	require.NoError(t, f.Remove(t.Context(), "alice"))
}

// TestRemoveBesideDamage: records that cannot be read keep nobody from being removed, nor their tokens from being
// revoked, wherever they stand; and it is said that there may be more.
func TestRemoveBesideDamage(t *testing.T) {
	f, _ := meddled(t)
	id, secret := f.register(t, Invitation{}, object{})
	f.secrets[id] = secret
	var tokens []string
	for range 3 {
		tokens = append(tokens, f.json("/token", object{"audience": "ref"}, f.basic(id)).members(t, http.StatusOK)["access_token"].(string))
	}
	others, _ := f.ask(object{"audience": "ref"})
	damage := []string{strings.Repeat("\x00", 32), strings.Repeat("\xff", 32)} // before and behind all others
	require.NoError(t, f.store.Update(func(tx store.Tx) error {
		return errors.Join(tx.Put(bucketTokens, damage[0], []byte("{")), tx.Put(bucketTokens, damage[1], []byte(`{"client":7}`)))
	}))

	err := f.Remove(t.Context(), id)
	require.ErrorIs(t, err, ErrDamaged)
	require.ErrorContains(t, err, "2 tokens")
	for _, token := range tokens {
		require.False(t, f.active(token))
	}
	require.True(t, f.active(string(others)))
	f.json("/token", object{"audience": "ref"}, f.basic(id)).refused(t, http.StatusUnauthorized, "invalid_client")
	require.NoError(t, f.store.View(func(tx store.Tx) error {
		tx.Ascend(bucketKeys, func(name string, _ []byte) bool {
			require.False(t, strings.HasPrefix(name, keyName(id, "")), "its keys are forgotten")
			return true
		})
		for _, hash := range damage {
			require.NotNil(t, tx.Get(bucketTokens, hash), "what it is nobody knows")
		}
		return nil
	}))
}

// TestAudienceLimitsKinds: a broker that cannot handle a kind of key gets none of it (RFC 9200, section 5.8.3).
func TestAudienceLimitsKinds(t *testing.T) {
	key := newP256()
	f := start(t, func(_ *fixture, cfg *Config) { cfg.Audiences[2].Algorithms = []Algorithm{EdDSA} })
	f = f.with(certify(t, key, "alice.example", nil))
	f.ask(object{"audience": "jwt", "req_cnf": jwkOf(t, key.Public(), "mine")})
	for _, cnf := range []object{jwkOf(t, key.Public(), ""), {"kid": "mine"}} {
		f.json("/token", object{"audience": "ref", "req_cnf": cnf}, f.basic("alice")).refused(t, http.StatusBadRequest, "unsupported_pop_key")
	}
	f.json("/token", object{"audience": "ref"}, f.basic("alice")).refused(t, http.StatusBadRequest, "unsupported_pop_key")
}
