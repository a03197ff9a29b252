package mqttauth

// Attacks on the broker half, each on v5 and v3.1.1:
//
//	wrong password, no handshake                TestNobodyGetsInWithoutTheProof
//	ClientID takeover, with and without account TestClientIDIsNotTakenOver
//	frames of one session in another            TestRequestOfAnotherSession
//	claim squatting and overlap, $, wildcards   TestClaims
//	token: other filter, kind, time, revoked    TestTokensDecide, TestTokenExpires, TestOwnerTakesBack
//	Will without Auth1                          TestWill
//	v5 topic alias around a check               TestTopicAlias
//	shared subscriptions, $SYS, wildcards       TestSubscriptionsBeyondTheToken
//	password, token, payload on the wire        TestNothingSecretOnTheWire
//
// Not here: what is the client's to refuse (rogue authority, downgrade), in package mqttauth; offline dictionaries and
// stolen verifiers, in package pake; forged frames, in mqttauth/internal/handshake; replayed and foreign handshakes and
// floods, in mqttauth/authbroker.

import (
	"bytes"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

var errDeadline = os.ErrDeadlineExceeded

func TestNobodyGetsInWithoutTheProof(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *authbroker.Config) {
		c.Public = []authbroker.Rule{{Filter: "#", Publish: true, Subscribe: true}}
	})
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			for user, secret := range map[string]string{"alice": "a guess", "nobody": "a guess"} {
				c := newClient(t, mqttauth.Config{User: user, Password: []byte(secret)})
				_, err := libraries[name](t, c, w.url, settings{})
				require.ErrorIs(t, err, mqttauth.ErrPassword, user)
			}
			id := uniqueID()
			plain := w.dial(t, nil, v)
			code, ok := plain.connect(wire.ConnectPacket{ClientID: []byte(id), CleanStart: true, HasUsername: true, Username: []byte("alice")})
			if v == wire.V5 {
				require.True(t, ok)
				require.Equal(t, wire.NotAuthorized, code)
			} else {
				require.Zero(t, code, "a CONNACK that is worth nothing yet")
				plain.publish(wire.PublishPacket{Topic: []byte("any"), Payload: []byte("x")})
			}
			require.Nil(t, plain.next(), "the connection ends")
			require.False(t, w.broker.Connected(id), "the broker has never heard of it")
		})
	}
	require.GreaterOrEqual(t, w.listener.Counters().ProofFailed, int64(4))
	require.Zero(t, w.listener.Counters().Admitted)
}

func TestClientIDIsNotTakenOver(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		w := newWorld(t, func(c *authbroker.Config) {
			c.Public = []authbroker.Rule{{Filter: "open/#", Publish: true, Subscribe: true}}
		})
		id := uniqueID()
		victim, _ := w.connect(t, lib, "alice", settings{clientID: id})
		require.NoError(t, victim.subscribe("open/x"))
		_, err := lib(t, newClient(t, mqttauth.Config{User: "alice", Password: []byte("a guess")}), w.url, settings{clientID: id})
		require.Error(t, err)
		_, err = lib(t, w.client(t, "eve"), w.url, settings{clientID: id})
		require.Error(t, err, "an account of her own, and somebody else's Client Identifier")
		require.NoError(t, victim.publish("open/x", 1, "still here"))
		receives(t, victim, "open/x still here")
		require.Equal(t, 1, victim.ups())
		require.Empty(t, victim.lost())
	})
}

func TestRequestOfAnotherSession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			_, owner := w.owned(t, libraries[name], "alice", name+"/#")
			w.tap.mu.Lock()
			seen := bytes.Clone(w.tap.seen.Bytes())
			w.tap.mu.Unlock()
			stolen := requestIn(t, seen)
			eve := w.dial(t, w.client(t, "eve"), v)
			code, ok := eve.connect(wire.ConnectPacket{CleanStart: true})
			require.True(t, ok)
			require.Zero(t, code)
			before := w.listener.Counters().RequestsIgnored
			eve.publish(wire.PublishPacket{Topic: []byte("mqttauth/auth"), Payload: stolen, QoS: 1, ID: 5})
			require.Equal(t, wire.Puback, eve.next().Type(), "and nothing else comes of it")
			require.Equal(t, before+1, w.listener.Counters().RequestsIgnored)
			require.NoError(t, owner.Release(ctx(t), name+"/#"), "the owner's session goes on")
		})
	}
}

