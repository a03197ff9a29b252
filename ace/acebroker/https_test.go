package acebroker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// website is an HTTPS server whose answer a test can change.
type website struct {
	*httptest.Server
	asked atomic.Int64

	mu     sync.Mutex
	answer http.HandlerFunc
}

func newWebsite(t testing.TB) *website {
	t.Helper()
	w := new(website)
	w.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.asked.Add(1)
		w.mu.Lock()
		answer := w.answer
		w.mu.Unlock()
		_ = r.ParseForm() // the context of a request ends with the client only once its body has been read
		answer(rw, r)
	}))
	w.Config.ErrorLog = log.New(io.Discard, "", 0)
	w.StartTLS()
	t.Cleanup(w.Close)
	return w
}

func (w *website) serve(answer http.HandlerFunc) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer = answer
}

// trust is a TLS configuration that trusts the server.
func (w *website) trust() *tls.Config {
	pool := x509.NewCertPool()
	pool.AddCert(w.Certificate())
	return &tls.Config{RootCAs: pool}
}

func jwks(t testing.TB, keys ...jose.JSONWebKey) http.HandlerFunc {
	t.Helper()
	body, err := json.Marshal(jose.JSONWebKeySet{Keys: keys})
	require.NoError(t, err)
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/jwk-set+json")
		w.Write(body)
	}
}

func fail(w http.ResponseWriter, _ *http.Request) {
	http.Error(w, "no", http.StatusInternalServerError)
}

// TestJWKSRotation: a new key is found when a token names it, an old one counts as long as it is published, and what
// is published is public keys alone.
func TestJWKSRotation(t *testing.T) {
	a := newAS(t, "as")
	site, clock := newWebsite(t), layertest.NewClock(base)
	ed := jose.JSONWebKey{Key: a.ed.Public(), KeyID: "ed"}
	site.serve(jwks(t, ed, jose.JSONWebKey{Key: a.secret, KeyID: "s256", Algorithm: "A256GCM"}))
	keys, err := NewJWKS(JWKSConfig{URL: site.URL, TLS: site.trust(), Clock: clock})
	require.NoError(t, err)
	cfg := configFor(a, clock)
	cfg.Issuers[0].Keys = keys
	v := newTestVerifier(t, cfg)
	set := a.claimSet(holder(t, pop.EdDSA).Verifier())
	set.Expires = base.Add(100 * time.Hour)
	verify := func(algorithm Algorithm) error {
		set.ID += "x" // so that the cache does not know it
		_, err := v.verify(context.Background(), a.sign(jsonOf(t, set), algorithm, nil))
		return err
	}
	require.Zero(t, site.asked.Load(), "not before it is needed")
	for range 3 {
		require.NoError(t, verify(EdDSA))
	}
	require.EqualValues(t, 1, site.asked.Load())
	_, err = v.verify(context.Background(), a.encrypt(jsonOf(t, set), nil))
	require.ErrorIs(t, err, ErrWrapper, "a published secret is none")

	site.serve(jwks(t, ed, jose.JSONWebKey{Key: a.ec.Public(), KeyID: "ec"}))
	require.ErrorIs(t, verify(ES256), ErrWrapper, "asked a moment ago")
	for range 50 {
		require.ErrorIs(t, verify(ES256), ErrWrapper)
	}
	require.EqualValues(t, 1, site.asked.Load(), "a stranger with invented kids causes no requests")
	clock.Advance(DefaultMinRefresh)
	require.NoError(t, verify(ES256))
	require.NoError(t, verify(EdDSA))
	require.EqualValues(t, 2, site.asked.Load())

	site.serve(jwks(t, jose.JSONWebKey{Key: a.ec.Public(), KeyID: "ec"}))
	clock.Advance(DefaultRefresh)
	require.NoError(t, verify(EdDSA), "good until the new set is here")
	require.Eventually(t, func() bool { return verify(EdDSA) != nil }, time.Minute, time.Millisecond)
	require.NoError(t, verify(ES256))
	require.EqualValues(t, 3, site.asked.Load())
}

