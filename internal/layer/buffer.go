package layer

import (
	"math/bits"

	"github.com/mqttsec/mqttsec/internal/wire"
)

const (
	firstRead = 512      // what an idle connection reads into
	keep      = 32 << 10 // what a busy one reads into
	believed  = 4 << 20  // up to which length a peer that has sent such a packet is believed to send another
)

// buffer holds what has arrived and is not yet judged: data[start:end].
type buffer struct {
	data       []byte
	start, end int
	last       int // how many bytes the last read brought
	slack      int // how many reads in turn needed little of data
	seen       int // length of the largest packet so far
}

// scan returns the length of the packet under way, 0 if that is not known yet.
func (b *buffer) scan(limit int) (size int, err error) { return wire.Scan(b.held(), limit) }

// held is what has arrived and is not yet judged. It stays valid until space is called.
func (b *buffer) held() []byte { return b.data[b.start:b.end:b.end] }

// packet cuts off the next packet, of size bytes, if it is whole. It stays valid until space is called.
func (b *buffer) packet(size int) wire.Packet {
	if size == 0 || size > b.end-b.start {
		return nil
	}
	p := b.data[b.start : b.start+size : b.start+size]
	b.start += size
	b.seen = max(b.seen, size)
	return p
}

// drop passes over what is left of n bytes, and returns how many are still to come.
func (b *buffer) drop(n int) int {
	k := min(n, b.end-b.start)
	b.start += k
	return n - k
}

// filled notes that n bytes were read into what space returned.
func (b *buffer) filled(n int) {
	b.end += n
	b.last = n
}

// space returns where to read to, at least one byte. size is the length of the packet under way, 0 if unknown. A buffer
// that is full doubles, up to what that packet needs, so the peer must have sent half of what it makes us hold.
func (b *buffer) space(size int) []byte {
	if b.start == b.end {
		b.start, b.end = 0, 0
		b.fit()
		return b.data
	}
	held := b.end - b.start
	// What is held moves once, not for each read: a large packet in small pieces would cost its square.
	if b.end < len(b.data) && (b.start == 0 || size <= len(b.data)-b.start) {
		return b.rest(size)
	}
	if want := b.reach(size, held); want > len(b.data) {
		grown := getBuffer(want)
		grown = grown[:cap(grown)]
		copy(grown, b.data[b.start:b.end])
		putBuffer(b.data)
		b.data = grown
	} else {
		copy(b.data, b.data[b.start:b.end])
	}
	b.start, b.end = 0, held
	return b.rest(size)
}

// rest is where to read what comes next. Behind a large packet the next one begins with another read, which is
// cheaper than to move what a longer one would have brought of it.
func (b *buffer) rest(size int) []byte {
	to := b.data[b.end:]
	if missing := size - (b.end - b.start); size > keep && missing > 0 && missing < len(to) {
		to = to[:missing]
	}
	return to
}

// reach returns how large the buffer is to be for a packet of size bytes of which it holds some.
func (b *buffer) reach(size, held int) int {
	if size <= trusted || size <= min(b.seen, believed) {
		return max(size, held+1)
	}
	return max(min(1<<(bits.Len(uint(2*held))-1), size), held+1) // a whole class, lest it be rounded up
}

// fit chooses a buffer for the next read when nothing is held: one that reads fill grows to keep, so that a busy
// connection needs few; a larger one, or one of which little is used, shrinks.
func (b *buffer) fit() {
	want := len(b.data)
	switch {
	case want == 0, want > keep:
		want = firstRead
	case b.last == want && want < keep:
		want *= 2
	case b.last <= want/8 && want > firstRead:
		if b.slack++; b.slack > 16 {
			want /= 2
		}
	default:
		b.slack = 0
	}
	if want == len(b.data) {
		return
	}
	b.slack = 0
	putBuffer(b.data)
	b.data = getBuffer(want)
	b.data = b.data[:cap(b.data)]
}
