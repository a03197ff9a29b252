// Package store keeps the state of an Authorization Server: [OpenFile] in a file that survives whatever happens to the
// process, [NewMemory] in memory for tests.
package store

import (
	"errors"
	"maps"
	"slices"
	"sync"
)

// Store keeps what the Authorization Server must not forget: registered clients, initial access tokens, and the tokens
// that are out, so that they can be introspected, updated and revoked.
//
// It is a set of buckets of keys and values with transactions. An implementation must be safe for concurrent use.
type Store interface {
	// View runs fn on a consistent state that fn cannot change.
	View(fn func(Tx) error) error
	// Update runs fn and makes its writes durable all at once: when Update returns nil they survive the death of the
	// process at any moment, and when it returns an error, fn's own for example, none of them happened. An
	// implementation may run fn more than once.
	Update(fn func(Tx) error) error
	// Close releases the store. Nothing may use it afterwards.
	Close() error
}

// A Tx is one transaction of a [Store]. Slices that Get and Ascend hand out are valid until the transaction ends and
// must not be changed; those given to Put must not be changed until then.
type Tx interface {
	// Get returns the value of key, nil if there is none.
	Get(bucket, key string) []byte
	// Put sets the value of key, which is not empty.
	Put(bucket, key string, value []byte) error
	// Delete removes key; that it is not there is no error.
	Delete(bucket, key string) error
	// Ascend calls fn with the keys of a bucket in their byte order until fn returns false. Nothing may be changed
	// while it runs.
	Ascend(bucket string, fn func(key string, value []byte) bool)
}

// errReadOnly is what a Store answers to a write in View.
var errReadOnly = errors.New("store: the transaction only reads")

// Memory is a [Store] that forgets everything when the process ends: for tests, and for servers that have static
// clients only and whose brokers never ask about a token.
type Memory struct {
	mu      sync.RWMutex
	buckets map[string]map[string][]byte
}

// NewMemory returns an empty store in memory.
func NewMemory() *Memory { return &Memory{buckets: map[string]map[string][]byte{}} }

// View implements [Store].
func (m *Memory) View(fn func(Tx) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return fn(&memoryTx{state: m.buckets})
}

// Update implements [Store].
func (m *Memory) Update(fn func(Tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	tx := &memoryTx{state: m.buckets, writes: map[string]map[string][]byte{}}
	if err := fn(tx); err != nil {
		return err
	}
	for bucket, writes := range tx.writes {
		if m.buckets[bucket] == nil {
			m.buckets[bucket] = map[string][]byte{}
		}
		for key, value := range writes {
			if value == nil {
				delete(m.buckets[bucket], key)
			} else {
				m.buckets[bucket][key] = value
			}
		}
	}
	return nil
}

// Close implements [Store].
func (m *Memory) Close() error { return nil }

// memoryTx is a state and, in an Update, what is to change in it; a nil value is a deletion.
type memoryTx struct {
	state, writes map[string]map[string][]byte
}

func (t *memoryTx) Get(bucket, key string) []byte {
	if value, ok := t.writes[bucket][key]; ok {
		return value
	}
	return t.state[bucket][key]
}

func (t *memoryTx) Put(bucket, key string, value []byte) error {
	return t.write(bucket, key, append([]byte{}, value...))
}

func (t *memoryTx) Delete(bucket, key string) error { return t.write(bucket, key, nil) }

func (t *memoryTx) write(bucket, key string, value []byte) error {
	switch {
	case t.writes == nil:
		return errReadOnly
	case key == "":
		return errors.New("store: empty key")
	case t.writes[bucket] == nil:
		t.writes[bucket] = map[string][]byte{}
	}
	t.writes[bucket][key] = value
	return nil
}

func (t *memoryTx) Ascend(bucket string, fn func(key string, value []byte) bool) {
	merged := maps.Clone(t.state[bucket])
	if merged == nil {
		merged = map[string][]byte{}
	}
	maps.Copy(merged, t.writes[bucket])
	for _, key := range slices.Sorted(maps.Keys(merged)) {
		if value := merged[key]; value != nil && !fn(key, value) {
			return
		}
	}
}
