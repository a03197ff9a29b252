// Package layer is a net.Conn that sees MQTT: it cuts the byte stream of a connection into control packets, shows each to a
// [Filter], and puts what the filter made of them back on the wire.
//
// A scheme is a Filter; [New] around any net.Conn that carries MQTT 3.1, 3.1.1 or 5 turns the scheme on. What goes in and what
// comes out are valid MQTT streams, so layers stack in any number, on the client's side or the broker's. Packets that a filter
// does not edit pass byte for byte.
//
// What the layer takes on itself, because both Eclipse clients need it:
//
//   - It is a [sync.Locker], which paho.golang holds while it writes one packet in pieces.
//   - It reassembles split writes and split reads; the peer gets one Write a packet.
//   - A filter may answer for a packet that it withholds, with [Conn.Send] to the peer and [Conn.Inject] to the local side,
//     also while the local side blocks in Read.
//   - An authentication method in a CONNACK never reaches a client that did not ask for one, and a reserved v3.1.1 return code
//     reaches it as "not authorized": both Eclipse clients fail on these.
//   - A failed write is sticky, as in crypto/tls: a packet may be half sent.
//
// Buffers grow with the bytes that arrive, never by the length that a peer claims, and shrink again.
//
// The layer protects nothing by itself.
package layer

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Errors that a Conn returns besides those of the connection below, of package wire and of its filter.
var (
	// ErrProtocol is a packet out of place: anything before CONNECT, a second CONNECT, a CONNACK from the wrong side.
	ErrProtocol = errors.New("layer: packet out of place")
	// ErrFlood is a peer that makes the layer answer faster than it reads the answers.
	ErrFlood = errors.New("layer: too many unread answers")
)

// Filter judges every packet of one connection, once, whole and in order. Outgoing hears what the local side writes (on a client:
// what goes to the broker), Incoming what the peer sent.
//
// Each returns the packet itself to let it pass, another packet to replace it, nil to withhold it, or an error that ends the
// connection. A packet that it returns must stay unchanged until the next call in the same direction. Outgoing must not modify p,
// which is the caller's memory; Incoming may edit p in place, and neither may keep it. The two directions run concurrently, each
// in one goroutine at a time.
type Filter interface {
	Outgoing(c *Conn, p wire.Packet) (wire.Packet, error)
	Incoming(c *Conn, p wire.Packet) (wire.Packet, error)
	// Closed tells once that the connection is over.
	Closed()
}

// Conn is a connection with a filter. It is safe for concurrent use as any net.Conn.
type Conn struct {
	inner  net.Conn
	filter Filter
	packet sync.Mutex // what Lock takes
	state  state
	closed atomic.Bool

	writing sync.Mutex
	partial []byte // the start of a packet that the local side has not finished
	need    int    // length of that packet once its header is whole
	failed  error  // of a write

	reading sync.Mutex
	in      buffer
	ready   []byte // of the packet being delivered
	refused error  // of a packet that came in
	ended   error  // of the connection below

	queues   sync.Mutex
	injected []byte
	answers  []byte
	flushing bool
	woken    bool      // the inner read deadline is ours, not the local side's
	deadline time.Time // the local side's
}

