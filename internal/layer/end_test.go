package layer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

var (
	errDenied  = errors.New("denied")
	deniedV5   = wire.Packet{0xE0, 1, wire.NotAuthorized}
	deniedConn = wire.Packet{0x20, 3, 0, wire.NotAuthorized, 0}
)

// goroutines waits until there are no more than before.
func goroutines(t *testing.T, before int) {
	t.Helper()
	require.Eventually(t, func() bool { return runtime.NumGoroutine() <= before+1 }, time.Minute, time.Millisecond, "goroutines left") // and this one
}

// times runs f n times, a few at once.
func times(n int, f func(i int)) {
	var wg sync.WaitGroup
	next := make(chan int)
	for range 2 {
		wg.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
}

// TestDenialArrives: a thousand clients in all that write all the time are denied in the ways in which a broker's half
// does it, and each of them reads the reason, after which the stream ends without an error. The broker behind closes as
// soon as its Read fails, as mochi does.
func TestDenialArrives(t *testing.T) {
	const each = 125 // times eight
	denials := map[string]struct {
		filter func() script
		last   wire.Packet
	}{
		"a filter that ends": {func() script {
			return script{in: func(c *Conn, p wire.Packet) (wire.Packet, error) {
				if p.Type() == wire.Publish {
					return nil, c.End(errDenied, deniedV5)
				}
				return p, nil
			}}
		}, deniedV5},
		"a timer": {func() script {
			var once sync.Once
			return script{in: func(c *Conn, p wire.Packet) (wire.Packet, error) {
				once.Do(func() { time.AfterFunc(time.Millisecond, func() { _ = c.End(errDenied, deniedV5) }) })
				return p, nil
			}}
		}, deniedV5},
		"a refused CONNECT": {func() script {
			return script{in: func(c *Conn, p wire.Packet) (wire.Packet, error) { return nil, c.End(errDenied, deniedConn) }}
		}, deniedConn},
		"an answer and an error": {func() script {
			return script{in: func(c *Conn, p wire.Packet) (wire.Packet, error) {
				if p.Type() == wire.Publish {
					return nil, errors.Join(errDenied, c.Send(deniedV5))
				}
				return p, nil
			}}
		}, deniedV5},
	}
	for name, pair := range map[string]func(*testing.T) (net.Conn, net.Conn){"tcp": tcpPair, "tls": tlsPair} {
		for way, d := range denials {
			t.Run(name+"/"+way, func(t *testing.T) {
				before := runtime.NumGoroutine()
				type end struct {
					last []byte
					err  error
				}
				ends := make([]end, each)
				reasons := make([]error, each)
				conns := make([][2]net.Conn, each)
				for i := range conns {
					conns[i][0], conns[i][1] = pair(t)
				}
				times(each, func(i int) {
					client, server := conns[i][0], New(slack{conns[i][1]}, d.filter())
					var wg sync.WaitGroup
					wg.Go(func() { // the broker
						_, reasons[i] = io.Copy(io.Discard, server)
						server.Close()
					})
					wg.Go(func() { // the client writes until it is told
						_, err := client.Write(connectV5)
						for err == nil {
							_, err = client.Write(publish0V5)
						}
					})
					ends[i].last, ends[i].err = io.ReadAll(client)
					client.Close()
					wg.Wait()
				})
				for i := range ends {
					require.NoError(t, ends[i].err)
					require.Equal(t, []byte(d.last), ends[i].last)
					require.ErrorIs(t, reasons[i], errDenied)
				}
				goroutines(t, before)
			})
		}
	}
}

// TestEndFromAnyGoroutine ends a connection on which both sides are busy: the peer reads whole packets and then the
// last one, whoever reads or writes on this side gets the reason, and gets it again.
func TestEndFromAnyGoroutine(t *testing.T) {
	connPairs(t, func(t *testing.T, client, server *Conn) {
		lowest := server
		if below, ok := server.inner.(*Conn); ok {
			lowest = below
		}
		if _, pipe := lowest.inner.(*pump); !pipe { // no half of which can be closed: its end is the deadline
			lowest.inner = slack{lowest.inner} // nobody writes yet
		}
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				var err error
				for err == nil {
					_, err = server.Write(publish0V5)
				}
				if !errors.Is(err, errDenied) {
					t.Errorf("Write: %v", err)
				}
			})
		}
		wg.Go(func() {
			if _, err := io.Copy(io.Discard, server); !errors.Is(err, errDenied) {
				t.Errorf("Read: %v", err)
			}
		})
		wg.Go(func() {
			var err error
			for err == nil {
				_, err = client.Write(publish0V5)
			}
		})
		read(t, client, 100*len(publish0V5))
		require.ErrorIs(t, server.End(errDenied, deniedV5), errDenied)
		require.ErrorIs(t, server.End(io.EOF, pingreq), errDenied, "the first counts")
		got, _ := io.ReadAll(client)
		whole := len(got) - len(deniedV5)
		require.Zero(t, whole%len(publish0V5))
		require.Equal(t, bytes.Repeat(publish0V5, whole/len(publish0V5)), got[:whole])
		require.Equal(t, []byte(deniedV5), got[whole:])
		client.Close()
		wg.Wait()
		for range 2 {
			_, err := server.Read(make([]byte, 1))
			require.ErrorIs(t, err, errDenied)
			_, err = server.Write(pingreq)
			require.ErrorIs(t, err, errDenied)
		}
		require.ErrorIs(t, server.Send(pingreq), errDenied)
		require.ErrorIs(t, server.Inject(pingreq), errDenied)
		require.ErrorIs(t, server.Release(pingreq), errDenied)
		require.NoError(t, server.Close())
		_, err := server.Read(make([]byte, 1))
		require.ErrorIs(t, err, errDenied, "after Close too")
	})
}

