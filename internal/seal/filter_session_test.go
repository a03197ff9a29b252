package seal

import (
	"bytes"
	"fmt"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestResendIsTheSameFrame resends at every point at which a client may, and sees whether
// receivers will know the message again.
func TestResendIsTheSameFrame(t *testing.T) {
	for _, v := range versions {
		for qos := byte(1); qos < 3; qos++ {
			t.Run(fmt.Sprintf("v%d QoS %d", v, qos), func(t *testing.T) {
				reject, rejected := rejections()
				s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
				m := message(qos, "site/7", "x")
				m.Properties = wire.Properties(nil).AppendPair("k", "v")
				again := m
				again.Dup = true

				e := client(t, s, rejected, v, nil, nil)
				first := e.publish(m).Payload
				require.Equal(t, first, e.publish(again).Payload, "on the same connection")
				e = client(t, s, rejected, v, nil, nil)
				require.Equal(t, first, e.publish(again).Payload, "on the next connection")

				other := again
				other.Payload = []byte("y")
				second := e.publish(other).Payload
				require.NotEqual(t, first[:headerLen], second[:headerLen], "another message under the identifier")
				e = client(t, s, rejected, v, nil, nil)
				require.NotEqual(t, second[:headerLen], e.publish(m).Payload[:headerLen], "no DUP: a new message")

				third := e.publish(m).Payload
				if qos == 2 {
					e.write(e.broker, e.ack(wire.Pubrec, 7, 0))
					e.read(e.app)
					require.Equal(t, third, e.publish(again).Payload, "crossing a PUBREC")
					e.write(e.broker, e.ack(wire.Pubcomp, 7, 0))
				} else {
					e.write(e.broker, e.ack(wire.Puback, 7, 0))
				}
				e.read(e.app)
				require.Equal(t, third, e.publish(again).Payload, "an acknowledgement that the client has not read")
				require.NotEqual(t, third[:headerLen], e.publish(m).Payload[:headerLen], "the next message")
			})
		}
	}
}

// TestResendWithoutDup sends a message twice as paho.mqtt.golang does that is published while a session resumes: with
// DUP and then without, before or after it is acknowledged. The next message under the identifier is one of its own.
func TestResendWithoutDup(t *testing.T) {
	reject, rejected := rejections()
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
	e := client(t, s, rejected, wire.V311, nil, nil)
	m := message(1, "site/7", "x")
	store := func() {
		p, err := m.Append(nil, wire.V311)
		require.NoError(t, err)
		_, err = s.Freeze("client", wire.V311, p, true)
		require.NoError(t, err)
	}
	store()
	again := m
	again.Dup = true
	first := e.publish(again).Payload
	require.Equal(t, first, e.publish(m).Payload, "not acknowledged")
	e.write(e.broker, e.ack(wire.Puback, 7, 0))
	e.read(e.app)
	require.Equal(t, first, e.publish(m).Payload, "acknowledged")
	store()
	require.NotEqual(t, first[:headerLen], e.publish(m).Payload[:headerLen], "the next message")
}

// TestRedelivery delivers a message again at every point of its acknowledgement.
func TestRedelivery(t *testing.T) {
	for _, v := range versions {
		for qos := byte(1); qos < 3; qos++ {
			ack := wire.Puback + wire.Type(qos-1)
			t.Run(fmt.Sprintf("v%d QoS %d", v, qos), func(t *testing.T) {
				alice, bob := connectedPair(t, v, Config{})
				s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: func(r Rejection) { bob.rejected <- r }})
				bob = client(t, s, bob.rejected, v, nil, nil)
				m := alice.publish(message(qos, "site/7", "x"))
				again := m
				again.Dup = true

				require.Equal(t, "x", string(bob.deliver(m).Payload))
				bob.write(bob.broker, bob.packet(again))
				bob.refused(false, "site/7", ErrReplay)
				bob.quiet() // the application's own acknowledgement is still to come

				bob.app.Close()
				bob = client(t, s, bob.rejected, v, nil, nil)
				require.Equal(t, "x", string(bob.deliver(again).Payload), "not acknowledged, so not lost")
				bob = client(t, s, bob.rejected, v, nil, nil)
				require.Equal(t, "x", string(bob.deliver(again).Payload), "the same, taken over")

				bob.write(bob.app, bob.ack(ack, 7, 0))
				require.Equal(t, bob.ack(ack, 7, 0), bob.read(bob.broker))
				bob.write(bob.broker, bob.packet(again))
				require.Equal(t, bob.ack(ack, 7, 0), bob.read(bob.broker), "acknowledged again, and dropped")
				bob.refused(false, "site/7", ErrReplay)
				if qos == 2 { // the client's own exchange goes on
					bob.write(bob.broker, bob.ack(wire.Pubrel, 7, 0))
					require.Equal(t, bob.ack(wire.Pubrel, 7, 0), bob.read(bob.app))
					bob.write(bob.app, bob.ack(wire.Pubcomp, 7, 0))
					require.Equal(t, bob.ack(wire.Pubcomp, 7, 0), bob.read(bob.broker))
				}

				// A copy under another identifier, as for overlapping subscriptions.
				again.ID = 8
				bob.write(bob.broker, bob.packet(again))
				require.Equal(t, bob.ack(ack, 8, 0), bob.read(bob.broker))
				bob.refused(false, "site/7", ErrReplay)
				if qos == 2 {
					bob.write(bob.broker, bob.ack(wire.Pubrel, 8, 0))
					require.Equal(t, bob.ack(wire.Pubcomp, 8, 0), bob.read(bob.broker))
				}
				bob.quiet()
			})
		}
	}
}

