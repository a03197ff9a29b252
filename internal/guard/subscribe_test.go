package guard

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// refusal is the code of a filter that is not permitted.
func refusal(v wire.Version) byte {
	if v == wire.V5 {
		return 0x87
	}
	return 0x80
}

// TestSubscribeNotAllowed: SUBACK says no for the filter that is not permitted, and for that one only; the broker
// sees the others alone.
func TestSubscribeNotAllowed(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, log := guarded(t, Config{})
		r := open(t, g, connectPacket(v, "c"), granted(t, "alice", sub("a/#"), pub("p")))

		r.fromClient(r.subscribe(5, "b", "a/+", "#", "$share/g/a/x", "p"))
		require.Equal(t, r.subscribe(5, "a/+", "$share/g/a/x"), r.broker.next())
		r.fromBroker(r.suback(5, 1, 0))
		no := refusal(v)
		require.Equal(t, []byte{no, 1, no, 0, no}, r.codes())

		r.fromClient(r.subscribe(6, "b", "$SYS/#"))
		require.Equal(t, []byte{no, no}, r.codes())
		r.broker.quiet()

		p := r.subscribe(7, "a", "a/b/c")
		r.fromClient(p)
		require.Equal(t, p, r.broker.next(), "byte for byte")
		s := r.suback(7, 1, 0x80)
		r.fromBroker(s)
		require.Equal(t, s, r.client.next())

		c := g.Counters()
		require.EqualValues(t, 4, c.Subscribed)
		require.EqualValues(t, 5, c.SubscribeDenied)
		require.Contains(t, log.String(), `msg="subscribe not authorized" identity=alice`)
	})
}

// TestSubscribeBounded: a client has so many subscriptions and no more, and gets a place back with UNSUBSCRIBE or
// when the broker says no.
func TestSubscribeBounded(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{MaxSubscriptions: 2})
		r := open(t, g, connectPacket(v, "c"), granted(t, "alice", sub("#")))
		quota := byte(0x97)
		if v != wire.V5 {
			quota = 0x80
		}
		id := uint16(0)
		ask := func(filter string, code byte) {
			id++
			r.fromClient(r.subscribe(id, filter))
			r.broker.next()
			r.fromBroker(r.suback(id, code))
			require.Equal(t, []byte{code}, r.codes(), filter)
		}
		ask("a", 0x80)
		ask("b", 1)
		ask("c", 1)
		ask("c", 1) // again
		id++
		r.fromClient(r.subscribe(id, "d"))
		require.Equal(t, []byte{quota}, r.codes())
		r.broker.quiet()
		p, err := (&wire.UnsubscribePacket{ID: 99, Filters: [][]byte{[]byte("b")}}).Append(nil, v)
		require.NoError(t, err)
		r.fromClient(p)
		r.broker.next()
		ask("d", 1)
		r.fromClient(r.subscribe(id+1, "x", "y", "z"))
		require.Equal(t, []byte{quota, quota, quota}, r.codes())
	})
}

// TestSubscribeBoundedInBytes: nor may the filters be as long as filters can be, or one SUBSCRIBE as large as packets.
func TestSubscribeBoundedInBytes(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{MaxSubscriptions: 4})
		r := open(t, g, connectPacket(v, "c"), granted(t, "alice", sub("#")))
		quota := byte(0x97)
		if v != wire.V5 {
			quota = 0x80
		}
		long := func(c string) string { return strings.Repeat(c, 4*filterLength-1) }
		r.fromClient(r.subscribe(1, long("a")))
		r.broker.next()
		r.fromBroker(r.suback(1, 1))
		require.Equal(t, []byte{1}, r.codes())
		r.fromClient(r.subscribe(2, long("b")))
		require.Equal(t, []byte{quota}, r.codes())
		r.fromClient(r.subscribe(3, "b", long("a"))) // which is known
		r.broker.next()
		r.fromBroker(r.suback(3, 1, 1))
		require.Equal(t, []byte{1, 1}, r.codes())
		r.broker.quiet()

		huge := &wire.SubscribePacket{ID: 4, Subscriptions: slices.Repeat([]wire.Subscription{{Filter: []byte("x")}}, maxAsk/4)}
		p, err := huge.Append(nil, v)
		require.NoError(t, err)
		r.fromClient(p)
		r.disconnected(wire.PacketTooLarge, ErrQuota)

		r = open(t, g, connectPacket(v, "d"), granted(t, "alice", sub("#")))
		p, err = (&wire.UnsubscribePacket{ID: 5, Filters: slices.Repeat([][]byte{[]byte("x")}, maxAsk/3)}).Append(nil, v)
		require.NoError(t, err)
		r.fromClient(p)
		r.disconnected(wire.PacketTooLarge, ErrQuota)
	})
}

