package wire

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMalformed has a packet for each rule of the standard that parsing enforces. The
// bodies are written out; each differs in one place from one that is accepted.
func TestMalformed(t *testing.T) {
	const head4, head5, head3 = "\x00\x04MQTT\x04", "\x00\x04MQTT\x05", "\x00\x06MQIsdp\x03"
	for _, c := range []struct {
		name  string
		typ   Type
		flags byte
		v     Version
		body  string
		ok    bool
	}{
		{"plain", Connect, 0, V311, head4 + "\x02\x00\x0a\x00\x01c", true},
		{"3.1", Connect, 0, V31, head3 + "\x02\x00\x0a\x00\x01c", true},
		{"v5", Connect, 0, V5, head5 + "\x02\x00\x0a\x00\x00\x01c", true},
		{"bridge", Connect, 0, V311, "\x00\x04MQTT\x84\x02\x00\x0a\x00\x01c", true},
		{"bridge 3.1", Connect, 0, V31, "\x00\x06MQIsdp\x83\x02\x00\x0a\x00\x01c", true},
		{"no bridge in v5", Connect, 0, V5, "\x00\x04MQTT\x85\x02\x00\x0a\x00\x00\x01c", false},
		{"level 6", Connect, 0, V5, "\x00\x04MQTT\x06\x02\x00\x0a\x00\x00\x01c", false},
		{"level 0", Connect, 0, V5, "\x00\x04MQTT\x00\x02\x00\x0a\x00\x00\x01c", false},
		{"name of 3.1.1 at level 3", Connect, 0, V31, "\x00\x04MQTT\x03\x02\x00\x0a\x00\x01c", false},
		{"name of 3.1 at level 4", Connect, 0, V311, "\x00\x06MQIsdp\x04\x02\x00\x0a\x00\x01c", false},
		{"lower case", Connect, 0, V311, "\x00\x04mqtt\x04\x02\x00\x0a\x00\x01c", false},
		{"reserved flag", Connect, 0, V311, head4 + "\x03\x00\x0a\x00\x01c", false},
		{"Will QoS without Will", Connect, 0, V311, head4 + "\x0a\x00\x0a\x00\x01c", false},
		{"Will Retain without Will", Connect, 0, V311, head4 + "\x22\x00\x0a\x00\x01c", false},
		{"Will", Connect, 0, V311, head4 + "\x34\x00\x0a\x00\x01c\x00\x01t\x00\x01p", true},
		{"Will without payload", Connect, 0, V311, head4 + "\x34\x00\x0a\x00\x01c\x00\x01t\x00\x00", true},
		{"Will QoS 3", Connect, 0, V311, head4 + "\x1c\x00\x0a\x00\x01c\x00\x01t\x00\x01p", false},
		{"Will without topic", Connect, 0, V311, head4 + "\x04\x00\x0a\x00\x01c\x00\x00\x00\x01p", false},
		{"Will with U+0000", Connect, 0, V311, head4 + "\x04\x00\x0a\x00\x01c\x00\x01\x00\x00\x01p", false},
		{"password alone", Connect, 0, V311, head4 + "\x40\x00\x0a\x00\x01c\x00\x01p", false},
		{"password alone in v5", Connect, 0, V5, head5 + "\x40\x00\x0a\x00\x00\x01c\x00\x01p", true},
		{"user and password", Connect, 0, V311, head4 + "\xc0\x00\x0a\x00\x01c\x00\x01u\x00\x01p", true},
		{"trailing byte", Connect, 0, V311, head4 + "\x02\x00\x0a\x00\x01c\x00", false},

		{"plain", Connack, 0, V311, "\x01\x00", true},
		{"flags", Connack, 0, V311, "\x02\x00", false},
		{"v5", Connack, 0, V5, "\x00\x87\x00", true},
		{"no Property Length", Connack, 0, V5, "\x00\x87", false},
		{"properties before v5", Connack, 0, V311, "\x00\x00\x00", false},
		{"overlong Property Length", Connack, 0, V5, "\x00\x87\x80\x00", false},
		{"Property Length beyond the end", Connack, 0, V5, "\x00\x87\x01", false},
		{"Property Length of 256 MB", Connack, 0, V5, "\x00\x87\xff\xff\xff\x7f", false},

		{"plain", Publish, 0, V311, "\x00\x01t", true},
		{"empty topic", Publish, 0, V311, "\x00\x00", false},
		{"U+0000", Publish, 0, V311, "\x00\x03t\x00t", false},
		{"U+0000 in v5", Publish, 0, V5, "\x00\x01\x00\x00", false},
		{"no topic, no alias", Publish, 0, V5, "\x00\x00\x00", false},
		{"no topic, alias", Publish, 0, V5, "\x00\x00\x03\x23\x00\x01", true},
		{"topic and alias", Publish, 0, V5, "\x00\x01t\x03\x23\x00\x01", true},
		{"no identifier", Publish, 2, V311, "\x00\x01t\x00", false},
		{"QoS 3", Publish, 6, V311, "\x00\x01t\x00\x01", false},
		{"identifier 0", Publish, 2, V311, "\x00\x01t\x00\x00", true},

		{"plain", Puback, 0, V311, "\x00\x01", true},
		{"identifier 0", Puback, 0, V311, "\x00\x00", false},
		{"reason before v5", Pubrec, 0, V311, "\x00\x01\x00", false},
		{"reason", Pubcomp, 0, V5, "\x00\x01\x92", true},
		{"no properties", Pubrel, 2, V5, "\x00\x01\x92\x00", true},
		{"trailing byte", Pubrel, 2, V5, "\x00\x01\x92\x00\x00", false},

		{"plain", Subscribe, 2, V311, "\x00\x01\x00\x01f\x02", true},
		{"identifier 0", Subscribe, 2, V311, "\x00\x00\x00\x01f\x02", false},
		{"no filter", Subscribe, 2, V311, "\x00\x01", false},
		{"no filter in v5", Subscribe, 2, V5, "\x00\x01\x00", false},
		{"empty filter", Subscribe, 2, V311, "\x00\x01\x00\x00\x02", false},
		{"U+0000", Subscribe, 2, V311, "\x00\x01\x00\x01\x00\x02", false},
		{"QoS 3", Subscribe, 2, V311, "\x00\x01\x00\x01f\x03", false},
		{"No Local before v5", Subscribe, 2, V311, "\x00\x01\x00\x01f\x04", false},
		{"all options", Subscribe, 2, V5, "\x00\x01\x00\x00\x01f\x2e", true},
		{"Retain Handling 3", Subscribe, 2, V5, "\x00\x01\x00\x00\x01f\x30", false},
		{"reserved option", Subscribe, 2, V5, "\x00\x01\x00\x00\x01f\x40", false},
		{"second without options", Subscribe, 2, V311, "\x00\x01\x00\x01f\x02\x00\x01f", false},

		{"plain", Unsubscribe, 2, V311, "\x00\x01\x00\x01f\x00\x01g", true},
		{"identifier 0", Unsubscribe, 2, V311, "\x00\x00\x00\x01f", false},
		{"no filter", Unsubscribe, 2, V311, "\x00\x01", false},
		{"empty filter", Unsubscribe, 2, V311, "\x00\x01\x00\x00", false},

		{"plain", Suback, 0, V311, "\x00\x01\x80", true},
		{"no code", Suback, 0, V311, "\x00\x01", false},
		{"no code in v5", Unsuback, 0, V5, "\x00\x01\x00", false},
		{"code", Unsuback, 0, V5, "\x00\x01\x00\x11", true},
		{"code before v5", Unsuback, 0, V311, "\x00\x01\x00", false},
		{"plain", Unsuback, 0, V311, "\x00\x01", true},
		{"identifier 0", Unsuback, 0, V311, "\x00\x00", false},

		{"plain", Disconnect, 0, V311, "", true},
		{"reason before v5", Disconnect, 0, V311, "\x00", false},
		{"reason", Disconnect, 0, V5, "\x04", true},
		{"success spelt out", Disconnect, 0, V5, "\x00\x00", true},
		{"trailing byte", Disconnect, 0, V5, "\x00\x00\x00", false},
		{"plain", Auth, 0, V5, "", true},
		{"before v5", Auth, 0, V311, "", false},
		{"reason alone", Auth, 0, V5, "\x18", false},
		{"reason", Auth, 0, V5, "\x18\x00", true},
	} {
		t.Run(c.typ.String()+" "+c.name, func(t *testing.T) {
			err := try(t, frame(c.typ, c.flags, []byte(c.body)), c.v)
			require.Equal(t, c.ok, err == nil, "%v", err)
			if strings.Contains(c.name, "level") || strings.Contains(c.name, "lower") || c.name == "no bridge in v5" {
				require.ErrorIs(t, err, ErrVersion)
			}
		})
	}
}

