package ace

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/require"
)

// ready is a script that accepts whoever comes, with the challenge or without, and then serves MQTT.
func ready(see func(*peer, []byte) bool) func(*peer) {
	return func(p *peer) {
		connect := p.packet()
		switch {
		case !p.v5:
			p.send(unhexBytes(connackV3)...)
		default:
			if !hasProof(connect) {
				p.send(unhexBytes(challenge)...)
				p.packet()
			}
			p.send(unhexBytes(connackAce)...)
		}
		p.mqtt(func(b []byte) bool { return see != nil && see(p, b) })
	}
}

// hasProof tells whether anything stands behind the token in CONNECT's Authentication Data.
func hasProof(connect []byte) bool {
	_, data, _ := bytes.Cut(connect, unhexBytes(method+"16"))
	return binary.BigEndian.Uint16(data) != 2+binary.BigEndian.Uint16(data[2:])
}

// configV5 is an application's configuration, before Wrap.
func configV5(b *handBroker, scheme string) autopaho.ClientConfig {
	return autopaho.ClientConfig{
		ServerUrls: []*url.URL{b.url(scheme)}, TlsCfg: b.client.Clone(), KeepAlive: 60, ConnectTimeout: time.Minute,
		ReconnectBackoff: func(int) time.Duration { return 10 * time.Millisecond },
		ClientConfig:     paho.ClientConfig{ClientID: "ace-v5", PacketTimeout: time.Minute},
	}
}

// optionsV3 is an application's options, before WrapV3.
func optionsV3(b *handBroker, scheme string) *mqtt.ClientOptions {
	return mqtt.NewClientOptions().AddBroker(b.url(scheme).String()).SetClientID("ace-v3").SetTLSConfig(b.client.Clone()).
		SetConnectRetryInterval(10 * time.Millisecond).SetMaxReconnectInterval(10 * time.Millisecond).SetConnectTimeout(time.Minute)
}

