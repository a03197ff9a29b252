package mqttauth

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
)

// The attacks here are of who is on the wire or plays the broker, against the client. Covered: a success without the
// handshake or out of order, codes that clients take for success, messages before the welcome, frames replayed from
// another run, frames out of place, packets on the temporary topic that are no frames, are retained or come by a topic
// alias, and any octets at all. A wrong password, false authorities, downgrades and silence are in handshake_test.go,
// those beside a broker in twophase_test.go; floods, claims and grants are the authority's.

// script plays the broker by hand.
type script struct {
	t    *testing.T
	v    wire.Version
	conn net.Conn
	read chan error // what the client's Read returned in the end
	got  bytes.Buffer
}

// begin connects a client of this version with a script, which has read CONNECT.
func begin(t *testing.T, v wire.Version) (*script, wire.ConnectPacket) {
	t.Helper()
	near, far := net.Pipe()
	s := &script{t: t, v: v, conn: far, read: make(chan error, 1)}
	client, err := newClient(t).Conn(context.Background(), near)
	require.NoError(t, err)
	t.Cleanup(func() { client.Close(); far.Close() })
	connect, err := (&wire.ConnectPacket{Version: v, ClientID: []byte("victim"), CleanStart: true}).Append(nil)
	require.NoError(t, err)
	go func() {
		client.Write(connect)
		_, err := io.Copy(&s.got, client)
		s.read <- err
	}()
	m, err := wire.ParseConnect(s.next())
	require.NoError(t, err)
	return s, m
}

func (s *script) next() wire.Packet {
	s.t.Helper()
	p, err := wire.Read(s.conn, 1<<16)
	require.NoError(s.t, err)
	return p
}

func (s *script) send(p wire.Packet, err error) {
	s.t.Helper()
	require.NoError(s.t, err)
	_, err = s.conn.Write(p)
	require.NoError(s.t, err)
}

func (s *script) connack(data []byte) {
	m := wire.ConnackPacket{}
	if data != nil {
		m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method)).AppendBytes(wire.AuthenticationData, data)
	}
	s.send(m.Append(nil, s.v))
}

func (s *script) auth(data []byte) {
	m := wire.ReasonPacket{Type: wire.Auth, Reason: wire.ContinueAuthentication}
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method)).AppendBytes(wire.AuthenticationData, data)
	s.send(m.Append(nil, s.v))
}

// ends waits for the client's end, and checks that it has read nothing.
func (s *script) ends(want error) {
	s.t.Helper()
	go io.Copy(io.Discard, s.conn)
	require.ErrorIs(s.t, <-s.read, want)
	require.Zero(s.t, s.got.Len(), "the application has read something")
}

// recorded is a run of another session, from hello to welcome.
func recordedRun(t *testing.T) (challenge, welcome []byte) {
	t.Helper()
	a := newAuthority(t, false)
	hello, c, err := newClient(t).start("victim")
	require.NoError(t, err)
	answer, err := a.Receive("x", hello)
	require.NoError(t, err)
	proof, err := c.Challenge(answer.Frame)
	require.NoError(t, err)
	done, err := a.Receive("x", proof)
	require.NoError(t, err)
	welcome, err = done.Session.Welcome(handshake.Welcome{Time: time.Now()})
	require.NoError(t, err)
	return answer.Frame, welcome
}

func TestReplayedRunV5(t *testing.T) {
	challenge, welcome := recordedRun(t)
	s, _ := begin(t, wire.V5)
	s.auth(challenge)
	s.ends(ErrUnproved)
	s, _ = begin(t, wire.V5)
	s.connack(welcome)
	s.ends(ErrDowngrade)
	// With this run's session id in it, it is this run's authority that did not prove itself.
	s, m := begin(t, wire.V5)
	hello, _ := m.Properties.Bytes(wire.AuthenticationData)
	id := hello[2:frame.HeaderSize]
	copy(challenge[2:], id)
	copy(welcome[2:], id)
	s.auth(challenge)
	s.next()
	s.connack(welcome)
	s.ends(ErrUnproved)
}

// TestOneChallengeV5: a second one would have a second proof for an answer, and whoever guesses two guesses of one run.
func TestOneChallengeV5(t *testing.T) {
	s, m := begin(t, wire.V5)
	hello, _ := m.Properties.Bytes(wire.AuthenticationData)
	answer, err := newAuthority(t, false).Receive("x", hello)
	require.NoError(t, err)
	s.auth(answer.Frame)
	require.Equal(t, wire.Auth, s.next().Type())
	s.auth(answer.Frame)
	s.ends(ErrUnproved)
}

