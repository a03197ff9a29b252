package layer

import "github.com/mqttsec/mqttsec/internal/wire"

// Write takes part of a packet, a packet or several, and hands each packet that is whole to the filter and on to the
// connection below, in one Write each. It returns len(p) when it has taken all of p, though some may wait for the rest
// of its packet. After an error the connection can no longer be written to.
func (c *Conn) Write(p []byte) (int, error) {
	c.local.Lock()
	defer c.local.Unlock()
	if c.stuck != nil {
		return 0, c.stuck
	}
	over, err := c.writeAfterEnd()
	if !over {
		err = c.pieces.Push(p, c.outgoing)
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
	if err := c.state.sent(p); err != nil {
		return err
	}
	q, err := c.filter.Outgoing(c, p)
	if err != nil || q == nil {
		return err
	}
	_, err = c.inner.Write(q)
	c.scratch.release()
	if err != nil {
		c.broken = true
		err = c.fail(err)
	}
	return err
}
