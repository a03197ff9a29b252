package layer

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Attacks on a Listener by peers that are not established.
//
//   - ten thousand that are silent, that trickle a CONNECT, or that
//     never finish TLS, while true clients come           TestListenerUnderTenThousandBadPeers
//   - peers of which one address opens most               TestPendingDrivesOutTheBusiest
//   - one that takes too long                             TestListenerTimeout
//   - those who are there when the limits change          TestListenerSetLimits
//   - one that sends too much before it is known          TestListenerBoundsWhatComesBeforeConnect
//   - an Accept that fails for a while                    TestListenerSurvivesTemporaryErrors
//   - more than the owner accepts                         TestListenerThatNobodyAcceptsFrom
//
// Not covered: a flood of TCP or TLS handshakes that are finished, which costs the processor what it costs any server.

// passing lets everything pass.
func passing(context.Context, net.Conn) (Filter, error) { return script{}, nil }

// serving returns a Listener on TCP and what it fails with.
func serving(t *testing.T, config ListenerConfig) *Listener {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	if config.Filter == nil {
		config.Filter = passing
	}
	l, err := NewListener(inner, config)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

// dial connects from an address of this host.
func dial(t *testing.T, l *Listener, from string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	conn, err := d.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

func TestListenerUnderTenThousandBadPeers(t *testing.T) {
	const peers, pending = 10_000, 200
	before := runtime.NumGoroutine()
	server, trusting := tlsConfigs()
	var failed atomic.Int64
	l := serving(t, ListenerConfig{TLS: server, MaxPending: pending, MaxPendingPerSource: pending / 2, Timeout: time.Minute,
		Failed: func(net.Addr, error) { failed.Add(1) }})

	established := func(from string) {
		client := tls.Client(dial(t, l, from), trusting)
		_, err := client.Write(connectV5)
		require.NoError(t, err)
		c, err := l.Accept()
		require.NoError(t, err)
		require.Equal(t, []byte(connectV5), read(t, c, len(connectV5)))
		require.NoError(t, c.Close())
		require.NoError(t, client.Close())
	}
	var bad []net.Conn
	peak := 0
	for i := range peers {
		conn := dial(t, l, "127.0.0.1")
		bad = append(bad, conn)
		switch i % 4 {
		case 1: // the start of TLS
			_, _ = conn.Write([]byte{22, 3, 1, 2, 0, 1, 0, 1})
		case 2: // not TLS
			_, _ = conn.Write(connectV5)
		case 3: // a CONNECT that does not come to its end
			if i%400 == 3 {
				client := tls.Client(conn, trusting)
				if client.Handshake() == nil {
					_, _ = client.Write(connectV5[:5])
				}
			}
		}
		if i%1000 == 999 {
			established("127.0.0.2")
			peak = max(peak, runtime.NumGoroutine())
		}
		if len(bad) == 2000 {
			for _, conn := range bad[:1000] {
				conn.Close()
			}
			bad = append(bad[:0], bad[1000:]...)
		}
	}
	established("127.0.0.1") // from where they come, too
	require.LessOrEqual(t, peak, before+3*pending)
	require.Eventually(t, func() bool { return failed.Load() >= peers-pending }, time.Minute, time.Millisecond)
	l.pending.mu.Lock()
	require.LessOrEqual(t, l.pending.all.Len(), pending/2)
	l.pending.mu.Unlock()

	require.NoError(t, l.Close())
	for _, conn := range bad {
		conn.Close()
	}
	goroutines(t, before)
	require.Eventually(t, func() bool {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.pending.mu.Lock()
		defer l.pending.mu.Unlock()
		return len(l.conns) == 0 && len(l.pending.counts) == 0
	}, time.Minute, time.Millisecond)
}

func TestPendingDrivesOutTheBusiest(t *testing.T) {
	addr := func(s string) net.Addr { return &net.TCPAddr{IP: net.ParseIP(s), Port: 1} }
	p := pending{most: 6, each: 4}
	out := map[string]int{}
	add := func(from string) *pendingConn {
		return p.add(sourceOf(addr(from)), func(err error) {
			require.ErrorIs(t, err, ErrCrowded)
			out[from]++
		})
	}
	first := add("10.0.0.1")
	for range 5 {
		add("10.0.0.2")
	}
	require.Equal(t, map[string]int{"10.0.0.2": 1}, out, "over the bound of a source")
	add("2001:db8::1:1")
	require.Equal(t, map[string]int{"10.0.0.2": 1}, out)
	add("2001:db8::2:2") // the same network
	require.Equal(t, map[string]int{"10.0.0.2": 2}, out, "over the bound of all: the source with most pays")
	for _, a := range []string{"10.0.0.3", "10.0.0.4", "10.0.0.5"} {
		add(a)
	}
	require.Equal(t, map[string]int{"10.0.0.2": 4, "2001:db8::1:1": 1}, out)
	p.remove(first)
	p.remove(first)
	require.Equal(t, 5, p.all.Len())
	require.NotContains(t, p.counts, first.source)
	require.Equal(t, sourceOf(addr("::ffff:10.0.0.1")), first.source)
	require.NotEqual(t, sourceOf(addr("10.0.0.2")), sourceOf(addr("10.0.0.3")))
	require.NotEqual(t, sourceOf(addr("2001:db8::1")), sourceOf(addr("2001:db8:0:1::1")), "networks side by side")
	require.NotPanics(t, func() { sourceOf(&net.UnixAddr{}); sourceOf(&net.TCPAddr{}) })
}

// pipes is a listener of pipes.
type pipes struct {
	conns  chan net.Conn
	closed chan struct{}
	errs   []error
}

func newPipes(errs ...error) *pipes {
	return &pipes{conns: make(chan net.Conn, 100), closed: make(chan struct{}), errs: errs}
}

func (p *pipes) Accept() (net.Conn, error) {
	if len(p.errs) > 0 {
		err := p.errs[0]
		p.errs = p.errs[1:]
		return nil, err
	}
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Addr() net.Addr { return nil }
func (p *pipes) Close() error   { close(p.closed); return nil }
func (p *pipes) dial() net.Conn {
	a, b := net.Pipe()
	p.conns <- b
	return a
}

func TestListenerTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes()
		start := time.Now()
		after := make(chan time.Duration, 1)
		failed := func(_ net.Addr, err error) {
			require.ErrorIs(t, err, ErrSlow)
			after <- time.Since(start)
		}
		l, err := NewListener(p, ListenerConfig{Filter: passing, Timeout: 3 * time.Second, Failed: failed})
		require.NoError(t, err)
		conn := p.dial()
		for i := range connectV5 { // a byte every second
			if _, err := conn.Write(connectV5[i : i+1]); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		require.Equal(t, 3*time.Second, <-after)
		_, err = conn.Read(make([]byte, 1))
		require.Error(t, err)
		require.NoError(t, l.Close())
	})
}

// TestListenerSetLimits: a smaller bound ends the oldest at once, and holds for those who come then; the time is that
// of whoever comes later; what is 0, and what is an error, changes nothing.
func TestListenerSetLimits(t *testing.T) {
	failed := make(chan error, 10)
	l := serving(t, ListenerConfig{Timeout: time.Hour, Failed: func(_ net.Addr, err error) { failed <- err }})
	ended := func(conn net.Conn) {
		t.Helper()
		_, err := conn.Read(make([]byte, 1))
		require.Error(t, err)
		require.Error(t, <-failed)
	}
	pending := func() int {
		l.pending.mu.Lock()
		defer l.pending.mu.Unlock()
		return l.pending.all.Len()
	}
	var conns []net.Conn
	come := func(from string) net.Conn {
		t.Helper()
		conn := dial(t, l, from)
		conns = append(conns, conn)
		return conn
	}
	await := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return pending() == n }, time.Minute, time.Millisecond)
	}
	for n := range 4 {
		come("127.0.0.1")
		await(n + 1)
	}
	come("127.0.0.2")
	await(5)
	require.Error(t, l.SetLimits(-1, 0, 0))
	require.Error(t, l.SetLimits(0, 1, -1))
	require.NoError(t, l.SetLimits(0, 0, 0))
	require.Equal(t, 5, pending())
	require.NoError(t, l.SetLimits(0, 0, 3)) // for each source
	ended(conns[0])
	require.Equal(t, 4, pending())
	require.NoError(t, l.SetLimits(0, 2, 0)) // in all
	ended(conns[1])
	ended(conns[2])
	require.Equal(t, 2, pending())
	come("127.0.0.2")
	ended(conns[3])
	require.NoError(t, l.SetLimits(time.Millisecond, 10, 10))
	ended(come("127.0.0.1"))
	await(2) // who have an hour
	_, err := conns[4].Write(connectV5)
	require.NoError(t, err)
	accepted, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, accepted.Close())
}

