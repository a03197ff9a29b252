package replay

import (
	"cmp"
	"slices"
)

const (
	blockSize   = 1024 // sequence numbers in a block
	blockWeight = 2
)

// block has a bit for each of the numbers from number*blockSize on, set if it was delivered. One is made when a number
// in it is delivered, so that a block that is not there means that nothing in it was.
type block struct {
	number uint32
	seen   [blockSize / 64]uint64
}

// newBlock returns the block of a number with the bits of the 64 that it is in.
func newBlock(seq uint32, recent uint64) *block {
	b := &block{number: seq / blockSize}
	b.seen[seq/64%(blockSize/64)] = recent
	return b
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

// removeLowest takes out the lowest block, which it returns.
func (w *window) removeLowest() *block {
	b := w.blocks[0]
	w.blocks = slices.Delete(w.blocks, 0, 1)
	return b
}

// maxHeld bounds the pending numbers of a session. An MQTT session has fewer messages in flight, for its packet
// identifiers have 16 bits and 0 is none of them.
const maxHeld = 1 << 16

// heldPerWeight is how many pending numbers count as much as a session.
const heldPerWeight = 8

// held is a number that was delivered and that the client has not acknowledged. It is known however far the window
// moves on, for such a message must not be lost.
type held struct {
	seq  uint32
	conn uint32 // of the last delivery
}

func (w *window) find(seq uint32) (int, bool) {
	if n := len(w.held); n == 0 || w.held[n-1].seq < seq {
		return n, false
	}
	return slices.BinarySearchFunc(w.held, seq, func(h held, seq uint32) int { return cmp.Compare(h.seq, seq) })
}

// pending returns the connection on which a number that is held was delivered last.
func (s *session) pending(seq uint32) (conn uint32, ok bool) {
	if s.window == nil {
		return 0, false
	}
	i, ok := s.window.find(seq)
	if !ok {
		return 0, false
	}
	return s.window.held[i].conn, true
}

// hold makes a number pending on a connection. At the limit the lowest is given up, and so is done.
func (s *session) hold(seq, conn uint32) {
	if s.window == nil {
		s.window = new(window)
	}
	w := s.window
	i, ok := w.find(seq)
	if ok {
		w.held[i].conn = conn
		return
	}
	if len(w.held) >= maxHeld {
		if i == 0 {
			return
		}
		w.held = w.held[1:]
		i--
	} else if len(w.held)%heldPerWeight == heldPerWeight-1 {
		s.gain(1)
	}
	w.held = slices.Insert(w.held, i, held{seq, conn})
}

// done makes a number done, if it is held.
func (s *session) done(seq uint32) {
	if s.window == nil {
		return
	}
	w := s.window
	i, ok := w.find(seq)
	if !ok {
		return
	}
	if i == 0 && len(w.held) > 64 {
		w.held = w.held[1:]
	} else {
		w.held = slices.Delete(w.held, i, i+1) // leaves the room for the next
	}
	if len(w.held)%heldPerWeight == heldPerWeight-1 && s.attached() {
		s.gain(-1)
	}
	if len(w.held) > 0 {
		return
	}
	if cap(w.held) > 64 {
		w.held = nil
	}
	if len(w.blocks) == 0 && !s.shadowed {
		s.window = nil
	}
}
