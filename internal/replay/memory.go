package replay

import (
	"errors"
	"fmt"
	"hash/maphash"
	"math"
	"sync"
	"sync/atomic"
)

// What can be wrong with a message. All are ErrReplay or ErrStale.
var (
	// ErrReplay is a message that has been delivered before.
	ErrReplay = errors.New("mqttsec: replayed message")
	// ErrStale is one too far behind to tell whether it has.
	ErrStale = errors.New("mqttsec: stale message")

	// ErrDelivered is a copy of a message that was delivered for good.
	ErrDelivered = fmt.Errorf("%w: delivered before", ErrReplay)
	// ErrPending is a copy of a message that was delivered and that the client has not acknowledged yet.
	ErrPending = fmt.Errorf("%w: delivered and not acknowledged yet", ErrReplay)
	// ErrNotRetained is a message that arrived as retained and was not published so.
	ErrNotRetained = fmt.Errorf("%w: not published as a retained message", ErrReplay)
	// ErrUnasked is a retained message that was shown before and for which no SUBSCRIBE has asked since.
	ErrUnasked = fmt.Errorf("%w: retained, shown before, and not asked for again", ErrReplay)
	// ErrSuperseded is a retained message that was replaced by one that was shown.
	ErrSuperseded = fmt.Errorf("%w: a retained message that was replaced", ErrStale)
	// ErrForgotten is a message of a session that is not known, though it may have been.
	ErrForgotten = fmt.Errorf("%w: its publisher may have been heard before and been forgotten", ErrStale)
)

// Message is what a frame says of itself.
type Message struct {
	// Topic is the topic's name, and Hash its maphash under the Memory's seed.
	Topic string
	Hash  uint64
	// Key tells the keys of a topic apart, Publisher those whose signatures are demanded; 0 if they are not.
	Key, Publisher uint32
	Session        [12]byte
	// Time is in Unix seconds, 0 for a device without a clock.
	Time, Seq uint32
	// Retain and Will are how it was published; Once that it was at QoS 0.
	Retain, Will, Once bool
}

// Arrival is how a message came.
type Arrival struct {
	// Retained is its RETAIN flag, Acknowledged that its QoS is 1 or 2.
	Retained, Acknowledged bool
	// Conn is the number of the connection, from Connect; 0 where there is none.
	Conn uint32
	// Asker tells how often retained messages were asked for; nil if never.
	Asker Asker
	// Streams are the Subscription Identifiers it came with and that the client asked for; none stands for 0.
	Streams []uint32
	// Every demands that it be new for each of Streams, and not for one of them.
	Every bool
}

// Asker knows the subscriptions of a connection.
type Asker interface {
	// Asked returns how many topic filters that match a topic the client has subscribed to on the connection so far, a
	// repeated SUBSCRIBE counted again.
	Asked(topic string) uint32
}

// Plain says that it came with nothing of what the others tell: at QoS 0, without RETAIN and Subscription Identifier.
func (a *Arrival) Plain() bool { return !a.Retained && !a.Acknowledged && len(a.Streams) == 0 }

func (a *Arrival) asked(topic string) uint32 {
	if a.Asker == nil {
		return 0
	}
	return a.Asker.Asked(topic)
}

// Config is what a Memory is made of.
type Config struct {
	// Limit bounds the size of the tree. A session, a level of topics, a retained message count 1, which is up to 120
	// bytes; a block of 1024 numbers counts 2; eight pending numbers 1.
	Limit int
	// Tolerance is by how many seconds the clocks of publishers may be wrong.
	Tolerance uint32
	// Seed is that of Message.Hash.
	Seed maphash.Seed
	// Now returns the receiver's clock, in Unix seconds, or 0 if it has none.
	Now func() uint32
}

// Memory is what one receiver has been delivered. It is safe for concurrent use, and small while it has not been used.
type Memory struct {
	cfg    Config
	recent atomic.Pointer[session] // the one delivered last, for inOrder
	conns  atomic.Uint32

	mu    sync.Mutex
	root  node
	nodes map[uint64]*node // by the hash of realm and path
}

