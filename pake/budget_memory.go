package pake

import (
	"container/heap"
	"sync"
	"time"
)

// memoryStore is a GuessStore of bounded size that ends with the process. When
// it is full the record goes that would be forgotten first: the many that a
// stranger makes with one attempt each do not push out a name that many
// attempts were made at. Records of sources that a user has logged in from have
// room of their own.
type memoryStore struct {
	mu         sync.Mutex
	perAttempt time.Duration
	records    map[GuessKey]*memoryRecord
	known      forgetting
	others     forgetting
}

type memoryRecord struct {
	key       GuessKey
	guesses   Guesses
	forgotten time.Time
	in        *forgetting
	index     int
}

// newMemoryStore returns a store of at most limit records, for a Budget that
// forgets an attempt in that time.
func newMemoryStore(limit int, perAttempt time.Duration) *memoryStore {
	s := &memoryStore{perAttempt: perAttempt, records: make(map[GuessKey]*memoryRecord)}
	s.known.limit = limit / 2
	s.others.limit = limit - limit/2
	return s
}

func (s *memoryStore) Update(keys []GuessKey, change func(records []Guesses)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	records := make([]Guesses, len(keys))
	for i, key := range keys {
		if r, ok := s.records[key]; ok {
			records[i] = r.guesses
		}
	}
	change(records)
	for i, key := range keys {
		s.put(key, records[i])
	}
	return nil
}

func (s *memoryStore) put(key GuessKey, guesses Guesses) {
	if r, ok := s.records[key]; ok {
		heap.Remove(r.in, r.index)
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
		delete(s.records, heap.Pop(in).(*memoryRecord).key)
	}
	forgotten := guesses.Last.Add(time.Duration(guesses.Count) * s.perAttempt)
	r := &memoryRecord{key: key, guesses: guesses, forgotten: forgotten, in: in}
	s.records[key] = r
	heap.Push(in, r)
}

// forgetting is a heap with the record in front that is forgotten first.
type forgetting struct {
	records []*memoryRecord
	limit   int
}

func (f *forgetting) Len() int { return len(f.records) }

func (f *forgetting) Less(i, j int) bool {
	return f.records[i].forgotten.Before(f.records[j].forgotten)
}

func (f *forgetting) Swap(i, j int) {
	f.records[i], f.records[j] = f.records[j], f.records[i]
	f.records[i].index, f.records[j].index = i, j
}

func (f *forgetting) Push(r any) {
	r.(*memoryRecord).index = len(f.records)
	f.records = append(f.records, r.(*memoryRecord))
}

func (f *forgetting) Pop() any {
	last := len(f.records) - 1
	r := f.records[last]
	f.records[last] = nil
	f.records = f.records[:last]
	return r
}
