package acebroker

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// recent remembers at most limit values by key and forgets the one that was not used for longest.
type recent[K comparable, V any] struct {
	limit int
	items map[K]*list.Element // of entry[K, V]
	order list.List           // the latest at the front
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

func (r *recent[K, V]) get(key K) (value V, ok bool) {
	e, ok := r.items[key]
	if !ok {
		return value, false
	}
	r.order.MoveToFront(e)
	return e.Value.(entry[K, V]).value, true
}

func (r *recent[K, V]) put(key K, value V) {
	if e, ok := r.items[key]; ok {
		e.Value = entry[K, V]{key, value}
		r.order.MoveToFront(e)
		return
	}
	if r.items == nil {
		r.items = make(map[K]*list.Element)
	}
	for len(r.items) >= r.limit && r.limit > 0 {
		r.remove(r.order.Back().Value.(entry[K, V]).key)
	}
	r.items[key] = r.order.PushFront(entry[K, V]{key, value})
}

func (r *recent[K, V]) remove(key K) {
	if e, ok := r.items[key]; ok {
		r.order.Remove(e)
		delete(r.items, key)
	}
}

func (r *recent[K, V]) clear() {
	r.items = nil
	r.order.Init()
}

// cache remembers valid tokens by their hash, until they expire or the Authorization Server is to be asked again.
type cache struct {
	mu     sync.Mutex
	recent recent[[sha256.Size]byte, *access]
}

func (c *cache) get(hash [sha256.Size]byte, now time.Time) *access {
	c.mu.Lock()
	defer c.mu.Unlock()
	a, ok := c.recent.get(hash)
	if !ok {
		return nil
	}
	if !now.Before(a.expires) || !a.recheck.IsZero() && !now.Before(a.recheck) {
		c.recent.remove(hash)
		return nil
	}
	return a
}

func (c *cache) put(a *access) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent.put(a.hash, a)
}

// knownKeys remembers the keys of valid tokens by issuer, subject and kid, for tokens that name a key alone.
type knownKeys struct {
	mu     sync.Mutex
	recent recent[[2]string, knownKey]
}

type knownKey struct {
	key   pop.Verifier
	until time.Time
}

func (k *knownKeys) put(owner, id string, key pop.Verifier, until, now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.recent.get([2]string{owner, id}); ok && now.Before(old.until) && old.key.Fingerprint() == key.Fingerprint() && old.until.After(until) {
		return
	}
	k.recent.put([2]string{owner, id}, knownKey{key, until})
}

func (k *knownKeys) get(owner, id string, now time.Time) (pop.Verifier, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.recent.get([2]string{owner, id})
	if !ok || !now.Before(known.until) {
		return pop.Verifier{}, false
	}
	return known.key, true
}

// sequences gives tokens that say for how long they are valid, and not until when, a time to end: so long after they
// were first seen here. A token that was seen longer ago than anybody remembers is caught by its number: one that is
// not greater than that of a token which has expired has expired, too (RFC 9200, section 5.10.3).
type sequences struct {
	limit int

	mu    sync.Mutex
	seen  map[[sha256.Size]byte]firstSeen
	spent map[string]uint64 // by issuer and audience: the greatest number of a token that has expired
}

type firstSeen struct {
	until  time.Time
	series string
	number uint64
}

func (s *sequences) until(u *unwrapped, audience []string, hash [sha256.Size]byte, now time.Time) (time.Time, error) {
	number, series, ok := sequence(u, audience)
	if !ok {
		return time.Time{}, ErrExpired
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen, s.spent = make(map[[sha256.Size]byte]firstSeen), make(map[string]uint64)
	}
	if first, known := s.seen[hash]; known {
		return first.until, nil
	}
	if len(s.seen) >= s.limit {
		s.expire(now)
	}
	if greatest, some := s.spent[series]; len(s.seen) >= s.limit || some && number <= greatest {
		return time.Time{}, ErrExpired
	}
	until := now.Add(u.ExpiresIn)
	s.seen[hash] = firstSeen{until, series, number}
	return until, nil
}

// expire forgets what has expired but for its number.
func (s *sequences) expire(now time.Time) {
	for hash, first := range s.seen {
		if !now.Before(first.until) {
			delete(s.seen, hash)
			s.spent[first.series] = max(s.spent[first.series], first.number)
		}
	}
}

// sequence is the number in the token's identifier, and the series that it counts in.
func sequence(u *unwrapped, audience []string) (number uint64, series string, ok bool) {
	for _, name := range audience {
		if number, ok := claims.ParseSequenceID(name, u.ID); ok {
			return number, u.issuer.Name + "\x00" + name, true
		}
	}
	return 0, "", false
}
