package acebroker

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// access is what a valid token says.
type access struct {
	identity string // who the client is, with the issuer's name before it if there are several issuers
	issuer   string
	subject  string // sub, or client_id; empty if the token names nobody
	id       string // jti or cti
	hash     [sha256.Size]byte
	scope    *guard.Scope
	key      pop.Verifier
	keyID    string // of key; may be empty
	expires  time.Time
	issuedAt time.Time
	token    []byte    // as it came
	by       *byte     // the mark of the verifier that found it valid
	recheck  time.Time // when the Authorization Server is to be asked again; zero is never
}

// verifier validates tokens. It is safe for concurrent use.
type verifier struct {
	mark       *byte // tells verifiers apart, and holds none in memory
	algorithms map[Algorithm]bool
	local      bool // all keys are here, and nobody is asked about tokens
	issuers    []*issuer
	audience   []string
	timeout    time.Duration
	leeway     time.Duration
	nonces     *cnonces // nil: none are demanded
	clock      layer.Clock
	counters   *counters
	revoked    *revocations

	cache   cache
	known   knownKeys
	durable *sequences

	mu      sync.Mutex
	running map[[sha256.Size]byte]*verification
}

// issuer is an Authorization Server.
type issuer struct {
	Issuer
	asker  *introspection // nil: no reference tokens
	asking chan struct{}  // has a place for each request under way
}

// verification is one under way, for all who wait for it.
type verification struct {
	done   chan struct{}
	access *access
	err    error
}

// verify validates a token, or remembers that it is valid. However many ask at the same time about the same token, it
// is looked at once. What is not valid is not remembered.
func (v *verifier) verify(ctx context.Context, token []byte) (*access, error) {
	if len(token) == 0 {
		return nil, ErrMalformed
	}
	hash := sha256.Sum256(token)
	now := v.clock.Now()
	v.mu.Lock()
	// One that was under way is in the cache before it leaves running.
	if a := v.cache.get(hash, now); a != nil {
		v.mu.Unlock()
		v.counters.cached.Add(1)
		return a, v.revoked.check(a, now)
	}
	run := v.running[hash]
	if run == nil {
		run = &verification{done: make(chan struct{})}
		if v.running == nil {
			v.running = make(map[[sha256.Size]byte]*verification)
		}
		v.running[hash] = run
		if v.local {
			// Nobody has to be asked: there is nothing to wait for.
			v.mu.Unlock()
			v.run(run, hash, slices.Clone(token))
			return run.access, run.err
		}
		// Whoever comes first may go away before it is done: the work is everybody's.
		go v.run(run, hash, slices.Clone(token))
	}
	v.mu.Unlock()
	select {
	case <-run.done:
		return run.access, run.err
	case <-ctx.Done():
		return nil, fmt.Errorf("%w: %w", ErrUnreachable, context.Cause(ctx))
	}
}

func (v *verifier) run(run *verification, hash [sha256.Size]byte, token []byte) {
	ctx, cancel := context.WithTimeout(context.Background(), v.timeout)
	defer cancel()
	run.access, run.err = v.validate(ctx, hash, token)
	if run.err == nil {
		v.counters.verified.Add(1)
		v.cache.put(run.access)
	} else {
		v.counters.rejected.Add(1)
	}
	v.mu.Lock()
	delete(v.running, hash)
	v.mu.Unlock()
	close(run.done)
}

// validate takes the steps of RFC 9431, section 2.2.5, and RFC 9200, section 5.10.1.1, in their order.
func (v *verifier) validate(ctx context.Context, hash [sha256.Size]byte, token []byte) (*access, error) {
	var u unwrapped
	var recheck time.Time
	f, binary := identify(token)
	var err error
	if f == reference {
		u, recheck, err = v.introspect(ctx, token)
	} else {
		u, err = v.unwrap(ctx, f, token, binary)
	}
	if err != nil {
		return nil, err
	}
	now := v.clock.Now()
	if u.Issuer != "" && u.Issuer != u.issuer.Name {
		return nil, fmt.Errorf("%w: %q", ErrIssuer, shown(u.Issuer))
	}
	expires, err := v.lifetime(&u, now)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(u.Audience, func(name string) bool { return slices.Contains(v.audience, name) }) {
		return nil, fmt.Errorf("%w: %q", ErrAudience, shown(fmt.Sprint(u.Audience)))
	}
	scope, err := compile(u.Set)
	if err != nil {
		return nil, err
	}
	if v.nonces != nil && !v.nonces.recent(u.CNonce, now) {
		return nil, ErrCNonce
	}
	if u.Profile != "" && u.Profile != pop.Profile {
		return nil, fmt.Errorf("%w: %q", ErrProfile, shown(u.Profile))
	}
	key, err := v.confirm(ctx, &u, expires)
	if err != nil {
		return nil, err
	}
	a := &access{
		issuer: u.issuer.Name, subject: subject(u.Set), id: u.ID, hash: hash, scope: scope, key: key,
		keyID: u.Confirmation.ID, expires: expires, issuedAt: u.IssuedAt, recheck: recheck,
		token: token, by: v.mark,
	}
	a.identity = v.identity(a)
	return a, v.revoked.check(a, now)
}

