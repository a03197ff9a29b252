package main

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

// TestWithdrawnKeys: a key that is taken out of the file, or replaced, ends the connections that it secured, those that
// say CONNECT only afterwards too; others stay.
func TestWithdrawnKeys(t *testing.T) {
	s := newSite(t)
	key := func(n byte) []byte { return public(n) }
	keys := func(of ...any) {
		var text bytes.Buffer
		for i := 0; i < len(of); i += 2 {
			fmt.Fprintf(&text, "%s:%s\n", of[i], hex.EncodeToString(of[i+1].([]byte)))
		}
		s.write("psk.txt", text.String())
	}
	keys("gone", key(1), "changed", key(2), "stays", key(3))
	upstream := upstreamURL(upstreams(t)["mochi"])
	r := s.start(upstream, everyTransport)
	server := r.url("mqtts", 4)
	told := make(chan byte, 1)
	v5(t, server, "gone", nil, func(cfg *autopaho.ClientConfig) {
		cfg.OnServerDisconnect = func(d *paho.Disconnect) { told <- d.ReasonCode }
		*cfg = psk(t, tlspsk.Config{Identity: "gone", Key: key(1)}).Wrap(*cfg)
	})
	connect := func(identity string, key []byte) (client mqtt.Client, lost chan error, err error) {
		lost = make(chan error, 1)
		opts := mqtt.NewClientOptions().AddBroker(server).SetClientID(identity).SetAutoReconnect(false)
		opts.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
		client = mqtt.NewClient(psk(t, tlspsk.Config{Identity: identity, Key: key}).WrapV3(opts))
		done := client.Connect()
		require.True(t, done.WaitTimeout(patience))
		t.Cleanup(func() { client.Disconnect(0) })
		return client, lost, done.Error()
	}
	_, changed, err := connect("changed", key(2))
	require.NoError(t, err)
	living, end, err := connect("stays", key(3))
	require.NoError(t, err)
	waiting, err := tlspsk.Dial(t.Context(), "tcp", r.listeners[4].served.Addr().String(), &tlspsk.Config{Identity: "gone", Key: key(1)})
	require.NoError(t, err)
	defer waiting.Close()

	keys("changed", key(4), "stays", key(3))
	s.reload(r, upstream, everyTransport)
	require.Equal(t, wire.NotAuthorized, receive(t, told))
	require.Error(t, receive(t, changed))
	p, err := (&wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: []byte("late")}).Append(nil)
	require.NoError(t, err)
	_, err = waiting.Write(p)
	require.NoError(t, err)
	_, err = wire.Read(waiting, 1024)
	require.Error(t, err, "no CONNACK")
	_, _, err = connect("changed", key(2))
	require.Error(t, err)
	_, _, err = connect("changed", key(4))
	require.NoError(t, err)
	complete(t, living.Publish("a", 1, false, "still here"))
	require.Empty(t, end)
}

// TestClientIdentifierOfAKey: a device with a key of its own does not get what waits for another one.
func TestClientIdentifierOfAKey(t *testing.T) {
	for name, broker := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			s.write("psk.txt", fmt.Sprintf("victim:%x\nthief:%x\n", public(1), public(2)))
			text := strings.Replace(everyTransport, "psk: {keys: psk.txt", "psk: {client_identifier: identity, keys: psk.txt", 1)
			r := s.start(upstreamURL(broker), text)
			connect := func(key byte, identity, clientID string, v wire.Version) (net.Conn, byte) {
				conn, err := tlspsk.Dial(t.Context(), "tcp", r.listeners[4].served.Addr().String(), &tlspsk.Config{Identity: identity, Key: public(key)})
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close() })
				require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
				m := wire.ConnectPacket{Version: v, ClientID: []byte(clientID)}
				p, err := m.Append(nil)
				require.NoError(t, err)
				_, err = conn.Write(p)
				require.NoError(t, err)
				answer, err := wire.Read(conn, 1024)
				require.NoError(t, err)
				ack, err := wire.ParseConnack(answer, v)
				require.NoError(t, err)
				return conn, ack.Code
			}
			victim, code := connect(1, "victim", "victim", wire.V311)
			require.Zero(t, code)
			_, code = connect(2, "thief", "victim", wire.V311)
			require.Equal(t, byte(2), code)
			_, code = connect(2, "thief", "victim", wire.V5)
			require.Equal(t, wire.ClientIdentifierNotValid, code)
			_, code = connect(2, "thief", "", wire.V5)
			require.Equal(t, wire.ClientIdentifierNotValid, code, "nor one that the broker makes up")
			_, code = connect(2, "thief", "thief", wire.V5)
			require.Zero(t, code)
			_, err := victim.Write([]byte{0xc0, 0})
			require.NoError(t, err)
			p, err := wire.Read(victim, 16)
			require.NoError(t, err)
			require.Equal(t, wire.Pingresp, p.Type(), "was not disturbed")
		})
	}
}
