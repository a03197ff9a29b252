package e2e

import (
	"context"
	"net"
	"testing"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/stretchr/testify/require"
)

// onWire returns what a broker would read of packets that a client writes on a protected connection, CONNECT first.
func onWire(t testing.TB, s scheme, v wire.Version, will *wire.Will, messages ...wire.PublishPacket) (wire.ConnectPacket, []wire.PublishPacket) {
	t.Helper()
	client, broker := net.Pipe()
	defer func() { _ = client.Close() }()
	defer func() { _ = broker.Close() }()
	conn, err := s.Conn(context.Background(), client)
	require.NoError(t, err)
	connect := wire.ConnectPacket{Version: v, ClientID: []byte(unique("pipe")), Will: will, CleanStart: true}
	b, err := connect.Append(nil)
	require.NoError(t, err)
	for i := range messages {
		b, err = messages[i].Append(b, v)
		require.NoError(t, err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := conn.Write(b)
		written <- err
	}()
	far := &peer{conn: broker, version: v}
	packet, err := far.read()
	require.NoError(t, err)
	connect, err = wire.ParseConnect(packet)
	require.NoError(t, err)
	var sealed []wire.PublishPacket
	for range messages {
		packet, err := far.read()
		require.NoError(t, err)
		m, err := wire.ParsePublish(packet, v)
		require.NoError(t, err)
		sealed = append(sealed, m)
	}
	require.NoError(t, <-written)
	return connect, sealed
}