func TestPacketsOutOfPlaceV5(t *testing.T) {
	for name, c := range map[string]struct {
		play func(s *script)
		want error
	}{
		"CONNACK alone":           {func(s *script) { s.connack(nil) }, ErrDowngrade},
		"an empty welcome":        {func(s *script) { s.connack([]byte{}) }, ErrDowngrade},
		"AUTH without a method":   {func(s *script) { s.send((&wire.ReasonPacket{Type: wire.Auth, Reason: 0x18}).Append(nil, s.v)) }, ErrUnproved},
		"AUTH with success":       {func(s *script) { s.send((&wire.ReasonPacket{Type: wire.Auth}).Append(nil, s.v)) }, ErrUnproved},
		"AUTH without a frame":    {func(s *script) { s.auth(nil) }, ErrUnproved},
		"AUTH with a wrong frame": {func(s *script) { s.auth((&frame.ProofFrame{}).Append(nil)) }, ErrUnproved},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := begin(t, wire.V5)
			c.play(s)
			s.ends(c.want)
		})
	}
}

// TestTemporaryTopicBeforeV5: what is retained, is no frame, is of another session or of the wrong type there is
// acknowledged and dropped, and the run goes on; a second CONNACK ends it, and so does a refused subscription.
func TestTemporaryTopicBeforeV5(t *testing.T) {
	challenge, welcome := recordedRun(t)
	a := newAuthority(t, false)
	s, _ := begin(t, wire.V311)
	s.connack(nil)
	sub, err := wire.ParseSubscribe(s.next(), s.v)
	require.NoError(t, err)
	require.Equal(t, uint16(0xFFFF), sub.ID)
	require.Equal(t, "mqttauth/c/victim", string(sub.Subscriptions[0].Filter))
	noise := func(more ...[]byte) {
		for i, payload := range append([][]byte{nil, []byte("x"), challenge, welcome, (&frame.ProofFrame{}).Append(nil)}, more...) {
			m := wire.PublishPacket{Topic: []byte("mqttauth/c/victim"), Payload: payload, QoS: 1, ID: uint16(i + 1), Retain: i == 1}
			s.send(m.Append(nil, s.v))
			ack, err := wire.ParseAck(s.next(), s.v)
			require.NoError(t, err)
			require.Equal(t, m.ID, ack.ID)
		}
	}
	noise()
	s.send((&wire.SubackPacket{Type: wire.Suback, ID: sub.ID, Codes: []byte{1}}).Append(nil, s.v))
	hello, err := wire.ParsePublish(s.next(), s.v)
	require.NoError(t, err)
	require.False(t, hello.Retain)
	head, err := frame.Parse(hello.Payload)
	require.NoError(t, err)
	early, err := (&frame.WelcomeFrame{Session: head.Session, Sealed: make([]byte, 36)}).Append(nil)
	require.NoError(t, err)
	noise(early, (&frame.ProofFrame{Session: head.Session}).Append(nil))
	answer, err := a.Receive("x", hello.Payload)
	require.NoError(t, err)
	s.send((&wire.AckPacket{Type: wire.Puback, ID: hello.ID}).Append(nil, s.v))
	s.send((&wire.PublishPacket{Topic: []byte("mqttauth/c/victim"), Payload: answer.Frame}).Append(nil, s.v))
	proof, err := wire.ParsePublish(s.next(), s.v)
	require.NoError(t, err)
	noise(answer.Frame) // which has no second proof for an answer
	done, err := a.Receive("x", proof.Payload)
	require.NoError(t, err)
	require.NotNil(t, done.Session)
	s.connack(nil)
	s.ends(ErrDowngrade)

	s, _ = begin(t, wire.V311)
	s.connack(nil)
	sub, err = wire.ParseSubscribe(s.next(), s.v)
	require.NoError(t, err)
	s.send((&wire.SubackPacket{Type: wire.Suback, ID: sub.ID, Codes: []byte{0x80}}).Append(nil, s.v))
	s.ends(ErrUnproved)
}

// TestSuccessWithoutHandshakeBeforeV5: a broker that knows nothing of it is silent on the topics, and nothing is
// delivered.
func TestSuccessWithoutHandshakeBeforeV5(t *testing.T) {
	h := newHalf(t, misdeeds{success: true})
	_, err := connectV3(t, newClient(t, func(c *Config) { c.Timeout = time.Second }), h.url(), uniqueID())
	require.ErrorIs(t, err, ErrTimeout)
}

