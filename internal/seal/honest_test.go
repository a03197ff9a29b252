package seal

// Honest brokers, whose messages all arrive: with RETAIN on live messages (Retain As Published, the bridge bit),
// retained messages that were sealed before one that the subscriber knows, a late message beside a busy publisher. How
// many publishers there is room for at once is tested in package replay.

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// A client comes back to its queue and subscribes again. The broker shows the retained message first, and goes on with
// the queue, with RETAIN since the subscription has Retain As Published.
func TestQueueBehindRetained(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		alice, bob := connectedPair(t, v, Config{})
		var texts []string
		for i := range 100 {
			texts = append(texts, fmt.Sprint("state ", i))
		}
		frames := sealedAt(t, alice, 1, true, "site/state", texts...)
		bob.subscribe(0, "site/state")
		bob.discard()
		bob.offer(0, 0, true, "site/state", frames[99], nil)
		require.Equal(t, texts[99:], bob.heard())
		for i, f := range frames[:99] {
			bob.offer(1, uint16(i+1), true, "site/state", f, nil)
			require.Equal(t, texts[i:i+1], bob.heard())
		}
	})
}

// Of two publishers one is behind, on the way or by its clock. Its message comes for the first time.
func TestSecondPublisherIsBehind(t *testing.T) {
	_, honest, root := insider(t)
	eachVersion(t, func(t *testing.T, v wire.Version) {
		for _, behind := range []uint32{0, 2, 3600, unix()} {
			bob := client(t, testSealer(t, Config{Keys: []Key{root}}), nil, v, nil, nil)
			bob.subscribe(0, "site/#")
			bob.discard()
			bob.offer(1, 1, true, "site/state", honest.frame(t, "site/state", flagRetain, 1, unix(), 5, "from A"), nil)
			bob.offer(1, 2, true, "site/state", honest.frame(t, "site/state", flagRetain, 2, unix()-behind, 5, "from B"), nil)
			require.Equal(t, []string{"from A", "from B"}, bob.heard(), behind)
		}
	})
}

// What a subscriber was shown last is what the broker holds, in the order of arrival.
func TestRetainedIsTheLastThatArrived(t *testing.T) {
	_, honest, root := insider(t)
	device := func(flags byte, session, at, seq uint32, text string) []byte {
		return honest.frame(t, "site/status", flags|flagRetain, session, at, seq, text)
	}
	now := unix()
	for name, frames := range map[string][][]byte{
		"sent again out of order": {device(0, 1, now, 2, "two"), device(0, 1, now, 1, "one")},
		"clocks apart":            {device(0, 1, now, 1, "a"), device(0, 2, now-30, 1, "b"), device(0, 1, now, 2, "c"), device(0, 2, now-30, 2, "d")},
		"behind after a reboot":   {device(0, 1, now, 1, "online"), device(0, 2, now-3600, 1, "online"), device(flagWill, 3, now-3601, 1, "offline")},
		"no clock":                {device(0, 1, 0, 7, "online"), device(flagWill, 2, 0, 1, "offline"), device(0, 3, 0, 1, "online again")},
	} {
		t.Run(name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, v wire.Version) {
				s := testSealer(t, Config{Keys: []Key{root}})
				bob := client(t, s, nil, v, nil, nil)
				bob.discard()
				for i, f := range frames {
					bob.offer(1, uint16(i+1), false, "site/status", f, nil)
					require.Len(t, bob.heard(), 1, "live")
					bob.write(bob.app, bob.ack(wire.Puback, uint16(i+1), 0))
					for n := range 2 {
						bob.subscribe2("site/#")
						bob.offer(0, 0, true, "site/status", f, nil)
						require.Len(t, bob.heard(), 1, "%d", n)
					}
				}
				last := frames[len(frames)-1]
				again := client(t, s, nil, v, nil, nil)
				again.subscribe(0, "site/#")
				again.offer(0, 0, true, "site/status", last, nil)
				require.Len(t, again.heard(), 1, "on another connection")
				fresh := client(t, testSealer(t, Config{Keys: []Key{root}}), nil, v, nil, nil)
				fresh.subscribe(0, "site/#")
				fresh.offer(0, 0, true, "site/status", last, nil)
				require.Len(t, fresh.heard(), 1, "at a new subscriber")
			})
		})
	}
}