// TestDeliveredWithoutAcknowledgement: what a broker delivers at QoS 0, though it was published at a higher one, is
// done with at once: nobody will acknowledge it, and the next connection does not get it again.
func TestDeliveredWithoutAcknowledgement(t *testing.T) {
	alice, _ := connectedPair(t, wire.V5, Config{})
	reject, rejected := rejections()
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
	m := alice.publish(message(1, "site/7", "x"))
	var heard []string
	for range 2 {
		bob := client(t, s, rejected, wire.V5, nil, nil)
		bob.offer(0, 0, false, "site/7", m.Payload, nil)
		heard = append(heard, bob.heard()...)
		bob.app.Close()
	}
	require.Equal(t, []string{"x"}, heard)
	require.ErrorIs(t, (<-rejected).Err, ErrReplay)
}

// TestIdentifierOfABrokerThatForgot: a broker that crashed between PUBREC and PUBREL gives identifiers out anew. A
// message of QoS 1 under one that a message of QoS 2 had is answered as its QoS demands, be it new or known; a broker
// ends the connection otherwise, and the next one in the same way.
func TestIdentifierOfABrokerThatForgot(t *testing.T) {
	for _, v := range versions {
		t.Run(fmt.Sprint(v), func(t *testing.T) {
			alice, bob := connectedPair(t, v, Config{})
			s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: func(r Rejection) { bob.rejected <- r }})
			bob = client(t, s, bob.rejected, v, nil, nil)
			known := alice.publish(message(1, "site/7", "known"))
			twice := alice.publish(message(2, "site/7", "twice"))
			known.ID, twice.ID = 6, 7
			bob.deliver(known)
			bob.write(bob.app, bob.ack(wire.Puback, 6, 0))
			require.Equal(t, bob.ack(wire.Puback, 6, 0), bob.read(bob.broker))
			bob.deliver(twice)
			bob.write(bob.app, bob.ack(wire.Pubrec, 7, 0))
			require.Equal(t, bob.ack(wire.Pubrec, 7, 0), bob.read(bob.broker))
			bob.app.Close()

			bob = client(t, s, bob.rejected, v, nil, nil)
			known.ID, known.Dup = 7, true
			bob.write(bob.broker, bob.packet(known))
			require.Equal(t, bob.ack(wire.Puback, 7, 0), bob.read(bob.broker))
			bob.refused(false, "site/7", ErrReplay)
			bob.quiet()
		})
	}
}

// TestTakeover has a client open a connection while it has another one. What it has not
// acknowledged on the old one comes through on the new one, once, and never on the old
// one again; what it has acknowledged on either is done.
func TestTakeover(t *testing.T) {
	alice, _ := connectedPair(t, wire.V5, Config{})
	reject, rejected := rejections()
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
	old := client(t, s, rejected, wire.V5, nil, nil)
	m, acked := alice.publish(message(1, "site/7", "x")), alice.publish(message(1, "site/7", "y"))
	old.deliver(m)
	acked.ID = 8
	old.deliver(acked)
	bob := client(t, s, rejected, wire.V5, nil, nil)
	old.write(old.app, old.ack(wire.Puback, 8, 0))
	old.read(old.broker)
	require.Equal(t, "x", string(bob.deliver(m).Payload))
	for _, e := range []*end{old, bob} {
		e.write(e.broker, e.packet(m))
		e.refused(false, "site/7", ErrReplay)
		e.write(e.broker, e.packet(acked))
		e.refused(false, "site/7", ErrReplay)
		require.Equal(t, wire.Puback, e.read(e.broker).Type())
	}
}

func TestTwoClientsOfOneSealer(t *testing.T) {
	alice, _ := connectedPair(t, wire.V5, Config{})
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	m := alice.publish(message(0, "site/7", "x"))
	for _, id := range []string{"one", "two", "", ""} {
		e := client(t, s, nil, wire.V5, func(c *wire.ConnectPacket) { c.ClientID = []byte(id) }, nil)
		require.Equal(t, "x", string(e.deliver(m).Payload), id)
	}
}

