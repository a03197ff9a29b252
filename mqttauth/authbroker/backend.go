package authbroker

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"
)

// backend keeps octets by bucket and key. What update's function returns nil for is kept whole, and on disk before
// update returns; otherwise nothing of it is. That function may run more than once.
type backend interface {
	view(func(tx) error) error
	update(func(tx) error) error
	close() error
}

// tx is one transaction. What get and each return is valid, and must not be changed, until the transaction ends.
type tx interface {
	get(bucket, key string) []byte
	put(bucket, key string, value []byte) error
	remove(bucket, key string) error
	// each calls f for every key with the prefix, in order, until f returns an error. f must not write.
	each(bucket, prefix string, f func(key string, value []byte) error) error
}

var buckets = []string{bucketUsers, bucketClaims, bucketRevoked, bucketUsed, bucketGrants, bucketAccounts, bucketClients, bucketOwners, bucketMeta}

// bolt is a backend in one file.
type bolt struct{ db *bbolt.DB }

func openBolt(path string, wait time.Duration) (bolt, error) {
	db, err := bbolt.Open(path, 0o600, &bbolt.Options{Timeout: max(wait, time.Millisecond), FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return bolt{}, fmt.Errorf("%w: %s", ErrLocked, path)
	case err != nil:
		return bolt{}, fmt.Errorf("authbroker: opening the store: %w", err)
	}
	// Commits wait this long for each other, so that many clients at once cost few writes to the disk.
	db.MaxBatchDelay = 2 * time.Millisecond
	if err := private(path); err != nil {
		return bolt{}, errors.Join(err, db.Close())
	}
	err = db.Update(func(t *bbolt.Tx) error {
		for _, name := range buckets {
			if _, err := t.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return bolt{}, errors.Join(fmt.Errorf("authbroker: opening the store: %w", err), db.Close())
	}
	return bolt{db}, nil
}

// private refuses a file that others can read: it holds what passwords can be guessed with.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("authbroker: opening the store: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("authbroker: the store %s can be read by others (mode %v): it must be 0600", path, info.Mode().Perm())
	}
	return nil
}

func (b bolt) view(f func(tx) error) error {
	return b.db.View(func(t *bbolt.Tx) error { return f(boltTx{t}) })
}

func (b bolt) update(f func(tx) error) error {
	return b.db.Batch(func(t *bbolt.Tx) error { return f(boltTx{t}) })
}

func (b bolt) close() error { return b.db.Close() }

type boltTx struct{ *bbolt.Tx }

func (t boltTx) get(bucket, key string) []byte { return t.Bucket([]byte(bucket)).Get([]byte(key)) }

func (t boltTx) put(bucket, key string, value []byte) error {
	return t.Bucket([]byte(bucket)).Put([]byte(key), value)
}

func (t boltTx) remove(bucket, key string) error {
	return t.Bucket([]byte(bucket)).Delete([]byte(key))
}

func (t boltTx) each(bucket, prefix string, f func(string, []byte) error) error {
	c := t.Bucket([]byte(bucket)).Cursor()
	for k, v := c.Seek([]byte(prefix)); k != nil && bytes.HasPrefix(k, []byte(prefix)); k, v = c.Next() {
		if err := f(string(k), v); err != nil {
			return err
		}
	}
	return nil
}

// memory is a backend that ends with the process.
type memory struct {
	mu      sync.RWMutex
	buckets map[string]map[string][]byte
}

func newMemory() *memory {
	m := &memory{buckets: make(map[string]map[string][]byte)}
	for _, name := range buckets {
		m.buckets[name] = make(map[string][]byte)
	}
	return m
}

func (m *memory) view(f func(tx) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return f(&memoryTx{memory: m})
}

func (m *memory) update(f func(tx) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t := &memoryTx{memory: m}
	err := f(t)
	if err != nil {
		for _, undo := range slices.Backward(t.undo) {
			undo()
		}
	}
	return err
}

func (m *memory) close() error { return nil }

type memoryTx struct {
	*memory
	undo []func()
}

func (t *memoryTx) get(bucket, key string) []byte { return t.buckets[bucket][key] }

func (t *memoryTx) put(bucket, key string, value []byte) error {
	t.remember(bucket, key)
	t.buckets[bucket][key] = bytes.Clone(value)
	return nil
}

func (t *memoryTx) remove(bucket, key string) error {
	t.remember(bucket, key)
	delete(t.buckets[bucket], key)
	return nil
}

func (t *memoryTx) remember(bucket, key string) {
	b := t.buckets[bucket]
	old, known := b[key]
	t.undo = append(t.undo, func() {
		if known {
			b[key] = old
		} else {
			delete(b, key)
		}
	})
}

func (t *memoryTx) each(bucket, prefix string, f func(string, []byte) error) error {
	b := t.buckets[bucket]
	for _, key := range slices.Sorted(maps.Keys(b)) {
		if len(key) >= len(prefix) && key[:len(prefix)] == prefix {
			if err := f(key, b[key]); err != nil {
				return err
			}
		}
	}
	return nil
}
