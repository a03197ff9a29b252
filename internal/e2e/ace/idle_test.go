package ace

import (
	"crypto/tls"
	"flag"
	"net"
	"runtime"
	"runtime/debug"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// idle is how many connections TestIdleConnections opens; 10000 is the number of the promise, and takes a minute.
var idle = flag.Int("idle", 200, "connections of TestIdleConnections")

// perConnection is what an idle guarded connection may cost in bytes beyond what the broker holds for one of its own
// over TLS.
const perConnection = 16 << 10

// TestIdleConnections holds many connections that do nothing, each with a token of its own, and compares the memory
// with that of as many TLS connections without the broker half. What the other end of each costs in this process is
// the same on both sides.
func TestIdleConnections(t *testing.T) {
	n := *idle
	w := newWorld(t, settings{broker: func(cfg *acebroker.Config) {
		cfg.MaxPending, cfg.MaxPendingPerSource, cfg.Timeout = n, n, long
	}})
	source := w.source(newClientID(), "jwt", "EdDSA")
	tokens := make([]ace.Token, n)
	for i := range tokens {
		var err error
		tokens[i], err = source.Token(t.Context())
		require.NoError(t, err)
	}
	goroutines := runtime.NumGoroutine()
	guarded := held(t, n, func(i int) net.Conn {
		conn, err := dialRaw(w)
		require.NoError(t, err)
		authenticate(t, conn.(*tls.Conn), tokens[i])
		return conn
	})
	require.EqualValues(t, n, w.listener.Counters().Admitted)
	// Both ends are in this process, which may have so many files open; and what the broker has not let go yet would be
	// missing from the other count.
	require.Eventually(t, func() bool {
		return w.listener.Counters().Active == 0 && runtime.NumGoroutine() <= goroutines+8 // of the test's own
	}, patience, time.Millisecond)

	presents, err := w.authority.ServerConfig()
	require.NoError(t, err)
	inner, err := tls.Listen("tcp", "127.0.0.1:0", presents)
	require.NoError(t, err)
	defer inner.Close()
	go func() {
		for {
			conn, err := inner.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = w.broker.Server.EstablishConnection("plain", conn)
				conn.Close()
			}()
		}
	}()
	plainWorld := *w
	plainWorld.address = inner.Addr().String()
	plain := held(t, n, func(int) net.Conn {
		conn, err := dialRaw(&plainWorld)
		require.NoError(t, err)
		p, err := (&wire.ConnectPacket{Version: wire.V5, CleanStart: true, ClientID: []byte(newName())}).Append(nil)
		require.NoError(t, err)
		_, err = conn.Write(p)
		require.NoError(t, err)
		_, err = wire.Read(conn, 1<<16)
		require.NoError(t, err)
		return conn
	})
	t.Logf("%d idle connections: %d bytes each, %d without the broker half, a difference of %d", n, guarded, plain, guarded-plain)
	require.Less(t, guarded-plain, int64(perConnection))
}

// authenticate connects without a client scheme, whose memory does not belong to the broker.
func authenticate(t *testing.T, conn *tls.Conn, token ace.Token) {
	t.Helper()
	prover, err := pop.Signer(clientKeys(t).ed)
	require.NoError(t, err)
	state := conn.ConnectionState()
	input, err := pop.ExporterInput(&state)
	require.NoError(t, err)
	proof, err := prover.Prove(input)
	require.NoError(t, err)
	data, err := pop.AuthData{Token: token.Raw, Proof: proof}.Append(nil)
	require.NoError(t, err)
	connect := wire.ConnectPacket{Version: wire.V5, CleanStart: true, ClientID: []byte(newName())}
	connect.Properties = connect.Properties.AppendBytes(wire.AuthenticationMethod, []byte(pop.Method)).
		AppendBytes(wire.AuthenticationData, data)
	p, err := connect.Append(nil)
	require.NoError(t, err)
	_, err = conn.Write(p)
	require.NoError(t, err)
	answer, err := wire.Read(conn, 1<<16)
	require.NoError(t, err)
	m, err := wire.ParseConnack(answer, wire.V5)
	require.NoError(t, err)
	require.Zero(t, m.Code)
}

// held is how many bytes of memory (heap and stacks) each of n connections occupies that open makes.
func held(t *testing.T, n int, open func(i int) net.Conn) int64 {
	t.Helper()
	before := occupied()
	conns := make([]net.Conn, n)
	var running sync.WaitGroup
	next := make(chan int)
	for range 8 {
		running.Go(func() {
			for i := range next {
				conns[i] = open(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	running.Wait()
	after := occupied()
	for _, conn := range conns {
		conn.Close()
	}
	return (after - before) / int64(n)
}

func occupied() int64 {
	for range 3 {
		debug.FreeOSMemory()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// newName is a Client Identifier.
func newName() string { return "idle-" + newClientID() + "-" + time.Now().Format("150405.000000000") }
