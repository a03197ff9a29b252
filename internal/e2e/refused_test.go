package e2e

import (
	"crypto"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/stretchr/testify/require"
)

// forEachPlace runs a test with every sealing suite and library on both brokers at every QoS, over TCP.
func forEachPlace(t *testing.T, run func(c *cell, qos byte)) {
	for _, s := range sealedSuites() {
		for _, d := range drivers() {
			for _, b := range sharedBrokers {
				for qos := range byte(3) {
					t.Run(fmt.Sprintf("%s/%s/%s/QoS%d", s.name, d.name, b.name, qos), func(t *testing.T) {
						t.Parallel()
						run(newCell(t, place{suite: s, driver: d, broker: b.get(t), transport: brokers.TCP}), qos)
					})
				}
			}
		}
	}
}

// TestRefusedIncoming publishes what no honest client would, from a client without keys. The application sees none of
// it, Rejected hears of everything, the connection stays, and the broker has nothing left to deliver.
func TestRefusedIncoming(t *testing.T) {
	forEachPlace(t, func(c *cell, qos byte) {
		id, heard := unique("victim"), newRejections()
		cfg := c.sealing()
		cfg.Rejected = heard.add
		network := newRelay(c.t, c.broker.URL(c.transport))
		victim, err := c.connectWith(c.driver, c.suite.new(c.t, cfg), options{
			id:         id,
			url:        network.url(c.broker.URL(c.transport)),
			persistent: true,
		})
		require.NoError(c.t, err)
		require.NoError(c.t, victim.subscribe(c.ctx, c.topic("#"), qos))
		attacker := c.connectPlain("attacker")
		publish := func(name string, retain bool, payload []byte) {
			c.t.Helper()
			m := message{topic: c.topic(name), payload: payload, qos: qos, retain: retain}
			require.NoError(c.t, attacker.publish(c.ctx, m))
		}
		honest := c.suite.new(c.t, c.sealing()).(sealer)
		seal := func(s sealer, name string) []byte {
			c.t.Helper()
			frame, err := s.Seal(c.topic(name), []byte(marker+" "+name))
			require.NoError(c.t, err)
			return frame
		}

		first := seal(honest, "first")
		publish("first", false, first)
		_, err = victim.inbox().awaitCount(c.ctx, 1)
		require.NoError(c.t, err)

		forged := seal(honest, "forged")
		forged[len(forged)-20] ^= 1
		stranger := c.suite.new(c.t, testSealing(c.t, "stranger")).(sealer)
		attacks := []struct {
			topic   string
			payload []byte
			retain  bool
			want    error
		}{
			{"unsealed", []byte(marker), false, aesmsg.ErrNotSealed},
			{"truncated", first[:30], false, aesmsg.ErrMalformed},
			{"forged", forged, false, aesmsg.ErrAuthentication},
			{"elsewhere", seal(honest, "here"), false, aesmsg.ErrUnknownKey}, // its key is that of its topic
			{"stranger", seal(stranger, "stranger"), false, aesmsg.ErrUnknownKey},
			{"first", first, false, aesmsg.ErrReplay},
			{"empty", nil, false, aesmsg.ErrNotSealed},
			{"first", first, true, aesmsg.ErrReplay},
		}
		for _, a := range attacks {
			publish(a.topic, a.retain, a.payload)
		}
		got, err := heard.await(c.ctx, len(attacks))
		require.NoError(c.t, err, "%v", got)
		for i, a := range attacks {
			require.ErrorIs(c.t, got[i].Err, a.want, a.topic)
			require.Equal(c.t, c.topic(a.topic), got[i].Topic)
			require.Equal(c.t, id, got[i].ClientID)
			require.False(c.t, got[i].Outgoing)
		}
		// A live message that the broker passes off as a retained one. mochi refuses a SUBSCRIBE whose packet
		// identifier one of its own exchanges has.
		awaitSettled(c, network, id)
		require.NoError(c.t, victim.subscribe(c.ctx, c.topic("first"), qos))
		got, err = heard.await(c.ctx, len(attacks)+1)
		require.NoError(c.t, err)
		require.ErrorIs(c.t, got[len(attacks)].Err, aesmsg.ErrReplay)

		publish("last", false, seal(honest, "last"))
		seen, err := victim.inbox().awaitPayload(c.ctx, marker+" last")
		require.NoError(c.t, err)
		require.Equal(c.t, []string{marker + " first", marker + " last"}, payloads(seen))
		require.Equal(c.t, 1, network.connections())
		awaitSettled(c, network, id)
		require.NoError(c.t, victim.disconnect(c.ctx))
		requireNothingInFlight(c, id)
	})
}