// subscribe2 is subscribe while somebody else reads for the broker.
func (e *end) subscribe2(filter string) {
	e.t.Helper()
	p, err := (&wire.SubscribePacket{ID: 9, Subscriptions: []wire.Subscription{{Filter: []byte(filter), Options: 1}}}).Append(nil, e.v)
	require.NoError(e.t, err)
	e.write(e.app, p)
}

// A message that is a minute late comes through while another publisher is busy, and draws a session for each of its
// messages.
func TestLateBesideABusyPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, honest, root := insider(t)
		bob := testSealer(t, Config{Keys: []Key{root}, MaxSessions: 128})
		first := honest.frame(t, "site/7", 0, 1, unix(), 1, "first")
		late := honest.frame(t, "site/7", 0, 1, unix(), 2, "late")
		other := honest.frame(t, "site/8", 0, 2, unix(), 1, "never heard before")
		_, err := bob.Open("site/7", first)
		require.NoError(t, err)
		for n := range uint32(60 * 75) {
			_, err := bob.Open("site/7", honest.frame(t, "site/7", 0, 100+n, unix(), 1, ""))
			require.NoError(t, err)
			time.Sleep(time.Second / 75)
		}
		for topic, frame := range map[string][]byte{"site/7": late, "site/8": other} {
			_, err = bob.Open(topic, frame)
			require.NoError(t, err)
		}
	})
}

// What says that the payload is text does not stand before a sealed one, whatever the Config, and the receiver gets it.
func TestFormatIndicatorOfSealedBytes(t *testing.T) {
	for _, plain := range []bool{false, true} {
		alice, bob := connectedPair(t, wire.V5, Config{PlainProperties: plain})
		m := message(1, "site/7", "text")
		m.Properties = wire.Properties(nil).AppendUint(wire.PayloadFormat, 1).AppendBytes(wire.ContentType, []byte("a/b")).AppendPair("k", "v")
		sent := alice.publish(m)
		_, ok := sent.Properties.Uint(wire.PayloadFormat)
		require.False(t, ok)
		_, ok = sent.Properties.Bytes(wire.ContentType)
		require.Equal(t, plain, ok)
		got := bob.deliver(sent)
		require.ElementsMatch(t, properties(m.Properties), properties(got.Properties))
		forged := sent
		forged.ID, forged.Payload = 8, alice.publish(m).Payload
		forged.Properties = forged.Properties.AppendUint(wire.PayloadFormat, 0)
		got = bob.deliver(forged)
		format, _ := got.Properties.Uint(wire.PayloadFormat)
		require.EqualValues(t, 1, format, "the one inside counts")
	}
}

func properties(ps wire.Properties) (list []string) {
	for id, value := range ps.All() {
		list = append(list, fmt.Sprintf("%d %x", id, value))
	}
	return list
}

// A client that takes packets of 64 bytes gets a payload of 32, though that is larger while it is sealed, and nothing
// larger than 64 bytes, sealed or not.
func TestMaximumPacketSizeIsTheApplications(t *testing.T) {
	for qos := range byte(3) {
		alice, _ := connectedPair(t, wire.V5, Config{})
		reject, rejected := rejections()
		s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
		bob := client(t, s, rejected, wire.V5, func(c *wire.ConnectPacket) {
			c.Properties = wire.Properties(nil).AppendUint(wire.MaximumPacketSize, 64)
		}, nil)
		connect := connectOf(t, s, wire.Properties(nil).AppendUint(wire.MaximumPacketSize, 64))
		asked, _ := connect.Properties.Uint(wire.MaximumPacketSize)
		require.GreaterOrEqual(t, asked, uint32(64+headerLen+16+signatureLen))
		small := sealedAt(t, alice, qos, false, "site/7", strings.Repeat("x", 32))[0]
		large := sealedAt(t, alice, qos, false, "site/7", strings.Repeat("x", 64))[0]
		bob.discard()
		bob.offer(qos, 1, false, "site/7", small, nil)
		require.Len(t, bob.heard(), 1)
		bob.offer(qos, 2, false, "site/7", large, nil)
		bob.offer(qos, 3, false, "other", bytes.Repeat([]byte{'x'}, 64), nil)
		require.Empty(t, bob.heard())
		for range 2 {
			require.ErrorIs(t, (<-rejected).Err, ErrTooLarge)
		}
	}
}

