package seal

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// A message allocates nothing on its way through a connection, sealed or opened, acknowledged or not.
func TestConnectionAllocatesNothing(t *testing.T) {
	if raceEnabled() {
		t.Skip("the race detector allocates")
	}
	puback := []byte{0x40, 2, 0, 1}
	for _, v := range []wire.Version{wire.V311, wire.V5} {
		for qos := range byte(2) {
			alice, bob := pair(t, "#")
			publisher, from := bare(t, alice, v)
			subscriber, to := bare(t, bob, v)
			p, err := (&wire.PublishPacket{QoS: qos, ID: 1, Topic: []byte("site/7/temperature"), Payload: make([]byte, 40)}).Append(nil, v)
			require.NoError(t, err)
			buf := make([]byte, 200)
			sealed, got, ack := buf[:len(p)+alice.suite.TagSize+headerLen], make([]byte, len(p)), make([]byte, len(puback))
			pass := func(w, r net.Conn, out, in []byte) {
				if _, err := w.Write(out); err != nil {
					panic(err)
				}
				if _, err := io.ReadFull(r, in); err != nil {
					panic(err)
				}
			}
			message := func() {
				pass(publisher, from, p, sealed)
				pass(to, subscriber, sealed, got)
				if qos > 0 {
					pass(subscriber, to, puback, ack)
					pass(from, publisher, puback, ack)
				}
			}
			message()
			require.Equal(t, []byte(p), got)
			require.Zero(t, testing.AllocsPerRun(500, message), "QoS %d", qos)
		}
	}
}

// bare connects a client whose packets nobody reads but the test, on both ends.
func bare(t *testing.T, s *Sealer, v wire.Version) (app, broker net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	raw, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	broker, err = ln.Accept()
	require.NoError(t, err)
	app, err = s.Conn(t.Context(), raw)
	require.NoError(t, err)
	t.Cleanup(func() { app.Close(); broker.Close() })
	connect, err := (&wire.ConnectPacket{Version: v, ClientID: []byte("client")}).Append(nil)
	require.NoError(t, err)
	_, err = app.Write(connect)
	require.NoError(t, err)
	_, err = readPacket(broker)
	require.NoError(t, err)
	connack, err := (&wire.ConnackPacket{}).Append(nil, v)
	require.NoError(t, err)
	_, err = broker.Write(connack)
	require.NoError(t, err)
	_, err = readPacket(app)
	require.NoError(t, err)
	return app, broker
}
