package seal

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

func TestPropertiesMoveInside(t *testing.T) {
	alice, bob := connectedPair(t, wire.V5, Config{})
	inside := wire.Properties(nil).AppendUint(wire.PayloadFormat, 1).AppendBytes(wire.ContentType, []byte("ct")).
		AppendBytes(wire.ResponseTopic, []byte("rt")).AppendBytes(wire.CorrelationData, []byte("cd")).AppendPair("k", "v").AppendPair("k", "w")
	expiry := wire.Properties(nil).AppendUint(wire.MessageExpiryInterval, 9)
	m := message(1, "site/7", "x")
	m.Properties = append(bytes.Clone(expiry), inside...)
	onWire := alice.publish(m)
	require.Equal(t, expiry, onWire.Properties)
	require.False(t, bytes.Contains(onWire.Payload, []byte("cd")))

	// What others add outside does not reach the application.
	onWire.Properties = onWire.Properties.AppendPair("forged", "!").AppendBytes(wire.ResponseTopic, []byte("forged"))
	require.Equal(t, wire.Properties(append(bytes.Clone(expiry), inside...)), bob.deliver(onWire).Properties)

	// A v3.1.1 receiver gets the payload.
	cfg := Config{Keys: []Key{testKey(t, "site/#", 1)}}
	v3 := client(t, testSealer(t, cfg), nil, wire.V311, nil, nil)
	require.Equal(t, "x", string(v3.deliver(onWire).Payload))
}

func TestForgedPropertiesOnAMessageWithout(t *testing.T) {
	alice, bob := connectedPair(t, wire.V5, Config{})
	onWire := alice.publish(message(0, "site/7", "x"))
	onWire.Properties = onWire.Properties.AppendBytes(wire.ResponseTopic, []byte("forged"))
	require.Empty(t, bob.deliver(onWire).Properties)
}

func TestPlainPropertiesStayOutside(t *testing.T) {
	alice, bob := connectedPair(t, wire.V5, Config{PlainProperties: true})
	m := message(0, "site/7", "x")
	m.Properties = wire.Properties(nil).AppendPair("k", "v")
	onWire := alice.publish(m)
	require.Equal(t, m.Properties, onWire.Properties)
	require.Equal(t, m.Properties, bob.deliver(onWire).Properties)
}

// TestForgedPropertiesBesideThoseInside: a client that leaves the properties of its own messages outside takes those
// that a publisher put inside, and nobody else's of the same kind.
func TestForgedPropertiesBesideThoseInside(t *testing.T) {
	alice, _ := connectedPair(t, wire.V5, Config{})
	_, bob := connectedPair(t, wire.V5, Config{PlainProperties: true})
	m := message(0, "site/7", "x")
	m.Properties = wire.Properties(nil).AppendBytes(wire.ResponseTopic, []byte("mine"))
	onWire := alice.publish(m)
	onWire.Properties = onWire.Properties.AppendBytes(wire.ResponseTopic, []byte("forged"))
	require.Equal(t, m.Properties, bob.deliver(onWire).Properties)
}

// TestRefusedMessagesAreNotPending: what was authentic and is refused all the same awaits no acknowledgement.
func TestRefusedMessagesAreNotPending(t *testing.T) {
	for name, tt := range map[string]struct {
		properties wire.Properties
		payload    []byte
		want       error
		reason     byte
	}{
		"properties": {wire.Properties(nil).AppendUint(wire.TopicAlias, 1), nil, ErrMalformed, wire.PayloadFormatInvalid},
		"size":       {nil, make([]byte, 1000), ErrTooLarge, wire.QuotaExceeded},
	} {
		t.Run(name, func(t *testing.T) {
			reject, rejected := rejections()
			mallory := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
			s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
			bob := client(t, s, rejected, wire.V5, func(c *wire.ConnectPacket) {
				c.Properties = c.Properties.AppendUint(wire.MaximumPacketSize, 1000)
			}, nil)
			size := 0
			for i := range uint16(40) {
				m := message(1, "site/7", "")
				m.ID = 1 + i
				var err error
				m.Payload, err = mallory.seal(nil, &Message{Topic: m.Topic, Properties: tt.properties, Payload: tt.payload})
				require.NoError(t, err)
				bob.write(bob.broker, bob.packet(m))
				require.Equal(t, bob.ack(wire.Puback, m.ID, tt.reason), bob.read(bob.broker))
				bob.refused(false, "site/7", tt.want)
				memory := s.mqtt.known("client").memory
				if i == 0 {
					size = memory.Size()
				}
				require.Equal(t, size, memory.Size(), "nothing is held")
			}
		})
	}
}

// TestPropertiesOfTheWrongKindInside has a holder of the key seal what would be the
// broker's to say.
func TestPropertiesOfTheWrongKindInside(t *testing.T) {
	for name, ps := range map[string]wire.Properties{
		"topic alias": wire.Properties(nil).AppendUint(wire.TopicAlias, 1),
		"expiry":      wire.Properties(nil).AppendUint(wire.MessageExpiryInterval, 1),
		"truncated":   {byte(wire.ContentType), 0, 9, 'x'},
		"unknown":     {0x7f, 1},
		"twice":       wire.Properties(nil).AppendUint(wire.PayloadFormat, 1).AppendUint(wire.PayloadFormat, 1),
	} {
		t.Run(name, func(t *testing.T) {
			_, bob := connectedPair(t, wire.V5, Config{})
			mallory := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
			m := message(1, "site/7", "")
			var err error
			m.Payload, err = mallory.seal(nil, &Message{Topic: m.Topic, Properties: ps, Payload: []byte("x")})
			require.NoError(t, err)
			bob.write(bob.broker, bob.packet(m))
			require.Equal(t, bob.ack(wire.Puback, 7, wire.PayloadFormatInvalid), bob.read(bob.broker))
			bob.refused(false, "site/7", ErrMalformed)
			bob.quiet()
		})
	}
}