// New returns an empty Memory.
func New(cfg Config) *Memory { return &Memory{cfg: cfg} }

// Connect returns the number of a new connection.
func (m *Memory) Connect() uint32 { return m.conns.Add(1) }

// Size returns how much is remembered, in the units of Config.Limit.
func (m *Memory) Size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int(m.root.weight)
}

// Shrink forgets until no more than limit is remembered, as far as that goes: as when room is short, what was delivered
// is refused from then on as what may have been.
func (m *Memory) Shrink(limit int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for int(m.root.weight) > limit && m.forget() {
	}
}

// Entry names a delivered message whose acknowledgement is awaited. The zero Entry is none.
type Entry struct {
	session *session
	seq     uint32
}

// Run is one publisher's session on one topic, for whoever hears it again and again. The zero Run is none.
type Run struct {
	memory  *Memory
	session *session
}

// Run returns the Run of a message that Commit has let pass; the zero Run if another was delivered meanwhile, or for
// some Subscription Identifier.
func (m *Memory) Run(msg *Message) Run {
	if s := m.recent.Load(); s != nil && s.isOf(msg, 0) {
		return Run{m, s}
	}
	return Run{}
}

// Of says that r is a Run in m.
func (r *Run) Of(m *Memory) bool { return r.memory == m }

// Follows says, without a lock, that a message of the Run is above all that were delivered, as most are: Check would
// let it pass. The message is a live one, without RETAIN on arrival and Subscription Identifier.
func (r *Run) Follows(time, seq uint32) bool { return r.session.follows(time, seq) }

// Note is Commit for an authentic message that Follows, if it was published without RETAIN and awaits no
// acknowledgement, and if a bit is all that there is to be noted. Else it is false, and Commit is to be called.
func (r *Run) Note(time, seq uint32) bool {
	r.memory.mu.Lock()
	noted := r.memory.note(r.session, time, seq)
	r.memory.mu.Unlock()
	return noted
}

// note notes a message that was seen to follow in its session, without the lock, if that takes nothing but a bit: the
// case of nearly all. What else would become of it happens at least once a second.
func (m *Memory) note(s *session, time, seq uint32) bool {
	return s.attached() && s.heard >= m.cfg.Now() && m.hasRoom(noteNeeds) && seq > s.top.Load() && s.add(time, seq)
}

// inOrder says, without a lock, that a message follows on the last one delivered: it will not be refused unless another
// copy is faster.
func (m *Memory) inOrder(msg *Message, how *Arrival) bool {
	s := m.recent.Load()
	return s != nil && !how.Retained && len(how.Streams) == 0 && s.isOf(msg, 0) && s.follows(msg.Time, msg.Seq)
}

// Check judges a message before it has been authenticated, and changes nothing. Where publishers are told apart nothing
// is known yet, and Commit alone judges.
func (m *Memory) Check(msg *Message, how *Arrival) error {
	if m.inOrder(msg, how) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.judge(msg, how)
}

// Commit judges an authentic message, and takes note if it is to be delivered. The Entry is for Done.
func (m *Memory) Commit(msg *Message, how *Arrival) (Entry, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !how.Acknowledged && !msg.Retain && m.inOrder(msg, how) && m.note(m.recent.Load(), msg.Time, msg.Seq) {
		return Entry{}, nil
	}
	if err := m.judge(msg, how); err != nil {
		return Entry{}, err
	}
	streams, fresh := m.fresh(msg, how)
	m.makeRoom(msg, how)
	e := m.deliver(msg, how, streams, fresh)
	if msg.Retain {
		m.show(msg, how)
	}
	return e, nil
}

// Done notes that the client has acknowledged a message, in its PUBACK or PUBREC.
func (m *Memory) Done(e Entry) {
	if e.session == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	e.session.done(e.seq)
}

