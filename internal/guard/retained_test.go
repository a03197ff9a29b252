package guard

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestRetainedExpiryV5 is E-3: the broker is told to forget a retained message at the end of the grant, or when its
// publisher wants, whichever comes first.
func TestRetainedExpiryV5(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice", pub("a")))
		time.Sleep(time.Minute)
		for asked, want := range map[uint32]uint32{0: 540, 10: 10, 540: 540, 541: 540, 0xFFFFFFFF: 540} {
			m := wire.PublishPacket{Topic: []byte("a"), QoS: 1, ID: 3, Retain: true, Payload: []byte("x")}
			m.Properties = m.Properties.AppendPair("name", "value")
			if asked > 0 {
				m.Properties = m.Properties.AppendUint(wire.MessageExpiryInterval, asked)
			}
			m.Properties = m.Properties.AppendBytes(wire.ContentType, []byte("text"))
			r.fromClient(r.publish(m))
			got, err := wire.ParsePublish(r.broker.next(), wire.V5)
			require.NoError(t, err)
			seconds, _ := got.Properties.Uint(wire.MessageExpiryInterval)
			require.Equal(t, want, seconds)
			got.Properties, m.Properties = got.Properties.Without(wire.MessageExpiryInterval), m.Properties.Without(wire.MessageExpiryInterval)
			require.Equal(t, m, got)
		}
		for _, m := range []wire.PublishPacket{
			{Topic: []byte("a"), Retain: true},         // deletes
			{Topic: []byte("a"), Payload: []byte("x")}, // is not retained
		} {
			p := r.publish(m)
			r.fromClient(p)
			require.Equal(t, p, r.broker.next())
		}
		time.Sleep(9*time.Minute - time.Millisecond)
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("a"), Retain: true, Payload: []byte("x")}))
		got, err := wire.ParsePublish(r.broker.next(), wire.V5)
		require.NoError(t, err)
		seconds, _ := got.Properties.Uint(wire.MessageExpiryInterval)
		require.EqualValues(t, 1, seconds, "0 would be for ever at some brokers")
	})
}

// TestRetainedExpiryV3: there the message itself cannot say it, so it is withheld when its time is over, from
// subscribers of either version, until somebody publishes anew.
func TestRetainedExpiryV3(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		publisher := open(t, g, connectPacket(wire.V311, "p"), granted(t, "alice", pub("a")))
		message := wire.PublishPacket{Topic: []byte("a"), Retain: true, Payload: []byte("x")}
		p := publisher.publish(message)
		publisher.fromClient(p)
		require.Equal(t, p, publisher.broker.next())

		grant := granted(t, "bob", both("a"))
		grant.Expires = time.Time{}
		r := open(t, g, connectPacket(v, "s"), grant)
		r.fromBroker(r.publish(message))
		r.client.next()
		time.Sleep(10*time.Minute + 3*time.Second)
		require.EqualValues(t, 1, g.Counters().Active, "the publisher is gone")

		r.fromBroker(r.publish(message))
		message.QoS = 1
		r.fromBroker(r.publish(message))
		m, err := wire.ParseAck(r.broker.next(), v)
		require.NoError(t, err)
		require.Equal(t, wire.AckPacket{Type: wire.Puback, ID: 7}, m, "nothing stays in flight")
		message.QoS = 2
		r.fromBroker(r.publish(message))
		m, err = wire.ParseAck(r.broker.next(), v)
		require.NoError(t, err)
		require.Equal(t, wire.AckPacket{Type: wire.Pubrec, ID: 7}, m)
		r.client.quiet()
		require.EqualValues(t, 3, g.Counters().RetainedWithheld)

		live := message
		live.Retain = false
		r.fromBroker(r.publish(live))
		require.Equal(t, wire.Publish, r.client.next().Type(), "what is not retained has no such end")

		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("a"), Retain: true, Payload: []byte("y")}))
		r.broker.next()
		message.QoS = 0
		r.fromBroker(r.publish(message))
		require.Equal(t, wire.Publish, r.client.next().Type(), "published anew, without an end")
	})
}

// TestRetainedOfAWill: a retained Will ends with the grant, too, but is seen by those who were there.
func TestRetainedOfAWill(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		will := func(id, topic string) *rig {
			connect := connectPacket(v, id)
			connect.Will = &wire.Will{Topic: []byte(topic), Payload: []byte("gone"), Retain: true}
			return open(t, g, connect, granted(t, id, pub(topic)))
		}
		one, two := will("one", "a"), will("two", "b")
		r := open(t, g, connectPacket(v, "s"), Grant{Identity: "bob", Scope: scope(t, sub("#"))})
		see := func(topic string) {
			r.fromBroker(r.publish(wire.PublishPacket{Topic: []byte(topic), Retain: true, Payload: []byte("gone")}))
		}
		one.client.conn.Close()
		time.Sleep(10 * time.Minute) // the grants of both end, and the connection of two
		see("a")
		r.client.quiet()
		see("b")
		r.client.next()
		time.Sleep(willGrace + time.Second) // how long the connection lingers
		see("b")
		r.client.quiet()
		require.ErrorIs(t, two.broker.ended(), ErrExpired)

		three := will("three", "c")
		three.fromClient(wire.Packet{0xE0, 0}) // DISCONNECT: no Will
		three.broker.next()
		three.conn.Close()
		synctest.Wait()
		require.NotContains(t, g.retained.until, "c")
	})
}

// TestRetainedBounded: beyond the bound a message is published, not retained.
func TestRetainedBounded(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{MaxRetained: 2})
		r := open(t, g, connectPacket(wire.V311, "c"), granted(t, "alice", pub("#")))
		for i := range 4 {
			r.fromClient(r.publish(wire.PublishPacket{Topic: []byte(fmt.Sprint(i)), QoS: 1, Retain: true, Payload: []byte("x")}))
			m, err := wire.ParsePublish(r.broker.next(), wire.V311)
			require.NoError(t, err)
			require.Equal(t, i < 2, m.Retain)
		}
		require.EqualValues(t, 2, g.Counters().RetainedForgotten)
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("0"), Retain: true}))
		r.broker.next()
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("9"), Retain: true, Payload: []byte("x")}))
		m, err := wire.ParsePublish(r.broker.next(), wire.V311)
		require.NoError(t, err)
		require.True(t, m.Retain, "a deletion makes room")
	})
}
