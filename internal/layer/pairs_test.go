package layer

import (
	"crypto/tls"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// tcpPair returns the two ends of a TCP connection.
func tcpPair(t *testing.T) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	a, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	b, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// tlsConfigs are what the two sides of a TLS connection to "broker" need.
var tlsConfigs = sync.OnceValues(func() (serving, trusting *tls.Config) {
	authority, err := ca.New()
	if err != nil {
		panic(err)
	}
	serving, err = authority.ServerConfig("broker")
	if err != nil {
		panic(err)
	}
	trusting = authority.ClientConfig()
	trusting.ServerName = "broker"
	return serving, trusting
})

// tlsPair returns the two ends of a TLS connection after its handshake.
func tlsPair(t *testing.T) (client, server net.Conn) {
	t.Helper()
	serving, trusting := tlsConfigs()
	a, b := tcpPair(t)
	c := tls.Client(a, trusting)
	s := tls.Server(b, serving)
	done := make(chan error)
	go func() { done <- s.Handshake() }()
	require.NoError(t, c.Handshake())
	require.NoError(t, <-done)
	return c, s
}

// slack is a connection whose deadlines are a minute late. What a peer is promised is a second; the peer that a test
// plays reads all the time, but on a machine with more to do it may not get its turn within one. What the second is for
// is tested in a bubble.
type slack struct{ net.Conn }

func (s slack) SetReadDeadline(at time.Time) error  { return s.Conn.SetReadDeadline(later(at)) }
func (s slack) SetWriteDeadline(at time.Time) error { return s.Conn.SetWriteDeadline(later(at)) }
func (s slack) CloseWrite() error                   { return halfClose(s.Conn) }
func (slack) ReadAfterTimeout() bool                { return true }

// later is a minute after a deadline that is still to come.
func later(at time.Time) time.Time {
	if at.After(time.Now()) {
		at = at.Add(time.Minute)
	}
	return at
}

// fakeConn is a connection made of functions.
type fakeConn struct {
	net.Conn
	write func([]byte) (int, error)
	read  func([]byte) (int, error)
}

func (f *fakeConn) Write(b []byte) (int, error)      { return f.write(b) }
func (f *fakeConn) Read(b []byte) (int, error)       { return f.read(b) }
func (f *fakeConn) Close() error                     { return nil }
func (f *fakeConn) SetReadDeadline(time.Time) error  { return nil }
func (f *fakeConn) SetWriteDeadline(time.Time) error { return nil }

func read(t *testing.T, r io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	_, err := io.ReadFull(r, b)
	require.NoError(t, err)
	return b
}

func write(t *testing.T, w io.Writer, ps ...wire.Packet) {
	t.Helper()
	for _, p := range ps {
		n, err := w.Write(p)
		require.NoError(t, err)
		require.Equal(t, len(p), n)
	}
}
