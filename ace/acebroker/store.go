package acebroker

import (
	"crypto/sha256"
	"slices"
	"sync"
	"time"
)

// storedPerClient is how many tokens are stored for one Client Identifier, which is not authenticated when it is
// looked up: a stranger can add one of its own to it, and must not thereby displace the client's.
const storedPerClient = 4

// store remembers valid tokens for clients that connect without one: one for each proof-of-possession key, the newest
// (RFC 9200, section 5.10.1). Everything in it is bounded; what was not used for longest goes first. Names are there by
// their SHA-256: they are as long as their owners like.
//
// Whoever takes a token out asks verifier.fresh whether it is valid still. One from before a Reload, which might not
// be, makes way for any that is; who puts one in asks about the outdated ones before.
type store struct {
	mu      sync.Mutex
	keys    recent[[sha256.Size]byte, *access]
	clients recent[[sha256.Size]byte, [][sha256.Size]byte]
	named   recent[[sha256.Size]byte, [sha256.Size]byte] // shared keys by their identifier
}

func (s *store) limit(n int) { s.keys.limit, s.clients.limit, s.named.limit = n, n, n }

// put stores a token, and reports false if the one that is stored for its key is newer: whoever sends an old token
// that is still valid must not roll back the rights of its owner.
func (s *store) put(clientID string, a *access, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := a.key.Fingerprint()
	if old, ok := s.keys.get(key); ok && old.by == a.by && old.issuedAt.After(a.issuedAt) {
		return false
	}
	s.keys.putHeavy(key, a, a.weight())
	s.name(a, key, now)
	if clientID == "" {
		return true
	}
	client := sha256.Sum256([]byte(clientID))
	known, _ := s.clients.get(client)
	known = slices.DeleteFunc(slices.Clone(known), func(key [sha256.Size]byte) bool {
		old, ok := s.keys.get(key)
		return !ok || old.by != a.by || !now.Before(old.expires)
	})
	if !slices.Contains(known, key) && len(known) < storedPerClient {
		s.clients.put(client, append(known, key))
	}
	return true
}

// outdated returns the valid tokens from before a Reload that put would have make way for a: that of the same key, that
// of the key with the same identifier, and those that came with the Client Identifier.
func (s *store) outdated(clientID string, a *access, now time.Time) (found []*access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := [][sha256.Size]byte{a.key.Fingerprint()}
	if named, ok := s.named.get(sha256.Sum256([]byte(a.keyID))); ok && a.keyID != "" {
		keys = append(keys, named)
	}
	if clientID != "" {
		known, _ := s.clients.get(sha256.Sum256([]byte(clientID)))
		keys = append(keys, known...)
	}
	for _, key := range keys {
		if old, ok := s.keys.get(key); ok && old.by != a.by && now.Before(old.expires) {
			found = append(found, old)
		}
	}
	return found
}

// renew puts in place of a stored token what it is by the configuration of now. Whose the names are stays as it is.
func (s *store) renew(old, again *access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := old.key.Fingerprint()
	if now, ok := s.keys.get(key); ok && now == old {
		s.keys.putHeavy(key, again, again.weight())
	}
}

// name makes a shared key known by its identifier. Another key that has it already keeps it while it is valid: nobody
// must be able to displace somebody else's.
func (s *store) name(a *access, key [sha256.Size]byte, now time.Time) {
	if !a.key.Symmetric() || a.keyID == "" {
		return
	}
	name := sha256.Sum256([]byte(a.keyID))
	if old, ok := s.named.get(name); ok && old != key {
		if holder, ok := s.keys.get(old); ok && holder.by == a.by && now.Before(holder.expires) {
			return
		}
	}
	s.named.put(name, key)
}

// byName returns the valid token whose shared key has this identifier, nil if there is none.
func (s *store) byName(keyID string, now time.Time) *access {
	s.mu.Lock()
	defer s.mu.Unlock()
	key, ok := s.named.get(sha256.Sum256([]byte(keyID)))
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
	known, _ := s.clients.get(sha256.Sum256([]byte(clientID)))
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
	byKey map[[sha256.Size]byte]map[*connection]time.Time // with the iat of its token
}

func (l *live) put(f *connection, a *access) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := a.key.Fingerprint()
	if l.byKey == nil {
		l.byKey = make(map[[sha256.Size]byte]map[*connection]time.Time)
	}
	if l.byKey[key] == nil {
		l.byKey[key] = make(map[*connection]time.Time, 1)
	}
	l.byKey[key][f] = a.issuedAt
}

func (l *live) remove(f *connection, a *access) {
	l.mu.Lock()
	defer l.mu.Unlock()
	key := a.key.Fingerprint()
	delete(l.byKey[key], f)
	if len(l.byKey[key]) == 0 {
		delete(l.byKey, key)
	}
}

// older returns the connections with the token's key whose own token is older.
func (l *live) older(a *access) (found []*connection) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for f, issuedAt := range l.byKey[a.key.Fingerprint()] {
		if !issuedAt.After(a.issuedAt) {
			found = append(found, f)
		}
	}
	return found
}
