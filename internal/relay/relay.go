// Package relay is the network between two programs, for tests and for programs that show what happens when something
// breaks: it passes connections over TCP on to the first of some targets that takes them, as a load balancer does, can
// lose them all, hold everything up, and looks for texts in what passes.
package relay

import (
	"bytes"
	"errors"
	"net"
	"sync"
	"time"
)

// Relay is one that runs.
type Relay struct {
	listener net.Listener
	targets  []string
	texts    []string
	running  sync.WaitGroup
	traffic  sync.RWMutex // locked while everything is held up

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil when the relay is closed
	found map[string]bool
}

// New listens on a port of 127.0.0.1 and looks for texts, of at most 64 bytes each. A connection goes to the first
// target, HOST:PORT, that accepts one.
func New(texts []string, targets ...string) (*Relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &Relay{listener: listener, targets: targets, texts: texts, conns: make(map[net.Conn]struct{}), found: make(map[string]bool)}
	r.running.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r.running.Go(func() { r.pass(conn) })
		}
	})
	return r, nil
}

// Address is HOST:PORT, where it listens.
func (r *Relay) Address() string { return r.listener.Addr().String() }

// Close ends it and all connections, and returns when nothing of it runs.
func (r *Relay) Close() {
	_ = r.listener.Close()
	r.mu.Lock()
	for conn := range r.conns {
		_ = conn.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.running.Wait()
}

// Cut ends all connections, in the way a broken network does.
func (r *Relay) Cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
}

// Hold keeps everything up for a time.
func (r *Relay) Hold(d time.Duration) {
	r.traffic.Lock()
	defer r.traffic.Unlock()
	time.Sleep(d)
}

// Seen tells whether one of the texts has passed.
func (r *Relay) Seen(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found[text]
}

// dial connects to the first target that can be reached.
func (r *Relay) dial() (net.Conn, error) {
	err := errors.New("relay: no target")
	for _, target := range r.targets {
		var conn net.Conn
		if conn, err = net.Dial("tcp", target); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func (r *Relay) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := r.dial()
	if err != nil {
		return
	}
	defer func() { _ = server.Close() }()
	r.mu.Lock()
	if r.conns == nil {
		r.mu.Unlock()
		return
	}
	r.conns[client], r.conns[server] = struct{}{}, struct{}{}
	r.mu.Unlock()
	var directions sync.WaitGroup
	directions.Go(func() { r.copy(server, client) })
	r.copy(client, server)
	directions.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, client)
	delete(r.conns, server)
}

// copy relays one direction. Its end is the end of both.
func (r *Relay) copy(to, from net.Conn) {
	defer func() { _, _ = to.Close(), from.Close() }()
	const before = 64 // of what came before is kept, so that a text in two pieces is found
	buffer := make([]byte, before+32<<10)
	kept := 0
	for {
		n, err := from.Read(buffer[kept:])
		if err != nil {
			return
		}
		r.search(buffer[:kept+n])
		r.traffic.RLock()
		_, err = to.Write(buffer[kept : kept+n])
		r.traffic.RUnlock()
		if err != nil {
			return
		}
		kept = copy(buffer, buffer[max(0, kept+n-before):kept+n])
	}
}

func (r *Relay) search(b []byte) {
	for _, text := range r.texts {
		if bytes.Contains(b, []byte(text)) {
			r.mu.Lock()
			r.found[text] = true
			r.mu.Unlock()
		}
	}
}