// TestNoKeysBeforeTheWelcome: what is exported is of an authority that has proved itself.
func TestNoKeysBeforeTheWelcome(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	client, err := newClient(t).Conn(t.Context(), near)
	require.NoError(t, err)
	defer client.Close()
	_, err = client.(*Conn).ExportKeyingMaterial("label", nil, 32)
	require.ErrorIs(t, err, ErrNoKeys)
}

// TestTakenOverMethod: another scheme has put its method into CONNECT.
func TestTakenOverMethod(t *testing.T) {
	near, far := net.Pipe()
	defer far.Close()
	client, err := newClient(t).Conn(context.Background(), near)
	require.NoError(t, err)
	defer client.Close()
	m := wire.ConnectPacket{Version: wire.V5, ClientID: []byte("c")}
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte("ace"))
	p, err := m.Append(nil)
	require.NoError(t, err)
	client.Write(p)
	_, err = client.Read(make([]byte, 1))
	require.ErrorIs(t, err, ErrMethod)
}

// FuzzBroker: whatever a broker sends, the application reads no success.
func FuzzBroker(f *testing.F) {
	connack, err := (&wire.ConnackPacket{}).Append(nil, wire.V5)
	require.NoError(f, err)
	f.Add(connack, true)
	f.Add([]byte{0x20, 2, 0, 0, 0x90, 3, 0xFF, 0xFF, 1}, false)
	auth := wire.ReasonPacket{Type: wire.Auth, Reason: wire.ContinueAuthentication}
	auth.Properties = auth.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method))
	auth.Properties = auth.Properties.AppendBytes(wire.AuthenticationData, (&frame.ProofFrame{}).Append(nil))
	p, err := auth.Append(nil, wire.V5)
	require.NoError(f, err)
	f.Add(p, true)
	publish, err := (&wire.PublishPacket{Topic: []byte("mqttauth/c/victim"), Payload: (&frame.ProofFrame{}).Append(nil)}).Append(nil, wire.V311)
	require.NoError(f, err)
	f.Add(append([]byte{0x20, 2, 0, 0}, publish...), false)
	c, err := New(testConfig())
	require.NoError(f, err)
	f.Fuzz(func(t *testing.T, b []byte, five bool) {
		v := wire.V311
		if five {
			v = wire.V5
		}
		near, far := net.Pipe()
		client, err := c.Conn(context.Background(), near)
		require.NoError(t, err)
		defer client.Close()
		connect, err := (&wire.ConnectPacket{Version: v, ClientID: []byte("victim")}).Append(nil)
		require.NoError(t, err)
		go func() {
			defer far.Close()
			if _, err := wire.Read(far, 1<<16); err != nil {
				return
			}
			go io.Copy(io.Discard, far)
			far.Write(b)
		}()
		if _, err := client.Write(connect); err != nil {
			t.Fatal(err)
		}
		for {
			p, err := wire.Read(client, 1<<20)
			if err != nil {
				return
			}
			if p.Type() != wire.Connack {
				continue
			}
			if m, err := wire.ParseConnack(p, v); err != nil || m.Code == 0 || v == wire.V5 && m.Code < 0x80 {
				t.Fatalf("the application reads %x (%v)", p, err)
			}
		}
	})
}

// TestNothingBeforeTheWelcome: whoever plays the broker cannot have the application read a message before it has proved
// itself.
func TestNothingBeforeTheWelcome(t *testing.T) {
	for name, c := range map[string]struct {
		v     wire.Version
		until func(s *script)
	}{
		"v5":                         {wire.V5, func(*script) {}},
		"v3.1.1":                     {wire.V311, func(*script) {}},
		"v3.1.1, behind the CONNACK": {wire.V311, func(s *script) { s.connack(nil); s.next() }},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := begin(t, c.v)
			c.until(s)
			s.send((&wire.PublishPacket{Topic: []byte("valve"), Payload: []byte("open")}).Append(nil, c.v))
			s.conn.Close()
			s.ends(nil)
		})
	}
}

// TestReasonCodeThatClientsTakeForSuccess: paho.golang connects on every Reason Code below 0x80, paho.mqtt.golang on
// those that it does not know, and nobody vouches for a CONNACK without a welcome.
func TestReasonCodeThatClientsTakeForSuccess(t *testing.T) {
	onBoth(t, func(t *testing.T, connect connector) {
		for _, code := range []byte{0x01, 0x06, 0x10, 0x7F, 0x87} {
			_, err := connect(t, newClient(t), newHalf(t, misdeeds{connack: code}).url(), uniqueID())
			require.Error(t, err, "code 0x%02X: connected", code)
		}
	})
}
