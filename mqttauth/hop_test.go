package mqttauth

import (
	"net/url"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/presentseal"
	"github.com/mqttsec/mqttsec/internal/seal"
	"github.com/mqttsec/mqttsec/present"
)

// wrapper is a scheme that can be put on a client's options.
type wrapper interface {
	Wrap(autopaho.ClientConfig) autopaho.ClientConfig
	WrapV3(*mqtt.ClientOptions) *mqtt.ClientOptions
}

// TestPayloadsAreProtectedTwice: sealed end to end under a token's key, and on each hop under the handshake's. The
// wire shows neither payload nor the inner message, the broker sees the inner message and not the payload.
func TestPayloadsAreProtectedTwice(t *testing.T) {
	for name, c := range map[string]struct {
		suite seal.Suite
		hop   wrapper
		e2e   func(Key) wrapper
	}{
		"AES": {seal.XAES(), aesmsg.Session(aesmsg.SessionConfig{}), func(k Key) wrapper {
			s, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{k}})
			require.NoError(t, err)
			return s
		}},
		"PRESENT": {presentseal.Suite(), present.Session(present.SessionConfig{}), func(k Key) wrapper {
			s, err := present.New(present.Config{Keys: []present.Key{k}})
			require.NoError(t, err)
			return s
		}},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, connect connector) {
				h := newHalf(t, misdeeds{hop: seal.NewHop(c.suite, nil)})
				owner := mustOwner(t)
				auth := newClient(t)
				inside := make(chan string, 1)
				watch := mqtt.NewClient(mqtt.NewClientOptions().AddBroker(h.Embedded.URL("tcp").String()).SetClientID(uniqueID()))
				require.NoError(t, await(watch.Connect()))
				t.Cleanup(func() { watch.Disconnect(0) })
				require.NoError(t, await(watch.Subscribe("site/#", 1, func(_ mqtt.Client, m mqtt.Message) { inside <- string(m.Payload()) })))

				p, err := connectThrough(t, connect, h.url(), c.e2e(owner.Key()), c.hop, auth)
				require.NoError(t, err)
				require.NoError(t, p.subscribe("site/#"))
				require.NoError(t, p.publish("site/7", "the payload"))
				require.Equal(t, "site/7 the payload", next(t, p))
				atBroker := <-inside
				require.NotContains(t, atBroker, "the payload")
				require.Equal(t, byte(0xFC), atBroker[0], "the inner message, opaque to the broker")
				went := string(h.recording())
				require.NotContains(t, went, "the payload")
				require.NotContains(t, went, atBroker)
			})
		})
	}
}

// TestHopWithoutEndToEnd: the broker reads, the wire does not show; and a client without hop sealing is not served.
func TestHopWithoutEndToEnd(t *testing.T) {
	onBoth(t, func(t *testing.T, connect connector) {
		h := newHalf(t, misdeeds{hop: seal.NewHop(seal.XAES(), nil)})
		p, err := connectThrough(t, connect, h.url(), aesmsg.Session(aesmsg.SessionConfig{}), newClient(t))
		require.NoError(t, err)
		other, err := connectThrough(t, connect, h.url(), aesmsg.Session(aesmsg.SessionConfig{}), newClient(t))
		require.NoError(t, err)
		require.NoError(t, other.subscribe("site/#"))
		require.NoError(t, p.publish("site/7", "the payload"))
		require.Equal(t, "site/7 the payload", next(t, other), "resealed for the subscriber")
		require.NotContains(t, string(h.recording()), "the payload")
	})
}

// TestHopWithoutHandshake: there is nothing to take keys from.
func TestHopWithoutHandshake(t *testing.T) {
	onBoth(t, func(t *testing.T, connect connector) {
		h := newHalf(t, misdeeds{})
		_, err := connectThrough(t, connect, h.url(), aesmsg.Session(aesmsg.SessionConfig{}))
		require.ErrorIs(t, err, aesmsg.ErrNoSession)
	})
}

// stack is several schemes as one, the first next to the application.
type stack []wrapper

func (s stack) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	for i := len(s) - 1; i >= 0; i-- {
		cfg = s[i].Wrap(cfg)
	}
	return cfg
}

func (s stack) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	for i := len(s) - 1; i >= 0; i-- {
		opts = s[i].WrapV3(opts)
	}
	return opts
}

func connectThrough(t testing.TB, connect connector, u *url.URL, schemes ...wrapper) (peer, error) {
	t.Helper()
	return connect(t, stack(schemes), u, uniqueID())
}
