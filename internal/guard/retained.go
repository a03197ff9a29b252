package guard

import (
	"sync"
	"time"
)

// retained remembers until when the retained messages of topics may be seen whose lifetime the broker does not know.
// It has nothing to say of a topic that it does not know.
type retained struct {
	limit int

	mu    sync.Mutex
	until map[string]time.Time
}

// set notes that name has a retained message now that may be seen until then; zero is for ever. It reports false if
// it cannot remember another topic.
func (r *retained) set(name []byte, until time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if until.IsZero() {
		delete(r.until, string(name))
		return true
	}
	if _, known := r.until[string(name)]; !known && len(r.until) >= r.limit {
		return false
	}
	if r.until == nil {
		r.until = make(map[string]time.Time)
	}
	r.until[string(name)] = until
	return true
}

// forget notes that name has no retained message, or one whose lifetime the broker knows.
func (r *retained) forget(name []byte) { r.set(name, time.Time{}) }

// over tells whether the retained message of name is not to be seen any more.
func (r *retained) over(name []byte, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	until, known := r.until[string(name)]
	return known && !now.Before(until)
}
