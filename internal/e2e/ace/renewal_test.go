package ace

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
)

// renewing is a client whose tokens are renewed when the test moves its clock.
type renewing struct {
	application
	*events
	clock   *layertest.Clock
	renewed chan error
}

func (w *world) renewing(version int, id, algorithm string) *renewing {
	w.t.Helper()
	r := &renewing{clock: layertest.NewClock(time.Now()), renewed: make(chan error, 16)}
	cfg := ace.ASConfig{
		Endpoint: w.as.URL + "/token", ClientID: id, ClientSecret: w.secret, TLS: w.authority.ClientConfig(), Audience: "jwt",
		Clock: r.clock,
	}
	if algorithm == "EdDSA" {
		cfg.Signer = clientKeys(w.t).ed
	}
	as, err := ace.NewAS(cfg)
	require.NoError(w.t, err)
	auth := authenticator(w.t, ace.Config{Source: as, Clock: r.clock, Renewed: func(_ ace.Token, err error) { r.renewed <- err }})
	r.application, r.events = w.connected(version, auth, options{id: id, tls: w.tls(tls.VersionTLS13), persistent: true})
	return r
}

// renew makes the token due and waits until another is in force.
func (r *renewing) renew(t *testing.T, version int) {
	t.Helper()
	r.clock.Advance(50 * time.Minute) // of an hour
	require.NoError(t, next(t, r.renewed, "the renewal"))
	if version == 3 {
		require.ErrorIs(t, next(t, r.lost, "ConnectionLost"), ace.ErrRenewal)
		next(t, r.up, "OnConnect")
	}
}

// tally counts the copies of each message.
type tally struct {
	sync.Mutex
	copies map[string]int
}

func (c *tally) count(messages <-chan string, done <-chan struct{}) {
	for {
		select {
		case m := <-messages:
			c.Lock()
			c.copies[m]++
			c.Unlock()
		case <-done:
			return
		}
	}
}

// all reports whether each of these has come.
func (c *tally) all(messages []string) bool {
	c.Lock()
	defer c.Unlock()
	for _, m := range messages {
		if c.copies[m] == 0 {
			return false
		}
	}
	return true
}

// publish publishes at QoS 1 and 2, from several goroutines at once, until done, and returns what was acknowledged.
func (r *renewing) load(t *testing.T, done <-chan struct{}) (sent []string) {
	var mu sync.Mutex
	var workers sync.WaitGroup
	for worker := range 4 {
		workers.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-done:
					return
				default:
				}
				text := fmt.Sprint(worker, " ", n)
				if err := r.publish("load/x", byte(1+worker%2), false, text); err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				sent = append(sent, "load/x "+text)
				mu.Unlock()
			}
		})
	}
	workers.Wait()
	return sent
}

// before puts the broker's half of w before Mosquitto, on an address of its own. mochi-mqtt would not do: it loses
// messages that are published while their receiver takes its session up again.
func (w *world) before(b *brokers.Mosquitto) {
	w.t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	listener, err := acebroker.NewListener(inner, w.config)
	require.NoError(w.t, err)
	w.address, w.listener = inner.Addr().String(), listener
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() { forward(conn, b.URL(brokers.TCP).Host) })
		}
	})
	w.t.Cleanup(func() { listener.Close(); all.Wait() })
}

// forward connects conn with a broker, until one of them ends.
func forward(conn net.Conn, address string) {
	defer conn.Close()
	upstream, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(conn, upstream)
		conn.Close()
	})
	_, _ = io.Copy(upstream, conn)
	upstream.Close()
	back.Wait()
}

// TestTenRenewalsUnderLoad: publisher and subscriber renew ten times while messages of QoS 1 and 2 go from one to the
// other. None is lost; on v5, where the connection stays, none comes twice either.
func TestTenRenewalsUnderLoad(t *testing.T) {
	for _, version := range []int{5, 3} {
		for _, algorithm := range []string{"HS256", "EdDSA"} {
			t.Run(fmt.Sprintf("v%d/%s", version, algorithm), func(t *testing.T) {
				w := newWorld(t, settings{lifetime: time.Hour, scope: ace.Scope{{Filter: "load/#", Publish: true, Subscribe: true}}})
				if version == 3 {
					w.before(startMosquitto(t, brokers.Config{}))
				}
				subscriber := w.renewing(version, newClientID(), algorithm)
				require.NoError(t, subscriber.subscribe("load/#", 2))
				publisher := w.renewing(version, newClientID(), algorithm)

				got := &tally{copies: make(map[string]int)}
				done, received := make(chan struct{}), make(chan struct{})
				var all sync.WaitGroup
				var sent []string
				all.Go(func() { got.count(subscriber.messages, received) })
				loaded := make(chan struct{})
				all.Go(func() { sent = publisher.load(t, done); close(loaded) })
				for range 10 {
					publisher.renew(t, version)
					subscriber.renew(t, version)
				}
				close(done)
				<-loaded
				require.NotEmpty(t, sent)
				require.Eventually(t, func() bool { return got.all(sent) }, patience, 10*time.Millisecond, "messages are lost")
				close(received)
				all.Wait()
				if version == 3 {
					return
				}
				for _, m := range sent {
					require.Equal(t, 1, got.copies[m], m)
				}
				require.Empty(t, subscriber.lost)
				require.Empty(t, publisher.lost)
				require.EqualValues(t, 20, w.listener.Counters().Reauthenticated)
			})
		}
	}
}