// TestJWKSUnreachable: the last keys count for a while, and then none.
func TestJWKSUnreachable(t *testing.T) {
	a := newAS(t, "as")
	site, clock := newWebsite(t), layertest.NewClock(base)
	site.serve(fail)
	keys, err := NewJWKS(JWKSConfig{URL: site.URL, TLS: site.trust(), Clock: clock})
	require.NoError(t, err)
	get := func() error {
		found, err := keys.Keys(context.Background(), "ed", EdDSA)
		if err == nil && len(found) == 0 {
			err = ErrWrapper
		}
		return err
	}
	for range 5 {
		require.ErrorContains(t, get(), "status 500")
	}
	require.EqualValues(t, 1, site.asked.Load(), "no stampede on a server that is down")
	site.serve(jwks(t, jose.JSONWebKey{Key: a.ed.Public(), KeyID: "ed"}))
	clock.Advance(DefaultMinRefresh)
	require.NoError(t, get())
	site.serve(fail)
	clock.Advance(DefaultMaxStale - time.Second)
	require.NoError(t, get())
	clock.Advance(time.Minute)
	require.Error(t, get())

	cfg := configFor(a, clock)
	cfg.Issuers[0].Keys = keys
	set := a.claimSet(holder(t, pop.EdDSA).Verifier())
	set.Expires = base.Add(100 * time.Hour)
	_, err = newTestVerifier(t, cfg).verify(context.Background(), a.sign(jsonOf(t, set), EdDSA, nil))
	require.ErrorIs(t, err, ErrUnreachable)
}

// TestJWKSStampede: those whose tokens come while the keys are fetched wait for that one request.
func TestJWKSStampede(t *testing.T) {
	a := newAS(t, "as")
	site := newWebsite(t)
	gate, set := make(chan struct{}), jwks(t, jose.JSONWebKey{Key: a.ed.Public(), KeyID: "ed"})
	site.serve(func(w http.ResponseWriter, r *http.Request) { <-gate; set(w, r) })
	keys, err := NewJWKS(JWKSConfig{URL: site.URL, TLS: site.trust()})
	require.NoError(t, err)
	found := make(chan int)
	ask := func() {
		k, _ := keys.Keys(t.Context(), "ed", EdDSA)
		found <- len(k)
	}
	go ask()
	require.Eventually(t, func() bool { return site.asked.Load() == 1 }, patience, time.Millisecond)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = keys.Keys(ctx, "ed", EdDSA)
	require.ErrorIs(t, err, context.Canceled, "not longer than they like")
	for range 100 {
		go ask()
	}
	close(gate)
	for range 101 {
		require.Equal(t, 1, <-found)
	}
	require.EqualValues(t, 1, site.asked.Load())
}