// TestNothingBehindTheLastWord: a Write that had found the connection open when End came writes the last word, as it
// writes all answers first, and then not its packet.
func TestNothingBehindTheLastWord(t *testing.T) {
	connPairs(t, func(t *testing.T, client, server *Conn) {
		server.out.Lock()
		_ = server.End(errDenied, deniedV5)
		server.writeAnswers()
		err := server.emit(publish0V5)
		server.out.Unlock()
		require.ErrorIs(t, err, errDenied)
		got, _ := io.ReadAll(client)
		require.Equal(t, []byte(deniedV5), got)
	})
}

// TestEndBehindWhatWasSaid: what was sent before leaves before, and what was injected before is read before.
func TestEndBehindWhatWasSaid(t *testing.T) {
	connPairs(t, func(t *testing.T, client, server *Conn) {
		go func() {
			if err := errors.Join(client.Send(publish1V5), client.Inject(pingreq)); err != nil {
				t.Error(err)
			}
			if err := client.End(errDenied, deniedV5); !errors.Is(err, errDenied) {
				t.Errorf("End: %v", err)
			}
		}()
		got, err := io.ReadAll(client)
		require.ErrorIs(t, err, errDenied)
		require.Equal(t, []byte(pingreq), got)
		got, err = io.ReadAll(server)
		if !errors.Is(err, io.ErrClosedPipe) { // which is how a pipe ends
			require.NoError(t, err)
		}
		require.Equal(t, append(bytes.Clone(publish1V5), deniedV5...), got)
	})
}

// TestEndUnblocksWrite: a Write that blocks because the peer does not read returns, with an error, and so does every
// later one.
func TestEndUnblocksWrite(t *testing.T) {
	a, b := tcpPair(t)
	defer b.Close()
	c := New(a, script{})
	done := make(chan error)
	go func() {
		_, err := c.Write(connectV5)
		for err == nil {
			_, err = c.Write(bytes.Repeat(publish0V5, 1000))
		}
		done <- err
	}()
	read(t, b, len(connectV5)+1)
	time.AfterFunc(10*time.Millisecond, func() { _ = c.End(errDenied, deniedV5) })
	require.Error(t, <-done)
	_, err := c.Write(pingreq)
	require.Error(t, err)
	_, err = c.Read(make([]byte, 1))
	require.ErrorIs(t, err, errDenied)
}

