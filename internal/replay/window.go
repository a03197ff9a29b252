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
	conn uint32 // of the last delivery, or over
}

// over stands for the connection of a number that is done, and whose place has not been cleared yet: clients
// acknowledge in any order, and to move all that is behind each would take a time for all that grows with its square.
const over = 1<<32 - 1

// live is how many numbers are held.
func (w *window) live() int { return len(w.held) - w.gone }

// find returns the place of a number, and whether it is there, held or over.
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
	if !ok || s.window.held[i].conn == over {
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
	if ok && w.held[i].conn != over {
		w.held[i].conn = conn
		return
	}
	before := w.live()
	switch {
	case ok:
		w.held[i].conn = conn
		w.gone--
	case before >= maxHeld && i == 0:
		return
	default:
		w.held = slices.Insert(w.held, i, held{seq, conn})
	}
	if w.live() > maxHeld {
		s.end(slices.IndexFunc(w.held, func(h held) bool { return h.conn != over }))
		return
	}
	s.weigh(before)
}

// done makes a number done, if it is held.
func (s *session) done(seq uint32) {
	if s.window == nil {
		return
	}
	if i, ok := s.window.find(seq); ok && s.window.held[i].conn != over {
		s.end(i)
	}
}

// end makes the number in place i done, and clears the places of those that are over once they are the first, or half.
func (s *session) end(i int) {
	w := s.window
	before := w.live()
	w.held[i].conn = over
	w.gone++
	switch {
	case w.live() == 0:
		if w.held, w.gone = w.held[:0], 0; cap(w.held) > 64 {
			w.held = nil
		}
	case 2*w.gone > len(w.held):
		w.held, w.gone = slices.DeleteFunc(w.held, func(h held) bool { return h.conn == over }), 0
		if cap(w.held) > 64 && cap(w.held) > 4*len(w.held) {
			w.held = slices.Clone(w.held)
		}
	default:
		for w.held[0].conn == over {
			w.held = w.held[1:]
			w.gone--
		}
	}
	s.weigh(before)
	if w.live() == 0 && len(w.blocks) == 0 && !s.shadowed {
		s.window = nil
	}
}

// weigh counts what is held now, after it was so many.
func (s *session) weigh(before int) {
	if by := s.window.live()/heldPerWeight - before/heldPerWeight; by != 0 && s.attached() {
		s.gain(int32(by))
	}
}