func bounded(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// connectedV5 runs paho.golang with the configuration until it is connected.
func connectedV5(t *testing.T, cfg autopaho.ClientConfig) *autopaho.ConnectionManager {
	t.Helper()
	ctx := bounded(t)
	cm, err := autopaho.NewConnection(ctx, cfg)
	require.NoError(t, err)
	t.Cleanup(func() { _ = cm.Disconnect(context.WithoutCancel(ctx)) })
	require.NoError(t, cm.AwaitConnection(ctx))
	return cm
}

func wait(t *testing.T, token mqtt.Token) error {
	t.Helper()
	require.True(t, token.WaitTimeout(time.Minute))
	return token.Error()
}

// TestBothPahos connect and publish on TLS 1.3 and 1.2, with each key, and with each proof on v5; the application's
// code is as it was.
func TestBothPahos(t *testing.T) {
	for name, kind := range kinds(t) {
		both(t, func(t *testing.T, version uint16) {
			b := newHandBroker(t, ready(nil), version)
			for _, challenge := range []bool{false, true} {
				t.Run(name+map[bool]string{true: " challenge", false: " exporter"}[challenge]+" v5", func(t *testing.T) {
					a := authenticator(t, refToken(time.Now(), kind.key), func(c *Config) { c.Challenge = challenge })
					cm := connectedV5(t, a.Wrap(configV5(b, "mqtts")))
					_, err := cm.Publish(t.Context(), &paho.Publish{Topic: "t", QoS: 1, Payload: []byte("x")})
					require.NoError(t, err)
				})
			}
			t.Run(name+" v3.1.1", func(t *testing.T) {
				opts := optionsV3(b, "mqtts")
				opts.TLSConfig.ClientSessionCache = tls.NewLRUClientSessionCache(4) // of no effect: a resumed session has no proof
				opts = authenticator(t, refToken(time.Now(), kind.key)).WrapV3(opts)
				for range 2 {
					client := mqtt.NewClient(opts)
					require.NoError(t, wait(t, client.Connect()))
					require.NoError(t, wait(t, client.Publish("t", 1, false, "x")))
					client.Disconnect(0)
				}
			})
		})
	}
}

// failV5 runs paho.golang until it reports why it cannot connect.
func failV5(t *testing.T, cfg autopaho.ClientConfig) error {
	t.Helper()
	errs := make(chan error, 1)
	cfg.OnConnectError = func(err error) {
		select {
		case errs <- err:
		default:
		}
	}
	ctx, cancel := context.WithCancel(bounded(t))
	cm, err := autopaho.NewConnection(ctx, cfg)
	require.NoError(t, err)
	err = <-errs
	cancel()
	<-cm.Done()
	return err
}

func failV3(t *testing.T, opts *mqtt.ClientOptions) error {
	t.Helper()
	return wait(t, mqtt.NewClient(opts).Connect())
}

// TestErrorsReachBothPahos: errors.Is and errors.As find what happened, each mistake with its own sentence.
func TestErrorsReachBothPahos(t *testing.T) {
	token := refToken(time.Now(), testKey)
	refusing := newHandBroker(t, func(p *peer) {
		p.packet()
		if p.v5 {
			p.send(hintConnack(asHint)...)
		} else {
			p.send(unhexBytes("20020005")...)
		}
		p.drain()
	})
	down, err := NewAS(ASConfig{Endpoint: "https://127.0.0.1:1/token", ClientID: "c", ClientSecret: "s"})
	require.NoError(t, err)
	hand := newHandAS(t)
	hand.says(400, "application/ace+json", `{"error":"invalid_scope","error_description":"not yours"}`)
	denying, err := NewAS(hand.config())
	require.NoError(t, err)
	with := func(source TokenSource) *Authenticator { return must(New(Config{Source: source})) }
	expired := token
	expired.Expires = time.Now().Add(-time.Minute)

	for name, tc := range map[string]struct {
		auth  *Authenticator
		url   string
		check func(t *testing.T, err error)
	}{
		"broker refuses": {with(Static(token)), "mqtts", func(t *testing.T, err error) {
			var refusal *NotAuthorizedError
			require.ErrorAs(t, err, &refusal)
			require.ErrorContains(t, err, "not valid by the broker's clock")
			if refusal.Code == 0x87 {
				require.Equal(t, "https://as.example/token", refusal.Hint.AS)
				require.ErrorContains(t, err, `names the audience "broker.example"`)
			}
		}},
		"server down": {with(down), "mqtts", func(t *testing.T, err error) { require.ErrorIs(t, err, ErrUnreachable) }},
		"server denies": {with(denying), "mqtts", func(t *testing.T, err error) {
			var e *ASError
			require.ErrorAs(t, err, &e)
			require.Equal(t, "invalid_scope", e.Code)
		}},
		"expired": {with(Static(expired)), "mqtts", func(t *testing.T, err error) { require.ErrorIs(t, err, ErrTokenExpired) }},
	} {
		t.Run(name, func(t *testing.T) {
			tc.check(t, failV5(t, tc.auth.Wrap(configV5(refusing, tc.url))))
			tc.check(t, failV3(t, tc.auth.WrapV3(optionsV3(refusing, tc.url))))
		})
	}

	t.Run("TLS off", func(t *testing.T) {
		plain := &handBroker{ln: plainListener(t)}
		for _, err := range []error{failV5(t, with(Static(token)).Wrap(configV5(plain, "mqtt"))), failV3(t, with(Static(token)).WrapV3(optionsV3(plain, "mqtt")))} {
			require.ErrorIs(t, err, ErrInsecure)
			require.ErrorContains(t, err, "use mqtts://")
		}
	})
	t.Run("CA missing", func(t *testing.T) {
		cfg := configV5(refusing, "mqtts")
		cfg.TlsCfg = nil
		var verify *tls.CertificateVerificationError
		require.ErrorAs(t, failV5(t, with(Static(token)).Wrap(cfg)), &verify)
		require.ErrorAs(t, failV3(t, with(Static(token)).WrapV3(optionsV3(refusing, "mqtts").SetTLSConfig(nil))), &verify)
	})
	t.Run("user name", func(t *testing.T) {
		cfg := configV5(refusing, "mqtts")
		cfg.ConnectUsername = "u"
		require.ErrorIs(t, failV5(t, with(Static(token)).Wrap(cfg)), ErrConfig)
		require.ErrorIs(t, failV3(t, with(Static(token)).WrapV3(optionsV3(refusing, "mqtts").SetUsername("u"))), ErrConfig)
	})
	t.Run("two schemes", func(t *testing.T) {
		a := with(Static(token))
		require.ErrorIs(t, failV5(t, a.Wrap(a.Wrap(configV5(refusing, "mqtts")))), ErrConfig)
		require.ErrorIs(t, failV3(t, a.WrapV3(a.WrapV3(optionsV3(refusing, "mqtts")))), ErrConfig)
	})
	t.Run("success without challenge", func(t *testing.T) {
		b := newHandBroker(t, func(p *peer) { p.packet(); p.send(unhexBytes(connackAce)...); p.drain() })
		require.ErrorIs(t, failV5(t, authenticator(t, token, func(c *Config) { c.Challenge = true }).Wrap(configV5(b, "mqtts"))), ErrChallenge)
	})
}

// TestDiscoveryUnderBothPahos: the broker is asked on MQTT v5 for a client of 3.1.1, too.
func TestDiscoveryUnderBothPahos(t *testing.T) {
	var asked atomic.Int32
	b := newHandBroker(t, func(p *peer) {
		connect := p.packet()
		switch {
		case p.v5 && len(connect) < 30:
			asked.Add(1)
			p.send(hintConnack(asHint)...)
		case p.v5:
			p.send(unhexBytes(connackAce)...)
		default:
			p.send(unhexBytes(connackV3)...)
		}
		p.mqtt(nil)
	})
	discover := func(context.Context, Hint) (TokenSource, error) { return hourly(), nil }
	connectedV5(t, must(New(Config{Discover: discover})).Wrap(configV5(b, "mqtts")))
	client := mqtt.NewClient(must(New(Config{Discover: discover})).WrapV3(optionsV3(b, "mqtts")))
	require.NoError(t, wait(t, client.Connect()))
	client.Disconnect(0)
	require.EqualValues(t, 2, asked.Load())
}

// TestRefusedPublishUnderPaho: Publish returns the error, and the connection stays.
func TestRefusedPublishUnderPaho(t *testing.T) {
	b := newHandBroker(t, ready(nil))
	a := uncovered(t, make(chan string, 8), Scope{{Filter: "out/#", Publish: true}})
	cm := connectedV5(t, a.Wrap(configV5(b, "mqtts")))
	_, err := cm.Publish(t.Context(), &paho.Publish{Topic: "in/a", QoS: 1})
	require.Error(t, err)
	answer, err := cm.Publish(t.Context(), &paho.Publish{Topic: "in/a", QoS: 2})
	require.NoError(t, err)
	require.EqualValues(t, 0x87, answer.ReasonCode)
	_, err = cm.Publish(t.Context(), &paho.Publish{Topic: "out/a", QoS: 1})
	require.NoError(t, err)
}

// TestRenewalUnderBothPahos: on v5 the application does not notice; on 3.1.1 ConnectionLost is called with ErrRenewal
// and the client is back with the new token.
func TestRenewalUnderBothPahos(t *testing.T) {
	b := newHandBroker(t, ready(func(p *peer, packet []byte) bool {
		switch { // other packets may come between
		case packet[0] != 0xf0:
			return false
		case packet[2] == 0x19:
			p.send(unhexBytes(challenge)...)
		default:
			p.send(unhexBytes("f008" + "00" + "06" + method)...)
		}
		return true
	}))
	renewed := make(chan Token, 4)
	told := func(c *Config) { c.Renewed = func(token Token, _ error) { renewed <- token } }

	a, clock, _ := clocked(t, nil, told)
	cfg := configV5(b, "mqtts")
	cfg.OnClientError = func(err error) { t.Error(err) }
	cm := connectedV5(t, a.Wrap(cfg))
	for _, n := range []string{"2", "3"} {
		clock.Advance(50 * time.Minute)
		require.Equal(t, "token-"+n, string((<-renewed).Raw))
		_, err := cm.Publish(t.Context(), &paho.Publish{Topic: "t", QoS: 1})
		require.NoError(t, err)
	}

	a, clock, _ = clocked(t, nil, told)
	lost, back := make(chan error, 4), make(chan bool, 4)
	opts := optionsV3(b, "mqtts").SetCleanSession(false).SetStore(newStore()).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err }).
		SetOnConnectHandler(func(mqtt.Client) { back <- true })
	client := mqtt.NewClient(a.WrapV3(opts))
	require.NoError(t, wait(t, client.Connect()))
	<-back
	clock.Advance(50 * time.Minute)
	require.Equal(t, "token-2", string((<-renewed).Raw))
	require.ErrorIs(t, <-lost, ErrRenewal)
	<-back
	require.NoError(t, wait(t, client.Publish("t", 1, false, "x")))
	client.Disconnect(0)
}

