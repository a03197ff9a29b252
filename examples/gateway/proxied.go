package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pires/go-proxyproto"
)

// proxied is a listener behind load balancers that begin each connection with a PROXY header, version 1 or 2, which
// says who the client is. Addresses that are not theirs connect for themselves: a header from there is not believed,
// and is no MQTT.
type proxied struct {
	net.Listener
	balancers []netip.Prefix
	timeout   atomic.Int64 // a time.Duration, for the header
	failed    func(remote net.Addr, err error)

	places  places // for those whose header is not here yet
	arrived chan net.Conn
	closed  chan struct{}
	once    sync.Once
	stopped chan struct{} // the listener below accepts no more
	failure error         // why
}

func newProxied(inner net.Listener, balancers []netip.Prefix, limits *limitsConfig, failed func(net.Addr, error)) *proxied {
	p := &proxied{
		Listener: inner, balancers: balancers, failed: failed,
		arrived: make(chan net.Conn), closed: make(chan struct{}), stopped: make(chan struct{}),
	}
	p.limit(limits)
	go p.run()
	return p
}

// limit sets for how many headers it waits at once, and for how long.
func (p *proxied) limit(limits *limitsConfig) {
	p.timeout.Store(int64(limits.ConnectTimeout.value))
	p.places.limit.Store(int64(limits.Pending.value))
}

// parseBalancers reads addresses and prefixes.
func parseBalancers(texts []string) ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, text := range texts {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			address, addressErr := netip.ParseAddr(text)
			if addressErr != nil || address.Zone() != "" {
				return nil, fmt.Errorf("%q is neither an address nor a prefix such as 10.0.0.0/8", text)
			}
			prefix = netip.PrefixFrom(address, address.BitLen())
		}
		prefixes = append(prefixes, prefix)
	}
	return prefixes, nil
}

// isBalancer tells whether a header from there is believed.
func (p *proxied) isBalancer(remote net.Addr) bool {
	tcp, ok := remote.(*net.TCPAddr)
	return ok && slices.ContainsFunc(p.balancers, func(prefix netip.Prefix) bool {
		return prefix.Contains(tcp.AddrPort().Addr().Unmap())
	})
}

// run accepts. It waits for no header: a balancer that only looks whether somebody listens sends none.
func (p *proxied) run() {
	defer close(p.stopped)
	for {
		conn, err := p.Listener.Accept()
		if err != nil {
			if t, ok := errors.AsType[interface {
				error
				Temporary() bool
			}](err); ok && t.Temporary() {
				time.Sleep(5 * time.Millisecond) // too many open files, say: it passes
				continue
			}
			p.failure = err
			return
		}
		if !p.isBalancer(conn.RemoteAddr()) {
			p.hand(conn)
			continue
		}
		if !p.places.take() {
			p.fail(conn, errors.New("too many connections without a PROXY header yet"))
			continue
		}
		go func() {
			defer p.places.free()
			p.receive(conn)
		}()
	}
}

// receive reads the header.
func (p *proxied) receive(conn net.Conn) {
	reader := bufio.NewReaderSize(conn, 512)
	err := conn.SetReadDeadline(time.Now().Add(time.Duration(p.timeout.Load())))
	var header *proxyproto.Header
	if err == nil {
		header, err = proxyproto.Read(reader)
	}
	if err == nil {
		err = conn.SetReadDeadline(time.Time{})
	}
	if err != nil {
		p.fail(conn, fmt.Errorf("PROXY header: %w", err))
		return
	}
	c := &proxiedConn{Conn: conn, early: reader, remote: conn.RemoteAddr(), local: conn.LocalAddr()}
	if header.Command.IsProxy() { // else the balancer speaks for itself
		if from, to, ok := header.TCPAddrs(); ok {
			c.remote, c.local = from, to
		}
	}
	p.hand(c)
}

func (p *proxied) fail(conn net.Conn, err error) {
	_ = conn.Close()
	p.failed(conn.RemoteAddr(), err)
}

func (p *proxied) hand(conn net.Conn) {
	select {
	case p.arrived <- conn:
	case <-p.closed:
		_ = conn.Close()
	}
}

// Accept implements net.Listener.
func (p *proxied) Accept() (net.Conn, error) {
	select {
	case conn := <-p.arrived:
		return conn, nil
	case <-p.closed:
		return nil, net.ErrClosed
	case <-p.stopped:
		return nil, p.failure
	}
}

// Close implements net.Listener.
func (p *proxied) Close() error {
	p.once.Do(func() { close(p.closed) })
	return p.Listener.Close()
}

// proxiedConn is a connection whose ends are those that the header named.
type proxiedConn struct {
	net.Conn
	early         *bufio.Reader // what came together with the header; nil once that is read
	remote, local net.Addr
}

// Read implements net.Conn; one goroutine reads at a time.
func (c *proxiedConn) Read(b []byte) (int, error) {
	if c.early == nil {
		return c.Conn.Read(b)
	}
	if c.early.Buffered() == 0 {
		c.early = nil
		return c.Conn.Read(b)
	}
	return c.early.Read(b[:min(len(b), c.early.Buffered())])
}

// RemoteAddr is the client's.
func (c *proxiedConn) RemoteAddr() net.Addr { return c.remote }

// LocalAddr is where the client connected to.
func (c *proxiedConn) LocalAddr() net.Addr { return c.local }

// NetConn returns the connection below.
func (c *proxiedConn) NetConn() net.Conn { return c.Conn }

// ReadAfterTimeout tells the layer that a timeout does no harm: it is TCP.
func (c *proxiedConn) ReadAfterTimeout() bool { return true }

// CloseWrite ends the stream to the client.
func (c *proxiedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
