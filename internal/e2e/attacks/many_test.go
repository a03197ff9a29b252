package attacks

import (
	"context"
	"encoding/hex"
	"errors"
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

// connectAll makes n of them, many at a time, evenly over the addresses.
func connectAll(t *testing.T, addresses []string, n int) idle {
	t.Helper()
	const atOnce = 64
	conns, errs := make(idle, n), make(chan error, n)
	var running sync.WaitGroup
	for worker := range atOnce {
		running.Go(func() {
			for i := worker; i < n; i += atOnce {
				var err error
				if conns[i], err = connectIdle(addresses[i%len(addresses)], i); err != nil {
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
	require.NoError(t, c[i].SetReadDeadline(time.Now().Add(patience)))
	_, err := c[i].Write([]byte{byte(wire.Pingreq) << 4, 0})
	require.NoError(t, err)
	p, err := wire.Read(c[i], 16)
	require.NoError(t, err)
	require.Equal(t, wire.Pingresp, p.Type())
}

// crowded is a broker and gateways in front of it, all of them processes.
type crowded struct {
	gateways  []*site.Site
	addresses []string // where each takes clients without a scheme
}

func crowd(t *testing.T, gateways int) *crowded {
	t.Helper()
	broker, err := brokers.StartMosquitto(patient(t), brokers.Config{})
	if errors.Is(err, brokers.ErrNoMosquitto) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	c := new(crowded)
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience) // the programs have to be built
	defer cancel()
	for range gateways {
		s, err := site.Start(ctx, site.Config{
			Upstream: "mqtt://" + broker.URL(brokers.TCP).Host, Limits: "{pending: 4096, pending_per_address: 4096}",
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		c.gateways, c.addresses = append(c.gateways, s), append(c.addresses, s.URL(site.Plain).Host)
	}
	return c
}

// metrics are the sums over all gateways.
func (c *crowded) metrics(t *testing.T) map[string]float64 {
	t.Helper()
	sums := make(map[string]float64)
	for _, s := range c.gateways {
		values, err := s.Metrics(patient(t))
		require.NoError(t, err)
		for name, v := range values {
			sums[name] += v
		}
	}
	return sums
}

// come connects n clients, and holds what they take of the gateways against the bounds.
func (c *crowded) come(t *testing.T, n int) idle {
	t.Helper()
	const memoryEach = 96 << 10
	before, begun := c.metrics(t), time.Now()
	conns := connectAll(t, c.addresses, n)
	took, after := time.Since(begun), c.metrics(t)
	const relayed = "mqttsec_connections_established" // which is counted a moment after CONNACK
	for after[relayed]-before[relayed] < float64(n) && time.Since(begun) < took+patience {
		after = c.metrics(t)
	}
	require.Equal(t, float64(n), after[relayed]-before[relayed])
	each := func(name string) float64 { return (after[name] - before[name]) / float64(n) }
	memory, descriptors := each("process_resident_memory_bytes"), each("process_open_fds")
	t.Logf("%d connections in %v; for each %.1f KiB, %.2f descriptors, %.2f goroutines, %.2f ms of a processor", n,
		took.Round(100*time.Millisecond), memory/1024, descriptors, each("go_goroutines"), 1000*each("process_cpu_seconds_total"))
	require.Less(t, memory, float64(memoryEach))
	require.InDelta(t, 2, descriptors, 0.1)
	c.answers(t, conns)
	return conns
}

// answers asks some of the connections whether they are alive.
func (c *crowded) answers(t *testing.T, conns idle) {
	t.Helper()
	for i := 0; i < len(conns); i += 100 + 1 { // of each gateway
		conns.answers(t, i)
	}
}

// comeBack kills all gateways under the connections and starts them again, whereupon all come back at once.
func (c *crowded) comeBack(t *testing.T, conns idle) {
	t.Helper()
	for _, s := range c.gateways {
		require.NoError(t, s.Gateway.Kill())
	}
	conns.close()
	for _, s := range c.gateways {
		require.NoError(t, s.Gateway.Start(patient(t)))
	}
	c.come(t, len(conns))
}

// TestManyConnections opens more connections than a busy site has at a time and lets them be: the gateway needs two
// descriptors and little memory for each, reads its keys again on SIGHUP without dropping one, and when it is killed
// and started anew, takes all that come back at once.
func TestManyConnections(t *testing.T) {
	c := crowd(t, 1)
	conns := c.come(t, 2000)

	s, key := c.gateways[0], random(32)
	keys := filepath.Join(s.Dir, "psk.txt")
	require.NoError(t, os.WriteFile(keys, []byte("newcomer:"+hex.EncodeToString(key)+"\n"), 0o600))
	require.NoError(t, s.Gateway.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool {
		conn, err := tlspsk.Dial(patient(t), "tcp", s.URL(site.PSK).Host, &tlspsk.Config{Identity: "newcomer", Key: key})
		return err == nil && conn.Close() == nil
	}, patience, 10*time.Millisecond)
	c.answers(t, conns)

	c.comeBack(t, conns)
}

// TestTenThousandConnections is the storm on two gateways before one broker: a process that may have 20,000 descriptors
// has no room for two of each of 10,000 connections. That many take a while, and come when they are asked for; else it
// is 2,000:
//
//	MQTTSEC_MANY=1 go test -run TestTenThousandConnections -v ./internal/e2e/attacks
func TestTenThousandConnections(t *testing.T) {
	n := 2000
	if os.Getenv("MQTTSEC_MANY") != "" {
		n = 10_000
	}
	c := crowd(t, 2)
	c.comeBack(t, c.come(t, n))
}
