package guard

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// The rows of the table of RFC 9431, section 3, about PUBLISH.

func TestPublishAllowed(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(v, "c"), granted(t, "alice", pub("a/+")))
		for qos := range byte(3) {
			p := r.publish(wire.PublishPacket{Topic: []byte("a/b"), QoS: qos, Payload: []byte("x")})
			r.fromClient(p)
			require.Equal(t, p, r.broker.next(), "byte for byte")
		}
		r.client.quiet()
		require.EqualValues(t, 3, g.Counters().Published)
	})
}

// TestPublishNotAllowedQoS12V5: PUBACK or PUBREC 0x87, and the connection stays.
func TestPublishNotAllowedQoS12V5(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, log := guarded(t, Config{})
		r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice", pub("a"), sub("s")))
		for i, topic := range []string{"b", "s", "a/b", "$SYS/a"} {
			r.fromClient(r.publish(wire.PublishPacket{Topic: []byte(topic), QoS: 1, ID: 10, Payload: []byte("verysecret")}))
			require.Equal(t, wire.AckPacket{Type: wire.Puback, ID: 10, Reason: 0x87}, r.ack(), topic)
			r.fromClient(r.publish(wire.PublishPacket{Topic: []byte(topic), QoS: 2, ID: 11}))
			require.Equal(t, wire.AckPacket{Type: wire.Pubrec, ID: 11, Reason: 0x87}, r.ack())
			require.EqualValues(t, 2*(i+1), g.Counters().PublishDenied)
		}
		r.broker.quiet()
		r.client.quiet()
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("a")}))
		require.Equal(t, wire.Publish, r.broker.next().Type())
		require.Contains(t, log.String(), `msg="publish not authorized" identity=alice client=c`)
		require.Contains(t, log.String(), "topic=a/b")
		require.NotContains(t, log.String(), "verysecret")
	})
}

// TestPublishNotAllowedQoS0V5: DISCONNECT 0x87, close.
func TestPublishNotAllowedQoS0V5(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice", pub("a")))
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("b")}))
		r.disconnected(0x87, ErrNotAuthorized)
	})
}

// TestPublishNotAllowedV3: the connection is dropped without a word, because an acknowledgement would mean success.
func TestPublishNotAllowedV3(t *testing.T) {
	for qos := range byte(3) {
		onV5(t, func(t *testing.T) {
			g, _ := guarded(t, Config{})
			r := open(t, g, connectPacket(wire.V311, "c"), granted(t, "alice", pub("a")))
			r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("b"), QoS: qos}))
			r.disconnected(0, ErrNotAuthorized)
		})
	}
}

// TestPublishConcealed: 0x80 for a broker that does not tell which topics exist.
func TestPublishConcealed(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{Conceal: true})
		r := open(t, g, connectPacket(wire.V5, "c"), granted(t, "alice"))
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("b"), QoS: 1}))
		require.Equal(t, byte(0x80), r.ack().Reason)
		r.fromClient(r.subscribe(1, "b"))
		require.Equal(t, []byte{0x80}, r.codes())
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("b")}))
		r.disconnected(0x80, ErrNotAuthorized)
	})
}

// TestPublishByAlias: the topic behind an alias counts, also when the alias was set by a PUBLISH that was refused,
// and the broker then still learns what it stands for.
func TestPublishByAlias(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{})
		r := dial(t, g, connectPacket(wire.V5, "c"), granted(t, "alice", pub("good")), nil)
		r.broker.next()
		r.accept(wire.ConnackPacket{Properties: wire.Properties{}.AppendUint(wire.TopicAliasMaximum, 10)})
		alias := func(id uint32, topic string) wire.Packet {
			return r.publish(wire.PublishPacket{Topic: []byte(topic), QoS: 1, Properties: wire.Properties{}.AppendUint(wire.TopicAlias, id)})
		}
		r.fromClient(alias(1, "bad"))
		require.Equal(t, byte(0x87), r.ack().Reason)
		r.fromClient(alias(1, ""))
		require.Equal(t, byte(0x87), r.ack().Reason)
		r.fromClient(alias(1, "good"))
		r.broker.next()
		r.fromClient(alias(1, ""))
		m, err := wire.ParsePublish(r.broker.next(), wire.V5)
		require.NoError(t, err)
		require.Empty(t, m.Topic)
		r.broker.quiet()
		r.fromClient(alias(11, "good"))
		require.ErrorIs(t, r.broker.ended(), wire.ErrMalformed)
	})
}

