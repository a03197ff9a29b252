package attacks

import (
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/present"
)

// marker is in what an application wants to keep secret.
const marker = "the reading is 42"

// TestSniffed listens between client and broker to a whole session, of each scheme that has a transport of its own:
// no token, no key, no topic and no payload can be read. Without protection all of it can, so the ears are good.
func TestSniffed(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		for _, listener := range []string{site.Tokens, site.PSK, site.Plain} {
			id := newClientID()
			topic := "site/" + id + "/x"
			ears := newRelay(t, p.addresses[listener])
			u := p.url(listener)
			u.Host = ears.address()
			token := p.world.token(t, id, site.Broker)
			var s scheme
			switch listener {
			case site.Tokens:
				s = bearing(t, token)
			case site.PSK:
				s = keyed(t, p.world.site.PSK("device-1"))
			}
			c := l.must(t, p, s, options{id: id, url: u, will: topic})
			require.NoError(t, c.subscribe(topic, 1))
			for qos := range byte(3) {
				require.NoError(t, c.publish(topic, qos, false, marker))
				require.Equal(t, topic+" "+marker, next(t, c.messages, "the message"))
			}
			c.close()
			capture := ears.capture()
			if listener == site.Plain {
				require.Contains(t, capture, marker)
				require.Contains(t, capture, topic)
				continue
			}
			key := p.world.site.PSK("device-1").Key
			for _, secret := range []string{marker, topic, "gone", string(token.Raw), string(token.Raw[:40]), p.world.site.Secret(), string(key), hex.EncodeToString(key)} {
				require.NotContains(t, capture, secret, listener)
			}
		}
	})
}

// TestBrokerSeesNoCredentials: who listens behind the gateway, or is the broker, sees who the client is, and neither
// token nor proof nor an authentication method.
func TestBrokerSeesNoCredentials(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		id := newClientID()
		token := p.world.token(t, id, site.Broker)
		l.must(t, p, bearing(t, token), options{id: id, url: p.url(site.Tokens)})
		if p.broker == brokers.Broker(p.world.mochi) {
			c, ok := p.world.mochi.Server.Clients.Get(id)
			require.True(t, ok)
			require.Equal(t, id, string(c.Properties.Username))
			require.Empty(t, c.Properties.Props.AuthenticationMethod)
			require.Empty(t, c.Properties.Props.AuthenticationData)
			return
		}
		capture := p.world.upstream.capture()
		require.Contains(t, capture, id)
		name, err := pop.Username(token.Raw)
		require.NoError(t, err)
		require.NotContains(t, capture, string(token.Raw))
		require.NotContains(t, capture, name)
	})
}

// TestCuriousBroker seals above tokens and pre-shared keys: gateway and broker authorise and deliver what they cannot
// read, live, retained, as a Will and queued for a client that is away. What an unsealed client publishes the same
// way can be read there.
func TestCuriousBroker(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		for name, seal := range map[string]scheme{"aesmsg": sealing(t, aesmsg.New), "present": sealing(t, func(c aesmsg.Config) (*present.Sealer, error) {
			return present.New(present.Config(c))
		}), "nothing": nil} {
			id := newClientID()
			topic := "site/" + id + "/" + name
			observer := p.observe(t, topic)
			stack := over{bearing(t, p.world.token(t, id, site.Broker))}
			if seal != nil {
				stack = append(over{seal}, stack...)
			}
			c := l.must(t, p, stack, options{id: id, url: p.url(site.Tokens), will: topic})
			require.NoError(t, c.subscribe(topic, 1))
			text := marker + " " + name + " " + id
			require.NoError(t, c.publish(topic, 1, true, text))
			require.Equal(t, topic+" "+text, next(t, c.messages, "the message"))
			seen := next(t, observer.messages, "what the broker sees")
			if seal == nil {
				require.Contains(t, seen, text)
			} else {
				require.NotContains(t, seen, marker)
				require.NotContains(t, p.world.upstream.capture(), text)
			}
		}
	})
}

// sealing is a payload scheme with a key for all topics.
func sealing[S scheme](t testing.TB, makeSealer func(aesmsg.Config) (S, error)) scheme {
	t.Helper()
	key, err := aesmsg.NewKey("site/#", []byte("0123456789abcdef0123456789abcdef"))
	require.NoError(t, err)
	s, err := makeSealer(aesmsg.Config{Keys: []aesmsg.Key{key}})
	require.NoError(t, err)
	return s
}

// TestBrokersDisk lets a broker of its own store what is retained and what waits for a client that is away, and reads
// its files: the sealed payload is in none of them, the unsealed one is.
func TestBrokersDisk(t *testing.T) {
	t.Parallel()
	started.Store(true)
	w, err := shared()
	require.NoError(t, err)
	b, err := brokers.StartMosquitto(patient(t), brokers.Config{})
	if w.mosquitto == brokers.Broker(nil) || err != nil && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip("there is no mosquitto")
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	u := b.URL(brokers.TCP)
	u.Scheme = "mqtt"
	p := place{world: w}
	for _, l := range libraries {
		away := l.must(t, p, nil, options{id: "away-" + l.name, url: u, persistent: true})
		require.NoError(t, away.subscribe("site/#", 1))
		away.close()
		sealed := l.must(t, p, sealing(t, aesmsg.New), options{id: newName("own"), url: u})
		require.NoError(t, sealed.publish("site/sealed/"+l.name, 1, true, marker))
		require.NoError(t, sealed.publish("site/sealed/"+l.name, 2, false, marker))
		open := l.must(t, p, nil, options{id: newName("own"), url: u})
		require.NoError(t, open.publish("site/open/"+l.name, 1, true, "readable "+l.name))
		open.close()
		sealed.close()
	}
	require.NoError(t, b.Stop())
	text, err := os.ReadFile(filepath.Join(b.Dir(), "mosquitto.db"))
	require.NoError(t, err)
	require.NotContains(t, string(text), marker)
	for _, l := range libraries {
		require.Contains(t, string(text), "readable "+l.name)
		require.Contains(t, string(text), "site/sealed/"+l.name, "topics can be read")
	}
}

// TestTokenOnlyOverTLS: a client does not show its token to a listener without TLS, whatever the URL says.
func TestTokenOnlyOverTLS(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		id := newClientID()
		token := p.world.token(t, id, site.Broker)
		ears := newRelay(t, p.addresses[site.Plain])
		for _, scheme := range []string{"mqtt", "mqtts"} {
			u := p.url(site.Plain)
			u.Scheme, u.Host = scheme, ears.address()
			_, err := l.connect(t, p.world, bearing(t, token), options{id: id, url: u})
			require.Error(t, err)
		}
		name, err := pop.Username(token.Raw)
		require.NoError(t, err)
		require.NotContains(t, ears.capture(), string(token.Raw))
		require.NotContains(t, ears.capture(), name)
	})
}
