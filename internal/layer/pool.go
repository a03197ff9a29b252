package layer

import (
	"math/bits"
	"sync"
)

// Buffers of more than a connection keeps for itself come from one pool, in classes of a power of two, and go back as
// soon as they are empty: a connection that is idle is small, and one that moves large packets does not make garbage of
// each.
const (
	smallest = 12 // the class of 4 KiB
	largest  = 24 // the class of 16 MiB; what is larger is left to the garbage collector
)

// trusted is up to which length a buffer is made for a packet at once, on the word of its header.
const trusted = 64 << 10

var pool [largest + 1]sync.Pool // of *[]byte, by class

// holders are empty *[]byte for the pool, so that putting a buffer back allocates nothing.
var holders = sync.Pool{New: func() any { return new([]byte) }}

// getBuffer returns an empty buffer with room for n bytes.
func getBuffer(n int) []byte {
	class := classOf(n)
	if class > largest {
		return make([]byte, 0, n)
	}
	if h, ok := pool[class].Get().(*[]byte); ok {
		b := *h
		*h = nil
		holders.Put(h)
		return b[:0]
	}
	return make([]byte, 0, 1<<class)
}

// putBuffer gives b, which nobody uses any more, back. It takes any slice, and keeps those that getBuffer made.
func putBuffer(b []byte) {
	class := classOf(cap(b))
	if class > largest || cap(b) != 1<<class {
		return
	}
	h := holders.Get().(*[]byte)
	*h = b[:0]
	pool[class].Put(h)
}

// growBuffer returns b with room for want bytes. At least it doubles, but not beyond whole, which is all that will
// come.
func growBuffer(b []byte, want, whole int) []byte {
	if want <= cap(b) {
		return b
	}
	grown := append(getBuffer(max(want, min(2*cap(b), whole))), b...)
	putBuffer(b)
	return grown
}

// classOf returns the exponent of the smallest class that has room for n bytes.
func classOf(n int) int {
	if n <= 1<<smallest {
		return smallest
	}
	return bits.Len(uint(n - 1))
}

// scratch is a buffer for one packet that a filter makes.
type scratch struct{ b []byte }

// take returns an empty buffer with room for n bytes, in place of the one before.
func (s *scratch) take(n int) []byte {
	if cap(s.b) < n {
		putBuffer(s.b)
		s.b = getBuffer(n)
	}
	return s.b[:0]
}

// release gives the buffer back unless it is small enough to keep.
func (s *scratch) release() {
	if cap(s.b) > 1<<smallest {
		putBuffer(s.b)
		s.b = nil
	}
}