// TestExpiryUnderBothPahos: the error says so.
func TestExpiryUnderBothPahos(t *testing.T) {
	b := newHandBroker(t, ready(nil))
	clock := newFakeClock()
	a := authenticator(t, refToken(clock.Now(), testKey))
	a.scheme.clock = clock
	ended := make(chan error, 8)
	cfg := configV5(b, "mqtts")
	cfg.OnClientError = func(err error) { ended <- err }
	cfg.OnConnectError = func(err error) {
		if !errors.Is(err, ErrTokenExpired) {
			t.Error(err)
		}
	}
	connectedV5(t, a.Wrap(cfg))
	client := mqtt.NewClient(a.WrapV3(optionsV3(b, "mqtts").SetAutoReconnect(false).SetConnectionLostHandler(func(_ mqtt.Client, err error) { ended <- err })))
	require.NoError(t, wait(t, client.Connect()))
	clock.Advance(time.Hour)
	require.ErrorIs(t, <-ended, ErrTokenExpired)
	require.ErrorIs(t, <-ended, ErrTokenExpired)
}

// apart is a store in memory that hands out copies. The client's own share packets with it, and it edits one to send it
// again while it may be writing it: a data race.
type apart struct{ mqtt.Store }

func newStore() mqtt.Store { return apart{mqtt.NewMemoryStore()} }

func (a apart) Put(key string, p packets.ControlPacket) { a.Store.Put(key, shallow(p)) }

func (a apart) Get(key string) packets.ControlPacket { return shallow(a.Store.Get(key)) }

func shallow(p packets.ControlPacket) packets.ControlPacket {
	switch p := p.(type) {
	case *packets.PublishPacket:
		c := *p
		return &c
	case *packets.PubrelPacket:
		c := *p
		return &c
	}
	return p
}
