package acebroker

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/internal/guard"
)

// storedPerClient is how many tokens are stored for one Client Identifier, which is not authenticated when it is
// looked up: a stranger can add one of its own to it, and must not thereby displace the client's.
const storedPerClient = 4

// store remembers valid tokens for clients that connect without one: one for each proof-of-possession key, the newest
// (RFC 9200, section 5.10.1). Everything in it is bounded; what was not used for longest goes first.
type store struct {
	mu      sync.Mutex
	keys    recent[[sha256.Size]byte, *access]
	clients recent[string, [][sha256.Size]byte]
	named   recent[string, [sha256.Size]byte] // shared keys by their identifier
}

func (s *store) limit(n int) { s.keys.limit, s.clients.limit, s.named.limit = n, n, n }

// clear forgets everything, which may have been signed with a key that counts no more.
func (s *store) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keys.clear()
	s.clients.clear()
	s.named.clear()
}

// put stores a token, and reports false if the one that is stored for its key is newer: whoever sends an old token
// that is still valid must not roll back the rights of its owner.
func (s *store) put(clientID string, a *access, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := a.key.Fingerprint()
	if old, ok := s.keys.get(key); ok && old.issuedAt.After(a.issuedAt) {
		return false
	}
	s.keys.put(key, a)
	s.name(a, key, now)
	if clientID == "" {
		return true
	}
	known, _ := s.clients.get(clientID)
	known = slices.DeleteFunc(slices.Clone(known), func(key [sha256.Size]byte) bool {
		a, ok := s.keys.get(key)
		return !ok || !now.Before(a.expires)
	})
	if !slices.Contains(known, key) && len(known) < storedPerClient {
		s.clients.put(clientID, append(known, key))
	}
	return true
}

// name makes a shared key known by its identifier. Another key that has it already keeps it while it is valid: nobody
// must be able to displace somebody else's.
func (s *store) name(a *access, key [sha256.Size]byte, now time.Time) {
	if !a.key.Symmetric() || a.keyID == "" {
		return
	}
	if old, ok := s.named.get(a.keyID); ok && old != key {
		if holder, ok := s.keys.get(old); ok && now.Before(holder.expires) {
			return
		}
	}
	s.named.put(a.keyID, key)
}

// byName returns the valid token whose shared key has this identifier, nil if there is none.
func (s *store) byName(keyID string, now time.Time) *access {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, ok := s.named.get(keyID)
	if !ok {
		return nil
	}
	a, ok := s.keys.get(key)
	if !ok || !now.Before(a.expires) {
		return nil
	}
	return a
}

// get returns the valid tokens that came with a Client Identifier.
func (s *store) get(clientID string, now time.Time) (found []*access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, _ := s.clients.get(clientID)
	for _, key := range known {
		if a, ok := s.keys.get(key); ok && now.Before(a.expires) {
			found = append(found, a)
		}
	}
	return found
}

// live finds the connections that were authenticated with a key. The zero value is ready.
type live struct {
	mu    sync.Mutex
	byKey map[[sha256.Size]byte]map[*guard.Session]time.Time // with the iat of its token
}

func (l *live) put(s *guard.Session, a *access) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := a.key.Fingerprint()
	if l.byKey == nil {
		l.byKey = make(map[[sha256.Size]byte]map[*guard.Session]time.Time)
	}
	if l.byKey[key] == nil {
		l.byKey[key] = make(map[*guard.Session]time.Time, 1)
	}
	l.byKey[key][s] = a.issuedAt
}

func (l *live) remove(s *guard.Session, a *access) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := a.key.Fingerprint()
	delete(l.byKey[key], s)
	if len(l.byKey[key]) == 0 {
		delete(l.byKey, key)
	}
}

// older returns the sessions with the token's key whose own token is older.
func (l *live) older(a *access) (found []*guard.Session) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s, issuedAt := range l.byKey[a.key.Fingerprint()] {
		if !issuedAt.After(a.issuedAt) {
			found = append(found, s)
		}
	}
	return found
}
