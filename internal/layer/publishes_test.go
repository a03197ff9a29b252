package layer

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// withholding refuses every PUBLISH in both directions with a reason.
func withholding(reason byte) *skipping {
	f := new(skipping)
	judge := func(*Conn, *Message) (wire.Packet, error) { return nil, &Withhold{Reason: reason} }
	f.publishes.In, f.publishes.Out = judge, judge
	return f
}

// TestWithholdOnABrokersSide: a broker that delivers what is withheld gets the whole exchange, on each version, and so
// does the client that publishes; the other side sees nothing of it.
func TestWithholdOnABrokersSide(t *testing.T) {
	publish := map[byte]wire.Packet{1: {0x32, 6, 0, 1, 't', 0, 7, 'x'}, 2: {0x34, 6, 0, 1, 't', 0, 7, 'x'}}
	cases := []struct {
		name    string
		connect wire.Packet
		qos     byte
		want    wire.Packet
		pubrel  bool
	}{
		{"v3.1.1 QoS 1", connectV3, 1, wire.Packet{0x40, 2, 0, 7}, false},
		{"v3.1.1 QoS 2", connectV3, 2, wire.Packet{0x50, 2, 0, 7}, true},
		{"v5 QoS 1", connectV5, 1, wire.Packet{0x40, 3, 0, 7, 0x87}, false},
		{"v5 QoS 2", connectV5, 2, wire.Packet{0x50, 3, 0, 7, 0x87}, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			client, b := tcpPair(t)
			c := New(b, withholding(wire.NotAuthorized))
			write(t, client, tc.connect)
			read(t, c, len(tc.connect))
			p := publish[tc.qos]
			if tc.connect[8] == 5 {
				p = append(append(wire.Packet{p[0], 7}, p[2:7]...), 0, 'x')
			}
			write(t, c, p)
			require.Equal(t, []byte(tc.want), read(t, c, len(tc.want)), "to the broker")
			if tc.pubrel {
				write(t, c, wire.Packet{0x62, 2, 0, 7})
				require.Equal(t, []byte{0x70, 2, 0, 7}, read(t, c, 4))
			}
			done := make(chan struct{})
			go func() { defer close(done); _, _ = c.Read(make([]byte, 1)) }()
			write(t, client, p)
			require.Equal(t, []byte(tc.want), read(t, client, len(tc.want)), "to the client")
			if tc.pubrel {
				write(t, client, wire.Packet{0x62, 2, 0, 7})
				require.Equal(t, []byte{0x70, 2, 0, 7}, read(t, client, 4))
			}
			c.Close()
			<-done
		})
	}
}

// TestPublishReasons: PUBACK and PUBREC say only what MQTT 5, tables 3-4 and 3-5, have for them.
func TestPublishReasons(t *testing.T) {
	allowed := []byte{0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99}
	for r := range 256 {
		got := publishReason(byte(r))
		require.Contains(t, allowed, got)
		require.Equal(t, r >= 0x80, got >= 0x80)
	}
	for _, r := range allowed {
		require.Equal(t, r, publishReason(r))
	}
	require.Equal(t, wire.QuotaExceeded, publishReason(wire.PacketTooLarge))
}

// TestDisconnectReasons: a client says only what MQTT 5, table 3-13, has for it.
func TestDisconnectReasons(t *testing.T) {
	for _, tc := range []struct{ reason, want byte }{
		{wire.NotAuthorized, wire.UnspecifiedError}, {wire.ServerBusy, wire.UnspecifiedError}, {wire.ProtocolError, wire.ProtocolError}, {0, 0},
	} {
		require.Equal(t, tc.want, clientReason(tc.reason))
	}
}

// TestPublishesLimits learns the peer's Maximum Packet Size and the local side's Topic Alias Maximum on either side.
func TestPublishesLimits(t *testing.T) {
	limits := wire.Properties(nil).AppendUint(wire.MaximumPacketSize, 77).AppendUint(wire.TopicAliasMaximum, 5)
	connect := granting(t, 99)
	connack, err := (&wire.ConnackPacket{Properties: limits}).Append(nil, wire.V5)
	require.NoError(t, err)
	a, b := tcpPair(t)
	of, at := new(skipping), new(skipping)
	client, server := New(a, of), New(b, at)
	write(t, client, connect)
	read(t, server, len(connect))
	write(t, server, connack)
	read(t, client, len(connack))
	require.Equal(t, 77, of.publishes.MaximumPacketSize())
	require.Equal(t, 99, at.publishes.MaximumPacketSize())
	require.EqualValues(t, 9, of.publishes.aliases.Load())
	require.EqualValues(t, 5, at.publishes.aliases.Load())
}

// TestJudgeSeesTheTopicBehindAnAlias, and a message whose predecessor was withheld carries the topic that its receiver
// does not know.
func TestJudgeSeesTheTopicBehindAnAlias(t *testing.T) {
	alias := wire.Properties(nil).AppendUint(wire.TopicAlias, 2)
	packet := func(topic, payload string) wire.Packet {
		p, err := (&wire.PublishPacket{Topic: []byte(topic), Properties: alias, Payload: []byte(payload)}).Append(nil, wire.V5)
		require.NoError(t, err)
		return p
	}
	a, b := tcpPair(t)
	f := new(skipping)
	fatal := errors.New("fatal")
	f.publishes.Out = func(_ *Conn, m *Message) (wire.Packet, error) {
		require.Equal(t, "a/b", string(m.Name))
		switch string(m.Payload) {
		case "no":
			return nil, &Withhold{Reason: wire.NotAuthorized}
		case "fatal":
			return nil, fatal
		}
		return m.Packet()
	}
	c := New(a, f)
	write(t, c, connectV5, packet("a/b", "no"), packet("", "1"), packet("", "2"))
	read(t, b, len(connectV5))
	want := append(packet("a/b", "1"), packet("", "2")...)
	require.Equal(t, []byte(want), read(t, b, len(want)))
	_, err := c.Write(packet("", "fatal"))
	require.ErrorIs(t, err, fatal)
}
