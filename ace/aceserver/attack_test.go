package aceserver

// Attacks on the server, over HTTPS as an attacker would. Here:
//
//   - a client that asks for what it may not have: TestClientAsksForMore, TestAClientIDWidensNoFilter
//   - secrets: wrong ones, unknown clients, two methods at once: TestAuthenticationMethods, TestStrangersLookAlike
//   - keys that are not the client's, or known to others: TestPossessionIsVerified, TestRightsAreUpdatedOnTheSameKey,
//     TestRegistrationThatIsRefused
//   - tokens of one broker at another, algorithms that the attacker chooses: TestTokensAreOfOneAudience
//   - replayed initial access tokens: TestInitialAccessTokenIsNotReplayed
//   - floods: TestLimits, TestStoreShrinksAgain; TestStateIsBounded in internal/rate
//   - bodies that lie about what they are: TestBodiesThatAreNotUnderstood
//   - eavesdropping and curious logs: TestPlaintextIsRefused, TestLogHoldsNoSecrets
//   - death of the process at any moment: TestKilledServerForgetsNothing
//
// Not here: TLS itself, which is the program's and crypto/tls's; whether a broker verifies what the server issues; slow
// bodies, which http.Server's timeouts bound; timing beyond the fact that both comparisons are in constant time.

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/internal/cose"
)

func TestClientAsksForMore(t *testing.T) {
	f := start(t, func(_ *fixture, cfg *Config) {
		cfg.Audiences = append(cfg.Audiences, Audience{Name: "vault", Format: Reference})
		cfg.Policies = append(cfg.Policies, Policy{Client: "bob", Audience: "vault", Scope: Scope{{Filter: "#", Subscribe: true}}})
	})
	f.json("/token", object{"audience": "vault"}, f.basic("bob")).members(t, http.StatusOK)
	f.json("/token", object{"audience": "vault"}, f.basic("alice")).refused(t, http.StatusBadRequest, "unauthorized_client")
	f.json("/token", object{"audience": "VAULT"}, f.basic("bob")).refused(t, http.StatusBadRequest, "unauthorized_client")
	f.json("/token", object{"audience": "vault", "aud": "vault", "client_id": "bob"}, f.basic("alice")).
		refused(t, http.StatusBadRequest, "invalid_request")
	for _, filter := range []string{"#", "+/#", "site/#", "site/+/x", "site/bob/x", "site/alice", "$SYS/#", "$share/g/#", "site/alice/#/x", "site//#"} {
		for _, permission := range []string{"pub", "sub"} {
			r := f.json("/token", object{"audience": "jwt", "scope": [][2]any{{filter, []string{permission}}}}, f.basic("alice"))
			if filter == "site/alice" {
				r.members(t, http.StatusOK) // the parent level belongs to "site/alice/#"
				continue
			}
			r.refused(t, http.StatusBadRequest, "invalid_scope")
		}
	}
	f.json("/token", object{"audience": "jwt", "scope": [][2]any{{"site/alice/x", []string{"pub", "admin"}}}}, f.basic("alice")).
		refused(t, http.StatusBadRequest, "invalid_scope")
}

// TestStrangersLookAlike: who guesses cannot tell a client that exists from one that does not.
func TestStrangersLookAlike(t *testing.T) {
	f := start(t)
	known := f.json("/token", object{"client_id": "alice", "client_secret": "wrong"})
	unknown := f.json("/token", object{"client_id": "mallory", "client_secret": "wrong"})
	require.Equal(t, known.status, unknown.status)
	require.Equal(t, known.body, unknown.body)
	for name := range known.header {
		if name != "Date" {
			require.Equal(t, known.header.Values(name), unknown.header.Values(name))
		}
	}
	// The same for a token that is foreign and one that is unknown is in TestIntrospectionTellsOthersNothing.
}

