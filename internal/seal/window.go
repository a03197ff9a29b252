package seal

import (
	"math/bits"
	"sync/atomic"
)

// windowSize is how far behind the highest sequence number a message may be.
const windowSize = 1024

// window is what is known of the sequence numbers of one publisher's session
// under one key id. Two bits for each of the last windowSize numbers:
//
//	seen held
//	  0    0   not delivered
//	  1    0   done: delivered for good
//	  1    1   pending: delivered, not acknowledged by the client
//	  0    1   released: was pending when its connection ended; may come again
//
// Held numbers that the window moves past are kept in late, for a message that
// the client has not acknowledged must never be lost.
type window struct {
	key        [16]byte // key id, session
	publisher  *publisher
	prev, next *window

	// top is the highest number delivered, 0 if none. It changes under the lock of
	// the replay state and is also read without.
	top        atomic.Uint32
	floor      uint32 // numbers up to this are refused
	horizon    uint64 // and those sealed before this time
	heldCount  int
	seen, held [windowSize / 64]uint64
	late       map[uint32]bool // true: pending, false: released
}

// judge says whether a message of this number would be delivered.
func (w *window) judge(seq uint32) error {
	top := w.top.Load()
	if seq > top {
		return nil // floor is never above top, but for a new window, which judges it itself
	}
	if top-seq < windowSize {
		i, bit := place(seq)
		switch {
		case seq <= w.floor:
			return ErrStale
		case w.seen[i]&bit == 0:
			return nil
		case w.held[i]&bit != 0:
			return errPending
		}
		return errDone
	}
	switch pending, late := w.late[seq]; {
	case !late:
		return ErrStale
	case pending:
		return errPending
	}
	return nil
}

// deliver notes a number that judge let pass. It returns how many held numbers
// became late, at most room of them; the others are forgotten, and so refused.
func (w *window) deliver(seq uint32, pending bool, room int) (late int) {
	if seq > w.top.Load() {
		late = w.slide(seq, room)
	}
	if w.top.Load()-seq >= windowSize { // a late one that had been released
		if pending {
			w.late[seq] = true
			return 0
		}
		delete(w.late, seq)
		w.heldCount--
		return -1
	}
	i, bit := place(seq)
	if w.held[i]&bit != 0 {
		w.held[i] &^= bit
		w.heldCount--
	}
	w.seen[i] |= bit
	if pending {
		w.held[i] |= bit
		w.heldCount++
	}
	return late
}

// slide moves the window up so that seq is its top.
func (w *window) slide(seq uint32, room int) (late int) {
	n := seq - w.top.Load()
	if n > windowSize {
		n = windowSize
	}
	// The places of the n numbers from top+1 on belong to the n numbers that are
	// windowSize below them, which leave.
	for n > 0 {
		first := seq - n + 1 // n <= windowSize, so this is never below top+1
		i, bit := place(first)
		shift := uint32(bits.TrailingZeros64(bit))
		count := min(64-shift, n)
		mask := ^uint64(0) >> (64 - count) << shift
		if gone := w.held[i] & mask; gone != 0 {
			late += w.spill(i, gone, room-late)
		}
		w.seen[i] &^= mask
		w.held[i] &^= mask
		n -= count
	}
	w.top.Store(seq)
	return late
}

// spill moves the held numbers in word i that are about to leave into late. It
// runs before top moves, so that the old numbers can be told from their places.
func (w *window) spill(i int, gone uint64, room int) (late int) {
	top := w.top.Load()
	for ; gone != 0; gone &= gone - 1 {
		bit := gone & -gone
		at := uint32(64*i + bits.TrailingZeros64(bit))
		// The highest number up to top that has this place.
		seq := top - (top-at)%windowSize
		if late == room {
			w.heldCount--
			continue
		}
		if w.late == nil {
			w.late = make(map[uint32]bool)
		}
		w.late[seq] = w.seen[i]&bit != 0
		late++
	}
	return late
}

// settle ends the pending state of a number: acknowledged or released. It
// returns by how much the late numbers changed.
func (w *window) settle(seq uint32, acknowledged bool) (late int) {
	if w.top.Load()-seq >= windowSize {
		if _, ok := w.late[seq]; !ok {
			return 0
		}
		if acknowledged {
			delete(w.late, seq)
			w.heldCount--
			return -1
		}
		w.late[seq] = false
		return 0
	}
	i, bit := place(seq)
	if w.held[i]&bit == 0 {
		return 0
	}
	if acknowledged {
		w.seen[i] |= bit
		w.held[i] &^= bit
		w.heldCount--
		return 0
	}
	w.seen[i] &^= bit
	return 0
}

// place is where the bit of a number is.
func place(seq uint32) (word int, bit uint64) {
	return int(seq / 64 % (windowSize / 64)), 1 << (seq % 64)
}
