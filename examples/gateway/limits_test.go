package main

import (
	"bytes"
	"context"
	"io"
	"net"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// endless is a listener at which somebody is always waiting.
type endless struct{ net.Listener }

func (endless) Accept() (net.Conn, error) { return nil, nil }
func (endless) Close() error              { return nil }

// TestNewPerSecond: so many at once, and then so many a second; who waits for the next ends with the listener.
func TestNewPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const perSecond = 4
		l := &slowed{Listener: endless{}, limit: rate.NewLimiter(perSecond, perSecond)}
		begun := time.Now()
		for n := range 5 * perSecond {
			_, err := l.Accept()
			require.NoError(t, err)
			require.Equal(t, time.Duration(max(0, n-perSecond+1))*time.Second/perSecond, time.Since(begun), n)
		}
		go func() { _ = l.Close() }()
		_, err := l.Accept()
		require.ErrorIs(t, err, net.ErrClosed)
	})
}

// dull counts for nobody.
type dull struct{}

func (dull) Add(float64) {}

// TestBytesPerSecond: a direction passes its rate, after 64 KiB at once, and another one is not held up by it.
func TestBytesPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each, seconds = 2048, 10
		g := &gateway{stalls: newStalls()}
		g.bytesPerSecond.Store(each)
		begun := time.Now()
		var slow, quick bytes.Buffer
		done := make(chan error)
		go func() {
			done <- g.pump(t.Context(), &slow, bytes.NewReader(make([]byte, largest+each*seconds)), new(atomic.Int64), dull{})
		}()
		require.NoError(t, g.pump(t.Context(), &quick, bytes.NewReader(make([]byte, largest)), new(atomic.Int64), dull{}))
		require.Zero(t, time.Since(begun))
		require.NoError(t, <-done)
		require.InDelta(t, seconds, time.Since(begun).Seconds(), 0.01)
		require.Equal(t, largest+each*seconds, slow.Len())

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := g.pump(ctx, io.Discard, bytes.NewReader(make([]byte, largest+each*seconds)), new(atomic.Int64), dull{})
		require.Error(t, err, "the gateway ends")
	})
}

func TestMemoryLimit(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	defer debug.SetMemoryLimit(before)
	newSite(t).start("mqtt://127.0.0.1:1", "upstream: {url: %q}\nlimits: {memory_mib: 4096}\nlisteners: [{address: \"127.0.0.1:0\"}]\n")
	require.Equal(t, int64(4096<<20), debug.SetMemoryLimit(-1))
}

// TestSilentUpstream: a broker that takes the connection and says nothing is away.
func TestSilentUpstream(t *testing.T) {
	const text = "upstream: {url: %q, timeout: 100ms}\ndrain: 0s\nlisteners: [{address: \"127.0.0.1:0\"}]\n"
	r := newSite(t).start(listening(t, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) }), text)
	require.Equal(t, wire.ServerUnavailable, connack(t, r.listeners[0].served.Addr().String(), wire.V5))
}

// deadlines remembers those of a connection.
type deadlines struct {
	net.Conn
	set []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.set = append(d.set, t)
	return d.Conn.SetReadDeadline(t)
}

// TestTimeoutIsForConnackAlone: what the broker says later it may say whenever it likes.
func TestTimeoutIsForConnackAlone(t *testing.T) {
	here, broker := net.Pipe()
	defer broker.Close()
	go func() { _, _ = broker.Write([]byte{0x20, 2, 0, 0}) }()
	client, ours := net.Pipe()
	defer client.Close()
	go func() { _, _ = io.Copy(io.Discard, client) }()
	conn := &deadlines{Conn: here}
	g := &gateway{upstream: &upstream{timeout: patience}}
	require.NoError(t, g.first(ours, conn, wire.V311))
	require.Len(t, conn.set, 2)
	require.False(t, conn.set[0].IsZero())
	require.True(t, conn.set[1].IsZero())
}

// TestHalfClosed: a client that has said its last word still gets the answer to it.
func TestHalfClosed(t *testing.T) {
	conn := answered(t, func(conn net.Conn) {
		said, err := io.ReadAll(conn)
		if err == nil {
			_, _ = conn.Write(said)
		}
	})
	_, err := conn.Write([]byte{0xc0, 0})
	require.NoError(t, err)
	require.NoError(t, conn.CloseWrite())
	said, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, []byte{0xc0, 0}, said)
}

// TestBrokenOff: when a client's connection breaks, the broker's ends with it, and it publishes the Will.
func TestBrokenOff(t *testing.T) {
	gone := make(chan struct{}, 1)
	conn := answered(t, func(conn net.Conn) {
		_, _ = io.Copy(io.Discard, conn)
		gone <- struct{}{}
	})
	require.NoError(t, conn.SetLinger(0)) // a reset in place of an orderly end
	require.NoError(t, conn.Close())
	receive(t, gone)
}

// answered is a connection through a gateway that the broker has let in, and serves by itself from then on.
func answered(t *testing.T, serve func(net.Conn)) *net.TCPConn {
	t.Helper()
	r := newSite(t).start(listening(t, func(conn net.Conn) {
		if _, err := wire.Read(conn, 1<<16); err == nil {
			_, _ = conn.Write([]byte{0x20, 2, 0, 0})
			serve(conn)
		}
	}), everyTransport)
	conn, err := net.Dial("tcp", r.listeners[0].served.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	p, err := (&wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: []byte("c")}).Append(nil)
	require.NoError(t, err)
	_, err = conn.Write(p)
	require.NoError(t, err)
	answer, err := wire.Read(conn, 16)
	require.NoError(t, err)
	require.Equal(t, wire.Connack, answer.Type())
	return conn.(*net.TCPConn)
}

// TestWarningsAreFew: nobody fills a log by coming again and again.
func TestWarningsAreFew(t *testing.T) {
	const times = 100
	r := newSite(t).start("mqtt://127.0.0.1:1", "upstream: {url: %q}\ndrain: 0s\nlisteners: [{address: \"127.0.0.1:0\"}]\n")
	begun := time.Now()
	for range times {
		connack(t, r.listeners[0].served.Addr().String(), wire.V5)
	}
	said := func(level string) int {
		return strings.Count(r.log.String(), "level="+level+" msg=\"connection not relayed\"")
	}
	require.Eventually(t, func() bool { return said("WARN")+said("DEBUG") == times }, patience, time.Millisecond)
	require.NotZero(t, said("WARN"))
	require.LessOrEqual(t, said("WARN"), 1+int(time.Since(begun).Seconds()))
}
