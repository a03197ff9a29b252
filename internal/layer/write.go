package layer

import (
	"fmt"
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

const (
	keep       = 32 << 10 // a buffer larger than this is given back once it is empty
	maxAnswers = 64 << 10 // bytes of answers that a peer may leave unread
	maxInject  = 1 << 20  // bytes of answers that the local side may leave unread
)

// Write takes part of a packet, a packet or several, and hands each packet that is whole to the filter and on to the connection
// below, in one Write each. It returns len(p) when it has taken all of p, though some may wait for the rest of its packet. After an
// error the connection can no longer be written to.
func (c *Conn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.failed != nil {
		return 0, c.failed
	}
	if err := c.take(p); err != nil {
		c.failed = err
		return 0, err
	}
	return len(p), nil
}

// take works through what the local side wrote. Whole packets go on from the caller's memory; only split ones are copied.
func (c *Conn) take(p []byte) error {
	for len(p) > 0 {
		if len(c.partial) == 0 {
			n, err := wire.Scan(p, wire.MaxPacket)
			if err != nil {
				return fmt.Errorf("layer: written: %w", err)
			}
			if n == 0 || n > len(p) {
				c.partial, c.need = append(c.partial, p...), n
				return nil
			}
			if err := c.outgoing(p[:n:n]); err != nil {
				return err
			}
			p = p[n:]
			continue
		}
		if c.need == 0 { // the fixed header, at most five bytes, comes to its end
			c.partial = append(c.partial, p[0])
			p = p[1:]
			n, err := wire.Scan(c.partial, wire.MaxPacket)
			if err != nil {
				return fmt.Errorf("layer: written: %w", err)
			}
			c.need = n
		} else {
			n := min(c.need-len(c.partial), len(p))
			c.partial = append(c.partial, p[:n]...)
			p = p[n:]
		}
		if len(c.partial) != c.need {
			continue
		}
		if err := c.outgoing(c.partial); err != nil {
			return err
		}
		c.partial, c.need = c.partial[:0], 0
		if cap(c.partial) > keep {
			c.partial = nil
		}
	}
	return nil
}

// outgoing shows one packet to the filter and writes what comes of it.
func (c *Conn) outgoing(p wire.Packet) error {
	if err := c.state.sent(p); err != nil {
		return err
	}
	q, err := c.filter.Outgoing(c, p)
	if err != nil || q == nil {
		return err
	}
	_, err = c.inner.Write(q)
	return err
}

// Send queues packet p for the peer, past the filter, and returns at once. A filter may call it in either direction. It fails
// with ErrFlood when the peer does not read its answers.
func (c *Conn) Send(p wire.Packet) error {
	c.queues.Lock()
	defer c.queues.Unlock()
	if len(c.answers)+len(p) > maxAnswers {
		return ErrFlood
	}
	c.answers = append(c.answers, p...)
	if !c.flushing {
		c.flushing = true
		go c.flush() // not in the reader, which a peer that does not read could then block
	}
	return nil
}

// flush writes queued answers until there are none.
func (c *Conn) flush() {
	var spare []byte
	for {
		c.queues.Lock()
		batch := c.answers
		if len(batch) == 0 {
			c.flushing = false
			c.queues.Unlock()
			return
		}
		c.answers = spare[:0]
		c.queues.Unlock()

		c.writing.Lock()
		if c.failed == nil {
			_, c.failed = c.inner.Write(batch)
		}
		c.writing.Unlock()
		spare = batch
	}
}

// Inject queues packet p for the local side, past the filter, between two packets of the peer. It wakes a Read that blocks. It
// fails with ErrFlood when the local side does not read.
func (c *Conn) Inject(p wire.Packet) error {
	c.queues.Lock()
	defer c.queues.Unlock()
	if len(c.injected)+len(p) > maxInject {
		return ErrFlood
	}
	c.injected = append(c.injected, p...)
	c.woken = true
	return c.inner.SetReadDeadline(time.Unix(1, 0))
}