// TestEndWithoutLastWord ends with a reason alone.
func TestEndWithoutLastWord(t *testing.T) {
	a, b := tcpPair(t)
	c := New(a, script{})
	require.ErrorIs(t, c.End(nil, nil), net.ErrClosed)
	got, err := io.ReadAll(b)
	require.NoError(t, err)
	require.Empty(t, got)
}

// TestEndAtDeafPeer: a peer that does not read, and one that does not close, hold the connection for a second each.
func TestEndAtDeafPeer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		closed := make(chan struct{})
		c := New(a, script{closed: func() { close(closed) }})
		go func() { _, _ = c.Write(connectV5) }()
		read(t, b, len(connectV5))
		start := time.Now()
		_ = c.End(errDenied, deniedV5)
		require.NoError(t, c.Close())
		require.Equal(t, linger, time.Since(start))
		<-closed
		require.Equal(t, 2*linger, time.Since(start))
		_, err := io.ReadAll(b)
		require.NoError(t, err)
	})
}

// TestCloseLetsAnswersOut sends and closes before anything has left.
func TestCloseLetsAnswersOut(t *testing.T) {
	for name, pair := range map[string]func(*testing.T) (net.Conn, net.Conn){"tcp": tcpPair, "tls": tlsPair} {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			for range 100 {
				a, b := pair(t)
				c := New(slack{a}, script{})
				go func() { // for a while: this must not keep the reader from its turn
					var err error
					for n := 0; n < 5000 && err == nil; n++ {
						_, err = b.Write(publish0V5)
					}
				}()
				c.out.Lock()
				require.NoError(t, c.Send(pingreq))
				require.NoError(t, c.Send(deniedV5))
				closed := make(chan error)
				go func() { closed <- c.Close() }()
				for c.ended() == nil {
					runtime.Gosched()
				}
				c.out.Unlock()
				require.NoError(t, <-closed)
				got, err := io.ReadAll(b)
				require.NoError(t, err)
				require.Equal(t, append(bytes.Clone(pingreq), deniedV5...), got)
				b.Close()
			}
			goroutines(t, before)
		})
	}
}

// TestCloseDoesNotWaitForDeafPeer: Close returns although the peer does not read its answers.
func TestCloseDoesNotWaitForDeafPeer(t *testing.T) {
	a, b := net.Pipe()
	defer b.Close()
	c := New(a, script{})
	require.NoError(t, c.Send(pingreq))
	require.NoError(t, c.Close())
	_, err := c.Read(make([]byte, 1))
	require.ErrorIs(t, err, net.ErrClosed)
}

// TestDeadlinesDoNotCutTheLastWord: the local side's own deadlines, set after the end, have no effect on it.
func TestDeadlinesDoNotCutTheLastWord(t *testing.T) {
	a, b := tcpPair(t)
	c := New(a, script{})
	_ = c.End(errDenied, bytes.Repeat(deniedV5, 1<<20))
	require.NoError(t, c.SetDeadline(time.Unix(1, 0)))
	n, err := io.Copy(io.Discard, b)
	require.NoError(t, err)
	require.EqualValues(t, 3<<20, n)
}

// TestClosedMayTakeTheClosersLock: Closed comes on a goroutine of its own, so that whoever closes may hold a lock that
// it takes.
func TestClosedMayTakeTheClosersLock(t *testing.T) {
	var mu sync.Mutex
	for _, end := range []func(*Conn){func(c *Conn) { c.Close() }, func(c *Conn) { _ = c.End(errDenied, nil); c.Close() }} {
		a, b := tcpPair(t)
		b.Close()
		closed := make(chan struct{})
		c := New(a, script{closed: func() { mu.Lock(); defer mu.Unlock(); close(closed) }})
		mu.Lock()
		end(c)
		mu.Unlock()
		<-closed
	}
}
