package pake

import (
	"container/heap"
	"slices"
	"sync"
	"time"
)

// memoryStore is a GuessStore of bounded size that ends with the process. When
// it is full the record goes that would be forgotten first: the many that a
// stranger makes with one attempt each do not push out a name that many
// attempts were made at. Records of sources that a user has logged in from have
// room of their own.
//
// Whoever has no record may be one whose record went too early, and is taken for one with an
// attempt at the time of the latest that went: no source is then new to a user, and her own
// limit holds for its first attempt. After newAfter such an attempt makes no difference.
type memoryStore struct {
	mu         sync.Mutex
	perAttempt time.Duration
	records    map[GuessKey]*memoryRecord
	known      forgetting
	others     forgetting
	missing    Guesses // stands for the records that went
}

type memoryRecord struct {
	key       GuessKey
	guesses   Guesses
	forgotten time.Time
	in        *forgetting
	index     int
}

// MemoryGuesses returns a store like the one that a Budget with the default MaxBackoff has if none is configured, for
// several Budgets that count together.
func MemoryGuesses() GuessStore { return newMemoryStore(memoryGuesses, defaultBackoff) }

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
		records[i] = s.get(key)
	}
	before := slices.Clone(records)
	change(records)
	for i, key := range keys {
		if records[i] != before[i] {
			s.put(key, records[i])
		}
	}
	return nil
}

func (s *memoryStore) get(key GuessKey) Guesses {
	if r, ok := s.records[key]; ok {
		return r.guesses
	}
	return s.missing
}

func (s *memoryStore) put(key GuessKey, guesses Guesses) {
	if r, ok := s.records[key]; ok {
		heap.Remove(r.in, r.index)
	}
	in := &s.others
	if !guesses.KnownUntil.IsZero() {
		in = &s.known
	}
	if in.Len() >= in.limit {
		r := heap.Pop(in).(*memoryRecord)
		delete(s.records, r.key)
		s.missing.Count = 1
		s.missing.Last = later(s.missing.Last, r.guesses.Last)
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
