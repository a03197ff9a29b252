package authbroker_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/pake"
)

const (
	serverName = "broker.test"
	patience   = time.Minute // bounds what only a failure makes last
)

var (
	quick   = pake.Stretch{Time: 1, Memory: 1024, Threads: 1}
	wires   = map[string]wire.Version{"v5": wire.V5, "v3.1.1": wire.V311}
	counter atomic.Int64
)

func uniqueID() string { return fmt.Sprintf("device-%d", counter.Add(1)) }

func password(user string) []byte { return []byte("the password of " + user) }

func enrol(t testing.TB, store *authbroker.Store, users ...string) {
	t.Helper()
	for _, user := range users {
		v, err := pake.NewVerifier(pake.Config{Stretch: quick}, user, serverName, password(user))
		require.NoError(t, err)
		require.NoError(t, store.SetUser(user, v))
	}
}

// world is an embedded broker behind a listener.
type world struct {
	broker   *brokers.Embedded
	listener *authbroker.Listener
	address  string
}

func newWorld(t testing.TB, change func(*authbroker.Config)) *world {
	t.Helper()
	store, err := authbroker.OpenStore(filepath.Join(t.TempDir(), "db"))
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	enrol(t, store, "alice", "bob", "eve")
	b, err := pake.NewBudget(pake.BudgetConfig{Free: 10_000, FreePerUser: 10_000, FreePerSource: 10_000})
	require.NoError(t, err)
	cfg := authbroker.Config{Server: serverName, Store: store, Stretch: quick, Budget: b}
	if change != nil {
		change(&cfg)
	}
	w := new(world)
	w.broker, err = brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { w.broker.Close() })
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.address = inner.Addr().String()
	w.listener, err = authbroker.NewListener(inner, cfg)
	require.NoError(t, err)
	require.NoError(t, w.broker.Serve(w.listener))
	return w
}

// raw is a client that writes its packets itself.
type raw struct {
	t testing.TB
	net.Conn
	version wire.Version
}

func (w *world) dial(t testing.TB, c *mqttauth.Client, v wire.Version) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", w.address)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	if c != nil {
		conn, err = c.Conn(context.Background(), conn)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
	}
	return &raw{t, conn, v}
}

// login connects a user.
func (w *world) login(t testing.TB, user string, v wire.Version) *raw {
	t.Helper()
	_, r := w.loginAs(t, user, v)
	return r
}

// loginAs is login with tokens, and returns the scheme too, which makes requests.
func (w *world) loginAs(t testing.TB, user string, v wire.Version, tokens ...mqttauth.Token) (*mqttauth.Client, *raw) {
	t.Helper()
	c, err := mqttauth.New(mqttauth.Config{
		User: user, Password: password(user), Server: serverName, Stretch: quick, Wallet: mqttauth.NewWallet(tokens...),
	})
	require.NoError(t, err)
	r := w.dial(t, c, v)
	r.send((&wire.ConnectPacket{Version: v, ClientID: []byte(uniqueID()), CleanStart: true}).Append(nil))
	p := r.next()
	require.NotNil(t, p, "not let in")
	m, err := wire.ParseConnack(p, v)
	require.NoError(t, err)
	require.Zero(t, m.Code)
	return c, r
}

func (r *raw) send(p wire.Packet, err error) {
	r.t.Helper()
	require.NoError(r.t, err)
	_, _ = r.Write(p) // what comes back tells
}

// next returns the next packet, nil if the connection ends.
func (r *raw) next() wire.Packet {
	p, err := wire.Read(r, wire.MaxPacket)
	if err != nil {
		var timeout net.Error
		require.False(r.t, errors.As(err, &timeout) && timeout.Timeout(), "neither an answer nor an end")
		return nil
	}
	return p
}

func (r *raw) publish(m wire.PublishPacket) { r.send(m.Append(nil, r.version)) }

func (r *raw) subscribed(filter string) byte {
	r.t.Helper()
	r.send((&wire.SubscribePacket{ID: 77, Subscriptions: []wire.Subscription{{Filter: []byte(filter), Options: 1}}}).Append(nil, r.version))
	p := r.next()
	require.NotNil(r.t, p, "the connection ended")
	m, err := wire.ParseSuback(p, r.version)
	require.NoError(r.t, err)
	return m.Codes[0]
}

