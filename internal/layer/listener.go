package layer

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Why a [Listener] ends connections.
var (
	// ErrCrowded is the end of a connection that was not established when there were too many of those.
	ErrCrowded = errors.New("layer: too many connections that are not established")
	// ErrSlow is the end of a connection that was not established in time.
	ErrSlow = errors.New("layer: not established in time")
	// ErrShutdown is the end of every connection of a Listener that shuts down.
	ErrShutdown = errors.New("layer: server is shutting down")
)

// ListenerConfig says how a [Listener] receives its connections.
type ListenerConfig struct {
	// Filter makes the filter of a connection; TLS below conn is complete, and no packet has been read. ctx ends when
	// the time is over and when CONNECT has been let through. An error ends the connection. A scheme withholds CONNECT
	// in the filter until the peer is authenticated, and then returns or releases it; it refuses with [Conn.End] and a
	// CONNACK. Required.
	Filter func(ctx context.Context, conn net.Conn) (Filter, error)

	// TLS is what each connection begins with, nil for none. Secure is the same for a scheme that crypto/tls does not
	// have; ctx ends when the time is over. At most one of them is set.
	TLS    *tls.Config
	Secure func(ctx context.Context, conn net.Conn) (net.Conn, error)

	// Timeout is the time from the connection's arrival until its CONNECT is let through. 0 means 10 seconds.
	Timeout time.Duration

	// MaxPending and MaxPendingPerSource bound the connections that are not established yet, in all and from one
	// address (IPv4) or /64 prefix (IPv6). The one that makes too many drives out the oldest from the source that has
	// most. 0 means 1024 and 256.
	MaxPending, MaxPendingPerSource int

	// MaxConnect is the size in bytes of the largest packet before CONNECT is let through, and how much may be held
	// then. 0 means 512 KiB, more than the fields of a CONNECT that says nothing superfluous.
	MaxConnect int

	// Failed, if not nil, hears of each connection that ended before it was established, and why.
	Failed func(remote net.Addr, err error)
}

// Listener is a net.Listener for brokers and gateways whose connections have passed a scheme's filter:
// [Listener.Accept] returns a *[Conn] when CONNECT has been let through, and Read of it yields that CONNECT first. It
// takes connections at once, in goroutines of its own whose number is bounded, and waits for none of them.
type Listener struct {
	inner   net.Listener
	config  ListenerConfig
	ctx     context.Context // of what is not established
	cancel  context.CancelCauseFunc
	ready   chan *Conn
	stopped chan struct{} // the inner listener accepts no more
	failure error         // why, once stopped is closed
	running sync.WaitGroup
	timeout atomic.Int64 // a time.Duration

	pending pending

	mu    sync.Mutex
	conns map[*Conn]bool // that are not over; whether CONNECT has been let through
	left  chan struct{}  // closed and replaced when one is gone
}

// NewListener returns a Listener on inner, which it owns from here on.
func NewListener(inner net.Listener, config ListenerConfig) (*Listener, error) {
	switch {
	case config.Filter == nil:
		return nil, errors.New("layer: ListenerConfig.Filter is required")
	case config.TLS != nil && config.Secure != nil:
		return nil, errors.New("layer: ListenerConfig has both TLS and Secure")
	case config.Timeout < 0, config.MaxPending < 0, config.MaxPendingPerSource < 0, config.MaxConnect < 0:
		return nil, errors.New("layer: negative limit in ListenerConfig")
	}
	config.Timeout = orDefault(config.Timeout, 10*time.Second)
	config.MaxPending = orDefault(config.MaxPending, 1024)
	config.MaxPendingPerSource = orDefault(config.MaxPendingPerSource, 256)
	config.MaxConnect = orDefault(config.MaxConnect, 512<<10)
	if config.TLS != nil {
		config.TLS = config.TLS.Clone()
	}
	l := &Listener{
		inner: inner, config: config,
		ready:   make(chan *Conn, config.MaxPending),
		stopped: make(chan struct{}),
		pending: pending{most: config.MaxPending, each: config.MaxPendingPerSource},
		conns:   make(map[*Conn]bool),
		left:    make(chan struct{}),
	}
	l.timeout.Store(int64(config.Timeout))
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	go l.run()
	return l, nil
}

// SetLimits replaces Timeout, MaxPending and MaxPendingPerSource while connections come; 0 leaves what is there. Who
// has begun keeps the time that there was. Fewer places count at once: of those who are too many then, the oldest end.
// Of connections that have been let through, as many as MaxPending was at the beginning wait for Accept.
func (l *Listener) SetLimits(timeout time.Duration, maxPending, maxPendingPerSource int) error {
	if timeout < 0 || maxPending < 0 || maxPendingPerSource < 0 {
		return errors.New("layer: negative limit")
	}
	if timeout > 0 {
		l.timeout.Store(int64(timeout))
	}
	l.pending.limit(maxPending, maxPendingPerSource)
	return nil
}

func orDefault[T int | time.Duration](v, d T) T {
	if v == 0 {
		return d
	}
	return v
}

// Addr returns the address of the listener below.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Accept returns the next connection whose CONNECT has been let through, a *[Conn]. It fails only when the listener has
// been closed, or when the one below has failed for good.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.ready:
		return c, nil
	case <-l.stopped:
		return nil, l.failure
	}
}

// Close stops listening, and ends the connections that have not been accepted; what has been accepted lives on.
func (l *Listener) Close() error {
	err := l.inner.Close()
	l.cancel(net.ErrClosed)
	<-l.stopped
	l.running.Wait()
	for {
		select {
		case c := <-l.ready:
			_ = c.End(net.ErrClosed, nil)
		default:
			return err
		}
	}
}

