// Package layer is a net.Conn that sees MQTT: it cuts the byte stream of a connection into control packets, shows each
// to a [Filter], and puts what the filter made of them back on the wire.
//
// A scheme is a Filter; [New] around any net.Conn that carries MQTT 3.1, 3.1.1 or 5 turns the scheme on. What goes in
// and what comes out are valid MQTT streams, so layers stack in any number, on the client's side or the broker's.
// Packets that a filter does not edit pass byte for byte.
//
// What the layer takes on itself, because both Eclipse clients need it:
//
//   - It is a [sync.Locker], which paho.golang holds while it writes one packet in pieces.
//   - It reassembles split writes and split reads; the peer gets one Write a packet, or one for small packets that
//     were written at once.
//   - A filter may answer for a packet that it withholds, with [Conn.Send] to the peer and [Conn.Inject] to the local
//     side, also while the local side blocks in Read.
//   - A scheme may speak with the peer before the application does: [Conn.Hold] keeps the application's packets back in
//     both directions, [Conn.Release] lets them go, in order; [Exchanges] are a scheme's own SUBSCRIBE and PUBLISH
//     meanwhile.
//   - A broker hears that a client lives whose large packet takes longer to arrive than its Keep Alive.
//   - A last word arrives: [Conn.End] sends a packet, ends the connection so that nothing overtakes it, and tells the
//     local side why.
//   - An authentication method in a CONNACK never reaches a client that did not ask for one, a reserved v3.1.1
//     return code reaches it as "not authorized", and a SUBACK with more of them than there were filters not at all:
//     both Eclipse clients fail on these.
//   - A failed write is sticky, as in crypto/tls: a packet may be half sent.
//
// [Publishes] does what every filter owes that judges PUBLISH packets. [NewListener] is the broker's side: it hands out
// connections whose peers have passed a filter.
//
// Buffers grow with the bytes that arrive, never by the length that a peer claims, and shrink again.
//
// The layer protects nothing by itself.
package layer

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Errors that a Conn returns besides those of the connection below, of package wire and of its filter.
var (
	// ErrProtocol is a packet out of place: anything before CONNECT, a second CONNECT or CONNACK, a CONNACK from the
	// wrong side, a SUBACK that does not fit.
	ErrProtocol = errors.New("layer: packet out of place")
	// ErrFlood is a peer that makes the layer answer faster than it reads the answers, or too much that is held back.
	ErrFlood = errors.New("layer: too much waits to be read")
)

// Filter judges every packet of one connection, once, whole and in order. Outgoing hears what the local side writes (on
// a client: what goes to the broker), Incoming what the peer sent.
//
// Each returns the packet itself to let it pass, another packet to replace it, nil to withhold it, or an error that
// ends the connection. A packet that it returns must stay unchanged until the next call in the same direction. Outgoing
// must not modify p, which is the caller's memory; Incoming may edit p in place, and neither may keep it. The two
// directions run concurrently, each in one goroutine at a time. Neither may call Close, Read, Write or Await of the
// Conn; End is made for them.
type Filter interface {
	Outgoing(c *Conn, p wire.Packet) (wire.Packet, error)
	Incoming(c *Conn, p wire.Packet) (wire.Packet, error)
	// Closed tells once that the connection is over. It has a goroutine of its own, so it may take locks under which a
	// connection is closed, and it may come a moment after Close has returned.
	Closed()
}

// Conn is a connection with a filter. It is safe for concurrent use as any net.Conn.
type Conn struct {
	inner  net.Conn
	filter Filter
	packet sync.Mutex // what Lock takes
	state  state
	closed atomic.Bool
	erred  atomic.Bool // a packet was refused, in either direction
	done   sync.Once
	over   func()        // of a Listener, may be nil
	gone   chan struct{} // closed by over

	local  sync.Mutex // one Write at a time
	pieces Assembler
	stuck  error // of a Write

	out     sync.Mutex // one packet at a time to the filter and to the peer
	failed  error      // why no packet goes out any more
	broken  bool       // because the connection below takes none
	scratch scratch    // of the packet going out
	gather  bool       // several packets are being written at once
	batch   []byte     // those that have been judged

	reading sync.Mutex
	in      buffer
	skip    int       // bytes of a packet that is passed over
	since   time.Time // when the packet under way began, or the local side was last told of it
	ready   []byte    // of the packet being delivered
	first   bool      // which is CONNECT or CONNACK
	opened  scratch   // that it may be in
	refused error     // of a packet that came in
	inEnded error     // of the connection below

	queues queues

	above atomic.Pointer[Conn] // the one that this is the connection below of, nil for none
}

// New returns conn seen through f. It does nothing on the wire. The Conn owns conn from here on.
func New(conn net.Conn, f Filter) *Conn {
	c := &Conn{inner: wakeable(conn), filter: f}
	c.state.limit.Store(wire.MaxPacket)
	c.queues.largest = maxHeld
	if below := nearest(conn); below != nil && c.inner == conn {
		below.above.Store(c)
	}
	return c
}

// nearest is the Conn that conn is, or is made of, nil if there is none.
func nearest(conn net.Conn) *Conn {
	for conn != nil {
		if c, ok := conn.(*Conn); ok {
			return c
		}
		conn = below(conn)
	}
	return nil
}

// NetConn returns the connection below, as tls.Conn does.
func (c *Conn) NetConn() net.Conn {
	if p, ok := c.inner.(*pump); ok {
		return p.Conn
	}
	return c.inner
}

// Lock holds off other users of Lock; it does not block Write. paho.golang calls it around the pieces of one packet.
func (c *Conn) Lock() { c.packet.Lock() }

// Unlock ends what Lock began.
func (c *Conn) Unlock() { c.packet.Unlock() }

// LocalAddr returns the local address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.inner.LocalAddr() }

// RemoteAddr returns the peer's address of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.inner.RemoteAddr() }

// SetDeadline sets the deadlines of Read and Write.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Read. Packets that are already here may be read after it.
func (c *Conn) SetReadDeadline(t time.Time) error {
	q := &c.queues
	q.Lock()
	defer q.Unlock()
	q.deadline = t
	if q.woken || q.end != nil {
		return nil // the reader sets it once it has what it was woken for
	}
	return c.inner.SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of Write. As with TLS, a Write that timed out leaves the connection unusable for
// writing.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.queues.Lock()
	defer c.queues.Unlock()
	if c.queues.end != nil {
		return nil // the last packet has its own
	}
	return c.inner.SetWriteDeadline(t)
}

// isTimeout tells a deadline that passed from every other error.
func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}
