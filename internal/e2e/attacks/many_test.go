package attacks

import (
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

// idle are connections that say nothing after CONNECT.
type idle []net.Conn

// connectAll makes n of them, many at a time.
func connectAll(t *testing.T, address string, n int) idle {
	t.Helper()
	const atOnce = 64
	conns, errs := make(idle, n), make(chan error, n)
	var running sync.WaitGroup
	for worker := range atOnce {
		running.Go(func() {
			for i := worker; i < n; i += atOnce {
				var err error
				if conns[i], err = connectIdle(address, i); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	running.Wait()
	t.Cleanup(conns.close)
	close(errs)
	require.NoError(t, <-errs)
	return conns
}

func (c idle) close() {
	for _, conn := range c {
		if conn != nil {
			_ = conn.Close()
		}
	}
}

func connectIdle(address string, i int) (net.Conn, error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return nil, err
	}
	m := wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: fmt.Appendf(nil, "idle-%d", i)}
	b, err := m.Append(nil)
	if err == nil {
		_, err = conn.Write(b)
	}
	if err == nil {
		err = conn.SetReadDeadline(time.Now().Add(patience))
	}
	if err != nil {
		return conn, err
	}
	p, err := wire.Read(conn, 16)
	if err == nil && p[3] != 0 {
		err = fmt.Errorf("CONNACK %d", p[3])
	}
	return conn, err
}

// answers demands that a connection is alive.
func (c idle) answers(t *testing.T, i int) {
	t.Helper()
	_, err := c[i].Write([]byte{byte(wire.Pingreq) << 4, 0})
	require.NoError(t, err)
	p, err := wire.Read(c[i], 16)
	require.NoError(t, err)
	require.Equal(t, wire.Pingresp, p.Type())
}

// TestManyConnections opens more connections than a busy site has at a time and lets them be: the gateway needs two
// descriptors and little memory for each, reads its keys again on SIGHUP without dropping one, and when it is killed
// and started anew, takes all that come back at once.
func TestManyConnections(t *testing.T) {
	const many, memoryEach = 2000, 96 << 10
	broker, err := brokers.StartMosquitto(patient(t), brokers.Config{})
	if err != nil && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	s, err := site.Start(patient(t), site.Config{
		Upstream: "mqtt://" + broker.URL(brokers.TCP).Host, Limits: "{pending: 4096, pending_per_address: 4096}",
	})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	before, err := s.Metrics(patient(t))
	require.NoError(t, err)
	conns := connectAll(t, s.URL(site.Plain).Host, many)
	after, err := s.Metrics(patient(t))
	require.NoError(t, err)
	memory := (after["process_resident_memory_bytes"] - before["process_resident_memory_bytes"]) / many
	descriptors := (after["process_open_fds"] - before["process_open_fds"]) / many
	goroutines := (after["go_goroutines"] - before["go_goroutines"]) / many
	t.Logf("for each of %d connections: %.1f KiB, %.2f descriptors, %.2f goroutines", many, memory/1024, descriptors, goroutines)
	require.Less(t, memory, float64(memoryEach))
	require.InDelta(t, 2, descriptors, 0.1)

	key := random(32)
	keys := filepath.Join(s.Dir, "psk.txt")
	require.NoError(t, os.WriteFile(keys, []byte("newcomer:"+hex.EncodeToString(key)+"\n"), 0o600))
	require.NoError(t, s.Gateway.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool {
		conn, err := tlspsk.Dial(patient(t), "tcp", s.URL(site.PSK).Host, &tlspsk.Config{Identity: "newcomer", Key: key})
		return err == nil && conn.Close() == nil
	}, patience, 10*time.Millisecond)
	for i := 0; i < many; i += 100 {
		conns.answers(t, i)
	}

	require.NoError(t, s.Gateway.Kill())
	conns.close()
	require.NoError(t, s.Gateway.Start(patient(t)))
	again := connectAll(t, s.URL(site.Plain).Host, many)
	for i := 0; i < many; i += 100 {
		again.answers(t, i)
	}
}
