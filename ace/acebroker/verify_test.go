package acebroker

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/cose"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// newTestVerifier makes what a Listener with this Config verifies with.
func newTestVerifier(t testing.TB, cfg Config) *verifier {
	t.Helper()
	l := new(Listener)
	s, _, err := l.prepare(cfg)
	require.NoError(t, err)
	return s.verifier
}

func configFor(a *as, clock Clock) Config {
	return Config{
		BehindTLSProxy: true, Algorithms: everyAlgorithm(), Audience: []string{"broker", "mqtts://broker"}, Clock: clock,
		Issuers: []Issuer{{Name: a.name, Keys: a.keys()}},
	}
}

// TestTokenForms: every form is understood, with every kind of key that it may carry; a secret in the clear is
// refused.
func TestTokenForms(t *testing.T) {
	a := newAS(t, "as")
	v := newTestVerifier(t, configFor(a, layertest.NewClock(base)))
	for name, form := range a.encodings() {
		for _, algorithm := range []pop.Algorithm{pop.HS256, pop.EdDSA, pop.ES256} {
			key := holder(t, algorithm)
			got, err := v.verify(context.Background(), form.make(a.claimSet(key.Verifier())))
			if algorithm == pop.HS256 && !form.secret {
				require.ErrorIs(t, err, ErrKey, "%s %s", name, algorithm)
				continue
			}
			require.NoError(t, err, "%s %s", name, algorithm)
			require.Equal(t, "alice", got.identity)
			require.Equal(t, base.Add(time.Hour), got.expires)
			require.Equal(t, key.Verifier().Fingerprint(), got.key.Fingerprint())
			require.True(t, got.scope.MayPublish([]byte("a/b")))
			require.True(t, got.scope.MaySubscribe("s"))
			require.False(t, got.scope.MayPublish([]byte("s")))
		}
	}
}

// TestTokenSteps fails each step of RFC 9431, section 2.2.5, and RFC 9200, section 5.10.1.1, and checks that of two
// mistakes the one that comes first in their order is the reason.
func TestTokenSteps(t *testing.T) {
	a := newAS(t, "as")
	v := newTestVerifier(t, configFor(a, layertest.NewClock(base)))
	steps := []struct {
		name   string
		change func(*claims.Set)
		want   error
	}{
		{"iss", func(s *claims.Set) { s.Issuer = "another" }, ErrIssuer},
		{"nbf", func(s *claims.Set) { s.NotBefore = base.Add(2 * time.Minute) }, ErrNotYet},
		{"iat", func(s *claims.Set) { s.IssuedAt = base.Add(2 * time.Minute) }, ErrNotYet},
		{"exp", func(s *claims.Set) { s.Expires = base }, ErrExpired},
		{"no exp", func(s *claims.Set) { s.Expires = time.Time{} }, ErrExpired},
		{"aud", func(s *claims.Set) { s.Audience = []string{"Broker", "broker/", "another"} }, ErrAudience},
		{"no aud", func(s *claims.Set) { s.Audience = nil }, ErrAudience},
		{"profile", func(s *claims.Set) { s.Profile = "1" }, ErrProfile},
		{"no cnf", func(s *claims.Set) { s.Confirmation = claims.Confirmation{} }, ErrKey},
		{"unknown kid", func(s *claims.Set) { s.Confirmation = claims.Confirmation{ID: "unknown"} }, ErrKey},
	}
	key := holder(t, pop.EdDSA).Verifier()
	for name, form := range a.encodings() {
		for i, step := range steps {
			set := a.claimSet(key)
			step.change(&set)
			_, err := v.verify(context.Background(), form.make(set))
			require.ErrorIs(t, err, step.want, "%s: %s", name, step.name)
			for _, later := range steps[i+1:] {
				both := set
				later.change(&both)
				step.change(&both)
				_, err := v.verify(context.Background(), form.make(both))
				require.ErrorIs(t, err, step.want, "%s: %s before %s", name, step.name, later.name)
			}
		}
	}
	require.Empty(t, v.cache.recent.items, "what is not valid is not remembered")
	require.Zero(t, v.counters.verified.Load())
}

