package mqttauth

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth"
)

// raw is a client that writes its packets itself, in or without a handshake.
type raw struct {
	t testing.TB
	net.Conn
	version wire.Version
}

var wires = map[string]wire.Version{"v5": wire.V5, "v3.1.1": wire.V311}

// dial connects a raw client. c is nil for one that does not log in.
func (w *world) dial(t testing.TB, c *mqttauth.Client, v wire.Version) *raw {
	t.Helper()
	conn, err := net.Dial("tcp", w.url.Host)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	if c != nil {
		conn, err = c.Conn(ctx(t), conn)
		require.NoError(t, err)
		t.Cleanup(func() { conn.Close() })
	}
	return &raw{t, conn, v}
}

func (r *raw) send(p wire.Packet, err error) {
	r.t.Helper()
	require.NoError(r.t, err)
	_, _ = r.Write(p) // what comes back tells
}

// connect sends CONNECT and returns the code of CONNACK, or false if the connection ends.
func (r *raw) connect(m wire.ConnectPacket) (code byte, ok bool) {
	r.t.Helper()
	m.Version = r.version
	if m.ClientID == nil {
		m.ClientID = []byte(uniqueID())
	}
	r.send(m.Append(nil))
	p, err := wire.Read(r, wire.MaxPacket)
	if err != nil {
		return 0, false
	}
	connack, err := wire.ParseConnack(p, r.version)
	require.NoError(r.t, err)
	return connack.Code, true
}

// next returns the next packet, nil if the connection ends.
func (r *raw) next() wire.Packet {
	p, err := wire.Read(r, wire.MaxPacket)
	if err != nil {
		require.NotErrorIs(r.t, err, errDeadline)
		return nil
	}
	return p
}

func (r *raw) publish(m wire.PublishPacket) { r.send(m.Append(nil, r.version)) }

func (r *raw) subscribe(filter string) {
	r.send((&wire.SubscribePacket{ID: 77, Subscriptions: []wire.Subscription{{Filter: []byte(filter), Options: 1}}}).Append(nil, r.version))
}

// subscribed returns the code of the SUBACK for subscribe.
func (r *raw) subscribed(filter string) byte {
	r.t.Helper()
	r.subscribe(filter)
	p := r.next()
	require.NotNil(r.t, p, "the connection ended")
	require.Equal(r.t, wire.Suback, p.Type())
	m, err := wire.ParseSuback(p, r.version)
	require.NoError(r.t, err)
	return m.Codes[0]
}
