package attacks

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
	"github.com/mqttsec/mqttsec/pake"
)

// place is a protected broker: where to attack it, and where to see what reached the broker itself.
type place struct {
	name      string
	world     *world
	addresses map[string]string // of the listeners that package site names
	broker    brokers.Broker
}

// halves puts the broker halves of the schemes in front of mochi, in this process.
func (w *world) halves() (map[string]string, error) {
	guard, err := w.site.Guard()
	if err != nil {
		return nil, err
	}
	guard.AuthzInfo = true
	guard.MaxPending, guard.MaxPendingPerSource, guard.Timeout = 400, 100, 30*time.Second
	keys := map[string][]byte{"device-1": w.site.PSK("device-1").Key, "device-2": w.site.PSK("device-2").Key}
	presents, err := w.site.Authority.ServerConfig()
	if err != nil {
		return nil, err
	}
	store := authbroker.MemoryStore()
	w.closers = append(w.closers, store.Close)
	verifier, err := pake.NewVerifier(pake.Config{Stretch: site.Stretch()}, user, site.Authority, site.Password(user))
	if err == nil {
		err = store.SetUser(user, verifier)
	}
	if err != nil {
		return nil, err
	}
	addresses := make(map[string]string)
	for name, protect := range map[string]func(net.Listener) (net.Listener, error){
		site.Tokens: func(l net.Listener) (net.Listener, error) { return acebroker.NewListener(l, guard) },
		site.PSK: func(l net.Listener) (net.Listener, error) {
			return tlspsk.NewListener(l, &tlspsk.Config{Keys: func(identity string) []byte { return keys[identity] }})
		},
		site.Passwords: func(l net.Listener) (net.Listener, error) {
			return authbroker.NewListener(l, authbroker.Config{Server: site.Authority, Store: store, Stretch: site.Stretch()})
		},
		site.TLS:   func(l net.Listener) (net.Listener, error) { return tls.NewListener(l, presents), nil },
		site.Plain: func(l net.Listener) (net.Listener, error) { return l, nil },
	} {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		l, err := protect(inner)
		if err != nil {
			return nil, err
		}
		if err := w.mochi.Serve(l); err != nil {
			return nil, err
		}
		addresses[name] = inner.Addr().String()
	}
	return addresses, nil
}

// url leads to a listener.
func (p place) url(listener string) *url.URL {
	u := &url.URL{Scheme: "mqtts", Host: p.addresses[listener]}
	if listener == site.Plain || listener == site.Passwords {
		u.Scheme = "mqtt"
	}
	return u
}

// forEachPlace runs a test against both brokers at once.
func forEachPlace(t *testing.T, attack func(t *testing.T, p place)) {
	t.Parallel()
	started.Store(true)
	w, err := shared()
	require.NoError(t, err)
	for _, p := range w.places {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			attack(t, p)
		})
	}
}

// forEachLibrary runs a test against both brokers with both client libraries.
func forEachLibrary(t *testing.T, attack func(t *testing.T, p place, l library)) {
	forEachPlace(t, func(t *testing.T, p place) {
		for _, l := range libraries {
			t.Run(l.name, func(t *testing.T) {
				t.Parallel()
				attack(t, p, l)
			})
		}
	})
}

// trust is what clients dial with.
func (w *world) trust() *tls.Config { return w.site.Trust() }

// token gets one for a client.
func (w *world) token(t testing.TB, client, audience string) ace.Token {
	t.Helper()
	source, err := w.site.Source(client, audience)
	require.NoError(t, err)
	token, err := source.Token(patient(t))
	require.NoError(t, err)
	return token
}

// bearing is the scheme of a client with this token and no other.
func bearing(t testing.TB, token ace.Token) scheme {
	t.Helper()
	a, err := ace.New(ace.Config{Source: ace.Static(token)})
	require.NoError(t, err)
	return a
}

// keyed is the scheme of a client with a pre-shared key.
func keyed(t testing.TB, cfg tlspsk.Config) scheme {
	t.Helper()
	s, err := tlspsk.New(cfg)
	require.NoError(t, err)
	return s
}

// observe subscribes to everything at the broker itself, past all protection: what arrives there has got through.
func (p place) observe(t testing.TB, filter string) *client {
	t.Helper()
	u := p.broker.URL(brokers.TCP)
	u.Scheme = "mqtt"
	c := libraries[0].must(t, p, nil, options{id: newName("observer"), url: u})
	require.NoError(t, c.subscribe(filter, 2))
	return c
}

// inject publishes at the broker itself.
func (p place) inject(t testing.TB, topic, payload string) {
	t.Helper()
	u := p.broker.URL(brokers.TCP)
	u.Scheme = "mqtt"
	c := libraries[0].must(t, p, nil, options{id: newName("injector"), url: u})
	require.NoError(t, c.publish(topic, 1, false, payload))
	c.close()
}

// patient is a context for what a test does, which ends long after everything should be done.
func patient(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// injectRetained is inject of a retained message. The broker has passed it on when it has taken the next: whoever
// subscribes then gets it as retained.
func (p place) injectRetained(t testing.TB, topic, payload string) {
	t.Helper()
	u := p.broker.URL(brokers.TCP)
	u.Scheme = "mqtt"
	c := libraries[0].must(t, p, nil, options{id: newName("injector"), url: u})
	require.NoError(t, c.publish(topic, 1, true, payload))
	require.NoError(t, c.publish(newName("next"), 1, false, ""))
	c.close()
}
