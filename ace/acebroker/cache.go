package acebroker

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// recent remembers values by key that weigh at most limit together, and forgets the one that was not used for longest.
type recent[K comparable, V any] struct {
	limit  int
	weight int
	items  map[K]*list.Element // of entry[K, V]
	order  list.List           // the latest at the front
}

type entry[K comparable, V any] struct {
	key    K
	value  V
	weight int
}

func (r *recent[K, V]) get(key K) (value V, ok bool) {
	e, ok := r.items[key]
	if !ok {
		return value, false
	}
	r.order.MoveToFront(e)
	return e.Value.(entry[K, V]).value, true
}

// put remembers a value that weighs 1.
func (r *recent[K, V]) put(key K, value V) { r.putHeavy(key, value, 1) }

// putHeavy remembers a value of any weight. What alone is too heavy is not remembered, and makes nothing else
// forgotten.
func (r *recent[K, V]) putHeavy(key K, value V, weight int) {
	r.remove(key)
	if weight > r.limit {
		return
	}
	if r.items == nil {
		r.items = make(map[K]*list.Element)
	}
	for r.weight+weight > r.limit {
		r.remove(r.order.Back().Value.(entry[K, V]).key)
	}
	r.items[key] = r.order.PushFront(entry[K, V]{key, value, weight})
	r.weight += weight
}

func (r *recent[K, V]) remove(key K) {
	if e, ok := r.items[key]; ok {
		r.weight -= e.Value.(entry[K, V]).weight
		r.order.Remove(e)
		delete(r.items, key)
	}
}

// weightUnit is how much memory weighs 1, in bytes: more than most tokens' claims take.
const weightUnit = 4 << 10

// weight is what the token counts for where tokens are remembered: some say a thousand times as much as others.
func (a *access) weight() int {
	return 1 + (a.scope.Size()+len(a.token)+len(a.identity)+len(a.subject)+len(a.id)+len(a.keyID))/weightUnit
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
	c.recent.putHeavy(a.hash, a, a.weight())
}

// knownKeys remembers the keys of valid tokens by owner (issuer and subject) and kid, for tokens that name a key alone.
type knownKeys struct {
	mu     sync.Mutex
	recent recent[keyName, knownKey]
}

// keyName is the SHA-256 of an owner and of a kid, which are as long as a token lets them be.
type keyName [2][sha256.Size]byte

func nameOf(owner, id string) keyName {
	return keyName{sha256.Sum256([]byte(owner)), sha256.Sum256([]byte(id))}
}

type knownKey struct {
	key   pop.Verifier
	until time.Time
}

func (k *knownKeys) put(owner, id string, key pop.Verifier, until, now time.Time) {
	name := nameOf(owner, id)
	k.mu.Lock()
	defer k.mu.Unlock()
	if old, ok := k.recent.get(name); ok && now.Before(old.until) && old.key.Fingerprint() == key.Fingerprint() && old.until.After(until) {
		return
	}
	k.recent.put(name, knownKey{key, until})
}

func (k *knownKeys) get(owner, id string, now time.Time) (pop.Verifier, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	known, ok := k.recent.get(nameOf(owner, id))
	if !ok || !now.Before(known.until) {
		return pop.Verifier{}, false
	}
	return known.key, true
}

// sequences gives tokens that say for how long they are valid, and not until when, a time to end: so long after they
// were first seen here. They are known by their numbers and not by their hashes, which whoever holds a token can change
// (see [Revocation]), and would begin anew with. A token that was seen longer ago than anybody remembers is caught by
// its number, too: one that is not greater than that of a token which has expired has expired (RFC 9200, section
// 5.10.3).
type sequences struct {
	limit int

	mu    sync.Mutex
	seen  map[numbered]time.Time // when it ends
	spent map[string]uint64      // by series: the greatest number of a token that has expired
}

// numbered is a token without a time: the series is the issuer and the audience, whose tokens it counts.
type numbered struct {
	series string
	number uint64
}

func (s *sequences) until(u *unwrapped, audience []string, now time.Time) (time.Time, error) {
	token, ok := sequence(u, audience)
	if !ok {
		return time.Time{}, ErrExpired
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen == nil {
		s.seen, s.spent = make(map[numbered]time.Time), make(map[string]uint64)
	}
	if until, known := s.seen[token]; known {
		return until, nil
	}
	if len(s.seen) >= s.limit {
		s.expire(now)
	}
	if greatest, some := s.spent[token.series]; len(s.seen) >= s.limit || some && token.number <= greatest {
		return time.Time{}, ErrExpired
	}
	until := now.Add(u.ExpiresIn)
	s.seen[token] = until
	return until, nil
}

// expire forgets what has expired but for its number.
func (s *sequences) expire(now time.Time) {
	for token, until := range s.seen {
		if !now.Before(until) {
			delete(s.seen, token)
			s.spent[token.series] = max(s.spent[token.series], token.number)
		}
	}
}

// sequence is the number in the token's identifier, and the series that it counts in.
func sequence(u *unwrapped, audience []string) (token numbered, ok bool) {
	for _, name := range audience {
		if number, ok := claims.ParseSequenceID(name, u.ID); ok {
			return numbered{u.issuer.Name + "\x00" + name, number}, true
		}
	}
	return numbered{}, false
}
