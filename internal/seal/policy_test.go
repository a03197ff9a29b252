package seal

import (
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Names that a client's router would take for a handler's filter: unsealed messages on them reach nobody.
func TestNamesHaveOneReading(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		reject, rejected := rejections()
		bob := client(t, testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject}), rejected, v, nil, nil)
		bob.subscribe(0, "$share/g/site/#", "$queue/site/7", "plain/+", "$share/g/plain")
		for _, name := range []string{
			"$share/g/site/#", "$share/g/site/+", "$share/g/site/7", "$share/+/site/7", "site/+", "site/#", "#", "+", "plain/+",
			"$queue/site/7", "$queue/site/#", "$exclusive/site/7", "$oshare/g/site/7", "$delayed/5/site/7", "$share/g/$share/h/site/7",
		} {
			bob.write(bob.broker, bob.packetOf(name, "forged"))
			require.Equal(t, name, (<-rejected).Topic)
			require.Empty(t, bob.heard(), name)
		}
		for _, name := range []string{"plain/7", "$share/g/plain", "$share/g", "$queue/", "$delayed/5"} {
			bob.write(bob.broker, bob.packetOf(name, "plain"))
			require.Equal(t, []string{"plain"}, bob.heard(), name)
		}
	})
}

// packetOf is a PUBLISH whose name need not be valid.
func (e *end) packetOf(name, payload string) wire.Packet {
	body := append([]byte{byte(len(name) >> 8), byte(len(name))}, name...)
	if e.v == wire.V5 {
		body = append(body, 0)
	}
	body = append(body, payload...)
	return append(wire.AppendVarint([]byte{0x30}, len(body)), body...)
}

// What is published behind a prefix that the broker takes off is sealed for the topic on which it arrives.
func TestPublishedBehindAPrefix(t *testing.T) {
	each(t, func(t *testing.T, v wire.Version, qos byte) {
		alice, bob := connectedPair(t, v, Config{})
		for _, prefix := range []string{"$delayed/5/", "$aws/rules/rule/", "$delayed/5/$delayed/6/"} {
			sent := alice.publish(message(qos, prefix+"site/7", "a secret"))
			require.Equal(t, prefix+"site/7", string(sent.Topic))
			require.NotContains(t, string(sent.Payload), "a secret")
			sent.Topic = []byte("site/7")
			require.Equal(t, "a secret", string(bob.deliver(sent).Payload))
			bob.write(bob.app, bob.ack(wire.Puback, 7, 0))
		}
		for _, name := range []string{"$delayed/5/other", "$delayed/5", "$delayed", "$aws/things/site/7"} {
			require.Equal(t, "plain", string(alice.publish(message(qos, name, "plain")).Payload))
		}
	})
}

// With a key for every topic, answers of the broker's own services come through to who has subscribed to them.
func TestDollarTopicsThatTheClientAskedFor(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		for _, filter := range []string{"#", "+/#", "+/things/+/shadow"} {
			reject, rejected := rejections()
			bob := client(t, testSealer(t, Config{Keys: []Key{testKey(t, filter, 1)}, Rejected: reject}), rejected, v, nil, nil)
			const name = "$aws/things/7/shadow"
			bob.offer(0, 0, false, name, []byte("before"), nil)
			require.Empty(t, bob.heard())
			bob.subscribe(0, "#", "+/things/+/shadow", "$other/#")
			bob.offer(0, 0, false, name, []byte("by wildcards alone"), nil)
			require.Empty(t, bob.heard())
			bob.subscribe(0, "$aws/things/+/shadow")
			bob.offer(0, 0, false, name, []byte("answer"), nil)
			require.Equal(t, []string{"answer"}, bob.heard())
			require.Equal(t, "request", string(bob.publish(message(0, name, "request")).Payload))
			require.Len(t, rejected, 2)
			p, err := (&wire.UnsubscribePacket{ID: 9, Filters: [][]byte{[]byte("$aws/things/+/shadow")}}).Append(nil, v)
			require.NoError(t, err)
			bob.write(bob.app, p)
			require.Equal(t, wire.Packet(p), bob.read(bob.broker))
			bob.offer(0, 0, false, name, []byte("after"), nil)
			require.Empty(t, bob.heard(), "not asked for any more")
		}
	})
}

func TestOnlySealed(t *testing.T) {
	each(t, func(t *testing.T, v wire.Version, qos byte) {
		reject, rejected := rejections()
		s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, OnlySealed: true, PlainTopics: []string{"$SYS/#", "plain/+"}, Rejected: reject})
		bob := client(t, s, rejected, v, nil, nil)
		for _, name := range []string{"other", "$SYSTEM/x", "$share/g/other", "plain"} {
			bob.write(bob.broker, bob.packet(message(0, name, "forged")))
			bob.refused(false, name, ErrNotSealed)
		}
		for _, name := range []string{"$SYS/uptime", "plain/7"} {
			require.Equal(t, "plain", string(bob.deliver(message(0, name, "plain")).Payload))
			require.Equal(t, "plain", string(bob.publish(message(0, name, "plain")).Payload))
		}
		bob.write(bob.app, bob.packet(message(qos, "other", "typo")))
		bob.refused(true, "other", ErrNoKey)
		bob.discard()
		require.Empty(t, bob.heard())
	})
	_, err := New(XAES(), Config{Keys: []Key{testKey(t, "a", 1)}, PlainTopics: []string{"b"}})
	require.ErrorContains(t, err, "OnlySealed")
	_, err = New(XAES(), Config{Keys: []Key{testKey(t, "a", 1)}, OnlySealed: true, PlainTopics: []string{"b#"}})
	require.ErrorContains(t, err, "PlainTopics[0]")
}

