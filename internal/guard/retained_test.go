package guard

import (
	"crypto/sha256"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// linger is how long a connection of package layer stays after its last word.
const linger = time.Second

// TestRetainedExpiryV5 is E-3: the broker is told to forget a retained message at the end of the grant, or when its
// publisher wants, whichever comes first.
func TestRetainedExpiryV5(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice", pub("a")))
		time.Sleep(time.Minute)
		for asked, want := range map[uint32]uint32{0: 540, 1: 1, 10: 10, 540: 540, 541: 540, 0xFFFFFFFF: 540} {
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
		for _, asked := range []uint32{0, 541} {
			r.fromClient(r.publish(wire.PublishPacket{
				Topic: []byte("a"), Retain: true, Payload: []byte("x"),
				Properties: wire.Properties{}.AppendUint(wire.MessageExpiryInterval, asked),
			}))
			got, err := wire.ParsePublish(r.broker.next(), wire.V5)
			require.NoError(t, err)
			seconds, _ := got.Properties.Uint(wire.MessageExpiryInterval)
			require.EqualValues(t, 540, seconds, "an explicit 0 is for ever at mosquitto and at mochi-mqtt")
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
		time.Sleep(9 * time.Minute)
		see("a")
		r.client.next()             // as long as the grant would have lasted
		time.Sleep(1 * time.Minute) // the grants of both end, and the connection of two
		see("a")
		r.client.quiet()
		see("b")
		r.client.next()
		time.Sleep(linger + time.Second/2) // the connection is over, and its Will is published now
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
		require.NotContains(t, g.retained.topics, named(sha256.Sum256([]byte("c"))))
	})
}

// TestNothingOfAWill: a Will that is not retained, or clears, or has no end, says nothing of the topic's retained
// message.
func TestNothingOfAWill(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		grant := granted(t, "alice", pub("#"))
		endless := grant
		endless.Expires = time.Time{}
		for topic, tc := range map[string]struct {
			will  wire.Will
			grant Grant
		}{
			"not retained": {wire.Will{Payload: []byte("gone")}, grant},
			"clears":       {wire.Will{Retain: true}, grant},
			"no end":       {wire.Will{Payload: []byte("gone"), Retain: true}, endless},
		} {
			connect := connectPacket(v, topic)
			tc.will.Topic = []byte(topic)
			connect.Will = &tc.will
			open(t, g, connect, tc.grant).client.conn.Close()
		}
		time.Sleep(11 * time.Minute)
		require.Zero(t, g.Counters().Active)
		require.Empty(t, g.retained.topics)
	})
}

// TestRetainedBounded: beyond the bound a message is published, not retained.
func TestRetainedBounded(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{MaxRetained: 20}) // a tenth of it for each
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

// TestRetainedInAll: nor are there more topics than may be remembered in all, with the places that are kept; a tenth of
// few is one.
func TestRetainedInAll(t *testing.T) {
	g, _ := guarded(t, Config{MaxRetained: 2})
	r, soon := &g.retained, time.Now().Add(time.Minute)
	require.True(t, r.set([]byte("a"), "alice", soon))
	require.True(t, r.keep("bob"))
	require.False(t, r.set([]byte("c"), "carol", soon))
	require.False(t, r.keep("carol"))
	require.True(t, r.set([]byte("a"), "alice", soon), "again")
	r.take([]byte("b"), "bob", soon)
	require.False(t, r.keep("carol"))
	require.Len(t, r.topics, 2)
}

// TestRetainedOfOthers: who fills what is remembered of her fills her own part of it, with messages or with Wills, and
// takes over what was another's within that part only.
func TestRetainedOfOthers(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{MaxRetained: 30})
		retains := func(r *rig, topic string) bool {
			r.fromClient(r.publish(wire.PublishPacket{Topic: []byte(topic), QoS: 1, Retain: true, Payload: []byte("x")}))
			m, err := wire.ParsePublish(r.broker.next(), wire.V311)
			require.NoError(t, err)
			return m.Retain
		}
		alice := open(t, g, connectPacket(wire.V311, "a"), granted(t, "alice", pub("#")))
		bob := open(t, g, connectPacket(wire.V311, "b"), granted(t, "bob", pub("#")))
		require.True(t, retains(bob, "of bob"))
		require.True(t, retains(alice, "1"))
		willed := func(id string) (r *rig, retained bool) {
			connect := connectPacket(v, id)
			connect.Will = &wire.Will{Topic: []byte("will of " + id), Payload: []byte("gone"), Retain: true}
			r = dial(t, g, connect, granted(t, "alice", pub("#")), nil)
			m, err := wire.ParseConnect(r.broker.next())
			require.NoError(t, err)
			r.accept(wire.ConnackPacket{})
			return r, m.Will.Retain
		}
		first, retained := willed("w1")
		require.True(t, retained)
		second, retained := willed("w2")
		require.True(t, retained)
		_, retained = willed("w3")
		require.False(t, retained, "what cannot be remembered is not retained")
		require.False(t, retains(alice, "2"))
		require.False(t, retains(alice, "of bob"))
		require.True(t, retains(alice, "1"), "again")
		require.True(t, retains(bob, "2"))
		require.True(t, retains(bob, "1"), "now it is another's")
		p, err := (&wire.ReasonPacket{Type: wire.Disconnect}).Append(nil, v)
		require.NoError(t, err)
		first.fromClient(p)
		first.client.conn.Close()
		second.client.conn.Close()
		time.Sleep(2 * linger)
		require.True(t, retains(alice, "3"), "a Will that was discarded")
		require.True(t, retains(alice, "4"), "what has become another's")
		require.False(t, retains(alice, "5"), "a Will that was published")
		require.Contains(t, g.retained.topics, named(sha256.Sum256([]byte("will of w2"))))
		require.NotContains(t, g.retained.topics, named(sha256.Sum256([]byte("will of w1"))))
		require.Equal(t, map[string]int{"alice": 3, "bob": 3}, g.retained.owned)
	})
}

// TestWillOfTheRefused: who is not admitted keeps no place.
func TestWillOfTheRefused(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		open(t, g, connectPacket(v, "c"), granted(t, "alice", pub("#")))
		connect := connectPacket(v, "c")
		connect.Will = &wire.Will{Topic: []byte("w"), Payload: []byte("gone"), Retain: true}
		require.Error(t, dial(t, g, connect, granted(t, "mallory", pub("#")), nil).err)
		require.Zero(t, g.retained.kept)
		require.Empty(t, g.retained.owned)
	})
}
