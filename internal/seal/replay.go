package seal

import (
	"encoding/binary"
	"math"
	"sync"
	"sync/atomic"
	"time"
)

// replay is what one MQTT session has been delivered. It is bounded: it knows
// Config.MaxSessions of the publishers' sessions, as many Wills, and four times as
// many topics with retained messages; it has maxBlocks of blocks and maxHeld numbers
// held. A new one is small; it grows with use. It is safe for concurrent use.
type replay struct {
	mu     sync.Mutex
	limit  int
	maxAge int64 // seconds, 0 for no limit
	clock  *clock

	live   history
	wills  history
	marks  marks
	blocks blocks // of all windows
	held   held   // in all windows
}

// maxBlocks lets windows have four blocks each, and one of them all that it can use,
// whatever the Config says.
func maxBlocks(sessions int) int { return 4*min(sessions, 1<<28) + windowSize/blockSize }

func (s *Sealer) newReplay() *replay {
	return &replay{
		limit:  s.config.MaxSessions,
		maxAge: int64((s.config.MaxAge + time.Second - 1) / time.Second),
		clock:  &s.clock,
		blocks: blocks{limit: maxBlocks(s.config.MaxSessions)},
	}
}

// check judges a header that is not authenticated yet, and changes nothing.
func (r *replay) check(header []byte, l *leaves, k kind) error {
	if err := r.checkAge(header, k); err != nil {
		return err
	}
	if k != retained && r.history(header).inOrder(header) {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if k == retained {
		return r.marks.judge(header, l)
	}
	return r.history(header).judge(header, &r.held)
}

// commit judges again, for another copy may have been faster, and takes note.
func (r *replay) commit(header []byte, l *leaves, k kind) (entry, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if k == retained {
		if err := r.marks.judge(header, l); err != nil {
			return entry{}, err
		}
		r.marks.set(header, l, 4*r.limit)
		return entry{}, nil
	}
	h := r.history(header)
	if err := h.judge(header, &r.held); err != nil {
		return entry{}, err
	}
	w := h.window(header, r)
	e := entry{w, binary.BigEndian.Uint32(header[seqAt:])}
	w.deliver(e.seq, &r.blocks)
	h.touch(w, r.believe(binary.BigEndian.Uint32(header[timeAt:])))
	if header[flagsAt]&flagRetain != 0 && r.marks.judge(header, l) == nil {
		// A broker cannot offer as retained what this message has replaced.
		r.marks.set(header, l, 4*r.limit)
	}
	if k != liveAcknowledged {
		r.held.remove(e)
		return entry{}, nil
	}
	r.held.add(e)
	return e, nil
}

// done notes that the client has acknowledged a message (its PUBACK or PUBREC
// went out): copies of it are errDone from now on.
func (r *replay) done(e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held.remove(e)
}

// release notes that the connection ended before the client acknowledged a
// message, so that the broker's redelivery is delivered. After done it does
// nothing.
func (r *replay) release(e entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held.release(e)
}

// checkAge applies Config.MaxAge. Wills and retained messages are exempt: both
// lie at the broker for as long as it takes.
func (r *replay) checkAge(header []byte, k kind) error {
	if r.maxAge == 0 || k == retained || header[flagsAt]&flagWill != 0 {
		return nil
	}
	t := int64(binary.BigEndian.Uint32(header[timeAt:]))
	age := r.clock.unix() - t
	if t == 0 || age > r.maxAge || age < -r.maxAge {
		return ErrTooOld
	}
	return nil
}

// maxAhead is how many seconds a publisher's clock may be ahead of the receiver's in what
// is remembered of it.
const maxAhead = 60

// believe returns the time of a message as it counts for what will be forgotten. One from
// the future does not: it would shut out publishers whose clocks are right, on topics
// too for which its sender has no key.
func (r *replay) believe(time uint32) uint32 {
	now := unixTime(r.clock.unix())
	if now == 0 || now > math.MaxUint32-maxAhead {
		return time
	}
	return min(time, now+maxAhead)
}

// history is where a message is judged. Wills have one of their own: they are as
// old as their connection when they come.
func (r *replay) history(header []byte) *history {
	if header[flagsAt]&flagWill != 0 {
		return &r.wills
	}
	return &r.live
}

// history is the windows of a bounded number of sessions, least recently used
// first out. What is forgotten stays refused, by two marks that only rise:
//
//   - A publisher whose window for one key is dropped, while it has windows for
//     others, keeps the highest number and the time of what was dropped: numbers up
//     to it are refused unless they were sealed later. (A session numbers its messages
//     across all topics. That later ones pass is for a publisher under whose session,
//     which is no secret, somebody with another key has sent the highest of numbers.)
//   - When a publisher's last window goes, its time joins the horizon: unknown
//     publishers must have sealed after that.
//
// Messages from the future are remembered as if they were of now, so those of a
// publisher whose clock is wrong that way may open again once it has been forgotten.
type history struct {
	windows     map[[16]byte]*window
	publishers  map[[12]byte]*publisher
	first, last *window                // most and least recently used
	recent      atomic.Pointer[window] // first, for inOrder
	// horizon is one more than the latest time of a forgotten publisher; 0 if
	// none has been forgotten.
	horizon uint64
}

// publisher is one session, across its key ids.
type publisher struct {
	windows int
	dropped dropped
	time    uint32 // latest time delivered
	horizon uint64 // the history's when the publisher became known
}

// dropped is what is left of windows that were dropped.
type dropped struct {
	seq  uint32 // highest number
	time uint64 // one more than the latest time
}

// has says that a message may be one of those that were dropped.
func (d dropped) has(seq uint32, time uint64) bool { return seq <= d.seq && time < d.time }

// judge says whether a live message would be delivered.
func (h *history) judge(header []byte, held *held) error {
	seq := binary.BigEndian.Uint32(header[seqAt:])
	time := uint64(binary.BigEndian.Uint32(header[timeAt:]))
	if w := h.find(header); w != nil {
		return w.judge(seq, time, held)
	}
	if p := h.publishers[[12]byte(header[sessionAt:])]; p != nil {
		if time < p.horizon || p.dropped.has(seq, time) {
			return ErrStale
		}
		return nil
	}
	if time < h.horizon {
		return ErrStale
	}
	return nil
}

// inOrder says, without the lock, that a message follows on the last one
// delivered, as most do. What it says may be overtaken; commit has the last word.
func (h *history) inOrder(header []byte) bool {
	w := h.recent.Load()
	return w != nil && w.key == [16]byte(header[idAt:]) &&
		binary.BigEndian.Uint32(header[seqAt:]) > w.top.Load() &&
		uint64(binary.BigEndian.Uint32(header[timeAt:])) >= w.horizon
}

func (h *history) find(header []byte) *window {
	key := [16]byte(header[idAt:])
	if h.first != nil && h.first.key == key {
		return h.first
	}
	return h.windows[key]
}

// window returns the window of a message that judge let pass.
func (h *history) window(header []byte, r *replay) *window {
	if w := h.find(header); w != nil {
		return w
	}
	if len(h.windows) >= r.limit {
		h.evict(r)
	}
	if h.windows == nil {
		h.windows = make(map[[16]byte]*window)
		h.publishers = make(map[[12]byte]*publisher)
	}
	session := [12]byte(header[sessionAt:])
	p := h.publishers[session]
	if p == nil {
		p = &publisher{horizon: h.horizon}
		h.publishers[session] = p
	}
	p.windows++
	w := &window{key: [16]byte(header[idAt:]), publisher: p, dropped: p.dropped, horizon: p.horizon}
	h.windows[w.key] = w
	return w
}

// touch notes a delivery at time.
func (h *history) touch(w *window, time uint32) {
	w.publisher.time = max(w.publisher.time, time)
	if h.first == w {
		return
	}
	h.unlink(w)
	w.next = h.first
	if h.first != nil {
		h.first.prev = w
	} else {
		h.last = w
	}
	h.first = w
	h.recent.Store(w)
}

func (h *history) unlink(w *window) {
	if w.prev != nil {
		w.prev.next = w.next
	} else if h.first == w {
		h.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else if h.last == w {
		h.last = w.prev
	}
	w.prev, w.next = nil, nil
}

// evict forgets the least recently used window; if its client still owes an
// acknowledgement, one of the next few that has none, since a redelivery to a
// forgotten window would be refused.
func (h *history) evict(r *replay) {
	w := h.last
	for i, c := 0, w; i < 16 && c != nil; i, c = i+1, c.prev {
		if c.held == 0 {
			w = c
			break
		}
	}
	h.unlink(w)
	delete(h.windows, w.key)
	r.held.drop(w)
	for len(w.blocks) > 0 {
		r.blocks.remove(w)
	}
	p := w.publisher
	p.dropped = dropped{max(p.dropped.seq, w.top.Load()), uint64(p.time) + 1}
	p.windows--
	if p.windows == 0 {
		h.horizon = max(h.horizon, p.horizon, uint64(p.time)+1)
		delete(h.publishers, [12]byte(w.key[4:]))
	}
}
