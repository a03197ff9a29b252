package ace

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

// pskSide is a second listener of a world, with the keys of tokens in place of certificates. It shares what is uploaded
// to the first.
type pskSide struct {
	w        *world
	address  string
	listener *acebroker.Listener
}

func (w *world) pskSide() *pskSide {
	w.t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(w.t, err)
	psk := new(acebroker.PSK)
	inner, err := tlspsk.NewListener(tcp, &tlspsk.Config{Keys: psk.Key})
	require.NoError(w.t, err)
	cfg := w.config
	cfg.TLS, cfg.PSK = nil, psk
	listener, err := acebroker.NewListener(inner, cfg)
	require.NoError(w.t, err)
	psk.ShareUploads(w.listener)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				_ = w.broker.Server.EstablishConnection("psk", conn) // how it ended is the client's business
				conn.Close()
			}()
		}
	}()
	w.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = listener.Shutdown(ctx)
	})
	return &pskSide{w, tcp.Addr().String(), listener}
}

// scheme secures connections with the key of a token.
func (s *pskSide) scheme(source ace.TokenSource, form ace.PSKIdentity, version tlspsk.Version) *tlspsk.Scheme {
	s.w.t.Helper()
	psk, err := tlspsk.New(tlspsk.Config{Credentials: ace.PSK(source, form), MinVersion: version, MaxVersion: version})
	require.NoError(s.w.t, err)
	return psk
}

// connect connects a client of MQTT 5 or 3.1.1 that knows nothing of tokens.
func (s *pskSide) connect(protocol int, id string, psk *tlspsk.Scheme) (publish func(topic string) error, subscribe func(filter string) error, err error) {
	s.w.t.Helper()
	ctx := patient(s.w.t)
	server := &url.URL{Scheme: "mqtts", Host: s.address}
	if protocol == 5 {
		life, stop := context.WithCancel(context.Background())
		s.w.t.Cleanup(stop)
		failed := make(chan error, 1)
		manager, err := autopaho.NewConnection(life, psk.Wrap(autopaho.ClientConfig{
			ServerUrls: []*url.URL{server}, KeepAlive: 60, CleanStartOnInitialConnection: true, ConnectTimeout: patience,
			ReconnectBackoff: func(attempt int) time.Duration {
				if attempt > 0 {
					return time.Hour
				}
				return 0
			},
			OnConnectError: func(err error) {
				select {
				case failed <- err:
				default:
				}
			},
			ClientConfig: paho.ClientConfig{ClientID: id, PacketTimeout: patience},
		}))
		require.NoError(s.w.t, err)
		up := make(chan error, 1)
		go func() { up <- manager.AwaitConnection(life) }()
		select {
		case err = <-up:
		case err = <-failed:
		}
		if err != nil {
			return nil, nil, err
		}
		return func(topic string) error {
				_, err := manager.Publish(ctx, &paho.Publish{Topic: topic, QoS: 1, Payload: []byte("x")})
				return err
			}, func(filter string) error {
				_, err := manager.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}}})
				return err
			}, nil
	}
	client := mqtt.NewClient(psk.WrapV3(mqtt.NewClientOptions().AddBroker(server.String()).SetClientID(id).
		SetConnectTimeout(patience).SetAutoReconnect(false)))
	if err := finished(client.Connect()); err != nil {
		return nil, nil, err
	}
	s.w.t.Cleanup(func() { client.Disconnect(100) })
	return func(topic string) error { return finished(client.Publish(topic, 1, false, "x")) },
		func(filter string) error {
			token := client.Subscribe(filter, 1, nil).(*mqtt.SubscribeToken)
			if err := finished(token); err != nil {
				return err
			}
			if token.Result()[filter] > 2 {
				return errDenied
			}
			return nil
		}, nil
}

// TestT2TokenAsIdentity is TLS:Known(PSK),MQTT:none with the token as identity: every format, both versions of TLS and
// MQTT. The rights are those of the token.
func TestT2TokenAsIdentity(t *testing.T) {
	w := newWorld(t, settings{})
	side := w.pskSide()
	for _, format := range formats {
		for _, version := range []tlspsk.Version{tlspsk.TLS13, tlspsk.TLS12} {
			for _, protocol := range []int{5, 3} {
				t.Run(fmt.Sprint(format, " ", version, " MQTT ", protocol), func(t *testing.T) {
					id := newClientID()
					publish, subscribe, err := side.connect(protocol, id, side.scheme(w.source(id, format, ""), ace.PSKToken, version))
					require.NoError(t, err)
					require.NoError(t, subscribe("site/"+id+"/#"))
					require.NoError(t, publish("site/"+id+"/a"))
					require.Error(t, subscribe("#"), "beyond the token")
					if protocol == 5 {
						require.Error(t, publish("site/somebody/a"), "beyond the token")
					}
				})
			}
		}
	}
}