// awaitSettled waits until every exchange of a client is complete, on the wire and at the broker.
func awaitSettled(c *cell, network *relay, id string) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		settled, err := network.settled(c.driver.version())
		return err == nil && settled
	}, patience, pollInterval)
	if b, ok := c.broker.(*brokers.Embedded); ok {
		require.Eventually(c.t, func() bool { return b.InFlight(id) == 0 }, patience, pollInterval)
	}
}

// requireNothingInFlight takes the session over without a scheme: the broker has nothing for it.
func requireNothingInFlight(c *cell, id string) {
	c.t.Helper()
	successor, err := c.connectWith(c.driver, plain{}, options{id: id, persistent: true})
	require.NoError(c.t, err)
	require.NoError(c.t, successor.subscribe(c.ctx, c.end, 1))
	require.NoError(c.t, c.connectPlain("end").publish(c.ctx, message{topic: c.end, payload: []byte("end"), qos: 1}))
	got, err := successor.inbox().awaitPayload(c.ctx, "end")
	require.NoError(c.t, err)
	require.Equal(c.t, []string{"end"}, payloads(got))
}

// errSigner is what the signer of a test says when it does not sign.
var errSigner = errors.New("e2e: the security module is asleep")

// moodySigner signs when it is awake.
type moodySigner struct {
	ed25519.PrivateKey
	asleep atomic.Bool
}

func (s *moodySigner) Sign(rand io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	if s.asleep.Load() {
		return nil, errSigner
	}
	return s.PrivateKey.Sign(rand, digest, opts)
}

// TestRefusedOutgoing publishes what cannot be sealed. Nothing of it reaches the broker; the caller gets an error
// where MQTT has one, and Rejected hears of it everywhere. The connection stays and works.
func TestRefusedOutgoing(t *testing.T) {
	forEachPlace(t, func(c *cell, qos byte) {
		heard := newRejections()
		_, private, err := ed25519.GenerateKey(nil)
		require.NoError(c.t, err)
		signer := &moodySigner{PrivateKey: private}
		cfg := c.sealing()
		cfg.Rejected, cfg.Signer = heard.add, signer
		network := newRelay(c.t, c.broker.URL(c.transport))
		pub, err := c.connectWith(c.driver, c.suite.new(c.t, cfg), options{url: network.url(c.broker.URL(c.transport))})
		require.NoError(c.t, err)
		sub := c.connect(options{})
		require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), qos))

		signer.asleep.Store(true)
		m := message{topic: c.topic("refused"), payload: []byte(marker), qos: qos}
		switch {
		case qos == 0:
			require.NoError(c.t, pub.publish(c.ctx, m))
		case c.driver.v5:
			requireRefused(c, pub.publish(c.ctx, m), 0x83)
		default:
			require.NoError(c.t, pub.enqueue(c.ctx, m)) // MQTT 3.1.1 has no word for it
		}
		got, err := heard.await(c.ctx, 1)
		require.NoError(c.t, err)
		require.ErrorIs(c.t, got[0].Err, errSigner)
		require.True(c.t, got[0].Outgoing)
		require.Equal(c.t, m.topic, got[0].Topic)

		signer.asleep.Store(false)
		require.Equal(c.t, []string{marker + " last"}, untilLast(c, pub, sub, qos))
		require.Equal(c.t, 1, network.connections())
		require.Len(c.t, c.overheard(), 1)
	})
}

// requireRefused demands an error that comes from an acknowledgement with this reason code.
func requireRefused(c *cell, err error, reason byte) {
	c.t.Helper()
	require.Error(c.t, err)
	if code := refusedError(0); errors.As(err, &code) {
		require.Equal(c.t, refusedError(reason), code)
	} // at QoS 1 the library makes an error of its own
}

