package soak

import (
	"bytes"
	"net"
	"sync"
	"time"
)

// relay is the network between two programs: it can lose its connections, hold everything up, and looks for texts in
// what passes.
type relay struct {
	listener net.Listener
	target   string
	texts    []string
	running  sync.WaitGroup
	traffic  sync.RWMutex // locked while everything is held up

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil when the relay is closed
	found map[string]bool
}

func newRelay(target string, texts []string) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener, target: target, texts: texts, conns: make(map[net.Conn]struct{}), found: make(map[string]bool)}
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

func (r *relay) address() string { return r.listener.Addr().String() }

func (r *relay) close() {
	_ = r.listener.Close()
	r.mu.Lock()
	for conn := range r.conns {
		_ = conn.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.running.Wait()
}

// cut ends all connections, in the way a broken network does.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for conn := range r.conns {
		_ = conn.Close()
	}
}

// hold keeps everything up for a time.
func (r *relay) hold(d time.Duration) {
	r.traffic.Lock()
	defer r.traffic.Unlock()
	time.Sleep(d)
}

// seen are the texts that have passed.
func (r *relay) seen(text string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.found[text]
}

func (r *relay) pass(client net.Conn) {
	defer func() { _ = client.Close() }()
	server, err := net.Dial("tcp", r.target)
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
func (r *relay) copy(to, from net.Conn) {
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

func (r *relay) search(b []byte) {
	for _, text := range r.texts {
		if bytes.Contains(b, []byte(text)) {
			r.mu.Lock()
			r.found[text] = true
			r.mu.Unlock()
		}
	}
}