// frameHeader is the length of version, type and session id.
const frameHeader = 18

// requestIn finds a request frame in what went over the wire.
func requestIn(t *testing.T, seen []byte) []byte {
	t.Helper()
	topic := []byte("mqttauth/auth")
	for at := bytes.LastIndex(seen, topic); at >= 0; at = bytes.LastIndex(seen[:at], topic) {
		rest := seen[at+len(topic):]
		for skip := range 2 { // v5 has the length of the properties in between
			if len(rest) > skip+frameHeader+10 && rest[skip] == 1 && rest[skip+1] == 16 {
				size := frameHeader + 10 + int(rest[skip+frameHeader+8])<<8 + int(rest[skip+frameHeader+9])
				return bytes.Clone(rest[skip : skip+size])
			}
		}
	}
	require.FailNow(t, "no request on the wire")
	return nil
}

func TestWill(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		w := newWorld(t, nil)
		owner, alice := w.owned(t, lib, "alice", "plant/#")
		reader, _ := w.connect(t, lib, "bob", settings{}, issue(t, owner, mqttauth.Auth2, "plant/#", time.Hour))
		require.NoError(t, reader.subscribe("plant/#"))
		_, err := lib(t, w.client(t, "eve"), w.url, settings{willTopic: "plant/1", willPayload: "gone"})
		require.Error(t, err, "without a token")
		read := issue(t, owner, mqttauth.Auth2, "plant/1", time.Hour)
		_, err = lib(t, w.client(t, "eve", read), w.url, settings{willTopic: "plant/1", willPayload: "gone"})
		require.Error(t, err, "with a token to read")

		write := issue(t, owner, mqttauth.Auth1, "plant/1", time.Hour)
		id := uniqueID()
		_, err = lib(t, w.client(t, "eve", write), w.url, settings{clientID: id, willTopic: "plant/1", willPayload: "gone"})
		require.Error(t, err, "with a token that nobody has seen yet")
		second, _ := w.connect(t, lib, "eve", settings{clientID: id, willTopic: "plant/1", willPayload: "gone"}, write)
		for _, c := range w.listener.Established() {
			if c.ClientID() == id {
				_ = c.NetConn().Close()
			}
		}
		loses(t, second)
		receives(t, reader, "plant/1 gone")
		second.close()

		third, _ := w.connect(t, lib, "eve", settings{clientID: id, willTopic: "plant/1", willPayload: "after its token"}, write)
		require.NoError(t, alice.Revoke(ctx(t), "plant/#", write.ID()))
		loses(t, third)
		last, _ := w.connect(t, lib, "eve", settings{}, issue(t, owner, mqttauth.Auth1, "plant/2", time.Hour))
		require.NoError(t, last.publish("plant/2", 1, "nothing before this"))
		receives(t, reader, "plant/2 nothing before this")
	})
}

