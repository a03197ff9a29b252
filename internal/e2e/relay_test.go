package e2e

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay passes bytes between clients and a broker, whatever the transport, and is the network that fails them: it
// can lose the connection, hold back what the broker says, and be down.
type relay struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu       sync.Mutex
	free     *sync.Cond // the broker's bytes may pass, or the relay is closed
	held     bool
	waiting  chan struct{} // has an element when something is held back
	down     bool
	closed   bool
	accepted int
	conns    map[net.Conn]struct{}
	wire     bytes.Buffer // everything that has passed, of both directions
}

// newRelay stands in front of the broker at u. It is gone when the test is.
func newRelay(t testing.TB, u *url.URL) *relay {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{listener: listener, target: u.Host, conns: make(map[net.Conn]struct{})}
	r.waiting = make(chan struct{}, 1)
	r.free = sync.NewCond(&r.mu)
	r.running.Go(r.serve)
	t.Cleanup(func() {
		r.mu.Lock()
		r.closed = true
		r.mu.Unlock()
		r.free.Broadcast()
		_ = listener.Close()
		r.cut()
		r.running.Wait()
	})
	return r
}

// url leads to the broker at u through the relay.
func (r *relay) url(u *url.URL) *url.URL {
	through := *u
	through.Host = r.listener.Addr().String()
	return &through
}

func (r *relay) serve() {
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.relay(conn) })
	}
}

func (r *relay) relay(conn net.Conn) {
	broker, err := net.Dial("tcp", r.target)
	if err != nil {
		_ = conn.Close()
		return
	}
	r.mu.Lock()
	refuse := r.down || r.closed
	if !refuse {
		r.accepted++
		r.conns[conn], r.conns[broker] = struct{}{}, struct{}{}
	}
	r.mu.Unlock()
	done := func() {
		_ = conn.Close()
		_ = broker.Close()
	}
	if refuse {
		done()
		return
	}
	r.running.Go(func() {
		_, _ = io.Copy(io.MultiWriter(broker, tap{r}), conn)
		done()
	})
	_, _ = io.Copy(io.MultiWriter(gate{r, conn}, tap{r}), broker)
	done()
	r.mu.Lock()
	delete(r.conns, conn)
	delete(r.conns, broker)
	r.mu.Unlock()
}

// tap takes down what passes.
type tap struct{ r *relay }

func (t tap) Write(b []byte) (int, error) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	return t.r.wire.Write(b)
}

// sniffed is everything that has passed so far.
func (r *relay) sniffed() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.wire.String()
}

// gate writes when the relay lets the broker's bytes pass.
type gate struct {
	r    *relay
	conn net.Conn
}

func (g gate) Write(b []byte) (int, error) {
	g.r.mu.Lock()
	for g.r.held && !g.r.closed {
		select {
		case g.r.waiting <- struct{}{}:
		default:
		}
		g.r.free.Wait()
	}
	g.r.mu.Unlock()
	return g.conn.Write(b)
}

// hold keeps what the broker sends from the client until it is called with false. What is held back when the
// connection is cut is lost.
func (r *relay) hold(held bool) {
	r.mu.Lock()
	r.held = held
	r.mu.Unlock()
	r.free.Broadcast()
}

// awaitAnswer returns when something that the broker has sent since hold is held back.
func (r *relay) awaitAnswer(ctx context.Context) error {
	select {
	case <-r.waiting:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// refuse makes the relay turn every new connection away until it is called with false.
func (r *relay) refuse(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

// cut ends all connections, in the way a broken network does: neither side hears a DISCONNECT.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
}

// connections is the number of connections that the relay has passed on so far.
func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted
}