// TestJWKSAnswers: what is not a key set, too much of it, and a redirect are no keys; a key that is not understood
// does not spoil others.
func TestJWKSAnswers(t *testing.T) {
	a := newAS(t, "as")
	site := newWebsite(t)
	good, err := json.Marshal(jose.JSONWebKey{Key: a.ed.Public(), KeyID: "ed"})
	require.NoError(t, err)
	other := newWebsite(t)
	other.serve(jwks(t, jose.JSONWebKey{Key: a.ed.Public(), KeyID: "ed"}))
	for name, c := range map[string]struct {
		answer http.HandlerFunc
		ok     bool
	}{
		"html":  {func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, false},
		"empty": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Content-Type", "application/json") }, false},
		"endless": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			forever(w, r)
		}, false},
		"redirect": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, other.URL, http.StatusFound) }, false},
		"mixed": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"keys":[{"kty":"AKP"},7,{"kty":"oct","k":"AAAA"},%s,{"kty":"RSA","n":"AQAB","e":"AQAB","alg":"RS256"}]}`, good)
		}, true},
		"private": {func(w http.ResponseWriter, _ *http.Request) {
			private, _ := json.Marshal(jose.JSONWebKey{Key: a.ed, KeyID: "ed"})
			w.Header().Set("Content-Type", "application/json")
			fmt.Fprintf(w, `{"keys":[%s]}`, private)
		}, false},
	} {
		site.serve(c.answer)
		keys, err := NewJWKS(JWKSConfig{URL: site.URL, TLS: site.trust()})
		require.NoError(t, err)
		found, _ := keys.Keys(context.Background(), "ed", EdDSA)
		require.Equal(t, c.ok, len(found) == 1, name)
	}
	for _, bad := range []string{"http://as/jwks", "as/jwks", "https://", "https://user:password@as/", "://"} {
		_, err := NewJWKS(JWKSConfig{URL: bad})
		require.Error(t, err, bad)
		require.NotContains(t, err.Error(), "password")
	}
	_, err = NewJWKS(JWKSConfig{URL: "https://as", Refresh: -1})
	require.Error(t, err)
}

func forever(w http.ResponseWriter, r *http.Request) {
	for r.Context().Err() == nil {
		if _, err := fmt.Fprint(w, strings.Repeat(" ", 64<<10)); err != nil {
			return
		}
	}
}

// introspector answers like an Authorization Server that knows one reference token.
type introspector struct {
	t      testing.TB
	token  string
	answer claims.Introspection
	form   url.Values
	user   string
	secret string
}

func (i *introspector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.user, i.secret, _ = r.BasicAuth()
	_ = r.ParseForm()
	i.form = r.PostForm
	answer := i.answer
	if r.PostForm.Get("token") != i.token {
		answer = claims.Introspection{}
	}
	body, err := answer.JSON()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", claims.TypeACEJSON)
	w.Write(body)
}

func introspected(t testing.TB, site *website, a *as, clock Clock) Config {
	t.Helper()
	cfg := configFor(a, clock)
	cfg.Issuers[0].Introspection = &Introspection{URL: site.URL, ClientID: "broker:1", ClientSecret: "s%cret", TLS: site.trust()}
	return cfg
}

// TestIntrospection: a reference token is asked about, by POST with the broker's credentials, once in CacheFor.
func TestIntrospection(t *testing.T) {
	a := newAS(t, "as")
	site, clock := newWebsite(t), layertest.NewClock(base)
	key := holder(t, pop.HS256).Verifier()
	i := &introspector{t: t, token: "ref-token-0001", answer: claims.Introspection{Active: true, Set: a.claimSet(key), TokenType: "pop"}}
	site.serve(i.ServeHTTP)
	v := newTestVerifier(t, introspected(t, site, a, clock))
	for range 3 {
		got, err := v.verify(context.Background(), []byte("ref-token-0001"))
		require.NoError(t, err)
		require.Equal(t, "alice", got.identity)
		require.Equal(t, key.Fingerprint(), got.key.Fingerprint())
	}
	require.EqualValues(t, 1, site.asked.Load())
	require.Equal(t, url.Values{"token": {"ref-token-0001"}, "token_type_hint": {"pop"}}, i.form)
	require.Equal(t, []string{"broker%3A1", "s%25cret"}, []string{i.user, i.secret})

	clock.Advance(DefaultCacheFor)
	i.answer.Active = false
	_, err := v.verify(context.Background(), []byte("ref-token-0001"))
	require.ErrorIs(t, err, ErrInactive, "revoked there")
	require.EqualValues(t, 2, site.asked.Load())
	_, err = v.verify(context.Background(), []byte("unknown"))
	require.ErrorIs(t, err, ErrInactive)
	require.EqualValues(t, 3, v.counters.introspected.Load())
}

// TestIntrospectionFailsClosed: down, slow, unintelligible, unwilling: the token is refused each time, and nothing is
// remembered of it.
func TestIntrospectionFailsClosed(t *testing.T) {
	a := newAS(t, "as")
	site, clock := newWebsite(t), layertest.NewClock(base)
	key := holder(t, pop.EdDSA).Verifier()
	i := &introspector{t: t, token: "ref", answer: claims.Introspection{Active: true, Set: a.claimSet(key)}}
	good, err := i.answer.JSON()
	require.NoError(t, err)
	cfg := introspected(t, site, a, clock)
	v := newTestVerifier(t, cfg)
	cfg.Timeout = 200 * time.Millisecond
	hasty := newTestVerifier(t, cfg)
	say := func(status int, contentType, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	for name, answer := range map[string]http.HandlerFunc{
		"error":           fail,
		"unauthorized":    say(401, claims.TypeACEJSON, `{"active":true}`),
		"created":         say(201, claims.TypeACEJSON, string(good)),
		"html":            say(200, "text/html", string(good)),
		"no type":         say(200, "", string(good)),
		"not JSON":        say(200, claims.TypeJSON, "active"),
		"no active":       say(200, claims.TypeJSON, "{}"),
		"active as text":  say(200, claims.TypeJSON, `{"active":"true"}`),
		"repeated active": say(200, claims.TypeJSON, `{"active":false,"active":true}`),
		"two answers":     say(200, claims.TypeJSON, string(good)+string(good)),
		"endless": func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", claims.TypeJSON)
			forever(w, r)
		},
		"slow":              func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"scope of somebody": say(200, claims.TypeJSON, strings.Replace(string(good), `"scope":"`, `"scope":"!`, 1)),
	} {
		site.serve(answer)
		asking := v
		if name == "slow" || name == "endless" {
			asking = hasty
		}
		_, err := asking.verify(context.Background(), []byte("ref"))
		require.ErrorIs(t, err, ErrUnreachable, name)
		require.Equal(t, byte(0x88), reasonFor(err))
	}
	for name, change := range map[string]func(*claims.Introspection){
		"bearer":   func(i *claims.Introspection) { i.TokenType = claims.Bearer },
		"no key":   func(i *claims.Introspection) { i.Confirmation = claims.Confirmation{} },
		"foreign":  func(i *claims.Introspection) { i.Audience = []string{"another"} },
		"expired":  func(i *claims.Introspection) { i.Expires = base },
		"inactive": func(i *claims.Introspection) { i.Active = false },
	} {
		changed := *i
		change(&changed.answer)
		site.serve(changed.ServeHTTP)
		_, err := v.verify(context.Background(), []byte("ref"))
		require.Error(t, err, name)
		require.NotErrorIs(t, err, ErrUnreachable, name)
	}
	require.Empty(t, v.cache.recent.items)
	require.Empty(t, hasty.cache.recent.items)
	site.serve(i.ServeHTTP)
	_, err = v.verify(context.Background(), []byte("ref"))
	require.NoError(t, err)
	site.Close()
	_, err = v.verify(context.Background(), []byte("ref"))
	require.NoError(t, err, "for as long as the answer counts")
	clock.Advance(DefaultCacheFor)
	_, err = v.verify(context.Background(), []byte("ref"))
	require.ErrorIs(t, err, ErrUnreachable)
}

// TestIntrospectionStampede: a thousand clients at once with one token are one request.
func TestIntrospectionStampede(t *testing.T) {
	a := newAS(t, "as")
	site := newWebsite(t)
	i := &introspector{t: t, token: "ref", answer: claims.Introspection{Active: true, Set: a.claimSet(holder(t, pop.EdDSA).Verifier())}}
	gate := make(chan struct{})
	site.serve(func(w http.ResponseWriter, r *http.Request) { <-gate; i.ServeHTTP(w, r) })
	v := newTestVerifier(t, introspected(t, site, a, layertest.NewClock(base)))
	done := make(chan error)
	for range 1000 {
		go func() {
			_, err := v.verify(context.Background(), []byte("ref"))
			done <- err
		}()
	}
	close(gate)
	for range 1000 {
		require.NoError(t, <-done)
	}
	require.EqualValues(t, 1, site.asked.Load())
}

// TestIntrospectionMistakes: each is said where it was made.
func TestIntrospectionMistakes(t *testing.T) {
	a := newAS(t, "as")
	for want, i := range map[string]Introspection{
		"is not an https URL":                     {URL: "http://as/introspect", ClientID: "b", ClientSecret: "s"},
		"a client secret or a client certificate": {URL: "https://as/introspect", ClientID: "b"},
		"a CacheFor below a second":               {URL: "https://as/introspect", ClientID: "b", ClientSecret: "s", CacheFor: -1},
	} {
		cfg := configFor(a, nil)
		cfg.Issuers[0].Introspection = &i
		_, err := NewListener(nil, cfg)
		require.ErrorContains(t, err, want)
	}
	site := newWebsite(t)
	site.serve(fail)
	cfg := introspected(t, site, a, layertest.NewClock(base))
	cfg.Issuers[0].Introspection.TLS = nil
	_, err := newTestVerifier(t, cfg).verify(context.Background(), []byte("ref"))
	require.ErrorContains(t, err, "certificate", "the CA is missing")
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", *cfg.Issuers[0].Introspection, cfg.Issuers[0].Introspection, *cfg.Issuers[0].Introspection), "s%cret")
}

func FuzzIntrospection(f *testing.F) {
	a := newAS(f, "as")
	answer := claims.Introspection{Active: true, Set: a.claimSet(holder(f, pop.EdDSA).Verifier())}
	inJSON, err := answer.JSON()
	require.NoError(f, err)
	inCBOR, err := answer.CBOR()
	require.NoError(f, err)
	f.Add(inJSON, false)
	f.Add(inCBOR, true)
	f.Add([]byte(`{"active":false}`), false)
	f.Fuzz(func(t *testing.T, body []byte, binary bool) {
		mediaType := claims.TypeACEJSON
		if binary {
			mediaType = claims.TypeACECBOR
		}
		if got, err := parseAnswer(body, mediaType); err == nil && got.Active {
			_, _ = compile(got.Set)
		}
	})
}

func FuzzJWKS(f *testing.F) {
	a := newAS(f, "as")
	body, err := json.Marshal(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: a.ed.Public(), KeyID: "ed"}, {Key: a.ec.Public()}}})
	require.NoError(f, err)
	f.Add(body)
	f.Fuzz(func(t *testing.T, body []byte) {
		keys, _ := parseJWKS(body)
		for _, k := range keys {
			require.NoError(t, k.check())
			require.Zero(t, k.Algorithm.secretSize())
		}
	})
}
