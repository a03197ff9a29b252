package tlspsk

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
	"golang.org/x/net/nettest"
)

func TestNetConn(t *testing.T) {
	for _, v := range []variant{{TLS13, TLS_AES_128_GCM_SHA256, X25519}, {TLS12, TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256, P256}} {
		for name, pipe := range map[string]func() (net.Conn, net.Conn){
			"TCP":  func() (net.Conn, net.Conn) { return tcpPair(t) },
			"Pipe": net.Pipe,
		} {
			t.Run(v.version.String()+" "+name, func(t *testing.T) {
				nettest.TestConn(t, func() (net.Conn, net.Conn, func(), error) {
					a, b := pipe()
					client, server := Client(a, v.apply(clientConfig())), Server(b, serverConfig())
					clientErr, serverErr := shake(client, server)
					stop := func() {
						if name == "Pipe" { // where a close_notify waits for the peer to read it
							_ = a.Close()
							_ = b.Close()
						}
						_ = client.Close()
						_ = server.Close()
					}
					return client, server, stop, errors.Join(clientErr, serverErr)
				})
			})
		}
	}
}

// TestReadGoesOnAfterItsDeadline lets a record arrive in pieces around a deadline.
func TestReadGoesOnAfterItsDeadline(t *testing.T) {
	for _, v := range onePerSuite() {
		a, b := tcpPair(t)
		slow := &gate{Conn: b}
		client, server := Client(a, v.apply(clientConfig())), Server(slow, serverConfig())
		clientErr, serverErr := shake(client, server)
		require.NoError(t, clientErr)
		require.NoError(t, serverErr)
		slow.hold(7)
		_, err := server.Write([]byte("in two pieces"))
		require.NoError(t, err)
		buf := make([]byte, 64)
		require.NoError(t, client.SetReadDeadline(time.Now().Add(20*time.Millisecond)))
		_, err = client.Read(buf)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		_, err = client.Read(buf)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		slow.release(t)
		require.NoError(t, client.SetReadDeadline(time.Time{}))
		n, err := client.Read(buf)
		require.NoError(t, err)
		require.Equal(t, "in two pieces", string(buf[:n]))
	}
}

// gate is a connection that keeps what is behind the first octets of a Write to itself for a while.
type gate struct {
	net.Conn
	mu    sync.Mutex
	armed bool
	pass  int
	held  []byte
}

func (g *gate) hold(pass int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed, g.pass = true, pass
}

func (g *gate) release(t *testing.T) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = false
	_, err := g.Conn.Write(g.held)
	require.NoError(t, err)
}

func (g *gate) Write(b []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.armed {
		return g.Conn.Write(b)
	}
	n, err := g.Conn.Write(b[:min(g.pass, len(b))])
	if err != nil {
		return n, err
	}
	g.pass -= n
	g.held = append(g.held, b[n:]...)
	return len(b), nil
}

// TestWriteGoesOnAfterItsDeadline fills the connection until a Write times out, and finds every octet that was said to
// be written at the other end, once.
func TestWriteGoesOnAfterItsDeadline(t *testing.T) {
	client, server := pair(t, clientConfig(), serverConfig())
	require.NoError(t, client.SetWriteDeadline(time.Now().Add(50*time.Millisecond)))
	block := make([]byte, 300_000)
	written := 0
	for {
		for i := range block {
			block[i] = byte(written + i)
		}
		n, err := client.Write(block)
		written += n
		if err != nil {
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			break
		}
	}
	n, err := client.Write([]byte("late"))
	require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	require.Zero(t, n)

	checked := make(chan error, 1)
	go func() {
		at, buf := 0, make([]byte, 1<<16)
		for {
			n, err := server.Read(buf)
			for i, b := range buf[:n] {
				if b != byte(at+i) {
					checked <- errors.New("another octet than was written")
					return
				}
			}
			at += n
			if err == io.EOF && at == written+100 {
				err = nil
			}
			if err != nil || at == written+100 {
				checked <- err
				return
			}
		}
	}()
	require.NoError(t, client.SetWriteDeadline(time.Time{}))
	for i := range 100 {
		block[i] = byte(written + i)
	}
	n, err = client.Write(block[:100])
	require.NoError(t, err)
	require.Equal(t, 100, n)
	require.NoError(t, client.Close())
	require.NoError(t, <-checked)
}

