package layer

import "github.com/mqttsec/mqttsec/internal/wire"

// maxBatch is how many bytes of several packets go to the connection below in one Write.
const maxBatch = 16 << 10

// Write takes part of a packet, a packet or several, and hands each packet that is whole to the filter and on to the
// connection below: a packet in one Write, small ones together. It returns len(p) when it has taken all
// of p, though some may wait for the rest of its packet. After an error the connection can no longer be written to.
func (c *Conn) Write(p []byte) (int, error) {
	c.local.Lock()
	defer c.local.Unlock()
	if c.stuck != nil {
		return 0, c.stuck
	}
	over, err := c.writeAfterEnd()
	if !over {
		err = c.push(p)
	}
	if err != nil {
		if over, ended := c.writeAfterEnd(); over {
			err = ended // while p was under way
		}
	}
	if err != nil {
		c.stuck = err
		c.erred.Store(true)
		return 0, err
	}
	return len(p), nil
}

// push cuts p into packets. Those that passed before one that does not leave, too.
func (c *Conn) push(p []byte) error {
	if !c.pieces.Several(p) {
		return c.pieces.Push(p, c.outgoing)
	}
	c.out.Lock()
	c.gather = true
	c.out.Unlock()
	err := c.pieces.Push(p, c.outgoing)
	c.out.Lock()
	defer c.out.Unlock()
	c.gather = false
	if c.writeBatch() != nil && err == nil {
		err = c.failed
	}
	return err
}

// fail makes the first error the one of all packets to come. Its caller has locked out.
func (c *Conn) fail(err error) error {
	if c.failed == nil {
		c.failed = err
	}
	return c.failed
}

// outgoing takes one packet of the local side.
func (c *Conn) outgoing(p wire.Packet) error {
	c.out.Lock()
	defer c.out.Unlock()
	if over, err := c.writeAfterEnd(); over {
		return err
	}
	c.writeAnswers()
	if err := c.writeHeld(); err != nil {
		return err
	}
	if kept, err := c.queues.keepBack(p); kept || err != nil {
		return err
	}
	return c.emit(p)
}

// emit shows one packet to the filter and writes what comes of it. Its caller has locked out.
func (c *Conn) emit(p wire.Packet) error {
	if c.failed != nil {
		return c.failed
	}
	if c.state.answersUs(p) {
		return nil
	}
	if err := c.state.sent(p); err != nil {
		return err
	}
	q, err := c.filter.Outgoing(c, p)
	if err != nil || q == nil {
		return err
	}
	if p.Type() == wire.Connack {
		c.greet(p)
	}
	if c.gather && len(c.batch)+len(q) <= maxBatch {
		if c.batch == nil {
			c.batch = getBuffer(maxBatch)
		}
		c.batch = append(c.batch, q...)
		c.scratch.release()
		return nil
	}
	if err := c.writeBatch(); err != nil {
		return err
	}
	err = c.put(q)
	c.scratch.release()
	return err
}

// writeBatch writes what has been judged and not written yet. Whatever else is written comes behind it. Its caller has
// locked out.
func (c *Conn) writeBatch() error {
	if c.batch == nil {
		return nil
	}
	err := c.put(c.batch)
	putBuffer(c.batch)
	c.batch = nil
	return err
}

// put writes to the connection below, unless a packet may be half sent. Its caller has locked out.
func (c *Conn) put(b []byte) error {
	if c.broken {
		return c.failed
	}
	if _, err := c.inner.Write(b); err != nil {
		c.broken = true
		return c.fail(err)
	}
	return nil
}
