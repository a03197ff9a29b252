package replay

import (
	"slices"
	"sync/atomic"
)

// windowSize is how far behind the highest sequence number a message may be. An MQTT client can have 65,535 messages in
// flight (packet identifiers have 16 bits), and after a lost connection it may send them again in any order, beside new
// ones. To that comes an eighth, since a Sealer that several goroutines use hands out numbers in blocks, is then up to
// 4,096 behind with some of them, and skips what it does not use.
const windowSize = 1<<16 + 1<<13

// sessionID is a publisher's session and the Subscription Identifier for which it is delivered.
type sessionID struct {
	session [12]byte
	stream  uint32
}

// session is what is known of the numbers of one publisher's session on one topic under one key, for one stream. Those
// above top are new; those that are held were not acknowledged yet; of the others those up to floor, those windowSize
// or more below top, and those of a time that was forgotten before are refused. What lies between is done if its bit is
// set, and new if not.
//
// Most sessions of a large fleet are a few numbers: their bits are in recent, as long as those are all within the 64
// that top is in (numbers n*64 to n*64+63). Others have blocks.
type session struct {
	item
	id sessionID

	top         atomic.Uint32 // the highest number, 0 if none; changed under the lock, and also read without
	floor       uint32
	born        uint32 // the latest time that was forgotten when the session became known
	shadowed    bool   // something of the future was forgotten then: see window
	darkened    bool   // something without a clock was
	least, last uint32 // times delivered, other than 0
	heard       uint32 // when, by the receiver's clock
	shown       uint32 // the highest number of a message published with RETAIN
	dark        bool   // a message without a clock was delivered
	recent      uint64
	window      *window // nil without blocks, held numbers and shadow
}

// window is the larger part of a session that needs it.
type window struct {
	blocks []*block // in ascending order, 73 at most
	held   []held   // in ascending order
	gone   int      // how many of those are over

	from, to uint32 // the times of the future that were forgotten when a shadowed session became known
}

func (s *session) age() uint32    { return s.heard }
func (s *session) attached() bool { return s.weight > 0 }

// isOf says that s is a message's session in a stream.
func (s *session) isOf(msg *Message, stream uint32) bool {
	return s.id.session == msg.Session && s.id.stream == stream && s.parent.hash == realmOf(msg).place(msg.Hash)
}

// isOld says that a message may be one of those that were forgotten before the session became known.
func (s *session) isOld(msg *Message) bool {
	if msg.Time == 0 {
		return s.darkened
	}
	return msg.Time <= s.born || s.shadowed && s.window.from <= msg.Time && msg.Time <= s.window.to
}

// follows says, without the lock, that a message is new because its number is the highest. It need not notice.
func (s *session) follows(time, seq uint32) bool {
	return seq > s.top.Load() && !s.shadowed && (time > s.born || time == 0 && !s.darkened)
}

// judge says whether a message would be delivered.
func (s *session) judge(msg *Message, how *Arrival) error {
	old := s.isOld(msg)
	if msg.Seq > s.top.Load() && !old {
		return nil
	}
	if conn, ok := s.pending(msg.Seq); ok {
		if how.Conn > conn {
			return nil
		}
		return ErrPending
	}
	if old || !s.reaches(msg.Seq) {
		return ErrStale
	}
	if s.has(msg.Seq) {
		return ErrDelivered
	}
	return nil
}

func (s *session) reaches(seq uint32) bool {
	top := s.top.Load()
	return seq > s.floor && (seq > top || top-seq < windowSize)
}

// has says that a number within reach was delivered.
func (s *session) has(seq uint32) bool {
	if s.window == nil || len(s.window.blocks) == 0 {
		return seq/64 == s.top.Load()/64 && s.recent>>(seq%64)&1 != 0
	}
	b := s.window.block(seq / blockSize)
	return b != nil && b.has(seq)
}

// add notes the next message if that takes nothing but a bit.
func (s *session) add(time, seq uint32) bool {
	if time != s.last || time == 0 {
		return false
	}
	if s.window == nil || len(s.window.blocks) == 0 {
		if seq/64 != s.top.Load()/64 {
			return false
		}
		s.recent |= 1 << (seq % 64)
	} else {
		b := s.window.blocks[len(s.window.blocks)-1]
		if b.number != seq/blockSize {
			return false
		}
		b.set(seq)
	}
	s.top.Store(seq)
	return true
}

// deliver notes a message that judge let pass. now is the receiver's clock.
func (s *session) deliver(msg *Message, now uint32) {
	if msg.Time == 0 {
		s.dark = true
	} else {
		if s.last == 0 {
			s.least = msg.Time
		}
		s.least, s.last = min(s.least, msg.Time), max(s.last, msg.Time)
	}
	s.heard = max(s.heard, now)
	if msg.Retain {
		s.shown = max(s.shown, msg.Seq)
	}
	if s.reaches(msg.Seq) { // else it was pending, and is refused when it is so no longer
		s.note(msg.Seq)
	}
	s.parent.fix(int(s.place))
}

// note sets a number's bit.
func (s *session) note(seq uint32) {
	top := s.top.Load()
	w := s.window
	switch {
	case w != nil && len(w.blocks) > 0:
		s.mark(seq)
	case top == 0:
		s.recent = 1 << (seq % 64)
	case seq/64 == top/64:
		s.recent |= 1 << (seq % 64)
	default:
		if w == nil {
			s.window = new(window)
		}
		if s.floor < top { // else recent says nothing that floor does not
			s.window.blocks = append(s.window.blocks, newBlock(top, s.recent))
			s.gain(blockWeight)
		}
		s.recent = 0
		s.mark(seq)
	}
	if seq > top {
		s.top.Store(seq)
	}
}

// mark sets a number's bit in its block, which it makes if needed, and drops those that are too far behind it.
func (s *session) mark(seq uint32) {
	w, n := s.window, seq/blockSize
	b := w.block(n)
	if b == nil {
		for len(w.blocks) > 0 && w.blocks[0].number+windowSize/blockSize < n {
			b = w.removeLowest()
			s.gain(-blockWeight)
		}
		if b == nil {
			b = new(block)
		}
		*b = block{number: n}
		i, _ := w.place(n)
		w.blocks = slices.Insert(w.blocks, i, b)
		s.gain(blockWeight)
	}
	b.set(seq)
}

// giveUp drops the lowest block, and refuses from then on what is in it and below. It is false without blocks.
func (s *session) giveUp() bool {
	if s.window == nil || len(s.window.blocks) == 0 {
		return false
	}
	b := s.window.removeLowest()
	s.floor = max(s.floor, min(b.number*blockSize+(blockSize-1), s.top.Load()))
	s.gain(-blockWeight)
	return true
}
