package seal

import (
	"crypto"
	"fmt"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Attacks on what a Sealer remembers of MQTT sessions.
//
//   - a broker that assigns a client the identifier of
//     another one, to make it forget                     TestAssignedIdentifierTakesNobodysMemory
//   - and that assigns one to a client which has its own      TestAssignedIdentifierOfAClientWithItsOwn
//   - an empty one                                           TestEmptyAssignedIdentifier
//   - acknowledged messages sent again by a client that
//     uses one packet identifier over and over           TestLastMessagesAreRememberedWhateverTheirIdentifier
//   - a stranger who names a client in CONNECT, where the
//     Sealer stands in front of a server                 TestStrangerTakesOverNothing
//   - a stranger who names so many that the known ones
//     are forgotten                                      TestStrangersDriveOutNobody
//   - a Will that is sent again in another CONNECT       TestWillOfConnectIsNotReplayed
//   - a Signer that hangs, as one on a network can       TestSignerThatHangsStopsNobodyElse
//
// Not covered: a client without an identifier that a server does not name either. Each of its connections begins with
// an empty memory.

func TestAssignedIdentifierTakesNobodysMemory(t *testing.T) {
	alice, _ := connectedPair(t, wire.V5, Config{})
	m := alice.publish(message(1, "site/7", "open the door"))
	reject, rejected := rejections()
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
	bob := client(t, s, rejected, wire.V5, nil, nil)
	bob.deliver(m)
	bob.write(bob.app, bob.ack(wire.Puback, 7, 0))
	bob.read(bob.broker)
	for _, connected := range []bool{true, false} {
		if !connected {
			bob.app.Close()
		}
		nameless := func(c *wire.ConnectPacket) { c.ClientID = nil }
		other := client(t, s, rejected, wire.V5, nameless, wire.Properties(nil).AppendBytes(wire.AssignedClientIdentifier, []byte("client")))
		other.app.Close()
	}
	bob = client(t, s, rejected, wire.V5, nil, nil)
	bob.write(bob.broker, bob.packet(m))
	bob.refused(false, "site/7", ErrReplay)
}

// TestAssignedIdentifierOfAClientWithItsOwn: its name, by which the application is told of messages, stays, and so does
// the place where its next connection finds what has been delivered.
func TestAssignedIdentifierOfAClientWithItsOwn(t *testing.T) {
	alice, _ := connectedPair(t, wire.V5, Config{})
	m := alice.publish(message(0, "site/7", "open the door"))
	reject, rejected := rejections()
	var names []string
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject,
		Delivered: func(d Delivery) { names = append(names, d.ClientID) }})
	bob := client(t, s, rejected, wire.V5, nil, wire.Properties(nil).AppendBytes(wire.AssignedClientIdentifier, []byte("other")))
	bob.deliver(m)
	bob.app.Close()
	require.Equal(t, []string{"client"}, names)
	for _, id := range []string{"client", "other"} {
		bob = client(t, s, rejected, wire.V5, func(c *wire.ConnectPacket) { c.ClientID = []byte(id) }, nil)
		bob.write(bob.broker, bob.packet(m))
		if id == "client" {
			bob.refused(false, "site/7", ErrReplay)
		} else {
			require.Equal(t, wire.Publish, bob.read(bob.app).Type(), "another client")
		}
	}

	s = testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	f := newFilter(s)
	s.mqtt.attach(f, "client", false)
	f.named(wire.Properties(nil).AppendBytes(wire.AssignedClientIdentifier, []byte("other")))
	f.Closed()
	require.Len(t, s.mqtt.byID, 1)
	require.Len(t, s.mqtt.places, 1, "it waits for its next connection, and can be dropped")
}

// TestEmptyAssignedIdentifier: clients without a name do not come to share a session.
func TestEmptyAssignedIdentifier(t *testing.T) {
	alice, _ := connectedPair(t, wire.V5, Config{})
	m := alice.publish(message(0, "site/7", "x"))
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	for range 2 {
		nameless := func(c *wire.ConnectPacket) { c.ClientID = nil }
		e := client(t, s, nil, wire.V5, nameless, wire.Properties(nil).AppendBytes(wire.AssignedClientIdentifier, nil))
		require.Equal(t, "x", string(e.deliver(m).Payload))
	}
	require.Empty(t, s.mqtt.byID)
}