func TestHalfClose(t *testing.T) {
	for _, v := range onePerSuite() {
		client, server := pair(t, v.apply(clientConfig()), serverConfig())
		_, err := client.Write([]byte("last words"))
		require.NoError(t, err)
		require.NoError(t, client.CloseWrite())
		require.NoError(t, client.CloseWrite(), "a second time")
		_, err = client.Write([]byte("more"))
		require.Error(t, err)

		all, err := io.ReadAll(server)
		require.NoError(t, err)
		require.Equal(t, "last words", string(all))
		_, err = server.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err, "sticky")
		exchange(t, server, client, 50_000)
		require.NoError(t, server.Close())
		_, err = client.Read(make([]byte, 1))
		require.Equal(t, io.EOF, err)
	}
}

func TestCloseWriteNeedsAHandshake(t *testing.T) {
	a, _ := net.Pipe()
	require.ErrorIs(t, Client(a, clientConfig()).CloseWrite(), ErrIncomplete)
}

// TestTruncationIsReported ends the connection below without a close_notify, between records and inside one.
func TestTruncationIsReported(t *testing.T) {
	for _, v := range onePerSuite() {
		for _, pass := range []int{1 << 20, 12} {
			a, b := tcpPair(t)
			cut := &gate{Conn: b}
			client, server := Client(a, v.apply(clientConfig())), Server(cut, serverConfig())
			clientErr, serverErr := shake(client, server)
			require.NoError(t, clientErr)
			require.NoError(t, serverErr)
			_, err := server.Write([]byte("whole"))
			require.NoError(t, err)
			cut.hold(pass)
			_, err = server.Write([]byte("cut off"))
			require.NoError(t, err)
			require.NoError(t, b.Close())
			all, err := io.ReadAll(client)
			require.Equal(t, io.ErrUnexpectedEOF, err)
			if pass > 20 {
				require.Equal(t, "wholecut off", string(all))
			} else {
				require.Equal(t, "whole", string(all))
			}
			_, err = client.Read(make([]byte, 1))
			require.Equal(t, io.ErrUnexpectedEOF, err, "sticky")
		}
	}
}

// TestCloseNotifyInTheHandshake is the peer's alert, and not the end of data that there were none of.
func TestCloseNotifyInTheHandshake(t *testing.T) {
	for _, server := range []bool{false, true} {
		a, b := tcpPair(t)
		c := Client(b, clientConfig())
		if server {
			c = Server(b, serverConfig())
		}
		_, err := a.Write(record.AppendFirst(nil, record.Alert, []byte{levelWarning, byte(alertCloseNotify)}))
		require.NoError(t, err)
		_, err = c.Read(make([]byte, 1))
		require.Equal(t, alertCloseNotify, err)
	}
}

// TestForgedAlertsAreNoEnd: an alert in the clear, which anybody can put between, is neither a close_notify nor what
// the peer has to say, also not where no record has come yet under the present keys.
func TestForgedAlertsAreNoEnd(t *testing.T) {
	update := func(c *Conn) {
		c.out.Lock()
		defer c.out.Unlock()
		require.NoError(t, c.updateKey())
		require.NoError(t, c.flush())
	}
	for _, v := range onePerSuite() {
		for _, alert := range []AlertError{alertCloseNotify, alertUserCanceled, alertInternalError} {
			for i := range 4 {
				from, to := pair(t, v.apply(clientConfig()), serverConfig())
				if i&1 != 0 {
					from, to = to, from
				}
				if i&2 != 0 && from.ConnectionState().Version == TLS13 {
					update(from)
				}
				raw, err := (*record.Cipher)(nil).Append(nil, record.Alert, []byte{levelWarning, byte(alert)})
				require.NoError(t, err)
				_, err = from.conn.Write(raw)
				require.NoError(t, err)
				_, err = to.Read(make([]byte, 1))
				var f *fault
				require.ErrorAs(t, err, &f, "%v %v", v, alert)
			}
		}
	}
}

func TestCloseEndsReadsAndWrites(t *testing.T) {
	client, _ := pair(t, clientConfig(), serverConfig())
	ended := make(chan error, 2)
	go func() {
		_, err := client.Read(make([]byte, 1))
		ended <- err
	}()
	go func() {
		var err error
		for err == nil {
			_, err = client.Write(make([]byte, 1<<16)) // until the peer's buffers are full
		}
		ended <- err
	}()
	require.Eventually(t, func() bool { return client.writers.Load() == 1 }, time.Minute, time.Millisecond)
	require.NoError(t, client.Close())
	require.ErrorIs(t, <-ended, net.ErrClosed)
	require.ErrorIs(t, <-ended, net.ErrClosed)
	require.Nil(t, client.in.secret, "who was reading has wiped what for")
	require.Nil(t, client.out.secret, "and so has who was writing")
	require.ErrorIs(t, client.Close(), net.ErrClosed)
	_, err := client.Write([]byte("x"))
	require.ErrorIs(t, err, net.ErrClosed)
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
}