// TestZ3UploadedTokenAsKeyID uploads a token over a connection with a certificate, and then connects with the
// identifier of its key, in both forms.
func TestZ3UploadedTokenAsKeyID(t *testing.T) {
	w := newWorld(t, settings{broker: func(c *acebroker.Config) { c.AuthzInfo = true }})
	side := w.pskSide()
	for _, form := range []ace.PSKIdentity{ace.PSKKeyIDCBOR, ace.PSKKeyIDJSON} {
		for _, protocol := range []int{5, 3} {
			id := newClientID()
			token := w.static(id, "jwt", "")
			require.NotEmpty(t, token.KeyID)
			psk := side.scheme(token, form, 0)
			_, _, err := side.connect(protocol, id, psk)
			var alert tlspsk.AlertError
			require.True(t, errors.As(err, &alert), "before the upload: %v", err)

			conn, err := tls.Dial("tcp", w.address, w.tls(tls.VersionTLS13))
			require.NoError(t, err)
			require.NoError(t, ace.Upload(patient(t), conn, "", ace.Token(token)))
			require.NoError(t, conn.Close())
			publish, _, err := side.connect(protocol, id, psk)
			require.NoError(t, err)
			require.NoError(t, publish("site/"+id+"/a"))
		}
	}
}

// TestT2RefusedIdentities are tokens that open nothing: with another key, of another world, expired, with a key of the
// client's own, and a stranger's identifier. None is told from another by the client.
func TestT2RefusedIdentities(t *testing.T) {
	w, elsewhere := newWorld(t, settings{}), newWorld(t, settings{})
	side := w.pskSide()
	id := newClientID()
	good := w.static(id, "jwt", "")
	wrongKey := good
	key := make([]byte, 32)
	copy(key, bytes.Repeat([]byte{1, 2, 3, 250, 5, 6, 7, 200}, 4))
	var err error
	wrongKey.Key, err = ace.Secret(key)
	require.NoError(t, err)
	unknown := good
	unknown.KeyID = "nobody's"
	for name, tt := range map[string]struct {
		token ace.Static
		form  ace.PSKIdentity
	}{
		"wrong key":  {wrongKey, ace.PSKToken},
		"elsewhere":  {elsewhere.static(id, "jwt", ""), ace.PSKToken},
		"unknown id": {unknown, ace.PSKKeyIDCBOR},
	} {
		_, _, err := side.connect(5, id, side.scheme(tt.token, tt.form, 0))
		var alert tlspsk.AlertError
		require.True(t, errors.As(err, &alert), "%s: %v", name, err)
		require.Equal(t, "decrypt_error", alert.Name(), name)
	}
	_, _, err = side.connect(5, id, side.scheme(w.source(id, "jwt", "EdDSA"), ace.PSKToken, 0))
	require.ErrorIs(t, err, ace.ErrToken, "a key that is not shared")

	w.clock.Advance(24 * time.Hour)
	_, _, err = side.connect(5, id, side.scheme(good, ace.PSKToken, 0))
	var alert tlspsk.AlertError
	require.True(t, errors.As(err, &alert), "expired: %v", err)
}

// TestT2EndsWithTheToken: when its token expires, a connection with its key ends.
func TestT2EndsWithTheToken(t *testing.T) {
	w := newWorld(t, settings{lifetime: time.Hour})
	side := w.pskSide()
	id := newClientID()
	token := w.static(id, "jwt", "")
	publish, _, err := side.connect(5, id, side.scheme(token, ace.PSKToken, 0))
	require.NoError(t, err)
	require.NoError(t, publish("site/"+id+"/a"))
	require.Len(t, side.listener.Established(), 1)
	w.clock.Advance(time.Hour + time.Minute)
	require.Eventually(t, func() bool { return len(side.listener.Established()) == 0 }, patience, time.Millisecond)
}
