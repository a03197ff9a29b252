package mqttauth

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/bench/meter"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// fleetSize is how many devices log in at once: few, or as many as the environment says, for a measurement.
func fleetSize(t *testing.T) int {
	n, err := strconv.Atoi(os.Getenv("MQTTSEC_FLEET"))
	if err != nil {
		return 24
	}
	return n
}

// TestFleet: many devices are enrolled and log in at once, each with a token of its own, while somebody floods the
// listener with connections that stay half open. Every device gets in and does its work.
func TestFleet(t *testing.T) {
	n := fleetSize(t)
	w := newWorld(t, func(c *authbroker.Config) {
		c.MaxPending, c.MaxPendingPerSource, c.MaxRuns, c.Timeout = 2*n+64, 2*n, max(4*n+64, 4096), patience
	})
	owner, _ := w.owned(t, connectV5, "alice", "plant/#")
	reader, _ := w.connect(t, connectV3, "bob", settings{}, issue(t, owner, mqttauth.Auth2, "plant/#", time.Hour))
	require.NoError(t, reader.subscribe("plant/#"))
	began := time.Now()
	for i := range n {
		enrol(t, w.store, fmt.Sprintf("device-user-%d", i))
	}
	enrolled := time.Since(began)

	stop, hellos := make(chan struct{}), new(atomic.Int64)
	var flood sync.WaitGroup
	flood.Go(func() { floodHellos(w, stop, hellos) })
	var most atomic.Int64
	flood.Go(func() { watchMemory(stop, &most) })

	cpu, began := meter.CPUTime(), time.Now()
	var fleet sync.WaitGroup
	failures := make(chan error, n)
	for i := range n {
		fleet.Go(func() {
			user, topic := fmt.Sprintf("device-user-%d", i), fmt.Sprintf("plant/%d", i)
			token, err := owner.Issue(mqttauth.Terms{Kind: mqttauth.Auth1, Filter: topic, Expires: time.Now().Add(time.Hour)})
			if err != nil {
				failures <- err
				return
			}
			c, err := mqttauth.New(mqttauth.Config{
				User: user, Password: password(user), Server: serverName, Stretch: quick, Timeout: patience, Wallet: mqttauth.NewWallet(token),
			})
			if err != nil {
				failures <- err
				return
			}
			lib := connectV5
			if i%2 == 1 {
				lib = connectV3
			}
			p, err := lib(t, c, w.url, settings{})
			if err == nil {
				err = p.publish(topic, 1, "on")
			}
			if err != nil {
				failures <- fmt.Errorf("%s: %w", user, err)
			}
		})
	}
	seen := map[string]bool{}
	for len(seen) < n {
		select {
		case m := <-reader.received():
			seen[m] = true
		case err := <-failures:
			require.NoError(t, err)
		case <-time.After(patience):
			require.FailNow(t, "not all devices have published", "%d of %d", len(seen), n)
		}
	}
	took := time.Since(began)
	fleet.Wait()
	close(stop)
	flood.Wait()
	t.Logf("%d devices: enrolled in %v; logged in, presented and published in %v, CPU of both sides %v, heap at most %d MiB, %d goroutines, beside %d half-open connections",
		n, enrolled.Round(time.Millisecond), took.Round(time.Millisecond), (meter.CPUTime() - cpu).Round(time.Millisecond), most.Load()>>20, runtime.NumGoroutine(), hellos.Load())
}

// floodHellos opens connections from another address that never go on to a proof, and leaves them open. Floods of
// frames that cost the authority arithmetic are in mqttauth/authbroker.
func floodHellos(w *world, stop <-chan struct{}, hellos *atomic.Int64) {
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for n := 0; ; n++ {
		select {
		case <-stop:
			return
		case <-time.After(time.Millisecond):
		}
		conn, err := from.Dial("tcp", w.url.Host)
		if err != nil {
			continue
		}
		defer conn.Close()
		m := wire.ConnectPacket{Version: wire.V311, ClientID: []byte(fmt.Sprintf("flood-%d", n)), CleanStart: true}
		if p, err := m.Append(nil); err == nil {
			_, _ = conn.Write(p)
			hellos.Add(1)
		}
	}
}

func watchMemory(stop <-chan struct{}, most *atomic.Int64) {
	for {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		most.Store(max(most.Load(), int64(m.HeapInuse)))
		select {
		case <-stop:
			return
		case <-time.After(50 * time.Millisecond):
		}
	}
}
