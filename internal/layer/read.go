package layer

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Read delivers the packets that the filter let pass, and those injected, byte by byte or in larger pieces: all that
// have arrived whole and fit into p. Once the connection has been ended by [Conn.End] it returns the error that was
// given there, behind what had been injected before.
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
		return 0, c.closing()
	}
	n := copy(p, c.ready)
	c.ready = c.ready[n:]
	for len(c.ready) == 0 && n < len(p) && c.whole() {
		if c.next() != nil {
			break // it is sticky: the next Read returns it
		}
		k := copy(p[n:], c.ready)
		c.ready = c.ready[k:]
		n += k
	}
	return n, nil
}

// whole tells that a packet of the peer's has arrived, is the next and can be judged without reading more. What comes
// behind CONNECT or CONNACK is not judged before the local side has that and may have answered.
func (c *Conn) whole() bool {
	if c.queues.busy.Load() || c.refused != nil || c.skip > 0 || c.first {
		return false
	}
	size, err := c.in.scan(int(c.state.limit.Load()))
	return err == nil && size > 0 && size <= len(c.in.held()) && !c.oversize(size)
}

// Await reads until there is a packet for the local side, or an error for it, so that an exchange with the peer makes
// progress before anybody reads. A broker's side calls it until CONNECT is let through. It returns the cause with which
// ctx ended if that comes first, and the connection is none the worse for it.
func (c *Conn) Await(ctx context.Context) error {
	c.reading.Lock()
	defer c.reading.Unlock()
	stop := context.AfterFunc(ctx, c.wake)
	defer stop()
	for len(c.ready) == 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if err := c.next(); err != nil {
			return err
		}
	}
	return nil
}

// next does one step towards a packet to deliver: it takes what was injected, judges a packet that is here, or reads
// more.
func (c *Conn) next() error {
	c.opened.release()
	if c.queues.busy.Load() {
		if c.ready = c.takeInjected(); c.ready != nil {
			return nil
		}
		if err := c.ended(); err != nil {
			return err
		}
	}
	if c.refused != nil {
		return c.refused
	}
	if c.skip = c.in.drop(c.skip); c.skip > 0 {
		return c.fill(0)
	}
	size, err := c.in.scan(int(c.state.limit.Load()))
	if err == nil && c.oversize(size) {
		size, err = c.passOver(size)
	} else if err == nil {
		if p := c.in.packet(size); p != nil {
			c.since = time.Time{}
			err, size = c.incoming(p), -1
		}
	}
	if err != nil {
		c.refused = fmt.Errorf("layer: received: %w", err)
		c.erred.Store(true)
		return c.refused
	}
	if size < 0 {
		return nil
	}
	return c.fill(size)
}

// incoming shows one packet to the filter and makes what it lets pass the next to deliver.
func (c *Conn) incoming(p wire.Packet) error {
	if err := c.state.received(p); err != nil {
		return err
	}
	c.first = p.Type() == wire.Connect || p.Type() == wire.Connack
	q, err := c.filter.Incoming(c, p)
	if err != nil || len(q) == 0 {
		return err
	}
	if q, err = c.state.tame(q); err != nil || q == nil {
		return err
	}
	c.ready, err = c.queues.deliver(q)
	return err
}

// fill reads once from the connection below; size is the length of the packet under way, 0 if unknown.
func (c *Conn) fill(size int) error {
	if c.inEnded != nil {
		return c.inEnded
	}
	n, err := c.inner.Read(c.in.space(size))
	c.in.filled(n)
	if n > 0 && max(size, c.skip) > len(c.in.held()) {
		c.arriving()
	}
	if err == nil {
		return nil
	}
	if !isTimeout(err) {
		c.inEnded = err
		if err == io.EOF && (c.in.end > c.in.start || c.skip > 0) {
			c.inEnded = io.ErrUnexpectedEOF
		}
		return nil
	}
	if n > 0 || c.queues.wasWoken() {
		return nil // the timeout was ours, or can be reported when there is nothing to deliver
	}
	return err // not sticky: the local side may set another deadline
}
