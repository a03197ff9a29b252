package layer

import (
	"io"
	"net"
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// linger is how long the peer has to take the last packets, and then to close its side.
const linger = time.Second

// ending is the end of a connection by End or Close.
type ending struct {
	err  error
	void bool          // Write succeeds, to no effect
	sent chan struct{} // closed when the last packet has left, or cannot
}

// End ends the connection with a last word: what was sent before and then last (nil for nothing) leave, and Read and
// Write of the local side return err. It returns err, so that a filter can end with "return nil, c.End(err,
// disconnect)". It may be called from a filter and from any goroutine, a timer's for example, and does not wait; the
// first call counts, and later ones return its error.
//
// Nothing overtakes the last packet: the sending direction is closed behind it, as far as the transport can, and what
// the peer still sends is read and dropped for up to a second, because a close with unread bytes makes a TCP connection
// forget what was written. A peer that does not read gets a second too. What was injected before End is still read by
// the local side, then err; what was held is dropped.
func (c *Conn) End(err error, last wire.Packet) error {
	if err == nil {
		err = net.ErrClosed
	}
	c.queues.Lock()
	defer c.queues.Unlock()
	return c.endLocked(err, last).err
}

// Retire is End for a connection that the local side is to replace by another: its Read returns err, but what it writes
// from now on is accepted and dropped, as on a TCP connection whose peer has just gone, even after Close: a client of
// MQTT sends again, on the next connection, what was not acknowledged on this one, but paho.mqtt.golang, which may
// write until it has taken notice, tells the application of a failed Write as of a message that was not sent.
func (c *Conn) Retire(err error, last wire.Packet) error {
	if err == nil {
		err = net.ErrClosed
	}
	c.queues.Lock()
	defer c.queues.Unlock()
	first := c.queues.end == nil
	e := c.endLocked(err, last)
	e.void = e.void || first
	return e.err
}

func (c *Conn) endLocked(err error, last wire.Packet) *ending {
	q := &c.queues
	if q.end != nil {
		return q.end
	}
	q.end = &ending{err: err, sent: make(chan struct{})}
	q.answers = append(q.answers, last...)
	q.answering.Store(true)
	q.held, q.heldIn, q.heldOut = false, nil, nil
	q.woken = false
	c.wakeLocked()
	_ = c.inner.SetWriteDeadline(time.Now().Add(linger))
	go c.finish(q.end)
	return q.end
}

// finish writes the last packets and closes the connection below.
func (c *Conn) finish(e *ending) {
	c.out.Lock() // a packet under way leaves whole
	c.writeAnswers()
	_ = c.fail(e.err)
	if !c.broken {
		_ = halfClose(c.inner)
	}
	c.out.Unlock()
	close(e.sent)

	c.reading.Lock() // whoever reads has been woken, and does not come back
	c.refused = e.err
	c.reading.Unlock()
	if c.inner.SetReadDeadline(time.Now().Add(linger)) == nil {
		_, _ = io.Copy(io.Discard, c.inner)
	}
	_ = c.inner.Close()
	c.finished()
}

// ended returns the error with which the connection was ended, nil if it was not.
func (c *Conn) ended() error {
	if !c.queues.busy.Load() {
		return nil
	}
	c.queues.Lock()
	defer c.queues.Unlock()
	if e := c.queues.end; e != nil {
		return e.err
	}
	return nil
}

// Goodbye returns the DISCONNECT with a reason for the peer of c, for [Conn.End]. A client has fewer reasons than a
// server (MQTT 5, table 3-13) and says "Unspecified error" in place of the others. A server that has not answered
// CONNECT yet must not send one (MQTT 5, 3.14.0-1): it is a CONNACK then. Before v5 no DISCONNECT has a reason, and it
// is nil.
func Goodbye(c *Conn, reason byte) wire.Packet {
	if c.Version() != wire.V5 {
		return nil
	}
	if !c.IsClient() && !c.state.greeted.Load() {
		p, err := (&wire.ConnackPacket{Code: connackReason(reason)}).Append(nil, wire.V5)
		if err != nil {
			return nil
		}
		return p
	}
	if c.IsClient() {
		reason = clientReason(reason)
	}
	p, err := (&wire.ReasonPacket{Type: wire.Disconnect, Reason: reason}).Append(nil, wire.V5)
	if err != nil {
		return nil
	}
	return p
}

// clientReason returns a reason that a client's DISCONNECT may have.
func clientReason(reason byte) byte {
	switch reason {
	case wire.Success, wire.DisconnectWithWill, wire.UnspecifiedError, wire.MalformedPacket, wire.ProtocolError,
		wire.ImplementationSpecificError, wire.TopicNameInvalid, wire.ReceiveMaximumExceeded, wire.TopicAliasInvalid, wire.PacketTooLarge,
		wire.MessageRateTooHigh, wire.QuotaExceeded, wire.AdministrativeAction, wire.PayloadFormatInvalid:
		return reason
	}
	return wire.UnspecifiedError
}

// connackReason returns a reason that a CONNACK may have (MQTT 5, table 3-1) for one of DISCONNECT.
func connackReason(reason byte) byte {
	switch reason {
	case wire.MalformedPacket, wire.ProtocolError, wire.ImplementationSpecificError, wire.NotAuthorized, wire.ServerBusy,
		wire.TopicNameInvalid, wire.PacketTooLarge, wire.QuotaExceeded:
		return reason
	case wire.ServerShuttingDown:
		return wire.ServerUnavailable
	}
	return wire.UnspecifiedError
}

// writeAfterEnd tells whether the connection was ended, and what Write returns since.
func (c *Conn) writeAfterEnd() (over bool, err error) {
	if !c.queues.busy.Load() {
		return false, nil
	}
	c.queues.Lock()
	defer c.queues.Unlock()
	switch e := c.queues.end; {
	case e == nil:
		return false, nil
	case e.void:
		return true, nil
	default:
		return true, e.err
	}
}

// closing is the error of a Read after Close: the reason of the end, if it had one.
func (c *Conn) closing() error {
	if err := c.ended(); err != nil {
		return err
	}
	return net.ErrClosed
}

// Close closes the connection. Answers of the filter that are queued leave first, and so does the last word of an End:
// they have a second, for which Close waits; what End does behind that goes on without the caller. Reads and writes
// under way return an error, and what has arrived and was not read is lost, as with TCP: a client that has given up a
// connection is not prepared for more of its packets.
func (c *Conn) Close() error {
	c.closed.Store(true)
	q := &c.queues
	q.Lock()
	e := q.end
	unheard := q.flushing || len(q.answers) > 0 || q.spoke && c.erred.Load()
	if e == nil && unheard && !q.flooded {
		e = c.endLocked(net.ErrClosed, nil)
	}
	q.Unlock()
	if e != nil {
		<-e.sent
		return nil
	}
	err := c.inner.Close()
	c.finished()
	return err
}

// finished tells, once, that the connection is over.
func (c *Conn) finished() {
	c.done.Do(func() {
		go func() {
			c.filter.Closed()
			if c.over != nil {
				c.over()
			}
		}()
	})
}

// CloseWrite lets what is queued leave and ends the stream to the peer, as far as the connection below can; reading
// goes on.
func (c *Conn) CloseWrite() error {
	c.out.Lock()
	defer c.out.Unlock()
	c.writeAnswers()
	_ = c.writeBatch()
	_ = c.fail(net.ErrClosed)
	return halfClose(c.inner)
}

// halfClose ends the stream to the peer if conn can: TCP sends FIN, TLS close_notify.
func halfClose(conn net.Conn) error {
	if c, ok := conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