// TestWriteErrorIsSticky: behind a part of a record nothing may leave, whatever the connection below says by then.
func TestWriteErrorIsSticky(t *testing.T) {
	a, b := tcpPair(t)
	faulty := &faulty{Conn: a}
	client, server := Client(faulty, clientConfig()), Server(b, serverConfig())
	clientErr, serverErr := shake(client, server)
	require.NoError(t, errors.Join(clientErr, serverErr))
	faulty.err = errors.New("no more")
	_, err := client.Write([]byte("lost"))
	require.ErrorIs(t, err, faulty.err)
	left := faulty.written
	want := err
	faulty.err = nil
	_, err = client.Write([]byte("more"))
	require.ErrorIs(t, err, want)
	require.ErrorIs(t, client.CloseWrite(), want)
	_ = client.Close()
	require.Equal(t, left, faulty.written, "no close_notify either")
}

// faulty is a connection whose Writes fail behind three octets while it has an error.
type faulty struct {
	net.Conn
	err     error
	written int
}

func (f *faulty) Write(b []byte) (int, error) {
	if f.err != nil {
		b = b[:3]
	}
	n, err := f.Conn.Write(b)
	f.written += n
	return n, errors.Join(f.err, err)
}

func TestHandshakeContext(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	ctx, cancel := context.WithCancel(t.Context())
	client := Client(a, clientConfig())
	done := make(chan error, 1)
	go func() { done <- client.HandshakeContext(ctx) }()
	_, err := b.Read(make([]byte, 1)) // it has begun
	require.NoError(t, err)
	cancel()
	require.ErrorIs(t, <-done, context.Canceled)
	_, err = b.Read(make([]byte, 1))
	require.Equal(t, io.EOF, err, "the connection below is closed")
	require.ErrorIs(t, client.Handshake(), context.Canceled, "sticky")

	client = Client(a, clientConfig())
	require.ErrorIs(t, client.HandshakeContext(ctx), context.Canceled, "over before it began")

	client, server := pair(t, clientConfig(), serverConfig())
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	require.NoError(t, client.HandshakeContext(ctx), "it is complete")
	exchange(t, client, server, 10)
}

// TestHandshakeErrorIsSticky also covers deadlines: a handshake that timed out cannot go on.
func TestHandshakeErrorIsSticky(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		defer b.Close()
		go func() { _, _ = io.Copy(io.Discard, b) }()
		client := Client(a, clientConfig())
		require.NoError(t, client.SetDeadline(time.Now().Add(time.Second)))
		err := client.Handshake()
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, client.SetDeadline(time.Time{}))
		require.Equal(t, err, client.Handshake())
		_, readErr := client.Read(make([]byte, 1))
		require.Equal(t, err, readErr)
		_, writeErr := client.Write([]byte("x"))
		require.Equal(t, err, writeErr)
		require.NoError(t, client.Close())
	})
}

// TestConcurrentUse begins with the handshake, which every goroutine may be the first to need.
func TestConcurrentUse(t *testing.T) {
	for _, v := range onePerSuite() {
		cc, sc := v.apply(clientConfig()), serverConfig()
		cc.limit, sc.limit = 400, 300 // many updates of the keys on the way
		if v.suite == TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256 {
			cc.limit, sc.limit = 0, 0
		}
		a, b := tcpPair(t)
		client, server := Client(a, cc), Server(b, sc)
		const each, size = 200, 100
		var wg sync.WaitGroup
		for _, c := range []*Conn{client, server} {
			for range 4 {
				wg.Go(func() {
					for range each {
						if n, err := c.Write(make([]byte, size)); err != nil || n != size {
							t.Error(n, err)
						}
					}
				})
			}
			var got sync.Mutex
			total := 0
			for range 3 {
				wg.Go(func() {
					buf := make([]byte, 333)
					for {
						got.Lock()
						if total == 4*each*size {
							got.Unlock()
							return
						}
						n, err := c.Read(buf)
						total += n
						got.Unlock()
						if err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			wg.Go(func() {
				for range each {
					c.ConnectionState()
					_, _ = c.ExportKeyingMaterial("EXPORTER", nil, 32)
					_ = c.LocalAddr()
				}
			})
		}
		wg.Wait()
	}
}
