package wire

import (
	"bytes"
	"testing"

	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/require"
)

// TestPaho3 sends random 3.1 and 3.1.1 packets through paho.mqtt.golang's codec: what we
// write it reads as we mean it, and what it writes is what we wrote.
func TestPaho3(t *testing.T) {
	g := newGenerator(3)
	g.paho = true
	for range 400 {
		for _, v := range []Version{V31, V311} {
			for _, typ := range types(v) {
				m := g.packet(typ, v)
				raw, err := m.Append(nil, v)
				require.NoError(t, err)
				cp, err := packets.ReadPacket(bytes.NewReader(raw))
				if typ == Unsubscribe {
					err = nil // paho returns the end of the list as an error
				}
				require.NoError(t, err, "% x", raw)
				requirePaho3(t, m, cp)

				var back bytes.Buffer
				require.NoError(t, cp.Write(&back))
				require.Equal(t, raw, back.Bytes())
				again, err := parse(back.Bytes(), v)
				require.NoError(t, err)
				requirePaho3(t, again, cp)
				require.Equal(t, text(m), text(again))
			}
		}
	}
}

// requirePaho3 compares each field of m with paho's.
func requirePaho3(t *testing.T, m packet, cp packets.ControlPacket) {
	t.Helper()
	switch p := cp.(type) {
	case *packets.ConnectPacket:
		requirePaho3Connect(t, m.(*connect), p)
	case *packets.ConnackPacket:
		m := m.(*ConnackPacket)
		require.Equal(t, p.SessionPresent, m.SessionPresent)
		require.Equal(t, p.ReturnCode, m.Code)
	case *packets.PublishPacket:
		m := m.(*PublishPacket)
		require.Equal(t, p.Dup, m.Dup)
		require.Equal(t, p.Retain, m.Retain)
		require.Equal(t, p.Qos, m.QoS)
		require.Equal(t, p.TopicName, string(m.Topic))
		require.Equal(t, p.MessageID, m.ID)
		require.Equal(t, string(p.Payload), string(m.Payload))
	case *packets.PubackPacket:
		require.Equal(t, &AckPacket{Type: Puback, ID: p.MessageID}, m)
	case *packets.PubrecPacket:
		require.Equal(t, &AckPacket{Type: Pubrec, ID: p.MessageID}, m)
	case *packets.PubrelPacket:
		require.Equal(t, &AckPacket{Type: Pubrel, ID: p.MessageID}, m)
	case *packets.PubcompPacket:
		require.Equal(t, &AckPacket{Type: Pubcomp, ID: p.MessageID}, m)
	case *packets.SubscribePacket:
		m := m.(*SubscribePacket)
		require.Equal(t, p.MessageID, m.ID)
		require.Len(t, m.Subscriptions, len(p.Topics))
		for i, s := range m.Subscriptions {
			require.Equal(t, p.Topics[i], string(s.Filter))
			require.Equal(t, p.Qoss[i], s.Options)
		}
	case *packets.UnsubscribePacket:
		m := m.(*UnsubscribePacket)
		require.Equal(t, p.MessageID, m.ID)
		require.Len(t, m.Filters, len(p.Topics))
		for i, f := range m.Filters {
			require.Equal(t, p.Topics[i], string(f))
		}
	case *packets.SubackPacket:
		m := m.(*SubackPacket)
		require.Equal(t, Suback, m.Type)
		require.Equal(t, p.MessageID, m.ID)
		require.Equal(t, p.ReturnCodes, m.Codes)
	case *packets.UnsubackPacket:
		m := m.(*SubackPacket)
		require.Equal(t, Unsuback, m.Type)
		require.Equal(t, p.MessageID, m.ID)
	case *packets.DisconnectPacket:
		require.Equal(t, &ReasonPacket{Type: Disconnect}, m)
	case *packets.PingreqPacket:
		require.Equal(t, &bare{Pingreq}, m)
	case *packets.PingrespPacket:
		require.Equal(t, &bare{Pingresp}, m)
	default:
		t.Fatalf("%T", p)
	}
}

func requirePaho3Connect(t *testing.T, m *connect, p *packets.ConnectPacket) {
	t.Helper()
	require.Equal(t, p.ProtocolName, m.Version.protocolName())
	require.Equal(t, p.ProtocolVersion, byte(m.Version))
	require.Equal(t, p.CleanSession, m.CleanStart)
	require.Equal(t, p.Keepalive, m.KeepAlive)
	require.Equal(t, p.ClientIdentifier, string(m.ClientID))
	require.Equal(t, p.UsernameFlag, m.HasUsername)
	require.Equal(t, p.Username, string(m.Username))
	require.Equal(t, p.PasswordFlag, m.HasPassword)
	require.Equal(t, string(p.Password), string(m.Password))
	require.Equal(t, p.WillFlag, m.Will != nil)
	if w := m.Will; w != nil {
		require.Equal(t, p.WillTopic, string(w.Topic))
		require.Equal(t, string(p.WillMessage), string(w.Payload))
		require.Equal(t, p.WillQos, w.QoS)
		require.Equal(t, p.WillRetain, w.Retain)
	}
}
