package e2e

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/stretchr/testify/require"
)

// relay passes bytes between clients and a broker, whatever the transport, and is the network that fails them: it
// can lose the connection, hold back what the broker says, and be down.
type relay struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu                   sync.Mutex
	free                 *sync.Cond // the broker's bytes may pass, or the relay is closed
	held                 bool
	waiting              chan struct{} // has an element when something is held back
	down                 bool
	closed               bool
	accepted             int
	conns                map[net.Conn]struct{}
	toBroker, fromBroker bytes.Buffer // everything that was to pass to the broker, and from it
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
	// What passes is taken down before anybody can answer it.
	r.running.Go(func() {
		_, err := io.Copy(io.MultiWriter(tap{r, &r.toBroker}, broker), conn)
		if err != nil || broker.(*net.TCPConn).CloseWrite() != nil { // otherwise the broker ends it
			done()
		}
	})
	_, _ = io.Copy(io.MultiWriter(tap{r, &r.fromBroker}, gate{r, conn}), broker)
	done()
	r.mu.Lock()
	delete(r.conns, conn)
	delete(r.conns, broker)
	r.mu.Unlock()
}

// tap takes down what passes.
type tap struct {
	r  *relay
	to *bytes.Buffer
}

func (t tap) Write(b []byte) (int, error) {
	t.r.mu.Lock()
	defer t.r.mu.Unlock()
	return t.to.Write(b)
}

// sniffed is everything that has passed so far.
func (r *relay) sniffed() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.toBroker.String() + r.fromBroker.String()
}

// settled tells whether the client has finished the exchange of every message that the broker has sent it. There must
// have been one connection, without TLS and WebSocket.
func (r *relay) settled(v wire.Version) (bool, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	open := 0
	err := eachPacket(r.fromBroker.Bytes(), func(p wire.Packet) error {
		if p.Type() == wire.Publish && p.Flags()&6 != 0 {
			open++
		}
		return nil
	})
	if err != nil {
		return false, err
	}
	err = eachPacket(r.toBroker.Bytes(), func(p wire.Packet) error {
		switch p.Type() {
		case wire.Puback, wire.Pubcomp:
			open--
		case wire.Pubrec:
			m, err := wire.ParseAck(p, v)
			if err == nil && m.Reason >= wire.UnspecifiedError {
				open--
			}
			return err
		}
		return nil
	})
	return open == 0, err
}

// eachPacket calls f with every whole packet in b.
func eachPacket(b []byte, f func(wire.Packet) error) error {
	for {
		n, err := wire.Scan(b, wire.MaxPacket)
		if err != nil || n == 0 || n > len(b) {
			return err
		}
		if err := f(wire.Packet(b[:n])); err != nil {
			return err
		}
		b = b[n:]
	}
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

// awaitAnswer returns when something that the broker has sent since hold is held back. It is a PINGRESP perhaps, unless
// the client is a still one.
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

// idle tells whether all connections have ended, at the broker as well.
func (r *relay) idle() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns) == 0
}

// connections is the number of connections that the relay has passed on so far.
func (r *relay) connections() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.accepted
}
