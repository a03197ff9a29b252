package link

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// relay stands between clients and a broker and counts the bytes that pass, in both
// directions together, whatever they are.
type relay struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	last  *atomic.Int64 // of the connection that was made last
}

// newRelay starts a relay to a TCP address.
func newRelay(target string) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener, target: target, last: new(atomic.Int64)}
	r.running.Go(r.accept)
	return r, nil
}

// Addr is where to connect to.
func (r *relay) Addr() string { return r.listener.Addr().String() }

// Last is how many bytes have passed on the connection that was made last. Bytes count
// before they are passed on.
func (r *relay) Last() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.last.Load()
}

// Close ends all connections.
func (r *relay) Close() error {
	err := r.listener.Close()
	r.mu.Lock()
	for _, c := range r.conns {
		_ = c.Close() // most have ended by themselves
	}
	r.mu.Unlock()
	r.running.Wait()
	return err
}

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return
		}
		broker, err := net.DialTimeout("tcp", r.target, patience)
		if err != nil {
			_ = client.Close() // tells the client what it needs to know
			continue
		}
		count := new(atomic.Int64)
		r.mu.Lock()
		r.conns = append(r.conns, client, broker)
		r.last = count
		r.mu.Unlock()
		r.running.Go(func() { pass(broker, client, count) })
		r.running.Go(func() { pass(client, broker, count) })
	}
}

// pass copies until either side ends, and then ends both.
func pass(to, from net.Conn, count *atomic.Int64) {
	_, _ = io.Copy(to, io.TeeReader(from, counter{count})) // the clients see how it ended
	_ = to.Close()
	_ = from.SetReadDeadline(time.Unix(1, 0))
}

// counter is an io.Writer that only counts.
type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}