// TestRefusedTooLarge publishes a message that the server would have taken unsealed, and that sealing takes over its
// Maximum Packet Size. Only MQTT v5 tells clients that there is one.
func TestRefusedTooLarge(t *testing.T) {
	const limit = 4096
	start := map[string]func(t *testing.T) brokers.Broker{
		"mochi": func(t *testing.T) brokers.Broker {
			b, err := brokers.StartEmbedded(brokers.Config{MaximumPacketSize: limit})
			require.NoError(t, err)
			return b
		},
		"mosquitto": func(t *testing.T) brokers.Broker {
			b, err := brokers.StartMosquitto(patient(t), brokers.Config{MaximumPacketSize: limit})
			needMosquitto(t, err)
			return b
		},
	}
	for name, get := range start {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := get(t)
			t.Cleanup(func() { require.NoError(t, b.Close()) })
			for _, s := range append(sealedSuites(), unsealed()) {
				for _, d := range drivers()[:2] {
					for qos := range byte(3) {
						t.Run(fmt.Sprintf("%s/%s/QoS%d", s.name, d.name, qos), func(t *testing.T) {
							tooLarge(newCell(t, place{suite: s, driver: d, broker: b, transport: brokers.TCP}), qos, limit)
						})
					}
				}
			}
		})
	}
}

func tooLarge(c *cell, qos byte, limit int) {
	heard := newRejections()
	cfg := c.sealing()
	cfg.Rejected = heard.add
	network := newRelay(c.t, c.broker.URL(c.transport))
	pub, err := c.connectWith(c.driver, c.suite.new(c.t, cfg), options{url: network.url(c.broker.URL(c.transport))})
	require.NoError(c.t, err)
	sub := c.connect(options{})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), qos))
	topic := c.topic("large")
	fits := limit - len(topic) - len("fixed header, two lengths, id")
	m := message{topic: topic, payload: []byte(marker + strings.Repeat(".", fits-len(marker))), qos: qos}
	err = pub.publish(c.ctx, m)
	want := []string{string(m.payload), marker + " last"}
	if c.suite.sealed {
		want = want[1:]
		if qos > 0 {
			requireRefused(c, err, 0x97)
		} else {
			require.NoError(c.t, err)
		}
		got, err := heard.await(c.ctx, 1)
		require.NoError(c.t, err)
		require.ErrorIs(c.t, got[0].Err, aesmsg.ErrTooLarge)
		require.True(c.t, got[0].Outgoing)
	} else {
		require.NoError(c.t, err)
	}
	require.Equal(c.t, want, untilLast(c, pub, sub, qos))
	require.Equal(c.t, 1, network.connections())
}

// TestRefusedWill connects with a Will that fits unsealed and does not sealed. The client is refused as by a server,
// without a word to the real one: a connection without its Will is not what the application asked for.
func TestRefusedWill(t *testing.T) {
	large := &message{topic: "e2e/will", payload: []byte(strings.Repeat("x", 65535)), qos: 1}
	for _, d := range drivers() {
		t.Run("plain/"+d.name, func(t *testing.T) {
			t.Parallel()
			c := newCell(t, place{suite: unsealed(), driver: d, broker: sharedEmbedded(t), transport: brokers.TCP})
			c.connect(options{will: large})
		})
		for _, s := range sealedSuites() {
			t.Run(s.name+"/"+d.name, func(t *testing.T) {
				t.Parallel()
				broker := newRogue(t, func(p *peer) error {
					packet, err := p.read()
					if err == nil {
						err = fmt.Errorf("%v has reached the server", packet.Type())
					}
					return err
				})
				heard := newRejections()
				cfg := testSealing(t, "will")
				cfg.Rejected = heard.add
				_, err := d.connect(patient(t), s.new(t, cfg), options{id: unique("will"), url: broker.url, will: large})
				require.Error(t, err)
				var connack *autopaho.ConnackError
				switch {
				case errors.As(err, &connack):
					require.EqualValues(t, 0x95, connack.ReasonCode)
				case !d.v5:
					require.ErrorIs(t, err, packets.ErrorRefusedNotAuthorised)
				}
				got, err := heard.await(patient(t), 1)
				require.NoError(t, err)
				require.ErrorIs(t, got[0].Err, aesmsg.ErrTooLarge)
				require.True(t, got[0].Outgoing)
				require.Equal(t, large.topic, got[0].Topic)
			})
		}
	}
}
