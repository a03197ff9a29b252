package guard

import (
	"bytes"
	"log/slog"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// The rig has a client at one end of a pipe and a broker at the other; between them a connection whose filter admits
// every CONNECT with one grant. It lives in a synctest bubble: nothing here waits for real time.
type rig struct {
	t       *testing.T
	guard   *Guard
	version wire.Version
	session *Session
	err     error // of Admit
	client  *end
	broker  *end
	conn    *layer.Conn
}

// end is one end of the rig: what arrives there is read at once.
type end struct {
	t    *testing.T
	conn net.Conn

	mu      sync.Mutex
	packets []wire.Packet
	over    error // of the last read
}

func newEnd(t *testing.T, conn net.Conn) *end {
	e := &end{t: t, conn: conn}
	go func() {
		for {
			p, err := wire.Read(conn, wire.MaxPacket)
			e.mu.Lock()
			if err != nil {
				e.over = err
				e.mu.Unlock()
				conn.Close() // as clients and brokers do
				return
			}
			e.packets = append(e.packets, p)
			e.mu.Unlock()
		}
	}()
	return e
}

// next returns the next packet once everything has come to rest.
func (e *end) next() wire.Packet {
	e.t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	require.NotEmpty(e.t, e.packets, "nothing arrived; the end: %v", e.over)
	p := e.packets[0]
	e.packets = e.packets[1:]
	return p
}

// quiet checks that nothing more has arrived and that the connection stands.
func (e *end) quiet() {
	e.t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	require.Empty(e.t, e.packets)
	require.NoError(e.t, e.over)
}

// ended checks that nothing more has arrived, and returns the error with which reading ended.
func (e *end) ended() error {
	e.t.Helper()
	synctest.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	require.Empty(e.t, e.packets)
	require.Error(e.t, e.over, "the connection stands")
	return e.over
}

// gate is the filter of the rig.
type gate struct {
	r     *rig
	grant Grant
	take  Take
}

func (g *gate) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if p.Type() != wire.Connect {
		return g.r.session.Incoming(p)
	}
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	g.r.session, g.r.err = g.r.guard.Admit(c, &m, g.grant, g.take)
	if g.r.err != nil {
		return nil, g.r.err
	}
	return m.Append(nil)
}

func (g *gate) Outgoing(_ *layer.Conn, p wire.Packet) (wire.Packet, error) {
	return g.r.session.Outgoing(p)
}

func (g *gate) Closed() {
	if g.r.session != nil {
		g.r.session.Closed()
	}
}

func connectPacket(v wire.Version, id string) wire.ConnectPacket {
	return wire.ConnectPacket{Version: v, ClientID: []byte(id), CleanStart: true, KeepAlive: 60}
}

// dial sends CONNECT; whether it is admitted, r.err tells.
func dial(t *testing.T, g *Guard, connect wire.ConnectPacket, grant Grant, take Take) *rig {
	t.Helper()
	r := &rig{t: t, guard: g, version: connect.Version}
	clientSide, brokerSide := net.Pipe()
	r.conn = layer.New(brokerSide, &gate{r, grant, take})
	r.client, r.broker = newEnd(t, clientSide), newEnd(t, r.conn)
	t.Cleanup(func() { clientSide.Close(); r.conn.Close() })
	p, err := connect.Append(nil)
	require.NoError(t, err)
	r.fromClient(p)
	return r
}

// open is dial with a CONNACK of success that both ends have seen.
func open(t *testing.T, g *Guard, connect wire.ConnectPacket, grant Grant) *rig {
	t.Helper()
	r := dial(t, g, connect, grant, nil)
	require.Equal(t, wire.Connect, r.broker.next().Type())
	r.accept(wire.ConnackPacket{})
	return r
}

// accept has the broker answer CONNECT.
func (r *rig) accept(m wire.ConnackPacket) wire.ConnackPacket {
	r.t.Helper()
	p, err := m.Append(nil, r.version)
	require.NoError(r.t, err)
	r.fromBroker(p)
	got, err := wire.ParseConnack(r.client.next(), r.version)
	require.NoError(r.t, err)
	return got
}

func (r *rig) fromClient(p wire.Packet) {
	r.t.Helper()
	_, err := r.client.conn.Write(p)
	require.NoError(r.t, err)
	synctest.Wait()
}

func (r *rig) fromBroker(p wire.Packet) {
	r.t.Helper()
	_, err := r.conn.Write(p)
	require.NoError(r.t, err)
	synctest.Wait()
}

func (r *rig) publish(m wire.PublishPacket) wire.Packet {
	r.t.Helper()
	if m.QoS > 0 && m.ID == 0 {
		m.ID = 7
	}
	p, err := m.Append(nil, r.version)
	require.NoError(r.t, err)
	return p
}

func (r *rig) subscribe(id uint16, filters ...string) wire.Packet {
	r.t.Helper()
	m := wire.SubscribePacket{ID: id}
	for _, f := range filters {
		m.Subscriptions = append(m.Subscriptions, wire.Subscription{Filter: []byte(f), Options: 1})
	}
	p, err := m.Append(nil, r.version)
	require.NoError(r.t, err)
	return p
}

func (r *rig) suback(id uint16, codes ...byte) wire.Packet {
	r.t.Helper()
	p, err := (&wire.SubackPacket{Type: wire.Suback, ID: id, Codes: codes}).Append(nil, r.version)
	require.NoError(r.t, err)
	return p
}

// codes is what the client hears in SUBACK.
func (r *rig) codes() []byte {
	r.t.Helper()
	m, err := wire.ParseSuback(r.client.next(), r.version)
	require.NoError(r.t, err)
	return m.Codes
}

// ack is what the client hears about its PUBLISH.
func (r *rig) ack() wire.AckPacket {
	r.t.Helper()
	m, err := wire.ParseAck(r.client.next(), r.version)
	require.NoError(r.t, err)
	return m
}

// disconnected checks how the connection ended: the client hears the reason on v5 and nothing before, and the
// broker's Read why.
func (r *rig) disconnected(reason byte, why error) {
	r.t.Helper()
	if r.version == wire.V5 {
		m, err := wire.ParseReason(r.client.next(), r.version)
		require.NoError(r.t, err)
		require.Equal(r.t, wire.Disconnect, m.Type)
		require.Equal(r.t, reason, m.Reason)
	}
	require.ErrorIs(r.t, r.broker.ended(), why)
	time.Sleep(3 * time.Second) // of the bubble: the connection lingers for the reason to arrive
	r.client.ended()
}

// onBoth runs a test on both versions of MQTT.
func onBoth(t *testing.T, f func(t *testing.T, v wire.Version)) {
	for name, v := range map[string]wire.Version{"v3.1.1": wire.V311, "v5": wire.V5} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, func(t *testing.T) { f(t, v) }) })
	}
}

func onV5(t *testing.T, f func(t *testing.T)) { synctest.Test(t, f) }

// guarded makes a Guard whose log the test can read.
func guarded(t *testing.T, cfg Config) (*Guard, *logbook) {
	t.Helper()
	log := new(logbook)
	cfg.Logger = slog.New(slog.NewTextHandler(log, nil))
	g, err := New(cfg)
	require.NoError(t, err)
	return g, log
}

type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// granted is a grant for ten minutes.
func granted(t *testing.T, identity string, rules ...Rule) Grant {
	t.Helper()
	return Grant{Identity: identity, Scope: scope(t, rules...), Expires: time.Now().Add(10 * time.Minute), Handles: []string{"token of " + identity}}
}