// New returns conn seen through f. It does nothing on the wire. The Conn owns conn from here on.
func New(conn net.Conn, f Filter) *Conn {
	c := &Conn{inner: wakeable(conn), filter: f}
	c.state.limit.Store(wire.MaxPacket)
	return c
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

// Close closes the connection below. Reads and writes under way return an error, and what has arrived and was not read is lost, as
// with TCP: a client that has given up a connection is not prepared for more of its packets.
func (c *Conn) Close() error {
	first := !c.closed.Swap(true)
	err := c.inner.Close()
	if first {
		c.filter.Closed()
	}
	return err
}

// SetDeadline sets the deadlines of Read and Write.
func (c *Conn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.inner.SetWriteDeadline(t)
}

// SetReadDeadline sets the deadline of Read. Packets that are already here may be read after it.
func (c *Conn) SetReadDeadline(t time.Time) error {
	c.queues.Lock()
	defer c.queues.Unlock()
	c.deadline = t
	if c.woken {
		return nil // the reader sets it once it has what it was woken for
	}
	return c.inner.SetReadDeadline(t)
}

// SetWriteDeadline sets the deadline of Write. As with TLS, a Write that timed out leaves the connection unusable for writing.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.inner.SetWriteDeadline(t) }

// isTimeout tells a deadline that passed from every other error.
func isTimeout(err error) bool {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return true
	}
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

// state is what the layer learns of the MQTT connection from the packets that pass.
type state struct {
	version atomic.Uint32 // 0 before CONNECT
	client  atomic.Bool   // the local side wrote CONNECT
	asked   atomic.Bool   // CONNECT, as the local side wrote it, named an authentication method
	limit   atomic.Int64  // of an incoming packet, bytes
}

// Version is the protocol version in CONNECT, 0 before it.
func (c *Conn) Version() wire.Version { return wire.Version(c.state.version.Load()) }

// IsClient tells whether the local side is the client of this connection. It has no meaning before CONNECT.
func (c *Conn) IsClient() bool { return c.state.client.Load() }

// grant takes the Maximum Packet Size that the local side granted its peer (MQTT 5, 3.1.2.11.4 and 3.2.2.3.6) as the bound on what
// may come in.
func (s *state) grant(ps wire.Properties) {
	if n, ok := ps.Uint(wire.MaximumPacketSize); ok && n > 0 {
		s.limit.Store(min(int64(n), wire.MaxPacket))
	}
}

// sent notes what the local side's packet p tells.
func (s *state) sent(p wire.Packet) error {
	t := p.Type()
	if t == wire.Connect {
		return s.connect(p, true)
	}
	if s.version.Load() == 0 {
		return ErrProtocol
	}
	if t != wire.Connack {
		return nil
	}
	if s.client.Load() {
		return ErrProtocol
	}
	m, err := wire.ParseConnack(p, wire.Version(s.version.Load()))
	if err != nil {
		return err
	}
	s.grant(m.Properties)
	return nil
}

// received notes what the peer's packet p tells.
func (s *state) received(p wire.Packet) error {
	t := p.Type()
	if t == wire.Connect {
		return s.connect(p, false)
	}
	if s.version.Load() == 0 || t == wire.Connack && !s.client.Load() {
		return ErrProtocol
	}
	return nil
}

func (s *state) connect(p wire.Packet, client bool) error {
	if s.version.Load() != 0 {
		return ErrProtocol
	}
	m, err := wire.ParseConnect(p)
	if err != nil {
		return err
	}
	s.client.Store(client)
	if client {
		s.grant(m.Properties)
		_, asked := m.Properties.Bytes(wire.AuthenticationMethod)
		s.asked.Store(asked)
	}
	s.version.Store(uint32(m.Version))
	return nil
}

// tame makes a CONNACK harmless for the Eclipse clients: paho.golang without an AuthHandler panics on an Authentication Method,
// and paho.mqtt.golang takes a return code that it does not know for success.
func (s *state) tame(p wire.Packet) (wire.Packet, error) {
	v := wire.Version(s.version.Load())
	m, err := wire.ParseConnack(p, v)
	if err != nil {
		return nil, err
	}
	const lastCode, notAuthorized = 5, 5 // MQTT 3.1.1, table 3.1
	switch {
	case v == wire.V5 && !s.asked.Load():
		ps := m.Properties.Without(wire.AuthenticationMethod).Without(wire.AuthenticationData)
		if len(ps) == len(m.Properties) {
			return p, nil
		}
		m.Properties = ps
	case v != wire.V5 && m.Code > lastCode:
		m.Code = notAuthorized
	default:
		return p, nil
	}
	return m.Append(nil, v)
}

// eof is what a stream that ends inside a packet reports.
func eof(err error, partial bool) error {
	if err == io.EOF && partial {
		return io.ErrUnexpectedEOF
	}
	return err
}