// TestTokensAreOfOneAudience: another broker with another key can open none of them, and the algorithm is not a matter
// of what the token's header says.
func TestTokensAreOfOneAudience(t *testing.T) {
	f := start(t)
	token, _ := f.ask(object{"audience": "jwt"})
	encrypted, err := jose.ParseEncryptedCompact(string(token), []jose.KeyAlgorithm{jose.DIRECT}, []jose.ContentEncryption{jose.A256GCM})
	require.NoError(t, err)
	_, err = encrypted.Decrypt(random(32))
	require.Error(t, err)
	require.Equal(t, "JWT", encrypted.Header.ExtraHeaders[jose.HeaderContentType])

	token, _ = f.ask(object{"audience": "cwt"})
	message, err := cose.ParseEncrypt0(token)
	require.NoError(t, err)
	_, err = message.Open(cose.A256GCM, random(32), nil)
	require.ErrorIs(t, err, cose.ErrDecrypt)
	_, err = message.Open(cose.A128GCM, f.shared[:16], nil)
	require.Error(t, err)
	for i := range token { // no byte of it can be changed
		changed := bytes.Clone(token)
		changed[i] ^= 1
		if message, err := cose.ParseEncrypt0(changed); err == nil && bytes.Equal(message.KeyID(), []byte("k-broker")) {
			_, err = message.Open(cose.A256GCM, f.shared, nil)
			require.Error(t, err, "byte %d", i)
		}
	}

	key := newEd25519()
	f = f.with(certify(t, key, "alice.example", nil))
	token, _ = f.ask(object{"audience": "signed", "req_cnf": jwkOf(t, key.Public(), "")})
	for _, alg := range []jose.SignatureAlgorithm{jose.HS256, jose.ES256, jose.RS256} {
		_, err := jose.ParseSignedCompact(string(token), []jose.SignatureAlgorithm{alg})
		require.Error(t, err)
	}
}

func TestPlaintextIsRefused(t *testing.T) {
	f := start(t)
	request := func() *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/token", strings.NewReader(`{"audience":"ref"}`))
		r.Header.Set("Content-Type", "application/json")
		f.basic("alice")(r)
		return r
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, request())
	require.Equal(t, http.StatusForbidden, w.Code)
	behind := start(t, func(_ *fixture, cfg *Config) { cfg.BehindProxy, cfg.Address = true, address })
	w = httptest.NewRecorder()
	r := request()
	behind.basic("alice")(r)
	behind.ServeHTTP(w, r)
	require.Equal(t, http.StatusOK, w.Code)
}

// TestLimits: per address and per client, who cannot be locked out by others.
func TestLimits(t *testing.T) {
	var mu sync.Mutex
	from, now := "10.0.0.1", time.Now()
	set := func(address string, at time.Time) { mu.Lock(); defer mu.Unlock(); from, now = address, at }
	f := start(t, func(_ *fixture, cfg *Config) {
		cfg.Limits = Limits{Address: Rate{Interval: time.Second, Burst: 30}, Client: Rate{Interval: time.Second, Burst: 5}}
		cfg.Address = func(*http.Request) string { mu.Lock(); defer mu.Unlock(); return from }
	})
	f.now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	ask := func() reply { return f.json("/token", object{"audience": "ref"}, f.basic("alice")) }
	guess := func() reply { return f.json("/token", object{"client_id": "alice", "client_secret": "guess"}) }

	for range 3 { // ten requests each
		require.Equal(t, http.StatusUnauthorized, guess().status)
	}
	r := guess()
	require.Equal(t, http.StatusTooManyRequests, r.status)
	require.Equal(t, "1", r.header.Get("Retry-After"))
	require.Empty(t, r.body)

	set("10.0.0.2", now) // alice elsewhere does not notice
	for range 5 {
		ask().members(t, http.StatusOK)
	}
	r = ask()
	require.Equal(t, http.StatusTooManyRequests, r.status)
	require.NotEmpty(t, r.header.Get("Retry-After"))
	f.json("/token", object{"audience": "ref"}, f.basic("bob")).members(t, http.StatusOK)
	set("10.0.0.2", now.Add(time.Second))
	ask().members(t, http.StatusOK)

	for range 200 { // a resource server may ask more than a client, and an address more if it is known who asks
		require.Equal(t, http.StatusOK, f.json("/introspect", object{"token": "x"}, f.basic("rs")).status)
	}
}

func TestAddress(t *testing.T) {
	for from, want := range map[string]string{
		"192.0.2.7:1234":            "192.0.2.7",
		"[::ffff:192.0.2.7]:1":      "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:80": "2001:db8:1:2::/64",
		"[fe80::1%eth0]:80":         "fe80::/64",
		"@":                         "@",
	} {
		require.Equal(t, want, address(&http.Request{RemoteAddr: from}))
	}
}

