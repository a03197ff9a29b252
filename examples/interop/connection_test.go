package interop

import (
	"errors"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// properties are what an application sets on a PUBLISH that moves inside.
var properties = wire.Properties(nil).
	AppendUint(wire.PayloadFormat, 1).
	AppendBytes(wire.ContentType, []byte("text/plain")).
	AppendBytes(wire.ResponseTopic, []byte("home/answers")).
	AppendBytes(wire.CorrelationData, []byte{0, 1, 2}).
	AppendPair("unit", "°C")

// An end of a connection, which reads and writes whole packets.
type end struct {
	net.Conn
}

func (e *end) write(t *testing.T, p wire.Packet, err error) {
	t.Helper()
	require.NoError(t, err)
	_, err = e.Write(p)
	require.NoError(t, err)
}

func (e *end) read(t *testing.T) wire.Packet {
	t.Helper()
	p, err := wire.Read(e, wire.MaxPacket)
	require.NoError(t, err)
	return p
}

// connect gives the application's end of a sealed connection and the broker's.
func connect(t *testing.T, cfg aesmsg.Config) (application, broker *end) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, listener.Close()) }()
	ours, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	theirs, err := listener.Accept()
	require.NoError(t, err)
	sealed, err := newSealer(t, cfg).Conn(t.Context(), ours)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, errors.Join(sealed.Close(), theirs.Close())) })
	deadline := time.Now().Add(time.Minute)
	require.NoError(t, errors.Join(sealed.SetDeadline(deadline), theirs.SetDeadline(deadline)))
	return &end{Conn: sealed}, &end{Conn: theirs}
}

// TestOnAConnection has Node take the broker's place and open what a client
// sends, v5 properties, retained message and Will included, and the client
// open what Node seals.
func TestOnAConnection(t *testing.T) {
	n := start(t)
	key, text := newKey(t, "home/#")
	application, broker := connect(t, aesmsg.Config{Keys: []aesmsg.Key{key}, Rejected: func(r aesmsg.Rejection) {
		t.Errorf("withheld: %+v", r)
	}})

	hello := wire.ConnectPacket{
		Version: wire.V5, CleanStart: true, ClientID: []byte("thermometer"),
		Will: &wire.Will{Topic: []byte("home/alive"), Payload: []byte("gone"), Properties: properties},
	}
	p, err := hello.Append(nil)
	application.write(t, p, err)
	seen, err := wire.ParseConnect(broker.read(t))
	require.NoError(t, err)
	will := n.must(t, request{Do: "open", Key: text, Topic: "home/alive", Frame: seen.Will.Payload})
	require.Equal(t, "gone", string(will.Payload))
	require.Equal(t, hexBytes(properties), will.Properties)
	require.Equal(t, byte(2|4|0x80), will.Flags, "a Will of QoS 0 with properties")

	p, err = (&wire.ConnackPacket{}).Append(nil, wire.V5)
	broker.write(t, p, err)
	require.Equal(t, wire.Connack, application.read(t).Type())

	sent := wire.PublishPacket{Topic: []byte("home/temp"), Retain: true, Properties: properties, Payload: []byte("21.5")}
	p, err = sent.Append(nil, wire.V5)
	application.write(t, p, err)
	outside, err := wire.ParsePublish(broker.read(t), wire.V5)
	require.NoError(t, err)
	require.Empty(t, outside.Properties)
	inside := n.must(t, request{Do: "open", Key: text, Topic: "home/temp", Frame: outside.Payload})
	require.Equal(t, "21.5", string(inside.Payload))
	require.Equal(t, hexBytes(properties), inside.Properties)
	require.Equal(t, byte(1|4|0x80), inside.Flags, "a retained message of QoS 0 with properties")

	for i, retain := range []bool{false, true} {
		r := request{
			Do: "seal", Key: text, Topic: "home/set", Payload: []byte("22"), Properties: hexBytes(properties),
			Session: []byte("node-session"), Time: uint32(time.Now().Unix()), Seq: uint32(i + 1),
		}
		if retain {
			r.Flags = 1
		}
		sealed := wire.PublishPacket{Topic: []byte("home/set"), Retain: retain, Payload: n.must(t, r).Frame}
		p, err = sealed.Append(nil, wire.V5)
		broker.write(t, p, err)
		got, err := wire.ParsePublish(application.read(t), wire.V5)
		require.NoError(t, err)
		require.Equal(t, "22", string(got.Payload))
		require.Equal(t, []byte(properties), []byte(got.Properties))
		require.Equal(t, retain, got.Retain)
	}
}