// lifetime checks nbf, iat and exp, or what stands for exp in a token for a broker without a clock (RFC 9200, section
// 5.10.3).
func (v *verifier) lifetime(u *unwrapped, now time.Time) (expires time.Time, err error) {
	soon := now.Add(v.leeway)
	if u.NotBefore.After(soon) || u.IssuedAt.After(soon) {
		return time.Time{}, fmt.Errorf("%w: valid from %s, the clock here says %s", ErrNotYet,
			later(u.NotBefore, u.IssuedAt).UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	expires = u.Expires
	if u.ExpiresIn > 0 {
		until, err := v.durable.until(u, v.audience, now)
		if err != nil {
			return time.Time{}, err
		}
		if expires.IsZero() || until.Before(expires) {
			expires = until
		}
	}
	switch {
	case expires.IsZero():
		return time.Time{}, fmt.Errorf("%w: it does not say when", ErrExpired)
	case !now.Before(expires):
		return time.Time{}, fmt.Errorf("%w: at %s, the clock here says %s", ErrExpired,
			expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339))
	}
	return expires, nil
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// compile makes of a scope what the guard asks.
func compile(set claims.Set) (*guard.Scope, error) {
	rules := make([]guard.Rule, len(set.Scope))
	for i, e := range set.Scope {
		rules[i] = guard.Rule{Filter: e.Filter, Publish: e.Publish, Subscribe: e.Subscribe}
	}
	scope, err := guard.NewScope(rules)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrScope, err)
	}
	return scope, nil
}

// confirm resolves cnf to the one key whose possession the client is to prove.
func (v *verifier) confirm(ctx context.Context, u *unwrapped, expires time.Time) (pop.Verifier, error) {
	c := u.Confirmation
	if len(c.Encrypted) > 0 {
		opened, err := v.decryptKey(ctx, u)
		if err != nil {
			return pop.Verifier{}, fmt.Errorf("%w: %w", ErrKey, err)
		}
		c.Key = opened.Key
		c.ID = opened.ID
		u.Confirmation.ID = opened.ID
	} else if c.Key.Symmetric() && !u.secret {
		// RFC 9431, 2.1, and RFC 9202, 3.3.1: whoever saw the token has the key.
		return pop.Verifier{}, fmt.Errorf("%w: a secret that is not encrypted", ErrKey)
	}
	owner := u.issuer.Name + "\x00" + subject(u.Set)
	switch {
	case c.Key.Algorithm() != "":
		if c.ID != "" {
			v.known.put(owner, c.ID, c.Key, expires, v.clock.Now())
		}
		return c.Key, nil
	case c.ID != "":
		// A token that updates the rights of one with the same key names that key alone (RFC 9202, section 4).
		if key, ok := v.known.get(owner, c.ID, v.clock.Now()); ok {
			return key, nil
		}
		return pop.Verifier{}, fmt.Errorf("%w: it names a key that is not known here", ErrKey)
	}
	return pop.Verifier{}, fmt.Errorf("%w: no cnf", ErrKey)
}

// decryptKey opens a cnf that is encrypted inside a signed token (RFC 7800, section 3.3; RFC 8747, section 3.3). The
// secret must be by the issuer that signed.
func (v *verifier) decryptKey(ctx context.Context, u *unwrapped) (claims.Confirmation, error) {
	sealed := u.Confirmation.Encrypted
	var payload []byte
	var of *issuer
	var err error
	inJSON := isJOSE(sealed)
	if inJSON {
		payload, _, of, err = v.openJWE(ctx, string(sealed))
	} else {
		payload, of, err = v.openEncrypt0(ctx, sealed)
	}
	switch {
	case err != nil:
		return claims.Confirmation{}, err
	case of != u.issuer:
		return claims.Confirmation{}, ErrIssuer
	case inJSON:
		return claims.ParseConfirmationJSON(slices.Concat([]byte(`{"jwk":`), payload, []byte("}")))
	}
	return claims.ParseConfirmationCBOR(slices.Concat([]byte{0xA1, claims.CnfKey}, payload))
}

// subject is who the client is, as far as the token says: sub, else client_id.
func subject(set claims.Set) string {
	if set.Subject != "" {
		return set.Subject
	}
	return set.ClientID
}

// identity tells clients apart. A token that names nobody speaks for whoever has its key.
func (v *verifier) identity(a *access) string {
	name := a.subject
	if name == "" {
		name = fmt.Sprintf("key:%x", a.key.Fingerprint())
	}
	if len(v.issuers) > 1 {
		return a.issuer + " " + name
	}
	return name
}
