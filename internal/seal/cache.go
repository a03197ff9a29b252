package seal

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

// cache keeps a bounded number of values. Finding one takes no lock: the value's
// hash picks a row, and the caller compares the few that are in it. A full row
// gives up one that has not been found for long, by second chance, which is close
// to least recently used. Until something is in it, it takes no room.
type cache[V any] struct {
	size  int // rows, a power of two
	rows  atomic.Pointer[[]row[V]]
	write sync.Mutex
}

const ways = 8

type row[V any] struct {
	used atomic.Uint32 // bit i: slot i was found since the hand last came by
	hand uint32
	slot [ways]atomic.Pointer[V]
}

func newCache[V any](rows int) *cache[V] { return &cache[V]{size: rows} }

// row returns the row of a hash, nil if nothing is in the cache.
func (c *cache[V]) row(hash uint64) *row[V] {
	rows := c.rows.Load()
	if rows == nil {
		return nil
	}
	return &(*rows)[hash&uint64(len(*rows)-1)]
}

// slots are the values of a row, none for no row.
func (r *row[V]) slots() []atomic.Pointer[V] {
	if r == nil {
		return nil
	}
	return r.slot[:]
}

// touch notes that slot i was found.
func (r *row[V]) touch(i int) {
	// Reading first keeps a hit free of writes that other cores would wait for.
	if bit := uint32(1) << i; r.used.Load()&bit == 0 {
		r.used.Or(bit)
	}
}

// put adds v under its hash. Two values for one thing are harmless: one is found.
func (c *cache[V]) put(hash uint64, v *V) {
	c.write.Lock()
	defer c.write.Unlock()
	if c.rows.Load() == nil {
		rows := make([]row[V], c.size)
		c.rows.Store(&rows)
	}
	r := c.row(hash)
	i := r.victim()
	r.slot[i].Store(v)
	r.touch(i)
}

// victim picks the slot to fill.
func (r *row[V]) victim() int {
	for i := range r.slot {
		if r.slot[i].Load() == nil {
			return i
		}
	}
	const all = 1<<ways - 1
	used := r.used.Load() & all
	if used == all {
		r.used.And(^uint32(all))
		used = 0
	}
	// The first unused slot from the hand on.
	free := ^used & all
	turned := (free>>r.hand | free<<(ways-r.hand)) & all
	i := (uint32(bits.TrailingZeros32(turned)) + r.hand) % ways
	r.hand = (i + 1) % ways
	return int(i)
}
