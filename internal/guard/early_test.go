package guard

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestNothingBeforeConnack: a client may send before it has CONNACK, and the broker may read ahead; what is answered in
// the broker's place comes behind its CONNACK (MQTT 3.1.1 and 5, 3.2.0-1).
func TestNothingBeforeConnack(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		r := dial(t, g, connectPacket(v, "early"), granted(t, "alice", Rule{Filter: "a/#", Subscribe: true, Publish: true}), nil)
		require.Equal(t, wire.Connect, r.broker.next().Type())
		r.fromClient(r.subscribe(1, "b/#"))
		if v == wire.V5 {
			r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("b"), QoS: 1}))
		}
		r.broker.quiet()
		r.client.quiet()
		r.accept(wire.ConnackPacket{})
		require.Equal(t, []byte{refusal(v)}, r.codes())
		if v == wire.V5 {
			require.Equal(t, wire.NotAuthorized, r.ack().Reason)
		}
		r.client.quiet()
		r.fromClient(r.subscribe(2, "b/#"))
		require.Equal(t, []byte{refusal(v)}, r.codes(), "at once from then on")
	})
}

// TestNothingBehindRefusal: the client that the broker does not take hears nothing else.
func TestNothingBehindRefusal(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		r := dial(t, g, connectPacket(v, "early"), granted(t, "alice", Rule{Filter: "a/#", Subscribe: true}), nil)
		require.Equal(t, wire.Connect, r.broker.next().Type())
		r.fromClient(r.subscribe(1, "b/#"))
		code := wire.BadUserNameOrPassword
		if v != wire.V5 {
			code = wire.V3NotAuthorized
		}
		require.Equal(t, code, r.accept(wire.ConnackPacket{Code: code}).Code)
		r.client.quiet()
	})
}

// TestEndBeforeConnack: no DISCONNECT comes before CONNACK (MQTT 5, 3.14.0-1); it is the CONNACK then.
func TestEndBeforeConnack(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		r := dial(t, g, connectPacket(v, "early"), granted(t, "alice", Rule{Filter: "a/#", Publish: true}), nil)
		require.Equal(t, wire.Connect, r.broker.next().Type())
		r.fromClient(r.subscribe(1, "b/#"))
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("b")}))
		require.ErrorIs(t, r.broker.ended(), ErrNotAuthorized)
		if v == wire.V5 {
			m, err := wire.ParseConnack(r.client.next(), v)
			require.NoError(t, err)
			require.Equal(t, wire.NotAuthorized, m.Code)
		}
		time.Sleep(3 * time.Second) // of the bubble: the connection lingers for the reason to arrive
		r.client.ended()
	})
}
