package report

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
	"github.com/mqttsec/mqttsec/pake"
)

// Way is how a client proves who it is and the broker who that is, or neither: a row of the table "Connecting". It
// needs a half at the broker, which is put before the one in this process.
type Way struct {
	Name string
	open func(inner net.Listener) (net.Listener, entrance, error)
}

// entrance is what the client's side of a Way needs.
type entrance struct {
	secure bool // the URL says TLS
	tls    *tls.Config
	link   link.Scheme
	// beside may be nil. It starts what stands beside the broker, once that listens there.
	beside func(ctx context.Context, broker *url.URL) (stop func() error, err error)
}

// What the sentences below the table compare.
const (
	wayPlain   = "plain"
	wayServer  = "TLS 1.3 ECDSA"
	wayMutual  = "TLS 1.3 ECDSA mutual"
	wayPSK     = "tlspsk 1.3"
	wayACE     = "ace"
	wayAuth    = "mqttauth"
	wayStretch = "mqttauth stretched"
	wayTwo     = "mqttauth two-phase"
)

// Ways lists what can be compared; the first protects nothing.
func Ways() []Way {
	skip := pake.Stretch{Skip: true}
	return []Way{
		{wayPlain, openPlain},
		{"aesmsg", openAES},
		{wayServer, certificates(tls.VersionTLS13, false)},
		{wayMutual, certificates(tls.VersionTLS13, true)},
		{"TLS 1.3 hybrid", hybrid},
		{wayPSK, psk(tlspsk.TLS13)},
		{"TLS 1.2 ECDSA", certificates(tls.VersionTLS12, false)},
		{"TLS 1.2 ECDSA mutual", certificates(tls.VersionTLS12, true)},
		{"tlspsk 1.2", psk(tlspsk.TLS12)},
		{wayACE, openACE},
		{wayAuth, password(skip, authbroker.NoHop)},
		{wayTwo, openTwoPhase},
		{wayStretch, password(pake.Stretch{}, authbroker.NoHop)},
	}
}

// door is a Way that is open, and who goes through it.
type door struct {
	name   string
	broker link.Broker
	link   link.Scheme
	stop   func() error
}

// openWay puts the broker's half of a Way before a broker, which closes it. What stands beside is to be stopped before.
func openWay(ctx context.Context, broker *brokers.Embedded, w Way) (door, error) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return door{}, err
	}
	address := inner.Addr().String()
	listener, client, err := w.open(inner)
	if err != nil {
		_ = inner.Close() // what went wrong before says more
		return door{}, fmt.Errorf("%s: %w", w.Name, err)
	}
	u := &url.URL{Scheme: "tcp", Host: address}
	if client.secure {
		u.Scheme = "tls"
	}
	if err := broker.Serve(listener); err != nil {
		return door{}, fmt.Errorf("%s: %w", w.Name, err)
	}
	d := door{name: w.Name, broker: link.Broker{URL: u, TLS: client.tls}, link: client.link, stop: func() error { return nil }}
	if client.beside != nil {
		if d.stop, err = client.beside(ctx, u); err != nil {
			return door{}, fmt.Errorf("%s: %w", w.Name, err)
		}
	}
	return d, nil
}

func openPlain(inner net.Listener) (net.Listener, entrance, error) { return inner, entrance{}, nil }

// openAES seals payloads, and CONNECT has none.
func openAES(inner net.Listener) (net.Listener, entrance, error) {
	scheme, err := newAES("bench")
	return inner, entrance{link: scheme}, err
}

// hybrid is TLS as crypto/tls has it if it is told nothing: with a key exchange that withstands quantum computers too.
func hybrid(inner net.Listener) (net.Listener, entrance, error) {
	authority, err := ca.New()
	if err != nil {
		return nil, entrance{}, err
	}
	server, client, err := likePSK(authority, tls.VersionTLS13)
	if err != nil {
		return nil, entrance{}, err
	}
	server.CurvePreferences, client.CurvePreferences = nil, nil
	return tls.NewListener(inner, server), entrance{secure: true, tls: client}, nil
}

