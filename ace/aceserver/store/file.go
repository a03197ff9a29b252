package store

import (
	"errors"
	"fmt"
	"time"

	"go.etcd.io/bbolt"
	berrors "go.etcd.io/bbolt/errors"
)

const (
	lockWait   = time.Second      // for another process to let go of the file
	batchDelay = time.Millisecond // for others to join a write to the disk, which takes longer than this
)

// File is a [Store] in one file of go.etcd.io/bbolt, synced to the disk at every change. It may be killed at any
// moment: what was acknowledged is there afterwards, and a change is there as a whole or not at all.
//
// The file holds proof-of-possession keys of tokens that have not expired, and hashes of secrets. It is created
// readable for its owner only; whoever reads it can use those tokens.
type File struct{ db *bbolt.DB }

// OpenFile opens the store in the file name, which it makes if there is none. One process at a time may have it open.
func OpenFile(name string) (*File, error) {
	db, err := bbolt.Open(name, 0o600, &bbolt.Options{Timeout: lockWait, FreelistType: bbolt.FreelistMapType})
	switch {
	case errors.Is(err, berrors.ErrTimeout):
		return nil, fmt.Errorf("store: another process has %s open", name)
	case err != nil:
		return nil, fmt.Errorf("store: open %s: %w", name, err)
	}
	db.MaxBatchDelay = batchDelay
	return &File{db}, nil
}

// View implements [Store].
func (f *File) View(fn func(Tx) error) error {
	return f.db.View(func(tx *bbolt.Tx) error { return fn(boltTx{tx}) })
}

// Update implements [Store]. Concurrent calls share one write to the disk.
func (f *File) Update(fn func(Tx) error) error {
	return f.db.Batch(func(tx *bbolt.Tx) error { return fn(boltTx{tx}) })
}

// Close implements [Store]. It waits for transactions that are under way.
func (f *File) Close() error { return f.db.Close() }

type boltTx struct{ tx *bbolt.Tx }

func (t boltTx) Get(bucket, key string) []byte {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	return b.Get([]byte(key))
}

func (t boltTx) Put(bucket, key string, value []byte) error {
	if !t.tx.Writable() {
		return errReadOnly
	}
	b, err := t.tx.CreateBucketIfNotExists([]byte(bucket))
	if err != nil {
		return err
	}
	return b.Put([]byte(key), value)
}

func (t boltTx) Delete(bucket, key string) error {
	if !t.tx.Writable() {
		return errReadOnly
	}
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return nil
	}
	return b.Delete([]byte(key))
}

func (t boltTx) Ascend(bucket string, fn func(key string, value []byte) bool) {
	b := t.tx.Bucket([]byte(bucket))
	if b == nil {
		return
	}
	cursor := b.Cursor()
	for key, value := cursor.First(); key != nil; key, value = cursor.Next() {
		if !fn(string(key), value) {
			return
		}
	}
}
