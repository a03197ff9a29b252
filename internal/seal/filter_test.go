package seal

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// end is a client's connection through a Sealer, with the test in the broker's place.
type end struct {
	t        *testing.T
	v        wire.Version
	app      net.Conn // what the client library holds
	broker   net.Conn // what the broker holds
	rejected chan Rejection
	got      chan wire.Packet // what app delivers; closed when it ends, because of
	ended    error
}

// receive reads app as a client library does, all the time.
func (e *end) receive() {
	defer close(e.got)
	for {
		p, err := readPacket(e.app)
		if err != nil {
			e.ended = err
			return
		}
		e.got <- p
	}
}

// client connects a client. The Sealer's Rejected must come from rejections.
func client(t *testing.T, s *Sealer, rejected chan Rejection, v wire.Version, edit func(*wire.ConnectPacket), granted wire.Properties) *end {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	raw, err := net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	e := &end{t: t, v: v, rejected: rejected, got: make(chan wire.Packet, 10)}
	e.broker, err = ln.Accept()
	require.NoError(t, err)
	e.app, err = s.Conn(t.Context(), raw)
	require.NoError(t, err)
	t.Cleanup(func() { e.app.Close(); e.broker.Close() })
	go e.receive()

	m := wire.ConnectPacket{Version: v, ClientID: []byte("client")}
	if edit != nil {
		edit(&m)
	}
	p, err := m.Append(nil)
	require.NoError(t, err)
	e.write(e.app, p)
	e.read(e.broker)
	ack, err := (&wire.ConnackPacket{Properties: granted}).Append(nil, v)
	require.NoError(t, err)
	e.write(e.broker, ack)
	require.Equal(t, wire.Connack, e.read(e.app).Type())
	return e
}

// rejections returns a Rejected that the test reads.
func rejections() (func(Rejection), chan Rejection) {
	c := make(chan Rejection, 100)
	return func(r Rejection) { c <- r }, c
}

func (e *end) write(c net.Conn, p wire.Packet) {
	e.t.Helper()
	_, err := c.Write(p)
	require.NoError(e.t, err)
}

// read returns the next packet that arrives at one side.
func (e *end) read(c net.Conn) wire.Packet {
	e.t.Helper()
	if c == e.app {
		p, ok := <-e.got
		if !ok {
			require.NoError(e.t, e.ended)
		}
		return p
	}
	p, err := readPacket(c)
	require.NoError(e.t, err)
	return p
}

func readPacket(r io.Reader) (p wire.Packet, err error) {
	for {
		n, err := wire.Scan(p, wire.MaxPacket)
		if err != nil || n > 0 && n == len(p) {
			return p, err
		}
		more := make([]byte, max(n-len(p), 1))
		if _, err = io.ReadFull(r, more); err != nil {
			return nil, err
		}
		p = append(p, more...)
	}
}

// publish writes m as the application and returns what the broker gets.
func (e *end) publish(m wire.PublishPacket) wire.PublishPacket {
	e.t.Helper()
	e.write(e.app, e.packet(m))
	return e.parse(e.read(e.broker))
}

// deliver writes m as the broker and returns what the application gets.
func (e *end) deliver(m wire.PublishPacket) wire.PublishPacket {
	e.t.Helper()
	e.write(e.broker, e.packet(m))
	return e.parse(e.read(e.app))
}

func (e *end) packet(m wire.PublishPacket) wire.Packet {
	e.t.Helper()
	if e.v != wire.V5 {
		m.Properties = nil
	}
	p, err := m.Append(nil, e.v)
	require.NoError(e.t, err)
	return p
}

func (e *end) parse(p wire.Packet) wire.PublishPacket {
	e.t.Helper()
	require.Equal(e.t, wire.Publish, p.Type())
	m, err := wire.ParsePublish(p, e.v)
	require.NoError(e.t, err)
	return m
}

func (e *end) ack(t wire.Type, id uint16, reason byte) wire.Packet {
	e.t.Helper()
	if e.v != wire.V5 {
		reason = 0
	}
	p, err := (&wire.AckPacket{Type: t, ID: id, Reason: reason}).Append(nil, e.v)
	require.NoError(e.t, err)
	return p
}

