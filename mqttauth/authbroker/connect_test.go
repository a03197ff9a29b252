package authbroker_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
)

// welcomed returns the welcome, which comes in CONNACK on v5.
func welcomed(t *testing.T, r *raw) []byte {
	t.Helper()
	if r.version != wire.V5 {
		return published(t, r)
	}
	m, err := wire.ParseConnack(r.next(), wire.V5)
	require.NoError(t, err)
	data, _ := m.Properties.Bytes(wire.AuthenticationData)
	return data
}

// TestRefusedAtCONNECT: what cannot come to a run is told so at once.
func TestRefusedAtCONNECT(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	hello, _ := startRun(t, "alice", "device")
	named := func(method string) wire.Properties {
		return wire.Properties{}.AppendBytes(wire.AuthenticationMethod, []byte(method)).AppendBytes(wire.AuthenticationData, hello)
	}
	for name, c := range map[string]struct {
		connect wire.ConnectPacket
		code    byte
	}{
		"MQTT 3.1":         {wire.ConnectPacket{Version: wire.V31, ClientID: []byte("device")}, wire.V3UnacceptableProtocolVersion},
		"no method":        {wire.ConnectPacket{Version: wire.V5, ClientID: []byte("device")}, wire.NotAuthorized},
		"another method":   {wire.ConnectPacket{Version: wire.V5, ClientID: []byte("device"), Properties: named("ace")}, wire.BadAuthenticationMethod},
		"no identifier":    {wire.ConnectPacket{Version: wire.V5, Properties: named("MQTT-Auth")}, wire.ClientIdentifierNotValid},
		"a topic's":        {wire.ConnectPacket{Version: wire.V5, ClientID: []byte("a/#"), Properties: named("MQTT-Auth")}, wire.ClientIdentifierNotValid},
		"a topic's, 3.1.1": {wire.ConnectPacket{Version: wire.V311, ClientID: []byte("a/#")}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.dial(t, nil, c.connect.Version)
			c.connect.CleanStart = true
			r.send(c.connect.Append(nil))
			p := r.next()
			require.NotNil(t, p, "ended without a word")
			m, err := wire.ParseConnack(p, c.connect.Version)
			require.NoError(t, err)
			require.Equal(t, c.code, m.Code)
			require.Nil(t, r.next())
		})
	}
}

// TestClientIdentifierIsAnothers: a user who has proved herself is told that the Client Identifier is not hers.
func TestClientIdentifierIsAnothers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			id := uniqueID()
			enter := func(user string) byte {
				hello, run := startRun(t, user, id)
				r := w.dial(t, nil, v)
				proof, err := run.Challenge(begin(t, r, id, hello))
				require.NoError(t, err)
				prove(t, r, proof)
				_, welcome, err := run.Welcome(welcomed(t, r))
				require.NoError(t, err)
				return welcome.ReturnCode
			}
			require.Zero(t, enter("alice"))
			want := wire.ClientIdentifierNotValid
			if v != wire.V5 {
				want = wire.V3IdentifierRejected
			}
			require.Equal(t, want, enter("eve"))
			require.True(t, w.broker.Connected(id), "and alice stays")
		})
	}
}

// TestOneSubscriptionBeforeTheRun: that to the client's own temporary topic.
func TestOneSubscriptionBeforeTheRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, filters := range map[string][]string{
		"everything": {"#"}, "another client's": {"mqttauth/c/another"}, "more": {"mqttauth/c/device", "#"}, "its own": {"mqttauth/c/device"},
	} {
		t.Run(name, func(t *testing.T) {
			r := w.dial(t, nil, wire.V311)
			r.send((&wire.ConnectPacket{Version: wire.V311, ClientID: []byte("device"), CleanStart: true}).Append(nil))
			require.Equal(t, wire.Connack, r.next().Type())
			m := wire.SubscribePacket{ID: 7}
			for _, f := range filters {
				m.Subscriptions = append(m.Subscriptions, wire.Subscription{Filter: []byte(f), Options: 2})
			}
			r.send(m.Append(nil, wire.V311))
			p := r.next()
			if name != "its own" {
				require.Nil(t, p)
				return
			}
			ack, err := wire.ParseSuback(p, wire.V311)
			require.NoError(t, err)
			require.Equal(t, []byte{1}, ack.Codes, "frames come at no more than QoS 1")
		})
	}
}

// TestRefusedClientOnlyPresents: one that is refused for its Will may present tokens, at QoS 0 on the authentication
// topic, and do nothing else.
func TestRefusedClientOnlyPresents(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *authbroker.Config) { c.Timeout = 2 * patience })
	for name, v := range wires {
		for what, m := range map[string]wire.PublishPacket{
			"another topic": {Topic: []byte("site/7")},
			"QoS 1":         {Topic: []byte("mqttauth/auth"), QoS: 1, ID: 1},
			"retained":      {Topic: []byte("mqttauth/auth"), Retain: true},
		} {
			t.Run(name+", "+what, func(t *testing.T) {
				id := uniqueID()
				hello, run := startRun(t, "alice", id)
				r := w.dial(t, nil, v)
				proof, err := run.Challenge(begin(t, r, id, hello, func(m *wire.ConnectPacket) { m.Will = &wire.Will{Topic: []byte("site/7")} }))
				require.NoError(t, err)
				prove(t, r, proof)
				session, welcome, err := run.Welcome(welcomed(t, r))
				require.NoError(t, err)
				require.NotZero(t, welcome.ReturnCode)
				o, err := (&operation.Operation{Kind: operation.Release, Filter: "site/#"}).Encode()
				require.NoError(t, err)
				_, request, err := session.Request(o)
				require.NoError(t, err)
				r.publish(wire.PublishPacket{Topic: []byte("mqttauth/auth"), Payload: request})
				_, _, err = session.Response(published(t, r))
				require.NoError(t, err)
				r.publish(m)
				require.Nil(t, r.next())
				require.False(t, w.broker.Connected(id))
			})
		}
	}
}
