package layer

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The checks of golang.org/x/net/nettest, with MQTT packets for bytes. Left out is what a sticky write error rules out:
// writing again after a Write has timed out, which crypto/tls rules out too.

// connPairs are connections of every kind that a layer treats differently, with a layer on either side and CONNECT
// exchanged.
func connPairs(t *testing.T, check func(t *testing.T, client, server *Conn)) {
	for name, pair := range map[string]func(*testing.T) (net.Conn, net.Conn){
		"tcp":  tcpPair,
		"tls":  tlsPair,
		"pump": func(*testing.T) (net.Conn, net.Conn) { return net.Pipe() },
		"layers": func(t *testing.T) (net.Conn, net.Conn) {
			a, b := tcpPair(t)
			return New(New(a, script{}), script{}), New(b, script{})
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			client, server := New(a, script{}), New(b, script{})
			t.Cleanup(func() { client.Close(); server.Close() })
			go client.Write(connectV5)
			read(t, server, len(connectV5))
			go server.Write(connackV5)
			read(t, client, len(connackV5))
			check(t, client, server)
		})
	}
}

func TestReadDeadlines(t *testing.T) {
	connPairs(t, func(t *testing.T, client, server *Conn) {
		timesOut := func() {
			t.Helper()
			_, err := client.Read(make([]byte, 8))
			require.ErrorIs(t, err, os.ErrDeadlineExceeded)
			var ne net.Error
			require.True(t, errors.As(err, &ne) && ne.Timeout())
		}
		for range 3 { // past, soon, and while a Read waits; none of them ends the connection
			require.NoError(t, client.SetReadDeadline(time.Unix(1, 0)))
			timesOut()
			timesOut()
			require.NoError(t, client.SetDeadline(time.Now().Add(time.Millisecond)))
			timesOut()
			require.NoError(t, client.SetDeadline(time.Time{}))
			done := make(chan struct{})
			go func() { defer close(done); timesOut() }()
			require.NoError(t, client.SetReadDeadline(time.Unix(1, 0)))
			<-done
			require.NoError(t, client.SetReadDeadline(time.Now().Add(time.Hour)))
			go server.Write(publish0V5)
			require.Equal(t, []byte(publish0V5), read(t, client, len(publish0V5)))
			require.NoError(t, client.SetReadDeadline(time.Time{}))
		}
	})
}

func TestWriteDeadlineIsSticky(t *testing.T) {
	connPairs(t, func(t *testing.T, client, server *Conn) {
		require.NoError(t, client.SetWriteDeadline(time.Unix(1, 0)))
		_, err := client.Write(publish0V5)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
		require.NoError(t, client.SetWriteDeadline(time.Time{}))
		_, err = client.Write(publish0V5)
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "half a packet may have been sent")
	})
}

func TestWriteToPeerThatDoesNotRead(t *testing.T) {
	connPairs(t, func(t *testing.T, client, server *Conn) {
		require.NoError(t, client.SetWriteDeadline(time.Now().Add(20*time.Millisecond)))
		var err error
		for err == nil {
			_, err = client.Write(publish0V5)
		}
		require.ErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

func TestCloseUnblocks(t *testing.T) {
	connPairs(t, func(t *testing.T, client, server *Conn) {
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				_, err := client.Read(make([]byte, 8))
				require.Error(t, err)
			})
			wg.Go(func() {
				var err error
				for err == nil {
					_, err = client.Write(publish0V5)
				}
			})
		}
		require.NoError(t, client.Close())
		wg.Wait()
		_, err := client.Read(make([]byte, 8))
		require.Error(t, err)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
		_, err = io.Copy(io.Discard, server)
		require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	})
}

// TestNothingIsReadAfterClose closes with packets in the buffer, of which one is half read.
func TestNothingIsReadAfterClose(t *testing.T) {
	connPairs(t, func(t *testing.T, client, server *Conn) {
		go server.Write(append(bytes.Clone(publish0V5), publish0V5...))
		read(t, client, 3)
		client.Close()
		n, err := client.Read(make([]byte, 100))
		require.Zero(t, n)
		require.Error(t, err)
	})
}

// TestConcurrentMethods calls everything at once, for the race detector.
func TestConcurrentMethods(t *testing.T) {
	connPairs(t, func(t *testing.T, client, server *Conn) {
		go io.Copy(io.Discard, server)
		go io.Copy(io.Discard, client)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { client.Lock(); defer client.Unlock(); client.Write(publish0V5) })
			wg.Go(func() { server.Write(publish0V5) })
			wg.Go(func() { client.Inject(pingreq) })
			wg.Go(func() { client.Send(pingreq) })
			wg.Go(func() { client.SetReadDeadline(time.Now().Add(time.Hour)) })
			wg.Go(func() { client.SetDeadline(time.Now().Add(time.Hour)) })
			wg.Go(func() { client.SetWriteDeadline(time.Time{}) })
			wg.Go(func() { client.LocalAddr(); client.RemoteAddr(); client.NetConn(); client.Version() })
		}
		wg.Wait()
	})
}
