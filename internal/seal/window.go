package seal

import "sync/atomic"

// windowSize is how far behind the highest sequence number a message may be. An MQTT
// client can have that many messages in flight (packet identifiers have 16 bits), and
// after a lost connection it may send them again in any order, beside new ones.
const windowSize = 1 << 16

// window is what is known of the sequence numbers of one publisher's session under
// one key id. A number above top is new. One that is held (see held) is pending or
// released. Of the others, those up to floor and those windowSize or more below top
// are refused; what lies between is done if its bit in blocks is set, and new if not.
type window struct {
	key        [16]byte // key id, session
	publisher  *publisher
	prev, next *window

	// top is the highest number delivered, 0 if none. It changes under the lock of
	// the replay state and is also read without.
	top     atomic.Uint32
	floor   uint32
	horizon uint64   // what was sealed before this time is refused
	dropped dropped  // and what may have been delivered before this window was made
	held    int      // how many numbers are held
	blocks  []*block // in ascending order, 65 at most
}

// judge says whether a message of this number and time would be delivered.
func (w *window) judge(seq uint32, time uint64, h *held) error {
	forgotten := time < w.horizon || w.dropped.has(seq, time)
	if seq > w.top.Load() && !forgotten {
		return nil
	}
	if w.held > 0 {
		switch s, ok := h.m[entry{w, seq}]; {
		case ok && s == pending:
			return errPending
		case ok:
			return nil
		}
	}
	if forgotten || !w.reaches(seq) {
		return ErrStale
	}
	if b := w.block(seq / blockSize); b != nil && b.has(seq) {
		return errDone
	}
	return nil
}

// deliver notes a number that judge let pass.
func (w *window) deliver(seq uint32, bs *blocks) {
	if !w.reaches(seq) {
		return // it had been released; when it is held no longer it is refused
	}
	b := w.block(seq / blockSize)
	if b == nil {
		b = bs.add(w, seq/blockSize)
	}
	if b != nil {
		b.set(seq)
		bs.touch(b)
	}
	if seq > w.top.Load() {
		w.top.Store(seq)
	}
}

func (w *window) reaches(seq uint32) bool {
	top := w.top.Load()
	return seq > top || seq > w.floor && top-seq < windowSize
}

// raise refuses what the window knows of block n and before.
func (w *window) raise(n uint32) {
	w.floor = max(w.floor, min(n*blockSize+(blockSize-1), w.top.Load()))
}