// While the door is open unsealed messages come through and are counted; sealed ones are judged as ever, and what looks
// sealed is never taken for plain. Then the door closes by itself.
func TestAcceptUnsealed(t *testing.T) {
	each(t, func(t *testing.T, v wire.Version, qos byte) {
		reject, rejected := rejections()
		deliveries := make(chan Delivery, 10)
		until := time.Now().Add(time.Hour)
		cfg := Config{
			Keys: []Key{testKey(t, "site/#", 1)}, Rejected: reject, Delivered: func(d Delivery) { deliveries <- d },
			InsecureAcceptUnsealed: []Unsealed{{"$share/g/site/+", until}, {"site/gone/+", time.Now().Add(-time.Second)}},
		}
		bob := client(t, testSealer(t, cfg), rejected, v, nil, nil)
		alice, _ := connectedPair(t, v, Config{})
		bob.discard()
		bob.offer(qos, 1, false, "site/7", []byte("plain"), nil)
		require.Equal(t, []string{"plain"}, bob.heard())
		d := <-deliveries
		require.True(t, d.Unsealed)
		require.Equal(t, "site/7", d.Topic)
		frame := sealedAt(t, alice, qos, false, "site/7", "sealed")[0]
		bob.offer(qos, 2, false, "site/7", frame, nil)
		bob.offer(qos, 3, false, "site/7", frame, nil)
		require.Equal(t, []string{"sealed"}, bob.heard())
		require.False(t, (<-deliveries).Unsealed)
		require.ErrorIs(t, (<-rejected).Err, ErrReplay)
		frame = sealedAt(t, alice, qos, false, "site/7", "changed")[0]
		frame[30] ^= 1
		bob.offer(qos, 4, false, "site/7", frame, nil)
		bob.offer(qos, 5, false, "site/7/deeper", []byte("plain"), nil)
		bob.offer(qos, 6, false, "site/gone/7", []byte("plain"), nil)
		require.Empty(t, bob.heard())
		for _, want := range []error{ErrAuthentication, ErrNotSealed, ErrNotSealed} {
			require.ErrorIs(t, (<-rejected).Err, want)
		}
	})
}

// The end of the door is a time, not a restart.
func TestUnsealedEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		us := []Unsealed{{"site/#", time.Now().Add(time.Minute)}}
		require.True(t, allows(us, []byte("site/7")))
		require.False(t, allows(us, []byte("other")))
		time.Sleep(time.Minute)
		require.False(t, allows(us, []byte("site/7")))
	})
	for _, us := range [][]Unsealed{{{"site/#", time.Time{}}}, {{"site#", time.Now()}}, {{"", time.Now()}}} {
		for _, cfg := range []Config{{InsecureAcceptUnsealed: us}, {InsecureSendUnsealed: us}} {
			cfg.Keys = []Key{testKey(t, "a", 1)}
			_, err := New(XAES(), cfg)
			require.Error(t, err)
		}
	}
}

// A publisher may stay plain for a while: on the wire, in its Will and in its stores. What lies there afterwards is
// sent sealed, if the application says so, and given up if not.
func TestSendUnsealed(t *testing.T) {
	each(t, func(t *testing.T, v wire.Version, qos byte) {
		keys := []Key{testKey(t, "site/#", 1)}
		until := time.Now().Add(time.Hour)
		plain := testSealer(t, Config{Keys: keys, InsecureSendUnsealed: []Unsealed{{"site/#", until}}})
		e := client(t, plain, nil, v, func(c *wire.ConnectPacket) {
			c.Will = &wire.Will{Topic: []byte("site/7"), Payload: []byte("gone")}
		}, nil)
		require.Equal(t, "x", string(e.publish(message(qos, "site/7", "x")).Payload))
		p := e.packet(message(qos, "site/7", "stored"))
		lying, err := plain.Freeze("client", v, p, true)
		require.NoError(t, err)
		require.Contains(t, string(lying), "stored")
		out, err := plain.Thaw("client", v, lying, true)
		require.NoError(t, err)
		require.Equal(t, p, out)

		_, err = testSealer(t, Config{Keys: keys}).Thaw("client", v, lying, true)
		require.ErrorIs(t, err, ErrNotSealed)
		moved := testSealer(t, Config{Keys: keys, InsecureSealStored: until})
		out, err = moved.Thaw("client", v, lying, true)
		require.NoError(t, err)
		e = client(t, moved, nil, v, nil, nil)
		sent := e.publish(e.parse(out))
		opened, err := testSealer(t, Config{Keys: keys}).Open("site/7", sent.Payload)
		require.NoError(t, err)
		require.Equal(t, "stored", string(opened))
	})
}

// Printing a Config shows no private key, with any verb, and nor does slog.
func TestConfigIsNotPrinted(t *testing.T) {
	private := ed25519.NewKeyFromSeed([]byte("0123456789abcdefghijklmnopqrstuv"))
	cfg := Config{Keys: []Key{testKey(t, "site/#", 0xA0)}, Signer: private}
	var out strings.Builder
	for _, v := range []any{cfg, &cfg, []Config{cfg}, struct{ C Config }{cfg}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		fmt.Fprintln(&out, v)
	}
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "c", cfg)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "c", cfg)
	//lint:ignore SA1026 the error is what is wanted
	_, err := json.Marshal(cfg)
	require.Error(t, err)
	for _, form := range []string{"48 49 50", "0x30, 0x31", "303132", "012345", "30 31 32", "MDEyMzQ1", "160 161 162", "a0a1a2"} {
		require.NotContains(t, out.String(), form)
	}
	require.Contains(t, out.String(), "site/#")
}