// TestTopicAlias has mosquitto behind the listener: it is a broker that takes aliases.
func TestTopicAlias(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	w.relay(t)
	owner, _ := w.owned(t, connectV5, "alice", "plant/#")
	write := issue(t, owner, mqttauth.Auth1, "plant/mine", time.Hour)
	reader, _ := w.connect(t, connectV5, "bob", settings{}, issue(t, owner, mqttauth.Auth2, "plant/#", time.Hour))
	require.NoError(t, reader.subscribe("plant/#"))
	eve := w.dial(t, w.client(t, "eve", write), wire.V5)
	code, ok := eve.connect(wire.ConnectPacket{CleanStart: true})
	require.True(t, ok)
	require.Zero(t, code)
	alias := func(id uint16, topic string, number uint16) {
		m := wire.PublishPacket{Topic: []byte(topic), QoS: 1, ID: id, Payload: []byte(fmt.Sprint("message ", id))}
		m.Properties = m.Properties.AppendUint(wire.TopicAlias, uint32(number))
		eve.publish(m)
	}
	reason := func() byte {
		p := eve.next()
		require.NotNil(t, p, "the connection ended")
		ack, err := wire.ParseAck(p, wire.V5)
		require.NoError(t, err)
		return ack.Reason
	}
	alias(1, "plant/other", 1) // sets an alias, and is refused
	require.Equal(t, wire.NotAuthorized, reason())
	alias(2, "", 1) // what is behind it is refused as well
	require.Equal(t, wire.NotAuthorized, reason())
	alias(3, "plant/mine", 1)
	require.Less(t, reason(), byte(0x80))
	alias(4, "", 1)
	require.Less(t, reason(), byte(0x80))
	receives(t, reader, "plant/mine message 3")
	receives(t, reader, "plant/mine message 4")
}

func TestSubscriptionsBeyondTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	owner, _ := w.owned(t, connectV5, "alice", "plant/#")
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			bob := w.dial(t, w.client(t, "bob", issue(t, owner, mqttauth.Auth2, "plant/a/+/t", time.Hour)), v)
			code, ok := bob.connect(wire.ConnectPacket{CleanStart: true})
			require.True(t, ok)
			require.Zero(t, code)
			for _, filter := range []string{"#", "+/#", "plant/#", "plant/a/+/+", "plant/a/#", "$SYS/#", "$share/g/plant/#", "$share/g/#", "$SHARE/g/plant/a/1/t", "+/a/1/t", "mqttauth/auth", "mqttauth/c/+", "mqttauth/#"} {
				require.GreaterOrEqual(t, bob.subscribed(filter), byte(0x80), filter)
			}
			for _, filter := range []string{"plant/a/1/t", "plant/a/+/t", "$share/g/plant/a/1/t"} {
				require.Less(t, bob.subscribed(filter), byte(0x80), filter)
			}
		})
	}
}

// TestNothingSecretOnTheWire: without TLS, a listener learns no password, no token and no payload.
func TestNothingSecretOnTheWire(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		w := newWorld(t, func(c *authbroker.Config) { c.Hop = authbroker.HopAES })
		hop := aesmsg.Session(aesmsg.SessionConfig{})
		sealed := func(t testing.TB, c *mqttauth.Client, u settings) peer {
			p, err := lib(t, c, w.url, u, hop)
			require.NoError(t, err)
			return p
		}
		_, alice := w.connect(t, lib, "alice", settings{})
		owner, err := mqttauth.NewOwnerToken("plant/#")
		require.NoError(t, err)
		_, err = alice.Claim(ctx(t), owner, time.Hour)
		require.NoError(t, err)
		read, write := issue(t, owner, mqttauth.Auth2, "plant/#", time.Hour), issue(t, owner, mqttauth.Auth1, "plant/#", time.Hour)
		reader := sealed(t, w.client(t, "bob", read), settings{})
		require.NoError(t, reader.subscribe("plant/#"))
		writer := sealed(t, w.client(t, "eve", write), settings{})
		require.NoError(t, writer.publish("plant/1", 1, "a payload of some length"))
		receives(t, reader, "plant/1 a payload of some length")
		seen := w.tap.recording()
		require.Contains(t, string(seen), "plant/1", "the wire was listened to")
		for _, secret := range []string{string(password("alice")), string(password("bob")), "a payload of some length"} {
			require.NotContains(t, string(seen), secret)
		}
		for _, token := range []mqttauth.Token{read, write} {
			b, err := token.MarshalBinary()
			require.NoError(t, err)
			for at := 0; at+16 <= len(b); at++ {
				if part := b[at : at+16]; bytes.Contains(b[len(b)-32:], part) {
					require.NotContains(t, string(seen), string(part), "a part of a token's secret")
				}
			}
		}
	})
}
