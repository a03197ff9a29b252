package acebroker

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/strict"
)

// The times that a zero in JWKSConfig stands for.
const (
	DefaultRefresh    = time.Hour
	DefaultMinRefresh = 30 * time.Second
	DefaultMaxStale   = 24 * time.Hour
)

// maxJWKS is how many keys of a set are looked at.
const maxJWKS = 256

// JWKSConfig says where the public keys of an issuer are published.
type JWKSConfig struct {
	// URL of the JWK Set (RFC 7517, section 5), with https.
	URL string
	// TLS verifies the server; nil uses the roots of the machine.
	TLS *tls.Config
	// Refresh is how long fetched keys are used before they are fetched again, MinRefresh how long a kid that is not
	// in the set must wait after a fetch before it can cause another, and MaxStale how long keys are used when
	// fetching fails. Zero stands for the defaults.
	Refresh, MinRefresh, MaxStale time.Duration
	// Clock is the time; nil is the real one.
	Clock Clock
}

// JWKS is the KeySet of an issuer that publishes its public keys at a URL. It fetches them when the first token
// comes, again when they are old, and when a token names a key that is new: so the issuer can change its keys at any
// time. A stranger who sends tokens with invented kids causes one fetch every MinRefresh, no more. When the server
// cannot be reached the last keys count for MaxStale. It is safe for concurrent use, and at most one fetch is under
// way.
type JWKS struct {
	cfg      JWKSConfig
	endpoint *endpoint

	mu       sync.Mutex
	keys     []Key
	fetched  time.Time     // the last time that it worked
	tried    time.Time     // the last time
	failed   error         // of the last time
	fetching chan struct{} // closed when the fetch under way is done
}

// NewJWKS returns the key set. It does not fetch yet.
func NewJWKS(cfg JWKSConfig) (*JWKS, error) {
	e, err := newEndpoint(cfg.URL, cfg.TLS)
	if err != nil {
		return nil, err
	}
	cfg.Refresh = cmp.Or(cfg.Refresh, DefaultRefresh)
	cfg.MinRefresh = cmp.Or(cfg.MinRefresh, DefaultMinRefresh)
	cfg.MaxStale = cmp.Or(cfg.MaxStale, DefaultMaxStale)
	if min(cfg.Refresh, cfg.MinRefresh, cfg.MaxStale) < 0 {
		return nil, fmt.Errorf("acebroker: negative time for %s", e.url)
	}
	if cfg.Clock == nil {
		cfg.Clock = layer.SystemClock{}
	}
	return &JWKS{cfg: cfg, endpoint: e}, nil
}

// Keys implements KeySet. Symmetric keys of a set are passed over: what is published is no secret.
func (j *JWKS) Keys(ctx context.Context, id string, algorithm Algorithm) ([]Key, error) {
	if algorithm.secretSize() > 0 {
		return nil, nil
	}
	for {
		now := j.cfg.Clock.Now()
		j.mu.Lock()
		usable := !j.fetched.IsZero() && now.Sub(j.fetched) < j.cfg.MaxStale
		var found []Key
		if usable {
			found = matching(j.keys, id, algorithm)
		}
		due := now.Sub(j.fetched) >= j.cfg.Refresh || len(found) == 0
		if !due || !j.tried.IsZero() && now.Sub(j.tried) < j.cfg.MinRefresh && j.fetching == nil {
			defer j.mu.Unlock()
			if usable {
				return found, nil
			}
			return nil, j.failed
		}
		wait := j.fetching
		if wait == nil {
			wait = make(chan struct{})
			j.fetching, j.tried = wait, now
			go j.fetch(now, wait)
		}
		j.mu.Unlock()
		if len(found) > 0 {
			return found, nil // good enough while new ones come
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// fetch replaces the keys if it can. It belongs to nobody who waits for it, and so has a time limit of its own.
func (j *JWKS) fetch(now time.Time, done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	body, _, err := j.endpoint.get(ctx)
	var keys []Key
	if err == nil {
		keys, err = parseJWKS(body)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.fetching, j.failed = nil, nil
	if err != nil {
		j.failed = fmt.Errorf("acebroker: key set %s: %w", j.endpoint.url, err)
	} else {
		j.keys, j.fetched = keys, now
	}
	close(done)
}

// parseJWKS keeps the keys that tokens may be verified with here. One that is not understood does not spoil the others.
func parseJWKS(body []byte) ([]Key, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := strict.Unmarshal(body, &set); err != nil || set.Keys == nil {
		return nil, fmt.Errorf("no JWK Set")
	}
	var keys []Key
	for _, raw := range set.Keys[:min(len(set.Keys), maxJWKS)] {
		var jwk jose.JSONWebKey
		if jwk.UnmarshalJSON(raw) != nil || !jwk.Valid() || !jwk.IsPublic() || jwk.Use != "" && jwk.Use != "sig" {
			continue
		}
		key := Key{ID: jwk.KeyID, Key: jwk.Key, Algorithm: publicAlgorithm(jwk.Algorithm, jwk.Key)}
		if key.check() == nil {
			keys = append(keys, key)
		}
	}
	return keys, nil
}