// TestStoreShrinksAgain: tokens and keys are forgotten when they have expired, also if they are renewed without end.
func TestStoreShrinksAgain(t *testing.T) {
	f := start(t)
	at := time.Now()
	f.now = func() time.Time { return at }
	count := func() (n int) {
		require.NoError(t, f.store.View(func(tx store.Tx) error {
			for _, bucket := range []string{bucketTokens, bucketKeys, bucketExpiry, bucketInvites} {
				tx.Ascend(bucket, func(string, []byte) bool { n++; return true })
			}
			return nil
		}))
		return n
	}
	_, o := f.ask(object{"audience": "ref"})
	kid := o["cnf"].(object)["jwk"].(object)["kid"]
	_, err := f.Invite(t.Context(), Invitation{})
	require.NoError(t, err)
	most := 0
	for range 200 {
		at = at.Add(time.Minute)
		f.ask(object{"audience": "ref", "req_cnf": object{"kid": kid}})
		most = max(most, count())
	}
	require.Less(t, most, 70) // those of 20 minutes, two records each and as many entries in bucketExpiry
	require.Greater(t, count(), 20)
	at = at.Add(time.Hour)
	f.ask(object{"audience": "ref"})
	require.LessOrEqual(t, count(), 4)

	for range 700 { // more than one look removes
		f.ask(object{"audience": "ref"})
	}
	at = at.Add(time.Hour)
	for range 4 {
		f.ask(object{"audience": "ref"})
	}
	require.LessOrEqual(t, count(), 16, "many at once")

	at = at.Add(-24 * time.Hour)
	for range 20 {
		f.ask(object{"audience": "ref"})
	}
	at = at.Add(time.Hour)
	f.ask(object{"audience": "ref"})
	require.LessOrEqual(t, count(), 20, "after the clock has gone back")
}

// TestLogHoldsNoSecrets runs through all endpoints and looks for what must not be in the log.
func TestLogHoldsNoSecrets(t *testing.T) {
	var log bytes.Buffer
	var mu sync.Mutex
	f := start(t, func(_ *fixture, cfg *Config) {
		cfg.Log = slog.New(slog.NewJSONHandler(writer(func(b []byte) { mu.Lock(); defer mu.Unlock(); log.Write(b) }), &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	secrets := []string{f.secrets["alice"], f.secrets["rs"], "a-wrong-secret"}
	invite, err := f.Invite(t.Context(), Invitation{})
	require.NoError(t, err)
	o := f.json("/register", object{"client_name": "Meter\n7"}, bearer(invite)).members(t, http.StatusCreated)
	secrets = append(secrets, invite, o["client_secret"].(string))
	for _, audience := range append(formats, "noclock") {
		_, o := f.ask(object{"audience": audience})
		text := o["access_token"].(string)
		secrets = append(secrets, text, o["cnf"].(object)["jwk"].(object)["k"].(string))
		f.active(text)
		f.json("/revoke", object{"token": text}, f.basic("alice"))
	}
	f.json("/token", object{"client_id": "alice", "client_secret": "a-wrong-secret"})
	f.json("/token", object{"audience": "jwt", "scope": "#"}, f.basic("alice"))
	require.NoError(t, f.Remove(t.Context(), o["client_id"].(string)))

	mu.Lock()
	defer mu.Unlock()
	for _, event := range []string{"token issued", "token introspected", "token revoked", "client registered", "client removed", "refused"} {
		require.Contains(t, log.String(), strconv.Quote(event))
	}
	for _, secret := range secrets {
		require.NotContains(t, log.String(), secret)
	}
	for line := range strings.Lines(log.String()) {
		require.True(t, json.Valid([]byte(line)), "a name breaks the line")
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

// TestConcurrentRequests shows the race detector everything at once.
func TestConcurrentRequests(t *testing.T) {
	f := start(t)
	var running sync.WaitGroup
	for i := range 8 {
		running.Go(func() {
			for j := range 6 {
				audience := formats[(i+j)%len(formats)]
				r := f.json("/token", object{"audience": audience}, f.basic("alice"))
				var o object
				if json.Unmarshal(r.body, &o) != nil || r.status != http.StatusOK {
					t.Errorf("%d %s", r.status, r.body)
					return
				}
				f.json("/introspect", object{"token": o["access_token"]}, f.basic("rs"))
				if err := f.SetKeys([]SigningKey{{"s1", f.signer}}); err != nil {
					t.Error(err)
				}
				f.json("/revoke", object{"token": o["access_token"]}, f.basic("alice"))
			}
		})
	}
	running.Wait()
}