// TestSubscribeUnanswered: what the broker has not answered counts, though it be the same filter again and again.
func TestSubscribeUnanswered(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{MaxSubscriptions: 3})
		r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice", sub("#")))
		r.fromClient(r.subscribe(1, "a", "b"))
		r.broker.next()
		r.fromClient(r.subscribe(2, "a"))
		r.broker.next()
		r.fromClient(r.subscribe(3, "a"))
		require.Equal(t, []byte{0x97}, r.codes())
		r.broker.quiet()
		r.fromBroker(r.suback(1, 1, 1))
		require.Equal(t, []byte{1, 1}, r.codes())
		r.fromClient(r.subscribe(3, "a"))
		r.broker.next()
	})
}

// TestMalformed: what cannot be read is not passed on, in either direction.
func TestMalformed(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		for _, p := range []wire.Packet{
			{0x82, 5, 0, 0, 0, 0, 0}, // SUBSCRIBE, UNSUBSCRIBE without a packet identifier
			{0xA2, 5, 0, 0, 0, 0, 0},
			{0xE0, 2, 0, 1}, // DISCONNECT
		} {
			r := open(t, g, connectPacket(v, "c"), granted(t, "alice", sub("#")))
			r.fromClient(p)
			require.ErrorIs(t, r.broker.ended(), wire.ErrMalformed, p.Type())
		}
		r := open(t, g, connectPacket(v, "c"), granted(t, "alice", sub("#")))
		_, err := r.conn.Write(wire.Packet{0x90, 4, 0, 0, 0, 0}) // SUBACK
		require.ErrorIs(t, err, wire.ErrMalformed)
		r.client.quiet()
	})
}

// TestSubscribeTwiceWithOneIdentifier does not confuse whose answer is whose.
func TestSubscribeTwiceWithOneIdentifier(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice", sub("a")))
		r.fromClient(r.subscribe(5, "a", "b"))
		r.broker.next()
		r.fromClient(r.subscribe(5, "a"))
		require.Equal(t, []byte{0x97}, r.codes())
		r.fromBroker(r.suback(5, 1))
		require.Equal(t, []byte{1, 0x87}, r.codes())
	})
}

// TestSubackThatDoesNotFit: a broker that answers for another number of filters is not understood.
func TestSubackThatDoesNotFit(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice", sub("a")))
		r.fromClient(r.subscribe(5, "a", "b"))
		r.broker.next()
		unasked := r.suback(6, 1, 1)
		r.fromBroker(unasked)
		require.Equal(t, unasked, r.client.next(), "the client knows whether it has asked")
		_, err := r.conn.Write(r.suback(5, 1, 1))
		require.ErrorIs(t, err, errSuback)
	})
}

// TestDelivery: what the subscriber may receive passes as it is, and what it may not ends the connection with the
// reason; silence would look like success.
func TestDelivery(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, log := guarded(t, Config{})
		r := open(t, g, connectPacket(v, "c"), granted(t, "alice", sub("a/+"), pub("p")))
		for qos := range byte(3) {
			p := r.publish(wire.PublishPacket{Topic: []byte("a/b"), QoS: qos, Payload: []byte("verysecret")})
			r.fromBroker(p)
			require.Equal(t, p, r.client.next(), "byte for byte")
		}
		r.fromBroker(r.publish(wire.PublishPacket{Topic: []byte("p"), QoS: 1, Payload: []byte("verysecret")}))
		r.disconnected(0x87, ErrNotAuthorized)
		require.Contains(t, log.String(), "delivery not authorized")
		require.NotContains(t, log.String(), "verysecret")
		require.EqualValues(t, 3, g.Counters().Delivered)
		require.EqualValues(t, 1, g.Counters().DeliveryDenied)
	})
}

// TestDeliveryByAlias: the broker's aliases are seen through as the client's are.
func TestDeliveryByAlias(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		connect := connectPacket(wire.V5, "c")
		connect.Properties = connect.Properties.AppendUint(wire.TopicAliasMaximum, 5)
		r := open(t, g, connect, granted(t, "alice", sub("a")))
		alias := func(topic string) wire.Packet {
			return r.publish(wire.PublishPacket{Topic: []byte(topic), Properties: wire.Properties{}.AppendUint(wire.TopicAlias, 1)})
		}
		r.fromBroker(alias("a"))
		r.client.next()
		r.fromBroker(alias(""))
		r.client.next()
		r.fromBroker(alias("b"))
		r.disconnected(0x87, ErrNotAuthorized)
	})
}

// TestSubscribeCostDoesNotGrow puts one client beside many others: nothing is looked up among them.
func TestSubscribeCostDoesNotGrow(t *testing.T) {
	g, _ := guarded(t, Config{})
	for i := range 10_000 {
		_, err := g.clients.claim(fmt.Sprint(i), new(Session), "x", g.cfg.Clock.Now())
		require.NoError(t, err)
	}
	s := &Session{g: g}
	s.grant.Store(&Grant{Scope: scope(t, both("a/+/#"))})
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if !s.mayPublish([]byte("a/b/c")) || !s.mayReceive([]byte("a/b/c")) || s.mayPublish([]byte("b")) {
			t.Fail()
		}
	}))
}
