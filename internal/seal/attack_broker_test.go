package seal

// A broker without any key against one client, on MQTT 3.1, 3.1.1 and 5:
//
//   - fresh messages in turn under one identifier             TestIdentifierUsedAgainReleasesNothing
//   - and then another connection                             TestIdentifierUsedAgainIsDone
//   - connections cut while the application works            TestCutConnections
//   - two brokers, one Client Identifier                     TestTwoBrokersOfOneSealer
//   - one retained message, again and again                  TestRetainedAgainAndAgain
//   - identifiers of subscriptions that nobody asked for     TestSubscriptionIdentifiers
//   - CONNECT on a connection that is closed                 TestConnectAfterClose
//
// What is left to it is in the documentation of package replay, and checked there in every small order. Not covered:
// floods, which need a key.

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// sealedAt returns the frames of texts that a client of alice's publishes.
func sealedAt(t *testing.T, alice *end, qos byte, retain bool, topic string, texts ...string) (frames [][]byte) {
	t.Helper()
	for _, text := range texts {
		m := message(qos, topic, text)
		m.Retain = retain
		frames = append(frames, bytes.Clone(alice.publish(m).Payload))
	}
	return frames
}

// offer writes a PUBLISH as the broker.
func (e *end) offer(qos byte, id uint16, retain bool, topic string, frame []byte, properties wire.Properties) {
	e.t.Helper()
	m := wire.PublishPacket{QoS: qos, Retain: retain, Topic: []byte(topic), Payload: frame, Properties: properties}
	if qos > 0 {
		m.ID = id
	}
	e.write(e.broker, e.packet(m))
}

// heard returns what the application gets until a marker passes, and takes no notice of acknowledgements.
func (e *end) heard() (texts []string) {
	e.t.Helper()
	pong := wire.Packet{0xD0, 0}
	e.write(e.broker, pong)
	for {
		p := e.read(e.app)
		if bytes.Equal(p, pong) {
			return texts
		}
		if p.Type() == wire.Publish {
			texts = append(texts, string(e.parse(p).Payload))
		}
	}
}

func (e *end) subscribe(id uint32, filters ...string) {
	e.t.Helper()
	m := wire.SubscribePacket{ID: 9}
	if e.v == wire.V5 && id > 0 {
		m.Properties = m.Properties.AppendUint(wire.SubscriptionIdentifier, id)
	}
	for _, f := range filters {
		m.Subscriptions = append(m.Subscriptions, wire.Subscription{Filter: []byte(f), Options: 1})
	}
	p, err := m.Append(nil, e.v)
	require.NoError(e.t, err)
	e.write(e.app, p)
	for e.read(e.broker).Type() != wire.Subscribe {
	}
}

// discard reads what goes to the broker from now on.
func (e *end) discard() {
	go func() {
		for {
			if _, err := readPacket(e.broker); err != nil {
				return
			}
		}
	}()
}

func eachVersion(t *testing.T, f func(t *testing.T, v wire.Version)) {
	for _, v := range versions {
		t.Run(fmt.Sprint("v", v), func(t *testing.T) { f(t, v) })
	}
}

func TestIdentifierUsedAgainReleasesNothing(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		alice, bob := connectedPair(t, v, Config{})
		frames := sealedAt(t, alice, 1, false, "site/door", "open", "x")
		bob.discard()
		for range 20 {
			bob.offer(1, 1, false, "site/door", frames[0], nil)
			bob.offer(1, 1, false, "site/door", frames[1], nil)
		}
		require.Equal(t, []string{"open", "x"}, bob.heard())
		for range 2 {
			bob.write(bob.app, bob.ack(wire.Puback, 1, 0))
		}
		for id, f := range frames {
			bob.offer(0, 0, false, "site/door", f, nil)
			bob.offer(1, uint16(id+1), false, "site/door", f, nil)
			bob.offer(2, 9, false, "site/door", f, nil)
		}
		require.Empty(t, bob.heard())
	})
}

// TestIdentifierUsedAgainIsDone: whose identifier the broker has given to another message has been delivered for good,
// and is no message that the next connection would have to bring again.
func TestIdentifierUsedAgainIsDone(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		alice, _ := connectedPair(t, v, Config{})
		frames := sealedAt(t, alice, 1, false, "site/door", "open", "x")
		s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
		bob := client(t, s, nil, v, nil, nil)
		bob.discard()
		for _, f := range frames {
			bob.offer(1, 1, false, "site/door", f, nil)
		}
		require.Equal(t, []string{"open", "x"}, bob.heard())
		bob.app.Close()
		for range 3 {
			bob = client(t, s, nil, v, nil, nil)
			bob.discard()
			bob.offer(1, 1, false, "site/door", frames[0], nil)
			require.Empty(t, bob.heard())
			bob.app.Close()
		}
	})
}

func TestCutConnections(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		alice, _ := connectedPair(t, v, Config{})
		once := sealedAt(t, alice, 0, false, "site/door", "published at QoS 0")[0]
		twice := sealedAt(t, alice, 1, false, "site/door", "published at QoS 1")[0]
		s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
		const connections = 4
		delivered := map[string]int{}
		for range connections {
			bob := client(t, s, nil, v, nil, nil)
			bob.discard()
			for id := range uint16(3) {
				bob.offer(1, 1+id, false, "site/door", once, nil)
				bob.offer(1, 9, false, "site/door", twice, nil)
				bob.offer(2, 10+id, false, "site/door", twice, nil)
			}
			for _, text := range bob.heard() {
				delivered[text]++
			}
			bob.broker.Close() // before the application has acknowledged anything
			bob.app.Close()
		}
		require.Equal(t, map[string]int{"published at QoS 0": 1, "published at QoS 1": connections}, delivered)
		bob := client(t, s, nil, v, nil, nil)
		bob.discard()
		bob.offer(1, 1, false, "site/door", twice, nil)
		require.Len(t, bob.heard(), 1)
		bob.write(bob.app, bob.ack(wire.Puback, 1, 0))
		bob = client(t, s, nil, v, nil, nil)
		bob.discard()
		bob.offer(1, 1, false, "site/door", twice, nil)
		require.Empty(t, bob.heard(), "it was acknowledged")
	})
}