// TestAppendRefuses has a struct for each thing that Append must not write.
func TestAppendRefuses(t *testing.T) {
	topic, long := []byte("t"), make([]byte, 65536)
	for i := range long {
		long[i] = 'x'
	}
	full := long[:65535]
	c := func(m ConnectPacket) packet {
		if m.Version == 0 {
			m.Version = V311
		}
		return &connect{m}
	}
	sub := func(f []byte, o byte) []Subscription { return []Subscription{{topic, 0}, {f, o}} }
	for _, m := range []struct {
		name string
		m    packet
		want error
	}{
		{"topic", &PublishPacket{Topic: full}, nil},
		{"topic", &PublishPacket{Topic: long}, ErrTooLarge},
		{"empty topic", &PublishPacket{}, ErrMalformed},
		{"U+0000", &PublishPacket{Topic: []byte("a\x00")}, ErrMalformed},
		{"QoS", &PublishPacket{Topic: topic, QoS: 3}, ErrMalformed},
		{"QoS", &PublishPacket{Topic: topic, QoS: 0xFE}, ErrMalformed},
		{"payload", &PublishPacket{Topic: topic, Payload: make([]byte, maxRemaining)}, ErrTooLarge},

		{"fields", c(ConnectPacket{ClientID: full, HasUsername: true, Username: full, HasPassword: true, Password: full, Will: &Will{Topic: full, Payload: full}}), nil},
		{"client", c(ConnectPacket{ClientID: long}), ErrTooLarge},
		{"user", c(ConnectPacket{HasUsername: true, Username: long}), ErrTooLarge},
		{"password", c(ConnectPacket{HasUsername: true, HasPassword: true, Password: long}), ErrTooLarge},
		{"password alone", c(ConnectPacket{HasPassword: true}), ErrMalformed},
		{"password alone", c(ConnectPacket{Version: V5, HasPassword: true}), nil},
		{"Will topic", c(ConnectPacket{Will: &Will{Topic: long}}), ErrTooLarge},
		{"Will topic", c(ConnectPacket{Will: &Will{}}), ErrMalformed},
		{"Will payload", c(ConnectPacket{Will: &Will{Topic: topic, Payload: long}}), ErrTooLarge},
		{"Will QoS", c(ConnectPacket{Will: &Will{Topic: topic, QoS: 3}}), ErrMalformed},
		{"version", c(ConnectPacket{Version: 6}), ErrVersion},
		{"bridge", c(ConnectPacket{Version: V5, Bridge: true}), ErrVersion},

		{"identifier", &AckPacket{Type: Puback}, ErrMalformed},
		{"type", &AckPacket{Type: Publish, ID: 1}, ErrMalformed},
		{"type", &SubackPacket{Type: Subscribe, ID: 1}, ErrMalformed},
		{"identifier", &SubackPacket{Type: Suback, Codes: topic}, ErrMalformed},
		{"no code", &SubackPacket{Type: Suback, ID: 1}, ErrMalformed},
		{"code", &SubackPacket{Type: Unsuback, ID: 1, Codes: topic}, ErrMalformed},
		{"codes", &SubackPacket{Type: Suback, ID: 1, Codes: make([]byte, maxRemaining)}, ErrTooLarge},
		{"type", &ReasonPacket{Type: Connect}, ErrMalformed},
		{"AUTH before v5", &ReasonPacket{Type: Auth}, ErrMalformed},

		{"identifier", &SubscribePacket{Subscriptions: sub(topic, 0)}, ErrMalformed},
		{"no filter", &SubscribePacket{ID: 1}, ErrMalformed},
		{"filter", &SubscribePacket{ID: 1, Subscriptions: sub(long, 0)}, ErrTooLarge},
		{"filter", &SubscribePacket{ID: 1, Subscriptions: sub(nil, 0)}, ErrMalformed},
		{"options", &SubscribePacket{ID: 1, Subscriptions: sub(topic, 4)}, ErrMalformed},
		{"filters", &SubscribePacket{ID: 1, Subscriptions: repeat(Subscription{Filter: full}, 4096)}, ErrTooLarge},
		{"identifier", &UnsubscribePacket{Filters: [][]byte{topic}}, ErrMalformed},
		{"no filter", &UnsubscribePacket{ID: 1}, ErrMalformed},
		{"filter", &UnsubscribePacket{ID: 1, Filters: [][]byte{topic, long}}, ErrTooLarge},
		{"filter", &UnsubscribePacket{ID: 1, Filters: [][]byte{topic, nil}}, ErrMalformed},
		{"filters", &UnsubscribePacket{ID: 1, Filters: repeat(full, 4096)}, ErrTooLarge},
	} {
		dst, err := m.m.Append([]byte("kept"), V311)
		if m.want == nil {
			require.NoError(t, err, "%T %s", m.m, m.name)
			require.NoError(t, try(t, dst[4:], versionOf(m.m)))
			continue
		}
		require.ErrorIs(t, err, m.want, "%T %s", m.m, m.name)
		require.Equal(t, "kept", string(dst))
	}
}

