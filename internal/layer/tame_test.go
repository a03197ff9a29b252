package layer

import (
	"net"
	"net/url"
	"testing"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestSecondConnack: a server greets once (MQTT 5, 3.2), and what it would have the client be called is of no effect.
func TestSecondConnack(t *testing.T) {
	assigning, err := (&wire.ConnackPacket{Properties: wire.Properties(nil).AppendBytes(wire.AssignedClientIdentifier, []byte("other"))}).Append(nil, wire.V5)
	require.NoError(t, err)
	a, b := tcpPair(t)
	c := New(a, script{})
	write(t, c, connectV5)
	write(t, b, connackV5)
	read(t, c, len(connackV5))
	write(t, b, assigning)
	_, err = c.Read(make([]byte, 8))
	require.ErrorIs(t, err, ErrProtocol)
	require.Equal(t, "c1", c.ClientID())
}

// TestSubackIsTamed: before v5 a SUBACK has a code for each filter of the SUBSCRIBE that it answers, or the client does
// not see it.
func TestSubackIsTamed(t *testing.T) {
	subscribe := wire.Packet{0x82, 10, 0, 9, 0, 1, 'a', 0, 0, 1, 'b', 1}
	fits := wire.Packet{0x90, 4, 0, 9, 0, 1}
	for name, inject := range map[string]bool{"received": false, "injected": true} {
		t.Run(name, func(t *testing.T) {
			begin := func() (c *Conn, give func(wire.Packet) error) {
				a, b := tcpPair(t)
				c = New(a, script{})
				write(t, c, connectV3)
				write(t, b, connackV3)
				read(t, c, len(connackV3))
				give = c.Inject
				if !inject {
					give = func(p wire.Packet) error { write(t, b, p); return nil }
				}
				return c, give
			}
			c, give := begin()
			require.NoError(t, give(fits), "of nothing")
			write(t, c, subscribe)
			require.NoError(t, give(fits))
			require.NoError(t, give(fits), "again")
			require.NoError(t, give(pingreq))
			want := append(append([]byte{}, fits...), pingreq...)
			require.Equal(t, want, read(t, c, len(want)))

			for _, bad := range []wire.Packet{{0x90, 3, 0, 9, 0}, {0x90, 5, 0, 9, 0, 1, 0}} {
				c, give := begin()
				write(t, c, subscribe)
				err := give(bad)
				if err == nil {
					_, err = c.Read(make([]byte, 8))
				}
				require.ErrorIs(t, err, ErrProtocol, "% x", bad)
			}
		})
	}
}

// TestSubackThatPanics gives paho.mqtt.golang a SUBACK with more codes than it asked for, at which it panics.
func TestSubackThatPanics(t *testing.T) {
	a, b := tcpPair(t)
	go func() {
		for {
			p, err := wire.Read(b, wire.MaxPacket)
			if err != nil {
				return
			}
			switch p.Type() {
			case wire.Connect:
				_, _ = b.Write(connackV3)
			case wire.Subscribe:
				_, _ = b.Write([]byte{0x90, 4, p.Body()[0], p.Body()[1], 0, 0})
			}
		}
	}()
	lost := make(chan error, 1)
	opts := mqtt.NewClientOptions().AddBroker("tcp://unused").SetClientID("c").SetProtocolVersion(4).SetAutoReconnect(false)
	opts.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
	opts.SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return New(a, script{}), nil })
	client := mqtt.NewClient(opts)
	token := client.Connect()
	token.Wait()
	require.NoError(t, token.Error())
	client.Subscribe("a", 0, nil)
	require.ErrorIs(t, <-lost, ErrProtocol)
}