// TestTokenClockSkew: nbf and iat may be a little ahead, exp may not be past.
func TestTokenClockSkew(t *testing.T) {
	a := newAS(t, "as")
	clock := layertest.NewClock(base)
	v := newTestVerifier(t, configFor(a, clock))
	set := a.claimSet(holder(t, pop.EdDSA).Verifier())
	set.NotBefore = base.Add(DefaultLeeway)
	token := a.sign(jsonOf(t, set), EdDSA, nil)
	_, err := v.verify(context.Background(), token)
	require.NoError(t, err)
	clock.Advance(-time.Hour)
	_, err = newTestVerifier(t, configFor(a, clock)).verify(context.Background(), token)
	require.ErrorIs(t, err, ErrNotYet)
	require.ErrorContains(t, err, "the clock here says 2027-01-15T07:00:00Z", "a clock that is an hour off shows")
	clock.Advance(2*time.Hour - time.Second)
	_, err = v.verify(context.Background(), token)
	require.NoError(t, err)
	clock.Advance(time.Second)
	_, err = v.verify(context.Background(), token)
	require.ErrorIs(t, err, ErrExpired, "remembered no longer than it is valid")
}

// TestTokenByAStranger: signed or encrypted by somebody else, with the right kid; with an algorithm that is not
// listed; with none at all; with a public key as a secret; for another purpose (attacks.md 15, 16).
func TestTokenByAStranger(t *testing.T) {
	a, mallory := newAS(t, "as"), newAS(t, "as")
	cfg := configFor(a, layertest.NewClock(base))
	v := newTestVerifier(t, cfg)
	set := a.claimSet(holder(t, pop.EdDSA).Verifier())
	for name, form := range mallory.encodings() {
		_, err := v.verify(context.Background(), form.make(set))
		require.ErrorIs(t, err, ErrWrapper, name)
	}

	cfg.Algorithms = []Algorithm{ES256}
	cfg.Issuers = []Issuer{{Name: "as", Keys: keySet(func(string, Algorithm) []Key { return a.keys() })}}
	only := newTestVerifier(t, cfg)
	for name, form := range a.encodings() {
		_, err := only.verify(context.Background(), form.make(set))
		if slices.Contains([]string{"JWS ES256", "Sign1 ES256"}, name) {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, ErrWrapper, name)
	}

	payload := jsonOf(t, set)
	segment := base64.RawURLEncoding.EncodeToString
	for name, header := range map[string]string{
		"none":           `{"alg":"none","kid":"ed","typ":"JWT"}`,
		"None":           `{"alg":"None","kid":"ed"}`,
		"no alg":         `{"kid":"ed"}`,
		"HS256":          `{"alg":"HS256","kid":"ed"}`,
		"crit":           `{"alg":"EdDSA","kid":"ed","crit":["x"],"x":1}`,
		"not an object":  `[]`,
		"repeated alg":   `{"alg":"none","alg":"EdDSA"}`,
		"key of its own": `{"alg":"EdDSA","jwk":{"kty":"OKP","crv":"Ed25519","x":"` + segment(mallory.ed.Public().(ed25519.PublicKey)) + `"}}`,
	} {
		for _, signature := range []string{"", segment(make([]byte, 64)), segment(make([]byte, 32))} {
			token := segment([]byte(header)) + "." + segment(payload) + "." + signature
			_, err := v.verify(context.Background(), []byte(token))
			require.Error(t, err, name)
		}
	}

	for typ, want := range map[any]error{"JWT": nil, "at+jwt": nil, "application/at+JWT": nil, "secevent+jwt": ErrMalformed, "dpop+jwt": ErrMalformed} {
		_, err := v.verify(context.Background(), a.sign(payload, EdDSA, map[jose.HeaderKey]any{"typ": typ}))
		require.ErrorIs(t, err, want, typ)
	}

	// An issuer that this broker trusts, too, is not trusted to speak for another one, nor to sign what the other has
	// sealed.
	other := newAS(t, "other")
	other.secret = a.secret
	cfg = configFor(a, layertest.NewClock(base))
	cfg.Issuers = append(cfg.Issuers, Issuer{Name: "other", Keys: other.keys()[:2]})
	two := newTestVerifier(t, cfg)
	_, err := two.verify(context.Background(), other.sign(payload, EdDSA, nil))
	require.ErrorIs(t, err, ErrIssuer)
	_, err = two.verify(context.Background(), a.encrypt(other.sign(jsonOf(t, other.claimSet(holder(t, pop.HS256).Verifier())), EdDSA, nil), map[jose.HeaderKey]any{"cty": "JWT"}))
	require.ErrorIs(t, err, ErrIssuer)
	got, err := two.verify(context.Background(), a.sign(payload, EdDSA, nil))
	require.NoError(t, err)
	require.Equal(t, "as alice", got.identity, "alice of another issuer is somebody else")
}

