package attacks

import (
	"bytes"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// relay is the man in the middle: it takes down what passes, and may change what a client sends.
type relay struct {
	listener net.Listener
	target   string
	running  sync.WaitGroup

	mu     sync.Mutex
	conns  map[net.Conn]struct{} // nil when the relay is closed
	seen   bytes.Buffer
	tamper func(chunk []byte) [][]byte // what goes on in place of a chunk from the client; nil: the chunk
}

func startRelay(target string) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener, target: target, conns: make(map[net.Conn]struct{})}
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

// newRelay stands between the clients of a test and an address.
func newRelay(t testing.TB, target string) *relay {
	t.Helper()
	r, err := startRelay(target)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.close()) })
	return r
}

func (r *relay) address() string { return r.listener.Addr().String() }

func (r *relay) close() error {
	err := r.listener.Close()
	r.mu.Lock()
	for conn := range r.conns {
		_ = conn.Close()
	}
	r.conns = nil
	r.mu.Unlock()
	r.running.Wait()
	return err
}

// pass relays one connection.
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
	defer func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		delete(r.conns, client)
		delete(r.conns, server)
	}()
	var directions sync.WaitGroup
	directions.Go(func() {
		r.copy(server, client, true)
		_ = server.Close()
	})
	r.copy(client, server, false)
	_ = client.Close()
	directions.Wait()
}

func (r *relay) copy(to, from net.Conn, mayTamper bool) {
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.seen.Write(buffer[:n])
		chunks := [][]byte{buffer[:n]}
		if mayTamper && r.tamper != nil {
			chunks = r.tamper(buffer[:n])
		}
		r.mu.Unlock()
		for _, chunk := range chunks {
			if _, err := to.Write(chunk); err != nil {
				return
			}
		}
	}
}

// capture is all that has passed so far, in either direction.
func (r *relay) capture() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.seen.String()
}

// tampering changes what clients send from now on.
func (r *relay) tampering(f func(chunk []byte) [][]byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tamper = f
}
