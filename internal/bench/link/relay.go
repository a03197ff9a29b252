package link

import (
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// relay stands between clients and a broker and counts what passes, whatever it is. With a delay it is a long way: all
// that passes arrives that much later, in either direction.
type relay struct {
	listener net.Listener
	target   string
	delay    time.Duration
	running  sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
	made  []*passage // of the connections, in the order in which they were made
}

// passage is what has passed on one connection.
type passage struct {
	bytes  atomic.Int64 // both directions together
	trips  atomic.Int64 // how often the broker spoke after the client
	client atomic.Bool  // who spoke last
}

func (p *passage) count(n int, client bool) {
	p.bytes.Add(int64(n))
	if before := p.client.Swap(client); before && !client {
		p.trips.Add(1)
	}
}

// newRelay starts a relay to a TCP address.
func newRelay(target string, delay time.Duration) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener, target: target, delay: delay}
	r.running.Go(r.accept)
	return r, nil
}

// Addr is where to connect to.
func (r *relay) Addr() string { return r.listener.Addr().String() }

// Last is how many bytes have passed on the connection that was made last. Bytes count
// before they are passed on.
func (r *relay) Last() int64 {
	made := r.passages()
	if len(made) == 0 {
		return 0
	}
	return made[len(made)-1].bytes.Load()
}

func (r *relay) passages() []*passage {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.made)
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
		p := new(passage)
		r.mu.Lock()
		r.conns = append(r.conns, client, broker)
		r.made = append(r.made, p)
		r.mu.Unlock()
		r.running.Go(func() { r.pass(broker, client, func(n int) { p.count(n, true) }) })
		r.running.Go(func() { r.pass(client, broker, func(n int) { p.count(n, false) }) })
	}
}

// underway is how many reads may be on a long way.
const underway = 64

// pass copies until either side ends, and then ends both.
func (r *relay) pass(to, from net.Conn, count func(n int)) {
	type piece struct {
		bytes []byte
		due   time.Time
	}
	pieces := make(chan piece, underway)
	r.running.Go(func() {
		defer close(pieces)
		for {
			buf := make([]byte, 32<<10)
			n, err := from.Read(buf)
			if n > 0 {
				count(n)
				pieces <- piece{buf[:n], time.Now().Add(r.delay)}
			}
			if err != nil {
				return
			}
		}
	})
	for p := range pieces {
		if r.delay > 0 {
			time.Sleep(time.Until(p.due))
		}
		if _, err := to.Write(p.bytes); err != nil {
			_ = from.SetReadDeadline(time.Unix(1, 0))
		}
	}
	_ = to.Close() // the clients see how it ended
}