func TestListenerBoundsWhatComesBeforeConnect(t *testing.T) {
	errs := make(chan error, 1)
	l := serving(t, ListenerConfig{MaxConnect: 100, Failed: func(_ net.Addr, err error) { errs <- err },
		Filter: func(context.Context, net.Conn) (Filter, error) {
			return script{in: func(c *Conn, p wire.Packet) (wire.Packet, error) {
				if p.Type() == wire.Connect {
					c.Hold()
				}
				return p, nil
			}}, nil
		}})
	conn := dial(t, l, "127.0.0.1")
	write(t, conn, wire.Packet{0x10, 0x64})
	require.ErrorIs(t, <-errs, wire.ErrTooLarge)

	conn = dial(t, l, "127.0.0.1")
	_, _ = conn.Write(connectV5)
	for range 100 {
		_, _ = conn.Write(publish0V5)
	}
	require.ErrorIs(t, <-errs, ErrFlood, "what is held")
}

func TestListenerSurvivesTemporaryErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPipes(syscall.EMFILE, syscall.EMFILE, &net.OpError{Op: "accept", Err: syscall.ENFILE})
		l, err := NewListener(p, ListenerConfig{Filter: passing})
		require.NoError(t, err)
		conn := p.dial()
		go conn.Write(connectV5)
		c, err := l.Accept()
		require.NoError(t, err)
		c.Close()
		require.NoError(t, l.Close())

		broken := errors.New("broken")
		l, err = NewListener(newPipes(broken), ListenerConfig{Filter: passing})
		require.NoError(t, err)
		_, err = l.Accept()
		require.ErrorIs(t, err, broken)
		l.Close()
	})
}