// begin sends CONNECT and the hello in the way of the version, and returns the challenge if there is one.
func begin(t *testing.T, r *raw, clientID string, hello []byte, change ...func(*wire.ConnectPacket)) []byte {
	t.Helper()
	m := wire.ConnectPacket{Version: r.version, ClientID: []byte(clientID), CleanStart: true}
	for _, f := range change {
		f(&m)
	}
	if r.version == wire.V5 {
		m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte("MQTT-Auth")).AppendBytes(wire.AuthenticationData, hello)
		r.send(m.Append(nil))
		p := r.next()
		if p == nil || p.Type() != wire.Auth {
			return nil
		}
		auth, err := wire.ParseReason(p, wire.V5)
		require.NoError(t, err)
		data, _ := auth.Properties.Bytes(wire.AuthenticationData)
		return data
	}
	r.send(m.Append(nil))
	require.Equal(t, wire.Connack, r.next().Type())
	require.Less(t, r.subscribed("mqttauth/c/"+clientID), byte(0x80))
	r.publish(wire.PublishPacket{Topic: []byte("mqttauth/auth"), Payload: hello})
	return published(t, r)
}

// prove sends a proof in the way of the version.
func prove(t *testing.T, r *raw, proof []byte) {
	t.Helper()
	if r.version != wire.V5 {
		r.publish(wire.PublishPacket{Topic: []byte("mqttauth/auth"), Payload: proof})
		return
	}
	m := wire.ReasonPacket{Type: wire.Auth, Reason: wire.ContinueAuthentication}
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte("MQTT-Auth")).AppendBytes(wire.AuthenticationData, proof)
	r.send(m.Append(nil, wire.V5))
}

// published returns the payload of the next packet if that is a PUBLISH.
func published(t *testing.T, r *raw) []byte {
	t.Helper()
	p := r.next()
	if p == nil || p.Type() != wire.Publish {
		return nil
	}
	m, err := wire.ParsePublish(p, r.version)
	require.NoError(t, err)
	return m.Payload
}

func startRun(t *testing.T, user, clientID string) ([]byte, *handshake.Client) {
	t.Helper()
	hello, run, err := handshake.Start(handshake.ClientConfig{User: user, Server: serverName, ClientID: clientID, Password: password(user), Stretch: quick})
	require.NoError(t, err)
	return hello, run
}

// TestOneRunAConnection: a second hello ends it, and so does what is no frame, or on another topic.
func TestOneRunAConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			for _, bad := range []func(r *raw, id string){
				func(r *raw, id string) {
					again, _ := startRun(t, "alice", id)
					prove(t, r, again)
				},
				func(r *raw, _ string) { prove(t, r, []byte("noise")) },
				func(r *raw, _ string) { prove(t, r, nil) },
				func(r *raw, _ string) {
					hello, _ := startRun(t, "alice", uniqueID())
					r.publish(wire.PublishPacket{Topic: []byte("mqttauth/other"), Payload: hello})
				},
				func(r *raw, id string) {
					r.send((&wire.SubscribePacket{ID: 7, Subscriptions: []wire.Subscription{{Filter: []byte("#")}}}).Append(nil, v))
				},
			} {
				id := uniqueID()
				hello, _ := startRun(t, "alice", id)
				r := w.dial(t, nil, v)
				require.NotNil(t, begin(t, r, id, hello))
				bad(r, id)
				require.Nil(t, r.next())
			}
		})
	}
	require.Zero(t, w.listener.Counters().Admitted)
}

func TestHelloIsForTheClientIDInConnect(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			hello, _ := startRun(t, "eve", uniqueID())
			require.Nil(t, begin(t, w.dial(t, nil, v), uniqueID(), hello))
		})
	}
	require.Zero(t, w.listener.Counters().Admitted)
}