// quiet sees that nothing but a marker comes through, in either direction.
func (e *end) quiet() {
	e.t.Helper()
	ping, pong := wire.Packet{0xC0, 0}, wire.Packet{0xD0, 0}
	e.write(e.app, ping)
	require.Equal(e.t, ping, e.read(e.broker))
	e.write(e.broker, pong)
	require.Equal(e.t, pong, e.read(e.app))
	require.Empty(e.t, e.rejected)
}

func (e *end) refused(outgoing bool, topic string, want error) {
	e.t.Helper()
	r := <-e.rejected
	require.ErrorIs(e.t, r.Err, want)
	require.Equal(e.t, Rejection{ClientID: "client", Topic: topic, Outgoing: outgoing, Err: r.Err}, r)
}

var versions = []wire.Version{wire.V31, wire.V311, wire.V5}

// each runs a test for each version and QoS.
func each(t *testing.T, f func(t *testing.T, v wire.Version, qos byte)) {
	for _, v := range versions {
		for qos := range byte(3) {
			t.Run(fmt.Sprintf("v%d QoS %d", v, qos), func(t *testing.T) { f(t, v, qos) })
		}
	}
}

func message(qos byte, topic, payload string) wire.PublishPacket {
	m := wire.PublishPacket{QoS: qos, Topic: []byte(topic), Payload: []byte(payload)}
	if qos > 0 {
		m.ID = 7
	}
	return m
}

func connectedPair(t *testing.T, v wire.Version, cfg Config) (alice, bob *end) {
	cfg.Keys = []Key{testKey(t, "site/#", 1)}
	var ra, rb chan Rejection
	cfg.Rejected, ra = rejections()
	a := testSealer(t, cfg)
	cfg.Rejected, rb = rejections()
	b := testSealer(t, cfg)
	return client(t, a, ra, v, nil, nil), client(t, b, rb, v, nil, nil)
}

func TestPublishIsSealedAndOpened(t *testing.T) {
	each(t, func(t *testing.T, v wire.Version, qos byte) {
		alice, bob := connectedPair(t, v, Config{})
		for _, size := range []int{0, 1, 100, 20000, 1 << 20} {
			m := message(qos, "site/7", string(bytes.Repeat([]byte("a secret "), size/9+1)[:size]))
			go alice.write(alice.app, alice.packet(m))
			onWire := alice.parse(alice.read(alice.broker))
			require.Equal(t, m.Topic, onWire.Topic)
			require.Equal(t, m.ID, onWire.ID)
			require.Equal(t, byte(version), onWire.Payload[0])
			require.False(t, bytes.Contains(onWire.Payload, []byte("a secret")))
			go bob.write(bob.broker, bob.packet(onWire))
			require.Equal(t, alice.packet(m), bob.packet(bob.parse(bob.read(bob.app))))
			if qos > 0 {
				bob.write(bob.app, bob.ack(wire.Puback+wire.Type(qos-1), 7, 0))
				bob.read(bob.broker)
			}
		}
		alice.quiet()
		bob.quiet()
	})
}

func TestUncoveredTopicsPassUntouched(t *testing.T) {
	each(t, func(t *testing.T, v wire.Version, qos byte) {
		alice, bob := connectedPair(t, v, Config{})
		for _, topic := range []string{"other", "$SYS/site/7", "sites/7"} {
			m := message(qos, topic, "in the open")
			m.Properties = wire.Properties(nil).AppendPair("a", "b")
			require.Equal(t, alice.packet(m), alice.packet(alice.publish(m)))
			require.Equal(t, bob.packet(m), bob.packet(bob.deliver(m)))
		}
		alice.quiet()
	})
}