type keySet func(id string, algorithm Algorithm) []Key

func (f keySet) Keys(_ context.Context, id string, algorithm Algorithm) ([]Key, error) {
	return f(id, algorithm), nil
}

// TestTokenMutated changes every byte of a token of each form.
func TestTokenMutated(t *testing.T) {
	a := newAS(t, "as")
	v := newTestVerifier(t, configFor(a, layertest.NewClock(base)))
	set := a.claimSet(holder(t, pop.EdDSA).Verifier())
	set.Scope = aif.Scope{{Filter: "a", Publish: true}}
	for name, form := range a.encodings() {
		token := form.make(set)
		_, err := v.verify(context.Background(), token)
		require.NoError(t, err)
		for i := range token {
			mutant := slices.Clone(token)
			mutant[i] ^= 1
			_, err := v.verify(context.Background(), mutant)
			require.Error(t, err, "%s: byte %d", name, i)
		}
		for _, n := range []int{0, 1, len(token) / 2, len(token) - 1} {
			_, err := v.verify(context.Background(), token[:n])
			require.Error(t, err, "%s: %d bytes", name, n)
		}
		_, err = v.verify(context.Background(), append(slices.Clone(token), 'A'))
		require.Error(t, err, name)
	}
}

// TestTokenScope is S-1 and S-3: what is not understood is not a smaller scope but no token; no scope is no rights.
func TestTokenScope(t *testing.T) {
	a := newAS(t, "as")
	v := newTestVerifier(t, configFor(a, layertest.NewClock(base)))
	set := a.claimSet(holder(t, pop.EdDSA).Verifier())
	whole := string(jsonOf(t, set))
	_, rest, _ := strings.Cut(whole, `"scope":"`)
	good, _, _ := strings.Cut(rest, `"`)
	with := func(scope string) []byte {
		return a.sign([]byte(strings.Replace(whole, good, base64.RawURLEncoding.EncodeToString([]byte(scope)), 1)), EdDSA, nil)
	}
	for _, scope := range []string{`[["a",["read"]]]`, `[["a",[]]]`, `[["a#",["pub"]]]`, `[["$share/g/a",["sub"]]]`, `[["a"]]`, `["a","pub"]`, `{}`, `null`, `"a"`,
		`[["` + strings.Repeat("+/", 200) + `a",["pub"]]]`} {
		_, err := v.verify(context.Background(), with(scope))
		require.ErrorIs(t, err, ErrScope, scope)
	}
	_, err := v.verify(context.Background(), a.sign([]byte(strings.Replace(whole, good, "read write", 1)), EdDSA, nil))
	require.ErrorIs(t, err, ErrScope)
	got, err := v.verify(context.Background(), with(`[]`))
	require.NoError(t, err)
	require.False(t, got.scope.MayPublish([]byte("a")))
	set.Scope = nil
	got, err = v.verify(context.Background(), a.sign(jsonOf(t, set), EdDSA, nil))
	require.NoError(t, err)
	require.False(t, got.scope.MayPublish([]byte("a/b")))
}

