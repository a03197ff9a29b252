package layer

import (
	"math/bits"
	"runtime"
	"sync"
	"time"
)

// Buffers of more than a connection keeps for itself come from one pool, in classes of a power of two, and go back as
// soon as they are empty: a connection that is idle is small, and one that moves large packets does not make garbage of
// each.
const (
	smallest = 9  // the class of 512 bytes
	scarce   = 16 // from the class of 64 KiB on, free buffers are counted
	largest  = 24 // the class of 16 MiB; what is larger is left to the garbage collector
)

// trusted is up to which length a buffer is made for a packet at once, on the word of its header.
const trusted = 64 << 10

// pool has the small classes, of *[]byte.
var pool [scarce]sync.Pool

// holders are empty *[]byte for the pool, so that putting a buffer back allocates nothing.
var holders = sync.Pool{New: func() any { return new([]byte) }}

// getBuffer returns an empty buffer with room for n bytes.
func getBuffer(n int) []byte {
	class := classOf(n)
	switch {
	case class > largest:
		return make([]byte, 0, n)
	case class >= scarce:
		if b := large.get(class); b != nil {
			return b
		}
	default:
		if h, ok := pool[class].Get().(*[]byte); ok {
			b := *h
			*h = nil
			holders.Put(h)
			return b[:0]
		}
	}
	return make([]byte, 0, 1<<class)
}

// putBuffer gives b, which nobody uses any more, back. It takes any slice, and keeps those that getBuffer made.
func putBuffer(b []byte) {
	class := classOf(cap(b))
	switch {
	case class > largest || cap(b) != 1<<class:
	case class >= scarce:
		large.put(class, b[:0])
	default:
		h := holders.Get().(*[]byte)
		*h = b[:0]
		pool[class].Put(h)
	}
}

// maxFree is how many bytes of a class may be free. There may be fewFree buffers, whatever their size: those of a
// publisher and a subscriber in one process.
const maxFree, fewFree = 16 << 20, 4

// large has the other classes. A sync.Pool loses what one processor puts back and another asks for, and with it, at a
// megabyte a packet, more than all else that is done for one.
var large freeBuffers

// freeBuffers are kept while they are used: what has not been for a lull is left to the garbage collector, which also
// tells when to look.
type freeBuffers struct {
	sync.Mutex
	class    [largest + 1]freeClass
	looked   time.Time
	watching bool
}

// lull is how long a publisher may wait for room in its window, say.
const lull = 10 * time.Second

type freeClass struct {
	free   [][]byte
	unused int // how many were free all the time since they were looked at
}

// get returns a buffer of a class, nil if none is free.
func (f *freeBuffers) get(class int) []byte {
	f.Lock()
	defer f.Unlock()
	c := &f.class[class]
	n := len(c.free) - 1
	if n < 0 {
		return nil
	}
	b := c.free[n]
	c.free[n] = nil
	c.free = c.free[:n]
	c.unused = min(c.unused, n)
	return b
}

func (f *freeBuffers) put(class int, b []byte) {
	f.Lock()
	defer f.Unlock()
	c := &f.class[class]
	if len(c.free) >= max(fewFree, maxFree>>class) {
		return
	}
	c.free = append(c.free, b)
	f.watch()
}

// watch has collected called after the next garbage collection.
func (f *freeBuffers) watch() {
	if !f.watching {
		f.watching = true
		runtime.AddCleanup(new(sentinel), (*freeBuffers).collected, f)
	}
}

// sentinel is garbage from the start. It has a size and a pointer, or it would share memory with something that is not.
type sentinel struct{ _ *sentinel }

// collected gives up what was not used.
func (f *freeBuffers) collected() {
	f.Lock()
	defer f.Unlock()
	f.watching = false
	if now := time.Now(); now.Sub(f.looked) >= lull {
		f.looked = now
		f.trim()
	}
	for i := range f.class {
		if len(f.class[i].free) > 0 {
			f.watch()
		}
	}
}

func (f *freeBuffers) trim() {
	for i := range f.class {
		c := &f.class[i]
		n := len(c.free) - c.unused
		copy(c.free, c.free[c.unused:]) // those on top were used last
		clear(c.free[n:])
		c.free, c.unused = c.free[:n], n
	}
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