// judge says whether a message would be delivered.
func (m *Memory) judge(msg *Message, how *Arrival) error {
	if how.Retained && !msg.Retain {
		return ErrNotRetained
	}
	err := m.judgeLive(msg, how)
	if err == nil || !how.Retained {
		return err
	}
	if again := m.judgeRetained(msg, how); again != nil {
		if again == ErrUnasked && errors.Is(err, ErrReplay) {
			return err // a copy, and no more is to be said
		}
		return again
	}
	return nil
}

// judgeLive judges by the windows of the message's session.
func (m *Memory) judgeLive(msg *Message, how *Arrival) (err error) {
	if len(how.Streams) == 0 {
		return m.judgeStream(msg, how, 0)
	}
	for _, stream := range how.Streams[:min(len(how.Streams), maxStreams)] {
		err = m.judgeStream(msg, how, stream)
		if (err != nil) == how.Every {
			return err
		}
	}
	return err
}

func (m *Memory) judgeStream(msg *Message, how *Arrival, stream uint32) error {
	n := m.nodes[realmOf(msg).place(msg.Hash)]
	if s := n.session(msg, stream); s != nil {
		return s.judge(msg, how)
	}
	if m.forgotten(n, msg) {
		return ErrForgotten
	}
	return nil
}

// forgotten says whether a message of an unknown session may have been delivered. n is its topic's node, nil if there
// is none.
func (m *Memory) forgotten(n *node, msg *Message) bool {
	if n == nil {
		n = m.deepest(realmOf(msg), msg.Topic)
	}
	now := m.cfg.Now()
	for ; n != nil; n = n.parent {
		n.lost.settle(now)
		if n.lost.covers(msg.Time) {
			return true
		}
	}
	return false
}

// noStream stands for the streams of a message that has none.
var noStream = []uint32{0}

// maxStreams is how many Subscription Identifiers of a message count.
const maxStreams = 64

// fresh returns the streams of a message, and a bit for each in which it is new.
func (m *Memory) fresh(msg *Message, how *Arrival) (streams []uint32, fresh uint64) {
	if streams = how.Streams; len(streams) == 0 {
		streams = noStream
	}
	streams = streams[:min(len(streams), maxStreams)]
	for i, stream := range streams {
		if m.judgeStream(msg, how, stream) == nil {
			fresh |= 1 << i
		}
	}
	return streams, fresh
}

// deliver notes a message that judge let pass in each of its streams for which it is new.
func (m *Memory) deliver(msg *Message, how *Arrival, streams []uint32, fresh uint64) (e Entry) {
	n := m.grow(realmOf(msg), msg)
	for i, stream := range streams {
		isNew := fresh>>i&1 != 0
		if !isNew && !how.Retained {
			continue
		}
		s := n.session(msg, stream)
		if s == nil {
			s = m.meet(n, msg, stream)
		}
		if isNew {
			s.deliver(msg, m.cfg.Now())
		}
		if how.Acknowledged && !msg.Once && e.session == nil {
			s.hold(msg.Seq, how.Conn)
			e = Entry{s, msg.Seq}
		} else {
			s.done(msg.Seq)
		}
		m.recent.Store(s)
	}
	return e
}

// meet adds a session, in a stream, to its topic's node.
func (m *Memory) meet(n *node, msg *Message, stream uint32) *session {
	s := &session{id: sessionID{msg.Session, stream}}
	var before lost
	for at := n; at != nil; at = at.parent {
		before.merge(&at.lost)
	}
	s.born, s.darkened = before.upTo, before.dark
	if before.to > 0 {
		s.shadowed = true
		s.window = &window{from: before.from, to: before.to}
	}
	n.adopt(s)
	return s
}

// limit is the latest time that a publisher with a clock as good as the receiver's can show.
func (m *Memory) limit() uint32 {
	now := m.cfg.Now()
	if now == 0 || now > math.MaxUint32-m.cfg.Tolerance {
		return math.MaxUint32
	}
	return now + m.cfg.Tolerance
}
