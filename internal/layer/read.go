package layer

import (
	"fmt"
	"net"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Read delivers the packets that the filter let pass, and those injected, byte by byte or in larger pieces.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.reading.Lock()
	defer c.reading.Unlock()
	for len(c.ready) == 0 {
		if err := c.next(); err != nil {
			return 0, err
		}
	}
	if c.closed.Load() {
		return 0, net.ErrClosed
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	return n, nil
}

// next does one step towards a packet to deliver: it takes what was injected, judges a packet that is here, or reads more.
func (c *Conn) next() error {
	if c.takeInjected() {
		return nil
	}
	if c.refused != nil {
		return c.refused
	}
	p, size, err := c.in.packet(int(c.state.limit.Load()))
	if err == nil && p == nil {
		return c.fill(size)
	}
	if err == nil {
		c.ready, err = c.incoming(p)
	}
	if err != nil {
		c.refused = fmt.Errorf("layer: received: %w", err)
	}
	return c.refused
}

// incoming shows one packet to the filter and returns what the local side is to read.
func (c *Conn) incoming(p wire.Packet) (wire.Packet, error) {
	if err := c.state.received(p); err != nil {
		return nil, err
	}
	q, err := c.filter.Incoming(c, p)
	if err != nil || len(q) == 0 {
		return nil, err
	}
	if q.Type() == wire.Connack {
		return c.state.tame(q)
	}
	return q, nil
}

// takeInjected makes injected packets the next to deliver, and gives the read deadline back to the local side.
func (c *Conn) takeInjected() bool {
	c.queues.Lock()
	defer c.queues.Unlock()
	if c.woken {
		c.woken = false
		c.inner.SetReadDeadline(c.deadline) // if this fails, so will the next Read
	}
	if len(c.injected) == 0 {
		return false
	}
	c.ready, c.injected = c.injected, nil
	return true
}

// fill reads once from the connection below; size is the length of the packet under way, 0 if unknown.
func (c *Conn) fill(size int) error {
	if c.ended != nil {
		return c.ended
	}
	n, err := c.inner.Read(c.in.space(size))
	c.in.end += n
	if err == nil {
		return nil
	}
	if isTimeout(err) {
		c.queues.Lock()
		defer c.queues.Unlock()
		if c.woken || n > 0 {
			return nil // the timeout was ours, or can be reported when there is nothing to deliver
		}
		return err // not sticky: the local side may set another deadline
	}
	c.ended = eof(err, c.in.end > c.in.start)
	return nil
}

// buffer holds what has arrived and is not yet judged: data[start:end].
type buffer struct {
	data       []byte
	start, end int
}

const firstRead = 4 << 10

// packet cuts off the next whole packet, which stays valid until space is called. Without one it returns the length of the one
// under way, if known.
func (b *buffer) packet(limit int) (p wire.Packet, size int, err error) {
	n, err := wire.Scan(b.data[b.start:b.end], limit)
	if err != nil || n == 0 || n > b.end-b.start {
		return nil, n, err
	}
	p = b.data[b.start : b.start+n : b.start+n]
	b.start += n
	return p, n, nil
}

// space returns where to read to, at least one byte. A buffer that is full doubles, up to what the packet under way needs, so the
// peer must have sent half of what it makes us hold; reads that fill it make it grow to keep, so that a busy connection needs few.
func (b *buffer) space(size int) []byte {
	if b.start == b.end {
		full := b.end == len(b.data)
		b.start, b.end = 0, 0
		switch {
		case len(b.data) > keep, b.data == nil:
			b.data = make([]byte, firstRead)
		case full && len(b.data) < keep:
			b.data = make([]byte, min(2*len(b.data), keep))
		}
		return b.data
	}
	if b.start > 0 && (b.end == len(b.data) || size > len(b.data)-b.start) {
		b.end = copy(b.data, b.data[b.start:b.end])
		b.start = 0
	}
	if b.end == len(b.data) {
		grown := make([]byte, max(min(2*len(b.data), size), len(b.data)+1))
		copy(grown, b.data)
		b.data = grown
	}
	return b.data[b.end:]
}