// TestRefusedMessagesAreAcknowledged delivers what must not open, in each version and at
// each QoS: the broker gets its acknowledgement, the application hears of it, and the
// connection lives on.
func TestRefusedMessagesAreAcknowledged(t *testing.T) {
	stranger := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 2)}})
	cases := []struct {
		name string
		want error
		make func(t *testing.T, m *wire.PublishPacket)
	}{
		{"unsealed", ErrNotSealed, func(_ *testing.T, m *wire.PublishPacket) { m.Payload = []byte("plain") }},
		{"empty", ErrNotSealed, func(_ *testing.T, m *wire.PublishPacket) { m.Payload = nil }},
		{"truncated", ErrMalformed, func(_ *testing.T, m *wire.PublishPacket) { m.Payload = m.Payload[:30] }},
		{"another suite", ErrMalformed, func(_ *testing.T, m *wire.PublishPacket) { m.Payload[1] ^= 0x30 }},
		{"flipped bit", ErrAuthentication, func(_ *testing.T, m *wire.PublishPacket) { m.Payload[40] ^= 1 }},
		{"flipped flag", ErrAuthentication, func(_ *testing.T, m *wire.PublishPacket) { m.Payload[1] ^= flagRetain }},
		{"another topic", ErrUnknownKey, func(_ *testing.T, m *wire.PublishPacket) { m.Topic = []byte("site/8") }},
		{"made a retained message", ErrReplay, func(_ *testing.T, m *wire.PublishPacket) { m.Retain = true }},
		{"unknown key", ErrUnknownKey, func(t *testing.T, m *wire.PublishPacket) {
			var err error
			m.Payload, err = stranger.Seal("site/7", []byte("x"))
			require.NoError(t, err)
		}},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			each(t, func(t *testing.T, v wire.Version, qos byte) {
				alice, bob := connectedPair(t, v, Config{})
				genuine := alice.publish(message(qos, "site/7", "x"))
				m := genuine
				m.Payload = bytes.Clone(m.Payload)
				tc.make(t, &m)
				bob.write(bob.broker, bob.packet(m))
				switch {
				case qos == 1:
					require.Equal(t, bob.ack(wire.Puback, 7, wire.PayloadFormatInvalid), bob.read(bob.broker))
				case qos == 2:
					require.Equal(t, bob.ack(wire.Pubrec, 7, wire.PayloadFormatInvalid), bob.read(bob.broker))
					if v != wire.V5 {
						bob.write(bob.broker, bob.ack(wire.Pubrel, 7, 0))
						require.Equal(t, bob.ack(wire.Pubcomp, 7, 0), bob.read(bob.broker))
					}
				}
				bob.refused(false, string(m.Topic), tc.want)
				bob.quiet()
				require.Equal(t, "x", string(bob.deliver(genuine).Payload), "a forgery moves nothing")
			})
		})
	}
}

func TestEmptyPayloads(t *testing.T) {
	each(t, func(t *testing.T, v wire.Version, qos byte) {
		alice, bob := connectedPair(t, v, Config{AllowClear: true})
		cleared := message(qos, "site/7", "")
		cleared.Retain = true
		cleared.Properties = wire.Properties(nil).AppendPair("k", "v")
		onWire := alice.publish(cleared)
		require.Empty(t, onWire.Payload)
		require.Empty(t, onWire.Properties, "nothing that should be inside")
		onWire.Properties = cleared.Properties
		got := bob.deliver(onWire)
		require.Empty(t, got.Payload)
		require.Empty(t, got.Properties, "nothing that anyone can forge")

		require.Len(t, alice.publish(message(qos, "site/7", "")).Payload, 42, "without RETAIN it is a message like any other")
	})
}

// TestUnsealableIsRefusedToTheCaller publishes what the server would not take once sealed.
func TestUnsealableIsRefusedToTheCaller(t *testing.T) {
	granted := wire.Properties(nil).AppendUint(wire.MaximumPacketSize, 100)
	for qos := range byte(3) {
		reject, rejected := rejections()
		s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
		e := client(t, s, rejected, wire.V5, nil, granted)
		m := message(qos, "site/7", string(make([]byte, 60)))
		e.write(e.app, e.packet(m))
		if qos == 1 {
			require.Equal(t, e.ack(wire.Puback, 7, wire.QuotaExceeded), e.read(e.app))
		} else if qos == 2 {
			require.Equal(t, e.ack(wire.Pubrec, 7, wire.QuotaExceeded), e.read(e.app))
		}
		e.refused(true, "site/7", ErrTooLarge)
		e.quiet()
		m.Payload = m.Payload[:20]
		e.publish(m)
		e.quiet()
	}
}

