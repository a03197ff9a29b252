package tlspsk

import (
	"context"
	"crypto/sha256"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Errors of a Conn besides [AlertError], those of the connection below, and io.ErrUnexpectedEOF, which means that the
// connection below ended without the peer's close_notify: somebody may have cut it off.
var (
	// ErrAuthentication is a peer that did not prove that it has the key. A server also returns it for an identity that
	// it does not know, together with ErrUnknownIdentity.
	ErrAuthentication = errors.New("tlspsk: the peer does not have the key")
	// ErrUnknownIdentity is an identity for which Config.Keys has no usable key. Only the server itself learns it, not
	// the client.
	ErrUnknownIdentity = errors.New("tlspsk: unknown identity")
	// ErrKeyUsed is a TLS 1.2 connection with AES-GCM that has encrypted as much as its key is good for, 256 GiB or so;
	// connect again. Other connections take new keys by themselves.
	ErrKeyUsed = errors.New("tlspsk: the key of this connection has been used up")
	// ErrIncomplete is what a Conn says when asked for what there is only after the handshake.
	ErrIncomplete = errors.New("tlspsk: the handshake is not complete")
)

var errShutdown = errors.New("tlspsk: write after CloseWrite")

// Conn is a connection secured with a pre-shared key. It behaves as a tls.Conn does, and is safe for concurrent use.
//
// The first Read or Write runs the handshake unless Handshake or HandshakeContext did. A deadline that passes during
// the handshake ends the connection for good. After it, a Read or Write that timed out may be tried again: Write
// returns how many octets are on their way, be it in a buffer that the next Write, CloseWrite or Close sends first.
type Conn struct {
	conn   net.Conn
	config *Config
	client bool

	handshaking sync.Mutex
	broken      error                           // the handshake is over and failed
	state       atomic.Pointer[ConnectionState] // once it is over and did not
	exporter    exporter
	key         [sha256.Size]byte // the hash of what the client of a server has proved

	in  inbound
	out outbound

	writers atomic.Int32
	closed  atomic.Bool
	dead    atomic.Pointer[error] // what ended both directions
}

// Client returns the client's side of a connection on top of conn, which the Conn owns from here on. Nothing is sent
// before the handshake, which fails with an [ErrConfig] if config lacks Identity or Key.
func Client(conn net.Conn, config *Config) *Conn {
	return &Conn{conn: conn, config: config, client: true, in: inbound{ccs: ccsIgnored}}
}

// Server returns the server's side of a connection on top of conn, which the Conn owns from here on. The handshake
// fails with an [ErrConfig] if config lacks Keys.
func Server(conn net.Conn, config *Config) *Conn {
	return &Conn{conn: conn, config: config, in: inbound{ccs: ccsRefused}}
}

// Handshake runs the handshake if that has not been done, and returns its error each time.
func (c *Conn) Handshake() error { return c.HandshakeContext(context.Background()) }

// HandshakeContext is Handshake with a context: when ctx ends before the handshake does, the connection below is
// closed. Once the handshake is complete, ctx has no influence.
func (c *Conn) HandshakeContext(ctx context.Context) error {
	if c.state.Load() != nil {
		return nil
	}
	c.handshaking.Lock()
	defer c.handshaking.Unlock()
	if c.broken != nil || c.state.Load() != nil {
		return c.broken
	}
	if err := ctx.Err(); err != nil {
		return err // nothing was sent; the next attempt may succeed
	}
	stop := func() bool { return true }
	if ctx.Done() != nil {
		stop = context.AfterFunc(ctx, func() { _ = c.conn.Close() })
	}
	c.in.Lock()
	state, err := c.handshake(ctx)
	if err != nil {
		c.abort(err)
	}
	c.in.Unlock()
	if !stop() {
		err = ctx.Err()
	}
	if err != nil {
		c.broken = err
		c.wipe()
		return err
	}
	c.state.Store(state)
	if c.closed.Load() {
		c.wipe()
	}
	return nil
}

func (c *Conn) handshake(ctx context.Context) (*ConnectionState, error) {
	if c.client {
		return c.clientHandshake(ctx)
	}
	return c.serverHandshake()
}

// NetConn returns the connection below. Reading from it or writing to it breaks this one.
func (c *Conn) NetConn() net.Conn { return c.conn }

// ReadAfterTimeout tells that a Read may be tried again after its deadline has passed, once the handshake is complete.
func (c *Conn) ReadAfterTimeout() bool { return true }

// LocalAddr returns the local address of the connection below.
func (c *Conn) LocalAddr() net.Addr { return c.conn.LocalAddr() }

// RemoteAddr returns the peer's address of the connection below.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }

// SetDeadline sets the deadlines of Read and Write.
func (c *Conn) SetDeadline(t time.Time) error {
	c.out.setDeadline(t)
	return c.conn.SetDeadline(t)
}

// SetReadDeadline sets the deadline of Read. What has arrived may be read after it.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.conn.SetReadDeadline(t) }

// SetWriteDeadline sets the deadline of Write.
func (c *Conn) SetWriteDeadline(t time.Time) error {
	c.out.setDeadline(t)
	return c.conn.SetWriteDeadline(t)
}

// partingTime bounds how long the last alert of a connection may keep a Close or a failed Read waiting.
const partingTime = 5 * time.Second

// Close tells the peer that this is the end, unless a Write is under way, and closes the connection below. Reads and
// writes under way return an error, and what has arrived and was not read is lost.
func (c *Conn) Close() error {
	if c.closed.Swap(true) {
		return net.ErrClosed
	}
	if c.state.Load() != nil && c.writers.Load() == 0 {
		_ = c.closeNotify() // the peer may be gone
	}
	err := c.conn.Close()
	c.wipe()
	return err
}

// CloseWrite tells the peer that nothing more will be written. Reading goes on; the connection below stays open.
func (c *Conn) CloseWrite() error {
	if c.state.Load() == nil {
		return ErrIncomplete
	}
	return c.closeNotify()
}

// abort tells the peer what it did wrong, if it was the peer, and ends both directions. It returns err.
func (c *Conn) abort(err error) error {
	var f *fault
	var a AlertError
	switch {
	case errors.As(err, &f):
	case errors.As(err, &a):
		c.dead.CompareAndSwap(nil, &err)
		return err
	default:
		return err // of the connection below
	}
	c.dead.CompareAndSwap(nil, &err)
	c.out.setDeadline(time.Time{})
	_ = c.conn.SetWriteDeadline(time.Now().Add(partingTime)) // also for a Write that blocks
	c.out.Lock()
	defer c.out.Unlock()
	if c.out.err == nil && !c.out.shut {
		_ = c.sendAlert(f.alert)
		c.out.shut = true
	}
	return err
}

// wipe overwrites the keys, except for those that a Read or Write under way works with: these do it themselves.
func (c *Conn) wipe() {
	c.exporter.wipe()
	if c.in.TryLock() {
		c.in.wipe()
		c.in.Unlock()
	}
	if c.out.TryLock() {
		c.out.wipe()
		c.out.Unlock()
	}
}
