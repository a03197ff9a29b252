package layer

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// How many bytes may wait. One packet may always wait, whatever its size.
const (
	maxAnswers = 256 << 10 // for a peer that does not read its answers; an AUTH may have 65,535 bytes of data and properties beside
	maxInject  = 1 << 20   // for a local side that does not read
	maxHeld    = 16 << 20  // in each direction, between Hold and Release
)

// queues hold what does not pass straight from one side to the other.
type queues struct {
	sync.Mutex
	injected []byte // for the local side
	answers  []byte // for the peer
	early    []byte // the same, until the local side's CONNACK has left
	greeting bool   // it has not, and they wait for it

	held    bool
	heldIn  []byte // judged, for the local side
	heldOut []byte // not judged yet, for the peer
	largest int    // bytes that either may have

	flushing bool
	spoke    bool      // there were answers
	flooded  bool      // the peer does not read them
	woken    bool      // the inner read deadline is ours, not the local side's
	deadline time.Time // the local side's
	end      *ending   // nil until the connection is being ended

	// busy tells without the lock whether there may be anything but answers, answering whether there are answers.
	busy, answering atomic.Bool
}

// add appends p to a queue of at most limit bytes.
func add(queue *[]byte, limit int, p []byte) error {
	if len(*queue) > 0 && len(*queue)+len(p) > limit {
		return ErrFlood
	}
	*queue = append(*queue, p...)
	return nil
}

// Send queues packet p for the peer, past the filter and past what is held, and returns at once. A filter may call it
// in either direction, and so may any goroutine. Packets arrive in the order in which they were sent, before what the
// local side writes after that, and never inside another; one that is sent while Outgoing judges a packet arrives
// behind that. Send fails with ErrFlood when the peer does not read its answers, and with the reason for which the
// connection was ended.
func (c *Conn) Send(p wire.Packet) error {
	q := &c.queues
	q.Lock()
	defer q.Unlock()
	if q.end != nil {
		return q.end.err
	}
	queue := &q.answers
	if q.greeting {
		queue = &q.early
	}
	if err := add(queue, maxAnswers, p); err != nil {
		q.flooded = true
		return err
	}
	if q.greeting {
		return nil
	}
	q.spoke = true
	q.answering.Store(true)
	c.flushSoon()
	return nil
}

// Greet has what is sent from now on wait until the local side, a server, has let the client in: its CONNACK comes
// before every other packet (MQTT 3.1.1 and 5, 3.2.0-1). What waits then is dropped if the client is not let in.
func (c *Conn) Greet() {
	q := &c.queues
	q.Lock()
	defer q.Unlock()
	q.greeting = true
}

// greet lets go what waited for the CONNACK p, which is on its way.
func (c *Conn) greet(p wire.Packet) {
	q := &c.queues
	q.Lock()
	defer q.Unlock()
	if !q.greeting {
		return
	}
	q.greeting = false
	m, err := wire.ParseConnack(p, c.Version())
	if err != nil || m.Code != wire.Success || len(q.early) == 0 {
		q.early = nil
		return
	}
	q.answers, q.early = append(q.early, q.answers...), nil
	q.spoke = true
	q.answering.Store(true)
	c.flushSoon() // behind the CONNACK: whoever has locked out writes that
}

// Inject queues packet p for the local side, past the filter and past what is held, between two packets of the peer. It
// wakes a Read that blocks. What is injected while Incoming judges a packet is read before that. A CONNACK or SUBACK is
// made harmless like a received one. Inject fails with ErrFlood when the local side does not read.
func (c *Conn) Inject(p wire.Packet) error {
	p, err := c.state.tame(p)
	if err != nil || p == nil {
		return err
	}
	q := &c.queues
	q.Lock()
	defer q.Unlock()
	if q.end != nil {
		return q.end.err
	}
	if err := add(&q.injected, maxInject, p); err != nil {
		return err
	}
	c.wakeLocked()
	return nil
}

// Hold keeps back, from now on, what the filter lets pass to the local side and what the local side writes, so that a
// scheme can speak with the peer first. What comes in is judged as it comes, what is written when it is let go; Send
// and Inject pass. A filter that holds from its judgement of CONNECT on, and withholds CONNACK, has the connection to
// itself until it calls Release with the CONNACK. At most 16 MiB are held in each direction; more is ErrFlood.
func (c *Conn) Hold() {
	q := &c.queues
	q.Lock()
	defer q.Unlock()
	q.held = true
	q.busy.Store(true)
}