func TestTwoBrokersOfOneSealer(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		alice, _ := connectedPair(t, v, Config{})
		s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
		pair := []*end{client(t, s, nil, v, nil, nil), client(t, s, nil, v, nil, nil)}
		for _, e := range pair {
			e.discard()
		}
		for n, frame := range sealedAt(t, alice, 1, false, "site/door", "a", "b") {
			first, second := pair[n], pair[1-n]
			first.offer(1, 1, false, "site/door", frame, nil)
			require.Len(t, first.heard(), 1)
			first.write(first.app, first.ack(wire.Puback, 1, 0))
			for id := range uint16(20) {
				for _, e := range []*end{first, second} {
					e.offer(1, 1+id, false, "site/door", frame, nil)
					require.Empty(t, e.heard())
				}
			}
		}
	})
}

func TestRetainedAgainAndAgain(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		for qos := range byte(3) {
			alice, bob := connectedPair(t, v, Config{})
			frames := sealedAt(t, alice, 1, true, "site/mode", "old", "new")
			bob.subscribe(0, "site/#")
			bob.discard()
			show := func(frame []byte) []string {
				for id := range uint16(5) {
					bob.offer(qos, 1+id, true, "site/mode", frame, nil)
				}
				texts := bob.heard()
				for id := range uint16(5) {
					bob.write(bob.app, bob.ack(wire.Puback, 1+id, 0))
				}
				return texts
			}
			require.Equal(t, []string{"old"}, show(frames[0]))
			require.Equal(t, []string{"new"}, show(frames[1]), "another one")
			require.Empty(t, show(frames[0]))
			require.Empty(t, show(frames[1]))
		}
	})
}

// An honest broker answers each SUBSCRIBE, and each of its filters, with the message that it holds; a dishonest one
// gets the one before it in no more.
func TestRetainedForEachSubscription(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		alice, bob := connectedPair(t, v, Config{})
		frames := sealedAt(t, alice, 1, true, "site/mode", "old", "new")
		bob.offer(0, 0, false, "site/mode", frames[0], nil)
		bob.offer(0, 0, false, "site/mode", frames[1], nil)
		require.Equal(t, []string{"old", "new"}, bob.heard(), "live")
		for n := range 3 {
			bob.subscribe(0, "site/#", "site/+", "other/#")
			bob.offer(0, 0, true, "site/mode", frames[0], nil)
			bob.offer(0, 0, true, "site/mode", frames[1], nil)
			bob.offer(0, 0, true, "site/mode", frames[1], nil)
			bob.offer(0, 0, true, "site/mode", frames[1], nil)
			require.Equal(t, []string{"new", "new"}, bob.heard(), n)
		}
	})
}

// One copy for each Subscription Identifier that the client has asked for, on MQTT 5; a broker's own invention counts
// as none, and MQTT 3 has none.
func TestSubscriptionIdentifiers(t *testing.T) {
	for qos := range byte(3) {
		alice, bob := connectedPair(t, wire.V5, Config{})
		frame := sealedAt(t, alice, qos, false, "site/7", "x")[0]
		bob.subscribe(1, "site/+")
		bob.subscribe(2, "site/#")
		bob.subscribe(3, "other/#")
		bob.discard()
		ids := func(ids ...uint32) (ps wire.Properties) {
			for _, id := range ids {
				ps = ps.AppendUint(wire.SubscriptionIdentifier, id)
			}
			return ps
		}
		id := uint16(0)
		times := func(ps wire.Properties) int {
			for range 3 {
				id++
				bob.offer(qos, id, false, "site/7", frame, ps)
			}
			return len(bob.heard())
		}
		require.Equal(t, 1, times(ids(1)))
		require.Equal(t, 1, times(ids(2)))
		require.Zero(t, times(ids(1, 2)))
		require.Zero(t, times(ids(3)), "which is not for this topic")
		require.Zero(t, times(ids(4)), "which nobody asked for")
		require.Zero(t, times(nil), "all that match have one")
		bob.discard()
	}
	alice, bob := connectedPair(t, wire.V311, Config{})
	frame := sealedAt(t, alice, 1, false, "site/7", "x")[0]
	bob.subscribe(0, "site/+", "site/#")
	bob.offer(1, 1, false, "site/7", frame, nil)
	bob.offer(1, 2, false, "site/7", frame, nil)
	require.Len(t, bob.heard(), 1, "copies that nothing tells apart are one")
}

// What a client writes to a connection that it has closed keeps nothing.
func TestConnectAfterClose(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
		for i := range 20 {
			near, far := net.Pipe()
			conn, err := s.Conn(context.Background(), near)
			require.NoError(t, err)
			f := s.mqtt
			conn.Close()
			far.Close()
			// Closed is called on a goroutine of its own: whichever comes first, nothing is left.
			p, err := (&wire.ConnectPacket{Version: v, ClientID: fmt.Append(nil, i)}).Append(nil)
			require.NoError(t, err)
			conn.Write(p)
			require.Eventually(t, func() bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				return len(f.byID) == len(f.places)
			}, 5e9, 1e6)
		}
	})
}
