package plug

import (
	"context"
	"errors"
	"net"
)

var errTest = errors.New("no")

// spy is a scheme that passes connections, and notes them.
type spy struct {
	name  string
	calls chan string
	conns chan net.Conn
	err   error
}

func newSpy(name string) *spy {
	return &spy{name: name, calls: make(chan string, 16), conns: make(chan net.Conn, 16)}
}

func (s *spy) Conn(_ context.Context, conn net.Conn) (net.Conn, error) {
	s.calls <- s.name
	s.conns <- conn
	return conn, s.err
}

// closeNoter notes that it was closed.
type closeNoter struct {
	net.Conn
	closed int
}

func (c *closeNoter) Close() error { c.closed++; return nil }