// Shutdown closes the listener, ends every connection with ErrShutdown, which v5 clients hear as DISCONNECT "Server
// shutting down", and waits until all are gone. When ctx ends first it closes those that are left and returns the
// cause.
func (l *Listener) Shutdown(ctx context.Context) error {
	err := l.Close()
	for _, c := range l.Established() {
		_ = c.End(ErrShutdown, Goodbye(c, wire.ServerShuttingDown))
	}
	for {
		l.mu.Lock()
		n, left := len(l.conns), l.left
		l.mu.Unlock()
		if n == 0 {
			return err
		}
		select {
		case <-left:
		case <-ctx.Done():
			for _, c := range l.Established() {
				_ = c.inner.Close()
			}
			return context.Cause(ctx)
		}
	}
}

// Established returns the connections whose CONNECT has been let through and that are not over.
func (l *Listener) Established() []*Conn {
	l.mu.Lock()
	defer l.mu.Unlock()
	var through []*Conn
	for c, ok := range l.conns {
		if ok {
			through = append(through, c)
		}
	}
	return through
}

// Client returns the established connections of one Client Identifier: usually one at most, for a moment the one before
// beside it.
func (l *Listener) Client(id string) []*Conn {
	var some []*Conn
	for _, c := range l.Established() {
		if c.ClientID() == id {
			some = append(some, c)
		}
	}
	return some
}

// run accepts until the listener below fails for good.
func (l *Listener) run() {
	defer close(l.stopped)
	var pause time.Duration
	for {
		conn, err := l.inner.Accept()
		if err == nil {
			pause = 0
			l.receive(conn)
			continue
		}
		if l.ctx.Err() != nil || errors.Is(err, net.ErrClosed) {
			l.failure = net.ErrClosed
			return
		}
		if !temporary(err) {
			l.failure = err
			return
		}
		pause = min(max(2*pause, 5*time.Millisecond), time.Second)
		select {
		case <-time.After(pause):
		case <-l.ctx.Done():
		}
	}
}

// temporary tells an error of Accept that passes, such as too many open files, as net/http does.
func temporary(err error) bool {
	var t interface{ Temporary() bool }
	return errors.As(err, &t) && t.Temporary()
}

// receive begins with a connection that has arrived.
func (l *Listener) receive(conn net.Conn) {
	ctx, cancel := context.WithCancelCause(l.ctx)
	p := l.pending.add(sourceOf(conn.RemoteAddr()), cancel)
	kill := context.AfterFunc(ctx, func() { _ = conn.Close() })
	l.running.Go(func() {
		defer cancel(nil)
		defer l.pending.remove(p)
		c, err := l.establish(ctx, conn)
		if err == nil && !kill() {
			err = context.Cause(ctx)
		}
		if err == nil {
			l.hand(c)
			return
		}
		l.fail(conn, c, err)
		kill()
	})
}

// establish does with a connection what comes before Accept.
func (l *Listener) establish(ctx context.Context, conn net.Conn) (*Conn, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Duration(l.timeout.Load()), ErrSlow)
	defer cancel()
	var err error
	switch {
	case l.config.TLS != nil:
		conn = tls.Server(conn, l.config.TLS)
		err = Handshake(ctx, conn)
	case l.config.Secure != nil:
		conn, err = l.config.Secure(ctx, conn)
	}
	if err != nil {
		return nil, err
	}
	f, err := l.config.Filter(ctx, conn)
	if err != nil {
		return nil, err
	}
	c := New(conn, f)
	c.gone = make(chan struct{})
	c.over = func() { l.gone(c) }
	c.state.limit.Store(int64(l.config.MaxConnect))
	c.queues.largest = l.config.MaxConnect
	l.track(c, false)
	if err := c.Await(ctx); err != nil {
		return c, err
	}
	c.establish()
	return c, nil
}

// establish lifts the limits of a peer that is not known.
func (c *Conn) establish() {
	c.state.limit.Store(wire.MaxPacket)
	c.queues.Lock()
	defer c.queues.Unlock()
	c.queues.largest = maxHeld
}

// fail ends a connection that is not established, and waits until the last word that its filter may have said has left.
func (l *Listener) fail(conn net.Conn, c *Conn, err error) {
	if c != nil {
		if errors.Is(err, wire.ErrVersion) {
			_ = c.End(err, unknownVersion)
		}
		_ = c.Close()
		<-c.gone
	} else {
		_ = conn.Close()
	}
	if l.config.Failed != nil {
		l.config.Failed(conn.RemoteAddr(), err)
	}
}

// unknownVersion answers a CONNECT of a version that nobody here knows, in the form of the highest that is known
// (MQTT5 3.1.2.2).
var unknownVersion = wire.Packet{byte(wire.Connack) << 4, 3, 0, wire.UnsupportedProtocolVersion, 0}

// hand gives an established connection to Accept.
func (l *Listener) hand(c *Conn) {
	if !l.track(c, true) {
		return // it is over already
	}
	select {
	case l.ready <- c:
	default: // nobody accepts
		_ = c.End(ErrCrowded, Goodbye(c, wire.ServerBusy))
	}
}

// track notes that there is a connection, and then that CONNECT has been let through unless the connection is over.
func (l *Listener) track(c *Conn, through bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, ok := l.conns[c]; through && !ok {
		return false
	}
	l.conns[c] = through
	return true
}

func (l *Listener) gone(c *Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	close(c.gone)
	close(l.left)
	l.left = make(chan struct{})
}
