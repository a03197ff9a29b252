package acebroker

import (
	"crypto"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/internal/pop"
)

// maxRevocations is how many revocations are remembered.
const maxRevocations = 100_000

// ErrTooManyRevocations says that a revocation ended connections but is not remembered.
var ErrTooManyRevocations = errors.New("acebroker: too many revocations to remember")

// Revocation names tokens: all that fit one of its fields, which are not to be empty all together.
type Revocation struct {
	// TokenHash is the SHA-256 of the token as clients send it. Whoever holds an ES256 token or a CWT can make
	// another one of it that is as valid (the signature has two forms, the unprotected header any number): where the
	// token has an ID, that is the better name, and it is revoked along with the hash of a token that this process
	// knows.
	TokenHash []byte
	// ID is the jti of a JWT, or the bytes of a CWT's cti.
	ID string
	// Subject is who the tokens are for: the sub, else the client_id.
	Subject string
	// Key is the public key that the tokens are bound to.
	Key crypto.PublicKey
}

func (r Revocation) handles() (names []string, err error) {
	if len(r.TokenHash) > 0 {
		if len(r.TokenHash) != sha256.Size {
			return nil, fmt.Errorf("acebroker: a hash of %d bytes is not a SHA-256", len(r.TokenHash))
		}
		names = append(names, hashHandle([sha256.Size]byte(r.TokenHash)))
	}
	if r.ID != "" {
		names = append(names, "id:"+r.ID)
	}
	if r.Subject != "" {
		names = append(names, "subject:"+r.Subject)
	}
	if r.Key != nil {
		key, err := pop.PublicKey(r.Key)
		if err != nil {
			return nil, fmt.Errorf("acebroker: %w", err)
		}
		names = append(names, keyHandle(key))
	}
	if len(names) == 0 {
		return nil, errors.New("acebroker: a revocation of nothing")
	}
	return names, nil
}

func hashHandle(hash [sha256.Size]byte) string { return "hash:" + string(hash[:]) }

func keyHandle(key pop.Verifier) string {
	fingerprint := key.Fingerprint()
	return "key:" + hex.EncodeToString(fingerprint[:])
}

// handles are the names that a token can be revoked by.
func (a *access) handles() []string {
	names := []string{hashHandle(a.hash), keyHandle(a.key)}
	if a.id != "" {
		names = append(names, "id:"+a.id)
	}
	if a.subject != "" {
		names = append(names, "subject:"+a.subject)
	}
	return names
}

// revocations remembers what has been revoked. It is safe for concurrent use.
type revocations struct {
	mu    sync.Mutex
	until map[string]time.Time // zero: for ever
}

func (r *revocations) add(name string, until, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.until == nil {
		r.until = make(map[string]time.Time)
	}
	if len(r.until) >= maxRevocations {
		for name, until := range r.until {
			if !until.IsZero() && !now.Before(until) {
				delete(r.until, name)
			}
		}
	}
	old, known := r.until[name]
	switch {
	case !known && len(r.until) >= maxRevocations:
		return ErrTooManyRevocations
	case known && (old.IsZero() || !until.IsZero() && old.After(until)):
		return nil
	}
	r.until[name] = until
	return nil
}

// check returns ErrRevoked for a token that has been revoked.
func (r *revocations) check(a *access, now time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.until) == 0 {
		return nil
	}
	for _, name := range a.handles() {
		if until, known := r.until[name]; known && (until.IsZero() || now.Before(until)) {
			return ErrRevoked
		}
	}
	return nil
}

// Revoke makes tokens invalid although they have not expired: connections that live by one are ended with DISCONNECT
// 0x87, and until the given time, or for ever if that is zero, none is accepted. It returns the number of connections
// that it ended. Revocations are in memory; whoever wants them to outlive the process repeats them, or lets the
// Authorization Server say so at introspection (RFC 9431, section 8).
func (l *Listener) Revoke(r Revocation, until time.Time) (ended int, err error) {
	names, err := r.handles()
	if err != nil {
		return 0, err
	}
	if len(r.TokenHash) > 0 {
		known := l.current.Load().verifier.cache.get([sha256.Size]byte(r.TokenHash), l.clock.Now())
		if known != nil && known.id != "" {
			names = append(names, "id:"+known.id)
		}
	}
	for _, name := range names {
		err = errors.Join(err, l.revoked.add(name, until, l.clock.Now()))
		ended += l.guard.Revoke(name)
	}
	return ended, err
}