// TestTokenKeyByName: a token that updates another one's rights names its key alone, and only that client's (RFC
// 9202, section 4).
func TestTokenKeyByName(t *testing.T) {
	a := newAS(t, "as")
	clock := layertest.NewClock(base)
	v := newTestVerifier(t, configFor(a, clock))
	key := holder(t, pop.HS256).Verifier()
	first := a.claimSet(key)
	update := first
	update.Confirmation = claims.Confirmation{ID: "key-1"}
	update.Expires = base.Add(3 * time.Hour)
	issue := a.encodings()["JWE"].make
	_, err := v.verify(context.Background(), issue(update))
	require.ErrorIs(t, err, ErrKey)
	_, err = v.verify(context.Background(), issue(first))
	require.NoError(t, err)
	got, err := v.verify(context.Background(), issue(update))
	require.NoError(t, err)
	require.Equal(t, key.Fingerprint(), got.key.Fingerprint())
	mallory := update
	mallory.Subject = "mallory"
	_, err = v.verify(context.Background(), issue(mallory))
	require.ErrorIs(t, err, ErrKey)
	clock.Advance(time.Hour)
	update.ID = "token-3"
	_, err = v.verify(context.Background(), issue(update))
	require.ErrorIs(t, err, ErrKey, "the key went with its token")
}

// TestTokenEncryptedKey: a signed token may carry its secret key encrypted (RFC 7800, section 3.3; RFC 8747, section
// 3.3).
func TestTokenEncryptedKey(t *testing.T) {
	a, mallory := newAS(t, "as"), newAS(t, "as")
	v := newTestVerifier(t, configFor(a, layertest.NewClock(base)))
	key := holder(t, pop.HS256).Verifier()
	jwk, err := pop.NewJWK(key, "key-1").Encode()
	require.NoError(t, err)
	coseKey := cose.Symmetric(pop.NewJWK(key, "").Secret)
	inCBOR, err := coseKey.MarshalCBOR()
	require.NoError(t, err)
	for _, sealer := range []*as{a, mallory} {
		set := a.claimSet(pop.Verifier{})
		set.Confirmation = claims.Confirmation{Encrypted: sealer.encrypt(jwk, nil)}
		got, err := v.verify(context.Background(), a.sign(jsonOf(t, set), EdDSA, nil))
		set.Confirmation = claims.Confirmation{Encrypted: sealer.encrypt0(inCBOR, A256GCM)}
		gotCBOR, errCBOR := v.verify(context.Background(), a.sign1(cborOf(t, set), EdDSA))
		if sealer == mallory {
			require.ErrorIs(t, err, ErrKey)
			require.ErrorIs(t, errCBOR, ErrKey)
			continue
		}
		require.NoError(t, err)
		require.NoError(t, errCBOR)
		require.Equal(t, key.Fingerprint(), got.key.Fingerprint())
		require.Equal(t, key.Fingerprint(), gotCBOR.key.Fingerprint())
	}
}

