package main

import (
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/pires/go-proxyproto"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// seen starts a gateway between a balancer and a broker, and returns where it listens and who the broker is told that
// the clients are.
func seen(t *testing.T, listeners string) (r *running, clients chan string) {
	clients = make(chan string, 10)
	upstream := listening(t, func(conn net.Conn) {
		l := &proxyproto.Listener{Listener: &single{conn: conn}}
		c, err := l.Accept()
		if err != nil {
			return
		}
		if _, err := wire.Read(c, 1<<16); err == nil {
			clients <- c.RemoteAddr().String()
			_, _ = c.Write([]byte{0x20, 2, 0, 0})
			_, _ = io.Copy(io.Discard, c)
		}
	})
	return newSite(t).start(upstream, "upstream: {url: \"%s\", proxy_protocol: true}\ndrain: 0s\n"+listeners), clients
}

// single is a listener of one connection.
type single struct {
	net.Listener
	conn net.Conn
}

func (s *single) Accept() (net.Conn, error) { return s.conn, nil }

// header is what a balancer says of a client.
func header(version byte, client string) *proxyproto.Header {
	from, _ := net.ResolveTCPAddr("tcp", client)
	to, _ := net.ResolveTCPAddr("tcp", "192.0.2.1:8883")
	return proxyproto.HeaderProxyFromAddrs(version, from, to)
}

// TestBalancers: a balancer is believed who its clients are, and a client who claims to be another is not.
func TestBalancers(t *testing.T) {
	connect := (&wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: []byte("c")})
	hello, err := connect.Append(nil)
	require.NoError(t, err)
	dial := func(r *running, listener int, first []byte) net.Conn {
		conn, err := net.Dial("tcp", r.listeners[listener].served.Addr().String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		_, err = conn.Write(first)
		require.NoError(t, err)
		return conn
	}
	format := func(h *proxyproto.Header) []byte {
		b, err := h.Format()
		require.NoError(t, err)
		return b
	}
	r, clients := seen(t, `
limits: {pending: 8, connect_timeout: 1h}
listeners:
  - {address: "127.0.0.1:0", balancers: ["127.0.0.1", "10.0.0.0/8"]}
  - {name: elsewhere, address: "127.0.0.1:0", balancers: ["10.0.0.0/8"]}
`)
	for range 3 {
		dial(r, 0, nil) // looks whether somebody listens, and holds nobody up
	}
	for _, version := range []byte{1, 2} {
		conn := dial(r, 0, append(format(header(version, "198.51.100.7:1234")), hello...))
		require.Equal(t, "198.51.100.7:1234", receive(t, clients))
		got, err := wire.Read(conn, 100)
		require.NoError(t, err)
		require.Equal(t, wire.Connack, got.Type())
	}
	local := &proxyproto.Header{Version: 2, Command: proxyproto.LOCAL, TransportProtocol: proxyproto.UNSPEC}
	conn := dial(r, 0, append(format(local), hello...))
	require.Equal(t, conn.LocalAddr().String(), receive(t, clients), "the balancer itself")

	conn = dial(r, 0, hello)
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err, "a balancer that says nothing")
	conn = dial(r, 1, append(format(header(2, "198.51.100.7:1234")), hello...))
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err, "a client that claims to be another")
	conn = dial(r, 1, hello)
	require.Equal(t, conn.LocalAddr().String(), receive(t, clients), "a client that does not")

	var last net.Conn
	for range 20 { // more than have a place: those behind are closed
		last = dial(r, 0, nil)
	}
	require.NoError(t, last.SetReadDeadline(time.Now().Add(patience)))
	_, err = last.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
}
