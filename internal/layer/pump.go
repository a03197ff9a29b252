package layer

import (
	"crypto/tls"
	"net"
	"os"
	"sync"
	"time"
)

// SurvivesTimeout tells whether Read of conn may be called again after its deadline has passed, which is how Inject
// wakes it. TCP, Unix and TLS connections allow that, and so does one that says so by a method ReadAfterTimeout() bool:
// a Conn, a connection of our own TLS, a wrapper that asks SurvivesTimeout for the connection below it. A WebSocket of
// either Eclipse client is dead after one timeout, and of any other type nothing is known.
func SurvivesTimeout(conn net.Conn) bool {
	switch c := conn.(type) {
	case *net.TCPConn, *net.UnixConn:
		return true
	case *tls.Conn:
		return SurvivesTimeout(c.NetConn())
	case interface{ ReadAfterTimeout() bool }:
		return c.ReadAfterTimeout()
	}
	return false
}

// ReadAfterTimeout tells [SurvivesTimeout] that a timeout does no harm.
func (c *Conn) ReadAfterTimeout() bool { return true }

// wakeable returns a conn whose Read can time out and then be called again; a pump reads one of which that is not
// known.
func wakeable(conn net.Conn) net.Conn {
	if SurvivesTimeout(conn) {
		return conn
	}
	return &pump{Conn: conn, chunks: make(chan chunk), taken: make(chan struct{}), closed: make(chan struct{}), expired: make(chan struct{})}
}

// pump reads a conn in a goroutine of its own, from the first Read until Close or an error, and never lets a read
// deadline reach it.
type pump struct {
	net.Conn
	start, stop sync.Once
	chunks      chan chunk    // from the goroutine, which then waits for
	taken       chan struct{} // the buffer
	closed      chan struct{}

	reading sync.Mutex
	rest    []byte // of the last chunk
	err     error  // behind it

	deadline sync.Mutex
	timer    *time.Timer
	expired  chan struct{} // closed once the read deadline has passed
}

type chunk struct {
	data []byte
	err  error
}

func (p *pump) run() {
	var buf buffer // which nothing is held in from one read to the next
	for {
		into := buf.space(0)
		n, err := p.Conn.Read(into)
		buf.last = n
		select {
		case p.chunks <- chunk{into[:n], err}:
		case <-p.closed:
			return
		}
		if err != nil {
			return
		}
		select {
		case <-p.taken:
		case <-p.closed:
			return
		}
	}
}

func (p *pump) Read(b []byte) (int, error) {
	p.reading.Lock()
	defer p.reading.Unlock()
	p.start.Do(func() { go p.run() })
	for len(p.rest) == 0 {
		if p.err != nil {
			return 0, p.err
		}
		if err := p.receive(); err != nil {
			return 0, err
		}
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	if len(p.rest) == 0 {
		p.release()
	}
	return n, nil
}

// release gives the buffer back to the goroutine, which has ended if the chunk came with an error.
func (p *pump) release() {
	if p.err != nil {
		return
	}
	select {
	case p.taken <- struct{}{}:
	case <-p.closed:
	}
}

// receive waits for a chunk, the deadline or the end.
func (p *pump) receive() error {
	p.deadline.Lock()
	expired := p.expired
	p.deadline.Unlock()
	select {
	case <-expired:
		return os.ErrDeadlineExceeded
	default:
	}
	select {
	case c := <-p.chunks:
		p.rest, p.err = c.data, c.err
		if len(c.data) == 0 {
			p.release()
		}
		return nil
	case <-expired:
		return os.ErrDeadlineExceeded
	case <-p.closed:
		return net.ErrClosed
	}
}

func (p *pump) SetReadDeadline(t time.Time) error {
	p.deadline.Lock()
	defer p.deadline.Unlock()
	if p.timer != nil && !p.timer.Stop() {
		<-p.expired // its function is running or has run; let it finish with this channel
	}
	p.timer = nil
	select {
	case <-p.expired:
		p.expired = make(chan struct{})
	default:
	}
	if t.IsZero() {
		return nil
	}
	expired := p.expired
	if d := time.Until(t); d > 0 {
		p.timer = time.AfterFunc(d, func() { close(expired) })
	} else {
		close(expired)
	}
	return nil
}

func (p *pump) SetDeadline(t time.Time) error {
	if err := p.SetReadDeadline(t); err != nil {
		return err
	}
	return p.Conn.SetWriteDeadline(t)
}

// CloseWrite ends the stream to the peer if the connection below can.
func (p *pump) CloseWrite() error { return halfClose(p.Conn) }

func (p *pump) Close() error {
	err := p.Conn.Close()
	p.stop.Do(func() { close(p.closed) })
	return err
}