// TestNothingBeginsTwice: neither another CONNECT nor an AUTH comes to the broker once a client is connected.
func TestNothingBeginsTwice(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			for _, again := range []func(id string) (wire.Packet, error){
				func(id string) (wire.Packet, error) {
					return (&wire.ConnectPacket{Version: v, ClientID: []byte(id)}).Append(nil)
				},
				func(string) (wire.Packet, error) {
					m := wire.ReasonPacket{Type: wire.Auth, Reason: 0x19} // Re-authenticate
					m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte("MQTT-Auth"))
					return m.Append(nil, wire.V5)
				},
			} {
				id := uniqueID()
				hello, run := startRun(t, "alice", id)
				r := w.dial(t, nil, v)
				proof, err := run.Challenge(begin(t, r, id, hello))
				require.NoError(t, err)
				prove(t, r, proof)
				require.NotNil(t, r.next(), "CONNACK, or the welcome")
				r.send(again(id))
				if p := r.next(); v == wire.V5 && p != nil {
					m, err := wire.ParseReason(p, v)
					require.NoError(t, err)
					require.Equal(t, wire.Disconnect, m.Type)
					require.Equal(t, wire.ProtocolError, m.Reason)
				} else {
					require.Nil(t, p)
				}
				require.Nil(t, r.next())
			}
		})
	}
}

// TestProofOutOfPlace: a right proof in a packet that is not for it.
func TestProofOutOfPlace(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	auth := func(reason byte, method string) func(*raw, []byte) {
		return func(r *raw, proof []byte) {
			m := wire.ReasonPacket{Type: wire.Auth, Reason: reason}
			m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method)).AppendBytes(wire.AuthenticationData, proof)
			r.send(m.Append(nil, wire.V5))
		}
	}
	published := func(m wire.PublishPacket) func(*raw, []byte) {
		return func(r *raw, proof []byte) { m.Payload = proof; r.publish(m) }
	}
	for name, c := range map[string]struct {
		v    wire.Version
		send func(r *raw, proof []byte)
	}{
		"re-authentication": {wire.V5, auth(0x19, "MQTT-Auth")},
		"success":           {wire.V5, auth(0, "MQTT-Auth")},
		"another method":    {wire.V5, auth(0x18, "ace")},
		"PUBLISH on v5":     {wire.V5, published(wire.PublishPacket{Topic: []byte("mqttauth/auth")})},
		"another topic":     {wire.V311, published(wire.PublishPacket{Topic: []byte("mqttauth/other")})},
		"retained":          {wire.V311, published(wire.PublishPacket{Topic: []byte("mqttauth/auth"), Retain: true})},
		"QoS 2":             {wire.V311, published(wire.PublishPacket{Topic: []byte("mqttauth/auth"), QoS: 2, ID: 1})},
	} {
		t.Run(name, func(t *testing.T) {
			id := uniqueID()
			hello, run := startRun(t, "alice", id)
			r := w.dial(t, nil, c.v)
			proof, err := run.Challenge(begin(t, r, id, hello))
			require.NoError(t, err)
			c.send(r, proof)
			require.Nil(t, r.next())
			require.False(t, w.broker.Connected(id))
		})
	}
}

// TestRunIsOfItsConnection: an eavesdropper at the client's address copies her hello and then her proof, which arrives
// sooner than the client's own.
func TestRunIsOfItsConnection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			id := uniqueID()
			hello, run := startRun(t, "alice", id)
			client, stranger := w.dial(t, nil, v), w.dial(t, nil, v)
			challenge := begin(t, client, id, hello)
			require.NotNil(t, challenge)
			require.Nil(t, begin(t, stranger, id, hello), "the challenge was the other connection's")
			proof, err := run.Challenge(challenge)
			require.NoError(t, err)
			prove(t, stranger, proof)
			require.Nil(t, stranger.next())
			require.False(t, w.broker.Connected(id))
			for _, own := range []bool{false, true} { // on a connection with another run, or with none
				thief := w.dial(t, nil, v)
				if own {
					foreign, _ := startRun(t, "eve", id)
					require.NotNil(t, begin(t, thief, id, foreign))
					prove(t, thief, proof)
				} else {
					require.Nil(t, begin(t, thief, id, proof))
				}
				require.Nil(t, thief.next())
				require.False(t, w.broker.Connected(id))
			}
			prove(t, client, proof)
			require.NotNil(t, client.next(), "CONNACK, or the welcome")
			require.True(t, w.broker.Connected(id))
		})
	}
}

