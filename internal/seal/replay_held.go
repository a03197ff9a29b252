package seal

import "maps"

// maxHeld bounds the numbers held. An MQTT session has fewer messages in flight, for
// its packet identifiers have 16 bits and 0 is none of them.
const maxHeld = 1 << 16

// entry names a delivered message whose acknowledgement is awaited. The zero
// entry is none.
type entry struct {
	window *window
	seq    uint32
}

// held are the numbers, in all windows, that were delivered at QoS 1 or 2 and that the
// client has not acknowledged. They are kept however far the window moves on, for such
// a message must not be lost. The value is pending, or when the number was released:
// its connection ended, and it may come again.
type held struct {
	m        map[entry]uint64
	releases uint64
}

const pending = 0

// add makes e pending. At the limit, the number that seems to have waited longest for
// a redelivery is forgotten, and so is done: its sender has given it up, or there
// would be more in flight than MQTT can name.
func (h *held) add(e entry) {
	if _, ok := h.m[e]; !ok {
		if len(h.m) >= maxHeld && !h.forget() {
			return
		}
		if h.m == nil {
			h.m = make(map[entry]uint64)
		}
		e.window.held++
	}
	h.m[e] = pending
}

// forget removes the oldest of some released numbers, if there are any.
func (h *held) forget() bool {
	var oldest entry
	var when uint64
	looked := 0
	for e, released := range h.m { // begins anywhere
		if released == pending {
			continue
		}
		if looked == 0 || released < when {
			oldest, when = e, released
		}
		if looked++; looked == 16 {
			break
		}
	}
	h.remove(oldest)
	return looked > 0
}

// remove makes e done, if it is held.
func (h *held) remove(e entry) {
	if e.window == nil || e.window.held == 0 {
		return
	}
	if _, ok := h.m[e]; ok {
		delete(h.m, e)
		e.window.held--
	}
}

// release makes e deliverable again, if it is held.
func (h *held) release(e entry) {
	if _, ok := h.m[e]; ok {
		h.releases++
		h.m[e] = h.releases
	}
}

// drop removes all that are w's.
func (h *held) drop(w *window) {
	if w.held > 0 {
		maps.DeleteFunc(h.m, func(e entry, _ uint64) bool { return e.window == w })
		w.held = 0
	}
}