func versionOf(m packet) Version {
	if c, ok := m.(*connect); ok {
		return c.Version
	}
	return V311
}

func repeat[T any](v T, n int) []T {
	all := make([]T, n)
	for i := range all {
		all[i] = v
	}
	return all
}

// TestPropertiesBeyondMaxRemaining needs an array that is never touched.
func TestPropertiesBeyondMaxRemaining(t *testing.T) {
	ps := make(Properties, maxRemaining+1)
	for where, m := range places(ps) {
		_, err := m.Append(nil, V5)
		require.ErrorIs(t, err, ErrTooLarge, where)
	}
}

// TestBelowV5NoProperties sets what only v5 has.
func TestBelowV5NoProperties(t *testing.T) {
	ps := Properties(nil).AppendPair("n", "v")
	for where, m := range places(ps) {
		if c, ok := m.(*connect); ok {
			c.Version = V311
		}
		if where == "UNSUBACK" || where == "AUTH" {
			continue // they are others before v5, see above
		}
		got, err := m.Append(nil, V311)
		require.NoError(t, err)
		*propertiesOf(m) = nil
		if c, ok := m.(*connect); ok && c.Will != nil {
			c.Will.Properties = nil
		}
		want, err := m.Append(nil, V311)
		require.NoError(t, err)
		require.Equal(t, want, got, where)
	}
	ack, err := (&AckPacket{Type: Puback, ID: 1, Reason: 0x99}).Append(nil, V311)
	require.NoError(t, err)
	require.Equal(t, "\x40\x02\x00\x01", string(ack))
	bye, err := (&ReasonPacket{Type: Disconnect, Reason: 0x99}).Append(nil, V31)
	require.NoError(t, err)
	require.Equal(t, "\xe0\x00", string(bye))
}