func TestReplayedHandshake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			id := uniqueID()
			hello, run := startRun(t, "alice", id)
			first := w.dial(t, nil, v)
			proof, err := run.Challenge(begin(t, first, id, hello))
			require.NoError(t, err)
			prove(t, first, proof)
			require.NotNil(t, first.next(), "CONNACK, or the welcome")
			require.True(t, w.broker.Connected(id))
			before := w.listener.Counters().Admitted

			again := w.dial(t, nil, v)
			begin(t, again, id, hello)
			prove(t, again, proof)
			require.Nil(t, again.next(), "no CONNACK, no welcome")
			require.Equal(t, before, w.listener.Counters().Admitted)
			require.True(t, w.broker.Connected(id), "the true client's connection stands")

			other := uniqueID()
			stranger := w.dial(t, nil, v)
			foreign, _ := startRun(t, "eve", other)
			begin(t, stranger, other, foreign)
			prove(t, stranger, proof) // of another run
			require.Nil(t, stranger.next())
		})
	}
}

// TestRunBeganBeforeItsUserEnded: who has begun a handshake when her user is removed, or gets another password, and has
// her proof ready when the administrator has revoked what there was, does not stay.
func TestRunBeganBeforeItsUserEnded(t *testing.T) {
	t.Parallel()
	var store *authbroker.Store
	w := newWorld(t, func(c *authbroker.Config) { store = c.Store })
	for name, v := range wires {
		for how, end := range map[string]func() error{
			"removed": func() error { _, err := store.RemoveUser("eve"); return err },
			"another password": func() error {
				v, err := pake.NewVerifier(pake.Config{Stretch: quick}, "eve", serverName, []byte("another password"))
				return errors.Join(err, store.SetUser("eve", v))
			},
		} {
			t.Run(name+", "+how, func(t *testing.T) {
				enrol(t, store, "eve")
				id := uniqueID()
				hello, run := startRun(t, "eve", id)
				r := w.dial(t, nil, v)
				proof, err := run.Challenge(begin(t, r, id, hello))
				require.NoError(t, err)
				require.NoError(t, end())
				_, err = w.listener.Revoke(authbroker.Revocation{User: "eve"})
				require.NoError(t, err)
				prove(t, r, proof)
				for p := r.next(); p != nil; p = r.next() { // ends in the connection's end
					require.NotEqual(t, wire.Publish, p.Type())
					if p.Type() == wire.Connack {
						m, err := wire.ParseConnack(p, v)
						require.NoError(t, err)
						require.NotZero(t, m.Code)
					}
				}
				require.Eventually(t, func() bool { return !w.broker.Connected(id) }, patience, time.Millisecond)
			})
		}
	}
}

func TestHelloFlood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *authbroker.Config) {
		c.MaxRuns, c.MaxPending, c.MaxPendingPerSource = 64, 64, 48
		c.Timeout = patience
	})
	stop := make(chan struct{})
	var flood sync.WaitGroup
	for i := range 4 {
		flood.Go(func() {
			const open = 64 // as many as may be pending in all: half-open until they are driven out
			var conns [open]net.Conn
			defer func() {
				for _, conn := range conns {
					if conn != nil {
						conn.Close()
					}
				}
			}()
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("flood-%d-%d", i, n)
				hello, run, err := handshake.Start(handshake.ClientConfig{User: "alice", Server: serverName, ClientID: id, Password: password("x"), Stretch: quick})
				if err != nil {
					return
				}
				run.Abort()
				from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}} // not where the true users are
				conn, err := from.Dial("tcp", w.address)
				if err != nil {
					continue
				}
				m := wire.ConnectPacket{Version: wire.V5, ClientID: []byte(id), CleanStart: true}
				m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte("MQTT-Auth")).AppendBytes(wire.AuthenticationData, hello)
				if p, err := m.Append(nil); err == nil {
					_, _ = conn.Write(p)
				}
				if oldest := conns[n%open]; oldest != nil {
					oldest.Close()
				}
				conns[n%open] = conn
			}
		})
	}
	for _, v := range wires {
		for range 3 {
			w.login(t, "bob", v).Close()
		}
	}
	close(stop)
	flood.Wait()
	require.NotZero(t, w.listener.Counters().Hellos)
}
