package pake

import (
	"container/list"
	"sync"
)

// memoryStore is a GuessStore of bounded size that ends with the process. When
// it is full the record that was used longest ago goes. Records of sources
// that a user has logged in from have room of their own, so that strangers
// cannot push them out; a stranger who wants a count forgotten has to fill the
// store with others, each of which costs an attempt of its own.
type memoryStore struct {
	mu      sync.Mutex
	records map[GuessKey]*list.Element // of *memoryRecord
	known   recent
	others  recent
}

// recent has the record that was used last in front.
type recent struct {
	list.List
	limit int
}

type memoryRecord struct {
	key     GuessKey
	guesses Guesses
	in      *recent
}

// newMemoryStore returns a store of at most limit records.
func newMemoryStore(limit int) *memoryStore {
	s := &memoryStore{records: make(map[GuessKey]*list.Element)}
	s.known.limit = limit / 2
	s.others.limit = limit - limit/2
	return s
}

func (s *memoryStore) Update(keys []GuessKey, change func(records []Guesses)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := make([]Guesses, len(keys))
	for i, key := range keys {
		if e, ok := s.records[key]; ok {
			records[i] = e.Value.(*memoryRecord).guesses
		}
	}
	change(records)
	for i, key := range keys {
		s.put(key, records[i])
	}
	return nil
}

func (s *memoryStore) put(key GuessKey, guesses Guesses) {
	if e, ok := s.records[key]; ok {
		e.Value.(*memoryRecord).in.Remove(e)
		delete(s.records, key)
	}
	if guesses == (Guesses{}) {
		return
	}
	in := &s.others
	if !guesses.KnownUntil.IsZero() {
		in = &s.known
	}
	if in.Len() >= in.limit {
		oldest := in.Back()
		in.Remove(oldest)
		delete(s.records, oldest.Value.(*memoryRecord).key)
	}
	s.records[key] = in.PushFront(&memoryRecord{key, guesses, in})
}