// likePSK makes certificates all that differs from TLS with a pre-shared key: X25519, where crypto/tls would choose a
// hybrid group of its own that costs more, and no tickets.
func likePSK(authority *ca.Authority, version uint16) (server, client *tls.Config, err error) {
	if server, err = authority.ServerConfig(); err != nil {
		return nil, nil, err
	}
	client = authority.ClientConfig()
	for _, c := range []*tls.Config{server, client} {
		c.MinVersion, c.MaxVersion = version, version
		c.NextProtos = []string{"mqtt"}
		c.CurvePreferences = []tls.CurveID{tls.X25519}
		c.SessionTicketsDisabled = true
	}
	return server, client, nil
}

// certificates is TLS with ECDSA certificates on P-256, of the server alone or of both.
func certificates(version uint16, mutual bool) func(net.Listener) (net.Listener, entrance, error) {
	return func(inner net.Listener) (net.Listener, entrance, error) {
		authority, err := ca.New()
		if err != nil {
			return nil, entrance{}, err
		}
		server, client, err := likePSK(authority, version)
		if err != nil {
			return nil, entrance{}, err
		}
		if mutual {
			own, err := authority.Issue(ca.Subject{Name: identity, Client: true})
			if err != nil {
				return nil, entrance{}, err
			}
			client.Certificates = []tls.Certificate{own}
			server.ClientCAs, server.ClientAuth = authority.Pool(), tls.RequireAndVerifyClientCert
		}
		return tls.NewListener(inner, server), entrance{secure: true, tls: client}, nil
	}
}

// identity is the client's name, whoever asks.
const identity = "device-7"

// psk is TLS with a pre-shared key and ECDHE.
func psk(version tlspsk.Version) func(net.Listener) (net.Listener, entrance, error) {
	return func(inner net.Listener) (net.Listener, entrance, error) {
		key := random(32)
		listener, err := tlspsk.NewListener(inner, &tlspsk.Config{Keys: func(string) []byte { return key }})
		if err != nil {
			return nil, entrance{}, err
		}
		scheme, err := tlspsk.New(tlspsk.Config{Identity: identity, Key: key, MinVersion: version, MaxVersion: version})
		if err != nil {
			return nil, entrance{}, err
		}
		return listener, entrance{secure: true, link: scheme}, nil
	}
}

// authorityName is what verifiers are made for.
const authorityName = "broker.example"

// enrolled is a store with a user who has a secret.
func enrolled(stretch pake.Stretch) (secret []byte, store *authbroker.Store, err error) {
	secret = fmt.Appendf(nil, "%x", random(16))
	verifier, err := pake.NewVerifier(pake.Config{Stretch: stretch}, identity, authorityName, secret)
	if err != nil {
		return nil, nil, err
	}
	store = authbroker.MemoryStore()
	return secret, store, store.SetUser(identity, verifier)
}

// password is the login of MQTT-Auth, without TLS below. Everybody may do everything once logged in. With a hop,
// payloads are sealed between client and broker under keys of the login.
func password(stretch pake.Stretch, hop authbroker.Hop) func(net.Listener) (net.Listener, entrance, error) {
	return func(inner net.Listener) (net.Listener, entrance, error) {
		secret, store, err := enrolled(stretch)
		if err != nil {
			return nil, entrance{}, err
		}
		listener, err := authbroker.NewListener(inner, authbroker.Config{
			Server: authorityName, Store: store, Stretch: stretch, Hop: hop,
			Public: []authbroker.Rule{{Filter: "#", Publish: true, Subscribe: true}},
		})
		if err != nil {
			return nil, entrance{}, err
		}
		auth, err := mqttauth.New(mqttauth.Config{User: identity, Password: secret, Server: authorityName, Stretch: stretch})
		if hop == authbroker.NoHop || err != nil {
			return listener, entrance{link: auth}, err
		}
		return listener, entrance{link: hopped{auth, aesmsg.Session(aesmsg.SessionConfig{})}}, nil
	}
}

// hopped is MQTT-Auth with payloads sealed on the hop.
type hopped struct {
	auth *mqttauth.Client
	seal *aesmsg.SessionSealer
}

// Wrap implements link.Scheme.
func (h hopped) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	return h.seal.Wrap(h.auth.Wrap(cfg))
}

// WrapV3 implements link.Scheme.
func (h hopped) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	return h.seal.WrapV3(h.auth.WrapV3(opts))
}