// TestLastMessagesAreRememberedWhateverTheirIdentifier publishes under one identifier more often than messages are
// remembered, and then one whose acknowledgement the client has not read.
func TestLastMessagesAreRememberedWhateverTheirIdentifier(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	m := s.mqtt.create("client")
	msg := Message{Topic: []byte("site/7")}
	var last []byte
	for range 3 * maxOver {
		var err error
		last, err = m.seal(s, nil, &msg, &wire.PublishPacket{QoS: 1, ID: 1})
		require.NoError(t, err)
		m.arrived(1)
	}
	again, err := m.seal(s, nil, &msg, &wire.PublishPacket{QoS: 1, ID: 1, Dup: true})
	require.NoError(t, err)
	require.Equal(t, last, again)
	require.LessOrEqual(t, len(m.over), maxOver)
	require.Len(t, m.sent, 1)
}

// server puts a Sealer in front of a server; the test is the client and the server.
func server(t *testing.T, s *Sealer, rejected chan Rejection, id string, w *wire.Will, code byte) *end {
	t.Helper()
	e := &end{t: t, v: wire.V5, rejected: rejected, got: make(chan wire.Packet, 10)}
	raw, peer := tcpEnds(t)
	var err error
	e.broker = peer // who sends what is to be opened
	e.app, err = s.Conn(t.Context(), raw)
	require.NoError(t, err)
	t.Cleanup(func() { e.app.Close() })
	go e.receive()
	p, err := (&wire.ConnectPacket{Version: wire.V5, ClientID: []byte(id), Will: w}).Append(nil)
	require.NoError(t, err)
	e.write(e.broker, p)
	require.Equal(t, wire.Connect, e.read(e.app).Type())
	ack, err := (&wire.ConnackPacket{Code: code}).Append(nil, wire.V5)
	require.NoError(t, err)
	e.write(e.app, ack)
	require.Equal(t, wire.Connack, e.read(e.broker).Type())
	return e
}

func TestStrangerTakesOverNothing(t *testing.T) {
	alice, _ := connectedPair(t, wire.V5, Config{})
	reject, rejected := rejections()
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject})
	victim := server(t, s, rejected, "client", nil, wire.Success)
	server(t, s, rejected, "client", nil, wire.NotAuthorized)
	m := alice.publish(message(1, "site/7", "open the door"))
	victim.deliver(m)
	victim.write(victim.app, victim.ack(wire.Puback, 7, 0))
	require.Equal(t, wire.Puback, victim.read(victim.broker).Type())
	victim.write(victim.broker, victim.packet(m))
	victim.refused(false, "site/7", ErrReplay)
}

func TestStrangersDriveOutNobody(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	known := server(t, s, nil, "client", nil, wire.Success)
	known.app.Close()
	for i := range 3 {
		server(t, s, nil, fmt.Sprint(i), nil, wire.NotAuthorized).app.Close()
	}
	require.Len(t, s.mqtt.byID, 1)
}

func TestWillOfConnectIsNotReplayed(t *testing.T) {
	keys := []Key{testKey(t, "site/#", 1)}
	f := filter{sealer: testSealer(t, Config{Keys: keys})}
	w := wire.Will{Topic: []byte("site/7"), Payload: []byte("gone")}
	require.NoError(t, f.sealWill(&w, w.Topic))
	s := testSealer(t, Config{Keys: keys})
	server(t, s, nil, "client", &w, wire.Success).app.Close()

	raw, peer := tcpEnds(t)
	conn, err := s.Conn(t.Context(), raw)
	require.NoError(t, err)
	p, err := (&wire.ConnectPacket{Version: wire.V5, ClientID: []byte("client"), Will: &w}).Append(nil)
	require.NoError(t, err)
	_, err = peer.Write(p)
	require.NoError(t, err)
	_, err = readPacket(conn)
	require.ErrorIs(t, err, ErrReplay)
}

// hangingSigner signs once it may.
type hangingSigner struct {
	crypto.Signer
	asked, answer chan struct{}
}

func (s hangingSigner) Sign(r io.Reader, text []byte, o crypto.SignerOpts) ([]byte, error) {
	s.asked <- struct{}{}
	<-s.answer
	return s.Signer.Sign(r, text, o)
}

func TestSignerThatHangsStopsNobodyElse(t *testing.T) {
	alice, _ := connectedPair(t, wire.V5, Config{})
	signer := hangingSigner{signerOf(1), make(chan struct{}), make(chan struct{})}
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Signer: signer})
	e := client(t, s, nil, wire.V5, nil, nil)
	p := e.packet(message(1, "site/7", "x"))
	go func() { _, _ = e.app.Write(p) }()
	<-signer.asked
	m := alice.publish(message(1, "site/8", "y"))
	require.Equal(t, "y", string(e.deliver(m).Payload), "what it receives")
	other := client(t, s, nil, wire.V5, func(c *wire.ConnectPacket) { c.ClientID = []byte("other") }, nil)
	require.Equal(t, "y", string(other.deliver(m).Payload), "another client")
	close(signer.answer)
	require.Equal(t, wire.Publish, e.read(e.broker).Type())
	e.app.Close()
	other.app.Close()
}