func TestListenerThatNobodyAcceptsFrom(t *testing.T) {
	l := serving(t, ListenerConfig{MaxPending: 3})
	for i := range 3 {
		write(t, dial(t, l, "127.0.0.1"), connectV5)
		require.Eventually(t, func() bool { return len(l.Established()) == i+1 && len(l.ready) == i+1 }, time.Minute, time.Millisecond)
	}
	for range 2 {
		conn := dial(t, l, "127.0.0.1")
		write(t, conn, connectV5)
		got, err := io.ReadAll(conn)
		require.NoError(t, err)
		require.Equal(t, []byte{0x20, 3, 0, wire.ServerBusy, 0}, got)
	}
	require.NoError(t, l.Close())
	require.Empty(t, l.ready)
}

// TestListenerTellsWhoIsEstablished ends a connection by its Client Identifier, as a takeover does, and then all of
// them.
func TestListenerTellsWhoIsEstablished(t *testing.T) {
	before := runtime.NumGoroutine()
	l := serving(t, ListenerConfig{})
	var clients, conns []net.Conn
	for range 3 {
		client := dial(t, l, "127.0.0.1")
		write(t, client, connectV5)
		c, err := l.Accept()
		require.NoError(t, err)
		write(t, c, []byte{0x20, 3, 0, 0, 0})
		_, err = io.ReadFull(client, make([]byte, 5))
		require.NoError(t, err)
		clients, conns = append(clients, client), append(conns, c)
	}
	silent := dial(t, l, "127.0.0.1")
	require.Len(t, l.Client("c1"), 3)
	require.Empty(t, l.Client("c2"))
	first := conns[0].(*Conn)
	require.ErrorIs(t, first.End(errDenied, Goodbye(first, wire.SessionTakenOver)), errDenied)
	got, err := io.ReadAll(clients[0])
	require.NoError(t, err)
	require.Equal(t, []byte{0xE0, 1, wire.SessionTakenOver}, got)
	clients[0].Close()
	require.Eventually(t, func() bool { return len(l.Established()) == 2 }, time.Minute, time.Millisecond)

	done := make(chan error)
	go func() { done <- l.Shutdown(context.Background()) }()
	for i, client := range clients[1:] {
		got, err := io.ReadAll(client)
		require.NoError(t, err)
		require.Equal(t, []byte{0xE0, 1, wire.ServerShuttingDown}, got)
		_, err = io.Copy(io.Discard, conns[i+1])
		require.ErrorIs(t, err, ErrShutdown)
		client.Close()
	}
	require.NoError(t, <-done)
	_, err = l.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = silent.Read(make([]byte, 1))
	require.Error(t, err)
	goroutines(t, before)
}

