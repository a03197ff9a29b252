package seal

import (
	"cmp"
	"slices"
)

// blockSize is how many sequence numbers a block has.
const blockSize = 1024

// block has a bit for each of the numbers from number*blockSize on, set if it was
// delivered. A window makes one when a number in it is delivered, so that a block
// that is not there means that nothing in it was.
type block struct {
	window     *window
	prev, next *block // in the ring
	number     uint32
	seen       [blockSize / 64]uint64
}

func (b *block) has(seq uint32) bool { return b.seen[seq/64%(blockSize/64)]>>(seq%64)&1 != 0 }

func (b *block) set(seq uint32) { b.seen[seq/64%(blockSize/64)] |= 1 << (seq % 64) }

// block returns block n, nil if it is not there.
func (w *window) block(n uint32) *block {
	last := len(w.blocks) - 1
	if last < 0 || w.blocks[last].number < n {
		return nil
	}
	if b := w.blocks[last]; b.number == n {
		return b
	}
	if i, ok := w.place(n); ok {
		return w.blocks[i]
	}
	return nil
}

func (w *window) place(n uint32) (int, bool) {
	return slices.BinarySearchFunc(w.blocks, n, func(b *block, n uint32) int { return cmp.Compare(b.number, n) })
}

// blocks bounds those of all windows of a replay state. At the limit the window whose
// block has been idle longest gives up its lowest one for the new one, and refuses
// from then on what it can no longer tell.
type blocks struct {
	limit, n int
	recent   *block // the most recently used in a ring; the one before is the least
}

// add makes block n of w, which is not there, and takes care that the windows stay
// within their size and the limit. The result is nil if the block would be the one
// to give up.
func (bs *blocks) add(w *window, n uint32) *block {
	var b *block
	for len(w.blocks) > 0 && w.blocks[0].number+windowSize/blockSize < n {
		b = bs.remove(w) // all of it too far behind
	}
	if bs.n >= bs.limit {
		v := bs.recent.prev.window
		if v == w && n < w.blocks[0].number {
			w.raise(n)
			return nil
		}
		v.raise(v.blocks[0].number)
		b = bs.remove(v)
	}
	if b == nil {
		b = new(block)
	}
	*b = block{window: w, number: n}
	i, _ := w.place(n)
	w.blocks = slices.Insert(w.blocks, i, b)
	bs.n++
	bs.push(b)
	return b
}

// remove takes out the lowest block of w, which it returns.
func (bs *blocks) remove(w *window) *block {
	b := w.blocks[0]
	w.blocks = slices.Delete(w.blocks, 0, 1)
	bs.n--
	bs.unlink(b)
	return b
}

// touch makes b the most recently used.
func (bs *blocks) touch(b *block) {
	if bs.recent != b {
		bs.unlink(b)
		bs.push(b)
	}
}

func (bs *blocks) push(b *block) {
	b.prev, b.next = b, b
	if r := bs.recent; r != nil {
		b.prev, b.next = r.prev, r
		r.prev.next, r.prev = b, b
	}
	bs.recent = b
}

func (bs *blocks) unlink(b *block) {
	if bs.recent == b {
		bs.recent = b.next
	}
	if bs.recent == b {
		bs.recent = nil
	}
	b.prev.next, b.next.prev = b.next, b.prev
}