// connectOf returns the CONNECT that leaves.
func connectOf(t *testing.T, s *Sealer, ps wire.Properties) wire.ConnectPacket {
	t.Helper()
	near, far := net.Pipe()
	conn, err := s.Conn(t.Context(), near)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close(); far.Close() })
	p, err := (&wire.ConnectPacket{Version: wire.V5, ClientID: []byte("c"), Properties: ps}).Append(nil)
	require.NoError(t, err)
	go conn.Write(p)
	p, err = readPacket(far)
	require.NoError(t, err)
	m, err := wire.ParseConnect(p)
	require.NoError(t, err)
	return m
}

// A Client Identifier that is set when the client connects: what it stored under the configured one is its own, before
// it connects and after.
func TestRenamedClient(t *testing.T) {
	cfg := Config{Keys: []Key{testKey(t, "site/#", 1)}}
	m := message(1, "site/7", "once")
	for _, early := range []bool{false, true} {
		alice := testSealer(t, cfg)
		e := &end{t: t, v: wire.V5}
		freeze := func() wire.Packet {
			p, err := alice.Freeze("configured", wire.V5, e.packet(m), true)
			require.NoError(t, err)
			return p
		}
		var stored wire.Packet
		if early {
			stored = freeze()
		}
		alice.Renamed("configured", "client")
		if !early {
			stored = freeze()
		}
		first := client(t, alice, nil, wire.V5, nil, nil).publish(m).Payload
		alice = testSealer(t, cfg)
		thawed, err := alice.Thaw("configured", wire.V5, stored, true)
		require.NoError(t, err)
		again := e.parse(thawed)
		again.Dup = true
		require.Equal(t, first, client(t, alice, nil, wire.V5, nil, nil).publish(again).Payload)
	}
}

// What a layer below withholds because the client would not take it is told as what the Sealer itself withholds: in a
// stack of two ciphers each hears of it.
func TestTooLargeForLayerBelow(t *testing.T) {
	reject, rejected := rejections()
	hop := NewHop(XAES(), reject)
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
	near, far := net.Pipe()
	defer far.Close()
	below, err := hop.Conn(t.Context(), exporting{near, fixedKeys(1)})
	require.NoError(t, err)
	conn, err := s.Conn(t.Context(), below)
	require.NoError(t, err)
	defer conn.Close()
	connect, err := (&wire.ConnectPacket{
		Version: wire.V5, ClientID: []byte("c"), Properties: wire.Properties(nil).AppendUint(wire.MaximumPacketSize, 64),
	}).Append(nil)
	require.NoError(t, err)
	pass(t, conn, far, connect)
	connack, err := (&wire.ConnackPacket{}).Append(nil, wire.V5)
	require.NoError(t, err)
	pass(t, far, conn, connack)
	large, err := (&wire.PublishPacket{Topic: []byte("site/7"), QoS: 1, ID: 1, Payload: make([]byte, 4096)}).Append(nil, wire.V5)
	require.NoError(t, err)
	go func() {
		_, _ = far.Write(large)
	}()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	answer, err := wire.Read(far, 64)
	require.NoError(t, err)
	require.Equal(t, wire.Puback, answer.Type())
	for range 2 {
		r := <-rejected
		require.ErrorIs(t, r.Err, ErrTooLarge)
		require.Equal(t, "site/7", r.Topic)
	}
}

// TestRenamedTakesNothing: a session that is in use, or that is already the other's, stays where it is, with what it
// was delivered; nobody is renamed to a client without a name; and the names are bounded.
func TestRenamedTakesNothing(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	f := newFilter(s)
	s.mqtt.attach(f, "in use", false)
	session := s.mqtt.byID["in use"]
	s.Renamed("in use", "another")
	require.Same(t, session, s.mqtt.byID["in use"])
	require.Equal(t, "in use", session.id())

	s.mqtt.stored("configured", 1, stamp{})
	s.Renamed("configured", "in use")
	require.Same(t, session, s.mqtt.byID["in use"])

	s.mqtt.stored("first", 1, stamp{})
	session = s.mqtt.byID["first"]
	s.Renamed("first", "later")
	require.Same(t, session, s.mqtt.byID["later"])
	require.Equal(t, "later", session.id())
	require.Nil(t, s.mqtt.byID["first"], "one place each")

	s.mqtt.stored("nobody", 1, stamp{})
	s.Renamed("nobody", "")
	s.mqtt.stored("nobody", 2, stamp{})
	require.Nil(t, s.mqtt.byID[""])
	for i := range 2 * maxIdle {
		s.Renamed(fmt.Sprint(i), "x")
	}
	require.Len(t, s.mqtt.actual, maxIdle)
}