// TestShutdownEndsWithItsContext closes what is left when a client does not.
func TestShutdownEndsWithItsContext(t *testing.T) {
	l := serving(t, ListenerConfig{})
	client := dial(t, l, "127.0.0.1")
	write(t, client, connectV5)
	_, err := l.Accept()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, l.Shutdown(ctx), context.Canceled)
	require.Eventually(t, func() bool { return len(l.Established()) == 0 }, time.Minute, time.Millisecond)
}

// TestCloseLeavesTheEstablishedAlone closes the listener only.
func TestCloseLeavesTheEstablishedAlone(t *testing.T) {
	l := serving(t, ListenerConfig{})
	client := dial(t, l, "127.0.0.1")
	write(t, client, connectV5)
	c, err := l.Accept()
	require.NoError(t, err)
	require.NoError(t, l.Close())
	read(t, c, len(connectV5))
	write(t, c, connackV5)
	require.Equal(t, []byte(connackV5), read(t, client, len(connackV5)))
	c.Close()
}

func TestListenerConfigIsChecked(t *testing.T) {
	for _, config := range []ListenerConfig{
		{},
		{Filter: passing, TLS: &tls.Config{}, Secure: func(context.Context, net.Conn) (net.Conn, error) { return nil, nil }},
		{Filter: passing, Timeout: -1}, {Filter: passing, MaxPending: -1}, {Filter: passing, MaxPendingPerSource: -1}, {Filter: passing, MaxConnect: -1},
	} {
		_, err := NewListener(newPipes(), config)
		require.Error(t, err)
	}
}

// TestListenerFailures hears of each connection why it was not established.
func TestListenerFailures(t *testing.T) {
	errs := make(chan error, 1)
	failed := func(_ net.Addr, err error) { errs <- err }
	refused := errors.New("refused")
	secure := serving(t, ListenerConfig{Failed: failed, Secure: func(context.Context, net.Conn) (net.Conn, error) { return nil, refused }})
	dial(t, secure, "127.0.0.1")
	require.ErrorIs(t, <-errs, refused)
	filter := serving(t, ListenerConfig{Failed: failed, Filter: func(context.Context, net.Conn) (Filter, error) { return nil, refused }})
	dial(t, filter, "127.0.0.1")
	require.ErrorIs(t, <-errs, refused)
	denied := serving(t, ListenerConfig{Failed: failed, Filter: func(context.Context, net.Conn) (Filter, error) {
		return script{in: func(c *Conn, p wire.Packet) (wire.Packet, error) { return nil, c.End(errDenied, deniedConn) }}, nil
	}})
	conn := dial(t, denied, "127.0.0.1")
	write(t, conn, connectV5)
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, []byte(deniedConn), got)
	conn.Close()
	require.ErrorIs(t, <-errs, errDenied)
}

// TestListenerUnknownVersion: who speaks another MQTT hears so.
func TestListenerUnknownVersion(t *testing.T) {
	errs := make(chan error, 1)
	l := serving(t, ListenerConfig{Failed: func(_ net.Addr, err error) { errs <- err }})
	conn := dial(t, l, "127.0.0.1")
	write(t, conn, wire.Packet("\x10\x0d\x00\x04MQTT\x06\x02\x00\x3c\x00\x00\x00"))
	got, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, []byte{0x20, 3, 0, 0x84, 0}, got)
	require.NoError(t, conn.Close())
	require.ErrorIs(t, <-errs, wire.ErrVersion)
}