func TestTopicAliases(t *testing.T) {
	alias := func(topic, payload string) wire.PublishPacket {
		m := message(0, topic, payload)
		m.Properties = wire.Properties(nil).AppendUint(wire.TopicAlias, 1)
		return m
	}
	key := testKey(t, "site/#", 1)
	reject, rejected := rejections()
	granting := func(m *wire.ConnectPacket) { m.Properties = m.Properties.AppendUint(wire.TopicAliasMaximum, 5) }
	alice := client(t, testSealer(t, Config{Keys: []Key{key}}), nil, wire.V5, nil, wire.Properties(nil).AppendUint(wire.MaximumPacketSize, 200))
	bob := client(t, testSealer(t, Config{Keys: []Key{key}, Rejected: reject}), rejected, wire.V5, granting, nil)

	first := alice.publish(alias("site/7", "one"))
	require.Equal(t, "one", string(bob.deliver(first).Payload))
	second := alice.publish(alias("", "two"))
	require.Empty(t, second.Topic)
	got := bob.deliver(second)
	require.Equal(t, "two", string(got.Payload))
	require.Empty(t, got.Topic, "the client knows the alias")

	// A message that sets the alias is withheld on either side; the next one names the topic.
	alice.write(alice.app, alice.packet(alias("site/8", string(make([]byte, 300)))))
	third := alice.publish(alias("", "three"))
	require.Equal(t, "site/8", string(third.Topic))
	bob.write(bob.broker, bob.packet(alias("site/8", "forged")))
	bob.refused(false, "site/8", ErrNotSealed)
	third.Topic = nil
	got = bob.deliver(third)
	require.Equal(t, "three", string(got.Payload))
	require.Equal(t, "site/8", string(got.Topic))

	bob.write(bob.broker, bob.packet(func() wire.PublishPacket {
		m := message(0, "site/7", "")
		m.Properties = m.Properties.AppendUint(wire.TopicAlias, 6)
		return m
	}()))
	<-bob.got
	require.ErrorIs(t, bob.ended, wire.ErrMalformed, "beyond what the client granted")
}

func TestPacketIdentifierZero(t *testing.T) {
	m := message(1, "site/7", "x")
	m.ID = 0
	alice, bob := connectedPair(t, wire.V5, Config{})
	_, err := alice.app.Write(alice.packet(m))
	require.ErrorIs(t, err, wire.ErrMalformed)
	bob.write(bob.broker, bob.packet(m))
	<-bob.got
	require.ErrorIs(t, bob.ended, wire.ErrMalformed)
}

// TestDeliveredTellsWhoSigned has two publishers under one key.
func TestDeliveredTellsWhoSigned(t *testing.T) {
	each(t, func(t *testing.T, v wire.Version, qos byte) {
		var signers []ed25519.PrivateKey
		var publishers []ed25519.PublicKey
		for range 2 {
			pub, signer, err := ed25519.GenerateKey(nil)
			require.NoError(t, err)
			signers, publishers = append(signers, signer), append(publishers, pub)
		}
		key := testKey(t, "site/#", 1)
		var told []Delivery
		s := testSealer(t, Config{Keys: []Key{key}, Publishers: publishers, Delivered: func(d Delivery) {
			d.Payload = bytes.Clone(d.Payload)
			told = append(told, d)
		}})
		bob := client(t, s, nil, v, nil, nil)
		for i, signer := range signers {
			alice := client(t, testSealer(t, Config{Keys: []Key{key}, Signer: signer}), nil, v, nil, nil)
			m := alice.publish(message(qos, "site/7", "signed"))
			require.Equal(t, "signed", string(bob.deliver(m).Payload))
			require.Equal(t, Delivery{ClientID: "client", Topic: "site/7", Publisher: publishers[i], Payload: []byte("signed")}, told[i])
		}
		require.Equal(t, "open", string(bob.deliver(message(qos, "other", "open")).Payload))
		require.Len(t, told, len(signers))
	})
}