// TestTokenCNonce is M-11.
func TestTokenCNonce(t *testing.T) {
	a := newAS(t, "as")
	clock := layertest.NewClock(base)
	cfg := configFor(a, clock)
	cfg.CNonce, cfg.Hint = time.Minute, &Hint{AS: "https://as/token"}
	v := newTestVerifier(t, cfg)
	token := func(nonce []byte) []byte {
		set := a.claimSet(holder(t, pop.EdDSA).Verifier())
		set.CNonce = nonce
		return a.sign(jsonOf(t, set), EdDSA, nil)
	}
	nonce := v.nonces.make(clock.Now())
	forged := slices.Clone(nonce)
	forged[3]++
	for name, bad := range map[string][]byte{"none": nil, "forged": forged, "short": nonce[:8], "another broker's": newCNonces(time.Minute).make(base)} {
		_, err := v.verify(context.Background(), token(bad))
		require.ErrorIs(t, err, ErrCNonce, name)
	}
	good := token(nonce)
	_, err := v.verify(context.Background(), good)
	require.NoError(t, err)
	clock.Advance(time.Minute)
	_, err = v.verify(context.Background(), good)
	require.NoError(t, err, "it was fresh when it was seen first")
	_, err = v.verify(context.Background(), token(nonce))
	require.ErrorIs(t, err, ErrCNonce)
}

// TestTokenSingleFlight: a thousand who ask at once about one token make one verification, and so does the cache
// afterwards.
func TestTokenSingleFlight(t *testing.T) {
	a := newAS(t, "as")
	cfg := configFor(a, layertest.NewClock(base))
	var asked atomic.Int64
	gate := make(chan struct{})
	cfg.Issuers[0].Keys = keySet(func(id string, algorithm Algorithm) []Key {
		asked.Add(1)
		<-gate
		return matching(a.keys(), id, algorithm)
	})
	v := newTestVerifier(t, cfg)
	token := a.sign(jsonOf(t, a.claimSet(holder(t, pop.EdDSA).Verifier())), EdDSA, nil)
	done := make(chan error)
	for range 1000 {
		go func() {
			_, err := v.verify(context.Background(), token)
			done <- err
		}()
	}
	impatient, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := v.verify(impatient, token)
	require.ErrorIs(t, err, ErrUnreachable, "who goes away does not take the work along")
	close(gate)
	for range 1000 {
		require.NoError(t, <-done)
	}
	require.EqualValues(t, 1, asked.Load())
	_, err = v.verify(context.Background(), token)
	require.NoError(t, err)
	require.EqualValues(t, 1, asked.Load())
	require.EqualValues(t, 1, v.counters.verified.Load())
	require.Empty(t, v.running)
}

// TestTokenCacheBounded: the token that was not used for longest goes first.
func TestTokenCacheBounded(t *testing.T) {
	a := newAS(t, "as")
	cfg := configFor(a, layertest.NewClock(base))
	cfg.CachedTokens = 8
	v := newTestVerifier(t, cfg)
	set := a.claimSet(holder(t, pop.EdDSA).Verifier())
	first := a.sign(jsonOf(t, set), EdDSA, nil)
	for i := range 20 {
		set.ID = strings.Repeat("x", i+1)
		_, err := v.verify(context.Background(), a.sign(jsonOf(t, set), EdDSA, nil))
		require.NoError(t, err)
		_, err = v.verify(context.Background(), first)
		require.NoError(t, err)
	}
	require.Len(t, v.cache.recent.items, 8)
	require.EqualValues(t, 21, v.counters.verified.Load())
	require.LessOrEqual(t, len(v.known.recent.items), 8)
}

func FuzzToken(f *testing.F) {
	a := newAS(f, "as")
	clock := layertest.NewClock(base)
	v := newTestVerifier(f, configFor(a, clock))
	set := a.claimSet(holder(f, pop.EdDSA).Verifier())
	for _, form := range a.encodings() {
		f.Add(form.make(set))
	}
	f.Add([]byte("eyJhbGciOiJub25lIn0.e30."))
	f.Add([]byte{0xd2, 0x84, 0x43, 0xa1, 0x01, 0x27, 0xa0, 0x40, 0x40})
	known := map[string]bool{}
	f.Fuzz(func(t *testing.T, token []byte) {
		if got, err := v.verify(context.Background(), token); err == nil {
			known[string(token)] = true
			require.Equal(t, "alice", got.identity)
		}
	})
}