func TestAssignedClientIdentifier(t *testing.T) {
	alice, _ := connectedPair(t, wire.V5, Config{})
	reject, rejected := rejections()
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
	m := alice.publish(message(0, "site/7", "x"))
	nameless := func(c *wire.ConnectPacket) { c.ClientID = nil }
	e := client(t, s, nil, wire.V5, nameless, wire.Properties(nil).AppendBytes(wire.AssignedClientIdentifier, []byte("client")))
	e.deliver(m)
	e.app.Close()
	e = client(t, s, rejected, wire.V5, nil, nil)
	e.write(e.broker, e.packet(m))
	e.refused(false, "site/7", ErrReplay)
}

func TestIdleSessionsAreBounded(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	held := newFilter(s)
	s.mqtt.attach(held, "held", false)
	for i := range 2 * maxIdle {
		f := newFilter(s)
		s.mqtt.attach(f, fmt.Sprint(i), false)
		s.mqtt.detach(f)
	}
	require.Len(t, s.mqtt.byID, maxIdle+1)
	require.Len(t, s.mqtt.places, maxIdle)
	require.NotNil(t, s.mqtt.byID["held"])
	require.NotNil(t, s.mqtt.byID[fmt.Sprint(2*maxIdle-1)])
	require.Nil(t, s.mqtt.byID["0"])
}

// TestSessionInUseIsNotIdle: one that was idle and is in use again is not dropped, and what it was delivered stays
// delivered, however many others there are.
func TestSessionInUseIsNotIdle(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	attached := func(id string) *filter {
		f := newFilter(s)
		s.mqtt.attach(f, id, false)
		return f
	}
	attached("back").Closed()
	back := attached("back")
	session := back.link.Load().mqttSession
	for i := range 2 * maxIdle {
		attached(fmt.Sprint(i)).Closed()
	}
	require.Same(t, session, s.mqtt.byID["back"])
	require.Same(t, session, attached("back").link.Load().mqttSession)
}

// TestStoresOfManyClientsAreBounded stores messages of clients that never connect, and of one without a name.
func TestStoresOfManyClientsAreBounded(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	for i := range 2 * maxIdle {
		s.mqtt.stored(fmt.Sprint(i), 1, stamp{})
	}
	require.Len(t, s.mqtt.byID, maxIdle)
	s.mqtt.stored("", 1, stamp{})
	require.Nil(t, s.mqtt.byID[""], "the session of every client without a name")
}

// TestSecondAttach has one connection name two sessions: it is in the first alone, and ends its part in that once.
func TestSecondAttach(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	f := newFilter(s)
	s.mqtt.attach(f, "client", false)
	session := f.link.Load().mqttSession
	for _, id := range []string{"client", "another"} {
		s.mqtt.attach(f, id, true)
		require.Same(t, session, f.link.Load().mqttSession)
	}
	takeover := newFilter(s)
	s.mqtt.attach(takeover, "client", false)
	f.Closed()
	f.Closed()
	require.Empty(t, s.mqtt.places, "the other connection has it still")
	takeover.Closed()
	require.Len(t, s.mqtt.byID, 1)
	require.Len(t, s.mqtt.places, 1, "it waits for its next connection, and can be dropped")
}

// TestAttachAfterTheEnd reads CONNECT when the connection has ended already.
func TestAttachAfterTheEnd(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	f := newFilter(s)
	f.Closed()
	s.mqtt.attach(f, "late", true)
	require.Empty(t, s.mqtt.byID, "kept for ever: no connection will end that had it")
}

// TestNameAfterTheEnd assigns an identifier to a client whose connection has ended while CONNACK was read.
func TestNameAfterTheEnd(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	f := newFilter(s)
	s.mqtt.attach(f, "", true)
	f.Closed()
	f.named(wire.Properties(nil).AppendBytes(wire.AssignedClientIdentifier, []byte("late")))
	require.Empty(t, s.mqtt.byID, "kept for ever: no connection will end that had it")
	require.Empty(t, s.mqtt.places)
}

// TestLateAcknowledgementOfAnEndedConnection lets a Write that was under way when its connection ended come to its end
// after the next connection has begun, which has the exchanges of QoS 2 for itself.
func TestLateAcknowledgementOfAnEndedConnection(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	m := s.mqtt.create("client")
	before := m.begin(false)
	before.acknowledged(&wire.AckPacket{Type: wire.Pubrec, ID: 1})
	before.end()
	next := m.begin(false)
	require.Equal(t, received, next.again(1, 2))

	before.acknowledged(&wire.AckPacket{Type: wire.Pubcomp, ID: 1})
	before.acknowledged(&wire.AckPacket{Type: wire.Pubrec, ID: 2})
	require.Equal(t, received, next.again(1, 2))
	require.Equal(t, nothing, next.again(2, 2))

	var both sync.WaitGroup // which the race detector watches
	for _, l := range []*link{before, next} {
		both.Go(func() { l.acknowledged(&wire.AckPacket{Type: wire.Pubrec, ID: 3}) })
	}
	both.Wait()
}

