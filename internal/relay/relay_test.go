package relay

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// echo says who it is, and then what it hears.
func echo(t *testing.T, name string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.WriteString(conn, name)
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l
}

// hello connects, and returns who answers.
func hello(t *testing.T, r *Relay) (conn net.Conn, name string) {
	t.Helper()
	conn, err := net.Dial("tcp", r.Address())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	b := make([]byte, 1)
	_, err = io.ReadFull(conn, b)
	require.NoError(t, err)
	return conn, string(b)
}

// TestNextTarget loses the first target, which ends none of the connections to others, and is passed over from then on.
func TestNextTarget(t *testing.T) {
	a, b := echo(t, "a"), echo(t, "b")
	r, err := New([]string{"hidden"}, a.Addr().String(), b.Addr().String())
	require.NoError(t, err)
	conn, name := hello(t, r)
	require.Equal(t, "a", name)
	require.NoError(t, a.Close())
	_, name = hello(t, r)
	require.Equal(t, "b", name)

	require.False(t, r.Seen("hidden"))
	for _, piece := range []string{"what is hid", "den"} { // in two writes
		_, err = io.WriteString(conn, piece)
		require.NoError(t, err)
		_, err = io.ReadFull(conn, make([]byte, len(piece)))
		require.NoError(t, err)
	}
	require.True(t, r.Seen("hidden"))

	r.Cut()
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	conn, _ = hello(t, r)
	r.Close()
	_, err = conn.Read(make([]byte, 1))
	require.Error(t, err)
	_, err = net.Dial("tcp", r.Address())
	require.Error(t, err)
}
