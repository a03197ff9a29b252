package brokers

import (
	"crypto/tls"
	"io"
	"net"
	"net/url"
	"sync"
)

// Bridge is a WebSocket listener of this process in front of a broker's TCP listener. The one of Debian's mosquitto
// 2.0.11 cannot take its place everywhere: it stalls on messages of several MiB.
type Bridge struct {
	url      *url.URL
	target   string
	listener net.Listener
	running  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
}

// NewBridge listens for ws on a free port of 127.0.0.1, or for wss with the certificate of b.
func NewBridge(b *Mosquitto, transport string) (*Bridge, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	bridge := &Bridge{
		url:    &url.URL{Scheme: transport, Host: listener.Addr().String(), Path: "/mqtt"},
		target: b.URL(TCP).Host,
		conns:  make(map[net.Conn]struct{}),
	}
	if transport == WSS {
		listener = tls.NewListener(listener, b.tls)
	}
	bridge.listener = listener
	bridge.running.Go(func() { serveWebsocket(listener, bridge.serve) })
	return bridge, nil
}

// URL is the address of the listener.
func (b *Bridge) URL() *url.URL { return b.url }

// serve passes bytes on until one side ends the connection.
func (b *Bridge) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	broker, err := net.Dial("tcp", b.target)
	if err != nil {
		return
	}
	defer func() { _ = broker.Close() }()
	if !b.begin(conn, broker) {
		return
	}
	defer b.running.Done()
	done := make(chan struct{}, 2)
	pass := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		done <- struct{}{}
	}
	go pass(broker, conn)
	go pass(conn, broker)
	<-done
	_ = conn.Close()
	_ = broker.Close()
	<-done
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.conns, conn)
	delete(b.conns, broker)
}

// begin notes the connections of one client, unless the bridge is closed.
func (b *Bridge) begin(conns ...net.Conn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return false
	}
	for _, conn := range conns {
		b.conns[conn] = struct{}{}
	}
	b.running.Add(1)
	return true
}

// Close ends the listener and all connections.
func (b *Bridge) Close() error {
	b.mu.Lock()
	b.closed = true
	for conn := range b.conns {
		_ = conn.Close() // may be closed already
	}
	b.mu.Unlock()
	err := b.listener.Close()
	b.running.Wait()
	return err
}