// Release ends Hold. The local side reads first, then what came in meanwhile; the peer gets what was written meanwhile.
// Without Hold it is an Inject of several packets without a bound. It may be called where Send may.
func (c *Conn) Release(first ...wire.Packet) error {
	for i, p := range first {
		var err error
		if first[i], err = c.state.tame(p); err != nil {
			return err
		}
	}
	q := &c.queues
	q.Lock()
	defer q.Unlock()
	if q.end != nil {
		return q.end.err
	}
	for _, p := range first {
		q.injected = append(q.injected, p...)
	}
	q.injected = append(q.injected, q.heldIn...)
	q.held, q.heldIn = false, nil
	c.wakeLocked()
	if len(q.heldOut) > 0 {
		c.flushSoon()
	}
	return nil
}

// deliver takes a packet that the filter let pass to the local side. It returns it, or nothing and keeps it in its
// place behind others.
func (q *queues) deliver(p wire.Packet) (wire.Packet, error) {
	if !q.busy.Load() {
		return p, nil
	}
	q.Lock()
	defer q.Unlock()
	switch {
	case q.held:
		return nil, add(&q.heldIn, q.largest, p)
	case len(q.injected) > 0:
		q.injected = append(q.injected, p...)
		return nil, nil
	}
	return p, nil
}

// keepBack takes a packet that the local side wrote if it must wait.
func (q *queues) keepBack(p wire.Packet) (bool, error) {
	if !q.busy.Load() {
		return false, nil
	}
	q.Lock()
	defer q.Unlock()
	if !q.held {
		return false, nil
	}
	return true, add(&q.heldOut, q.largest, p)
}

// takeHeld returns what was written while it was held, once it is let go.
func (q *queues) takeHeld() []byte {
	if !q.busy.Load() {
		return nil
	}
	q.Lock()
	defer q.Unlock()
	if q.held {
		return nil
	}
	b := q.heldOut
	q.heldOut = nil
	return b
}

// wasWoken tells whether a read timeout is ours.
func (q *queues) wasWoken() bool {
	q.Lock()
	defer q.Unlock()
	return q.woken
}

// wake makes a Read that blocks look at the queues.
func (c *Conn) wake() {
	c.queues.Lock()
	defer c.queues.Unlock()
	c.wakeLocked()
}

func (c *Conn) wakeLocked() {
	c.queues.busy.Store(true)
	if c.queues.end != nil && c.queues.woken {
		return // the reader has been told that there is no more to read
	}
	c.queues.woken = true
	_ = c.inner.SetReadDeadline(time.Unix(1, 0)) // if this fails, so does the read
}

// takeInjected returns injected packets, which are the next to deliver, and gives the read deadline back to the local
// side.
func (c *Conn) takeInjected() []byte {
	q := &c.queues
	q.Lock()
	defer q.Unlock()
	if q.woken && q.end == nil {
		q.woken = false
		_ = c.inner.SetReadDeadline(q.deadline) // if this fails, so will the next read
	}
	b := q.injected
	q.injected = nil
	q.busy.Store(q.held || len(q.heldOut) > 0 || q.end != nil)
	return b
}

// flushSoon has answers, and what was held and is let go, written by a goroutine: not by the reader, which a peer that
// does not read could then block. The queues are locked.
func (c *Conn) flushSoon() {
	if !c.queues.flushing {
		c.queues.flushing = true
		go c.flush()
	}
}

func (c *Conn) flush() {
	for {
		c.out.Lock()
		c.writeAnswers()
		_ = c.writeHeld() // what fails is sticky
		c.out.Unlock()
		if c.flushed() {
			return
		}
	}
}

// flushed ends the goroutine of flush if there is nothing left for it.
func (c *Conn) flushed() bool {
	q := &c.queues
	q.Lock()
	defer q.Unlock()
	if len(q.answers) > 0 || len(q.heldOut) > 0 && !q.held {
		return false
	}
	q.flushing = false
	return true
}

// writeAnswers writes the answers that are queued. Nothing is written behind the last word of an End, which is one of
// them. Its caller has locked out.
func (c *Conn) writeAnswers() {
	q := &c.queues
	if !q.answering.Load() {
		return
	}
	q.Lock()
	batch, end := q.answers, q.end
	q.answers = nil
	q.answering.Store(false)
	q.Unlock()
	_ = c.writeBatch() // what fails is sticky
	if len(batch) > 0 {
		_ = c.put(batch)
	}
	if end != nil {
		_ = c.fail(end.err)
	}
}

// writeHeld judges and writes what was held and is let go. Its caller has locked out.
func (c *Conn) writeHeld() error {
	held := c.queues.takeHeld()
	for len(held) > 0 {
		n, err := wire.Scan(held, wire.MaxPacket)
		if err == nil {
			err = c.emit(held[:n:n])
		}
		if err != nil {
			return c.fail(fmt.Errorf("layer: written: %w", err))
		}
		held = held[n:]
	}
	return nil
}