func TestWill(t *testing.T) {
	for _, v := range versions {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) {
			cfg := Config{Keys: []Key{testKey(t, "site/#", 1)}}
			f := newFilter(testSealer(t, cfg))
			w := wire.Will{Topic: []byte("site/7"), Payload: []byte("gone"), Properties: wire.Properties(nil).AppendUint(wire.WillDelayInterval, 3).AppendPair("k", "v")}
			require.NoError(t, f.sealWill(&w, w.Topic))
			require.Equal(t, wire.Properties(nil).AppendUint(wire.WillDelayInterval, 3), w.Properties)
			m := message(0, "site/7", "")
			m.Payload = w.Payload
			e := client(t, testSealer(t, cfg), nil, v, nil, nil)
			require.Equal(t, "gone", string(e.deliver(m).Payload))
		})
	}
}

// TestConnectCarriesASealedWill looks at the CONNECT that leaves.
func TestConnectCarriesASealedWill(t *testing.T) {
	secret := []byte("the last words")
	for _, v := range versions {
		reject, _ := rejections()
		s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
		for topic, sealed := range map[string]bool{"site/7": true, "other": false} {
			out := connectWith(t, s, v, &wire.Will{Topic: []byte(topic), Payload: secret})
			require.Equal(t, !sealed, bytes.Contains(out, secret))
		}
	}
}

// connectWith returns the CONNECT with a Will that reaches the broker.
func connectWith(t *testing.T, s *Sealer, v wire.Version, w *wire.Will) wire.Packet {
	t.Helper()
	e := &end{t: t, v: v}
	app, broker := tcpEnds(t)
	conn, err := s.Conn(t.Context(), app)
	require.NoError(t, err)
	p, err := (&wire.ConnectPacket{Version: v, ClientID: []byte("client"), Will: w}).Append(nil)
	require.NoError(t, err)
	e.write(conn, p)
	return e.read(broker)
}

// TestWillThatGrowsTooLarge refuses the connection in the server's place.
func TestWillThatGrowsTooLarge(t *testing.T) {
	for v, want := range map[wire.Version]byte{wire.V311: 5, wire.V5: wire.PacketTooLarge} {
		reject, rejected := rejections()
		s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
		e := &end{t: t, v: v, rejected: rejected}
		app, _ := tcpEnds(t)
		conn, err := s.Conn(t.Context(), app)
		require.NoError(t, err)
		p, err := (&wire.ConnectPacket{Version: v, ClientID: []byte("client"), Will: &wire.Will{Topic: []byte("site/7"), Payload: make([]byte, 65535-41)}}).Append(nil)
		require.NoError(t, err)
		e.write(conn, p)
		ack, err := wire.ParseConnack(e.read(conn), v)
		require.NoError(t, err)
		require.Equal(t, want, ack.Code)
		e.refused(true, "site/7", ErrTooLarge)
	}
}

// TestMessageSentAgainIsNotOver: what the client sends again after its acknowledgement is under way once more, and is
// remembered until that is over, whatever else is over meanwhile.
func TestMessageSentAgainIsNotOver(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	m := s.mqtt.create("client")
	msg := Message{Topic: []byte("site/7")}
	first, err := m.seal(s, nil, &msg, &wire.PublishPacket{QoS: 1, ID: 1})
	require.NoError(t, err)
	m.arrived(1)
	again := func() {
		t.Helper()
		b, err := m.seal(s, nil, &msg, &wire.PublishPacket{QoS: 1, ID: 1, Dup: true})
		require.NoError(t, err)
		require.Equal(t, first, b)
	}
	again()
	for id := uint16(2); id < 2*maxOver; id++ {
		_, err := m.seal(s, nil, &msg, &wire.PublishPacket{QoS: 1, ID: id})
		require.NoError(t, err)
		m.arrived(id)
	}
	again()
}

// TestMessagesThatAreOverAreForgotten completes more exchanges than are remembered.
func TestMessagesThatAreOverAreForgotten(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	m := s.mqtt.create("client")
	for round := range 3 {
		for id := uint16(1); id <= 1000; id++ {
			p := wire.PublishPacket{QoS: 1, ID: id}
			_, err := m.seal(s, nil, &Message{Topic: []byte("site/7")}, &p)
			require.NoError(t, err)
			if id <= 10 && round == 0 {
				continue // stay in flight
			}
			m.arrived(id)
			m.arrived(id)
		}
	}
	require.LessOrEqual(t, len(m.sent), maxOver)
	require.Len(t, m.over, maxOver)
}