// TestPublishQoS2V5Released: a refused exchange ends with PUBREC, and one that is taken goes its whole way.
func TestPublishReserved(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{Reserved: []string{"authz-info"}, Public: scope(t, sub("#"))})
		var got []string
		reason := wire.Success
		r := dial(t, g, connectPacket(v, ""), Grant{}, func(name string, m *wire.PublishPacket) byte {
			got = append(got, name+" "+string(m.Payload))
			return reason
		})
		r.broker.next()
		r.accept(wire.ConnackPacket{})
		put := func(qos byte) {
			r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("authz-info"), QoS: qos, Payload: []byte("token")}))
		}
		put(0)
		put(1)
		require.Equal(t, wire.AckPacket{Type: wire.Puback, ID: 7}, r.ack())
		put(2)
		require.Equal(t, wire.AckPacket{Type: wire.Pubrec, ID: 7}, r.ack())
		p, err := (&wire.AckPacket{Type: wire.Pubrel, ID: 7}).Append(nil, v)
		require.NoError(t, err)
		r.fromClient(p)
		require.Equal(t, wire.AckPacket{Type: wire.Pubcomp, ID: 7}, r.ack())
		require.Equal(t, []string{"authz-info token", "authz-info token", "authz-info token"}, got)
		r.broker.quiet()

		r.fromClient(r.subscribe(1, "authz-info"))
		require.NotEqual(t, byte(1), r.codes()[0])
		r.fromClient(r.subscribe(1, "$share/g/authz-info"))
		require.NotEqual(t, byte(1), r.codes()[0])

		reason = wire.PayloadFormatInvalid
		if v == wire.V5 {
			put(1)
			require.Equal(t, wire.AckPacket{Type: wire.Puback, ID: 7, Reason: 0x99}, r.ack())
			put(2)
			require.Equal(t, wire.AckPacket{Type: wire.Pubrec, ID: 7, Reason: 0x99}, r.ack())
		}
		reason = wire.UnspecifiedError // the least that refuses
		put(0)
		r.disconnected(0x80, ErrNotAuthorized)
	})
}

// TestReservedIsNotForScopes: no scope and no Will reaches a reserved topic, and nothing is delivered on one.
func TestReservedIsNotForScopes(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, _ := guarded(t, Config{Reserved: []string{"authz-info"}})
		grant := granted(t, "alice", both("#"))
		r := open(t, g, connectPacket(wire.V5, "c"), grant)
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("authz-info"), QoS: 1}))
		require.Equal(t, byte(0x87), r.ack().Reason)
		r.fromBroker(r.publish(wire.PublishPacket{Topic: []byte("authz-info")}))
		r.disconnected(0x87, ErrNotAuthorized)

		connect := connectPacket(wire.V5, "d")
		connect.Will = &wire.Will{Topic: []byte("authz-info")}
		r = dial(t, g, connect, grant, nil)
		var refusal *Refusal
		require.ErrorAs(t, r.err, &refusal)
		require.Equal(t, byte(0x87), refusal.Code)

		_, err := New(Config{Reserved: []string{"a/#"}})
		require.Error(t, err)
	})
}

// TestPublishPublic: what is public needs no grant.
func TestPublishPublic(t *testing.T) {
	onBoth(t, func(t *testing.T, v wire.Version) {
		g, _ := guarded(t, Config{Public: scope(t, both("public/#"))})
		r := open(t, g, connectPacket(v, "c"), Grant{})
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("public/a")}))
		r.broker.next()
		r.fromClient(r.subscribe(1, "public/+"))
		r.broker.next()
		r.fromBroker(r.suback(1, 1))
		require.Equal(t, []byte{1}, r.codes())
		r.fromBroker(r.publish(wire.PublishPacket{Topic: []byte("public/a")}))
		r.client.next()
		r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("private")}))
		r.disconnected(0x87, ErrNotAuthorized)
	})
}

// TestAuditOfAFlood: a client cannot fill the disk with refusals, nor put lines of its own into the log.
func TestAuditOfAFlood(t *testing.T) {
	onV5(t, func(t *testing.T) {
		g, log := guarded(t, Config{})
		r := open(t, g, connectPacket(wire.V5, "c\nidentity=bob"), granted(t, "alice"))
		for range 1000 {
			r.fromClient(r.publish(wire.PublishPacket{Topic: []byte("x\nmsg=forged " + strings.Repeat("y", 5000)), QoS: 1}))
			r.ack()
		}
		require.Less(t, len(log.String()), 50<<10)
		require.NotContains(t, log.String(), "\nmsg=forged")
		require.NotContains(t, log.String(), "\nidentity=bob")
		require.Equal(t, strings.Count(log.String(), "\n"), 1+loggedDenials+4, "64, 128, 256, 512")
		require.EqualValues(t, 1000, g.Counters().PublishDenied)
	})
}
