package main

import (
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
	"github.com/mqttsec/mqttsec/present"
)

const everyScheme = `
upstream: {url: "%s"}
drain: 0s
listeners:
  - {name: none, address: "127.0.0.1:0"}
  - {name: none over TLS, address: "127.0.0.1:0", tls: &tls {certificate: server.pem, key: server.key}}
  - {name: PSK, address: "127.0.0.1:0", psk: &psk {keys: psk.txt}}
  - name: ACE over TLS
    address: "127.0.0.1:0"
    tls: *tls
    scheme: ace
    ace: &ace
      issuer: https://as.example
      audience: [broker]
      algorithms: [EdDSA, A256GCM]
      keys: issuer.jwks.json
      authz_info: true
  - {name: ACE over PSK, address: "127.0.0.1:0", psk: *psk, scheme: ace, ace: *ace}
  - {name: ACE as PSK, address: "127.0.0.1:0", psk: {tokens: true, uploads: ACE over TLS}, scheme: ace, ace: *ace}
  - name: MQTT-Auth
    address: "127.0.0.1:0"
    scheme: mqttauth
    mqttauth: &mqttauth
      server: broker.example
      users: users.txt
      public: [{filter: "a/#", publish: true, subscribe: true}]
  - {name: MQTT-Auth over TLS, address: "127.0.0.1:0", tls: *tls, scheme: mqttauth, mqttauth: *mqttauth}
  - {name: MQTT-Auth over PSK, address: "127.0.0.1:0", psk: *psk, scheme: mqttauth, mqttauth: *mqttauth}
  - {name: MQTT-Auth and AES, address: "127.0.0.1:0", scheme: mqttauth, mqttauth: {<<: *mqttauth, hop: aes}}
  - {name: MQTT-Auth and PRESENT, address: "127.0.0.1:0", scheme: mqttauth, mqttauth: {<<: *mqttauth, hop: present}}
`

// scheme is what an application wraps its options in.
type scheme interface {
	Wrap(autopaho.ClientConfig) autopaho.ClientConfig
	WrapV3(*mqtt.ClientOptions) *mqtt.ClientOptions
}

// secret is a token that is bound to a secret, and encrypted, as tokens with a secret inside are.
func (s *site) secret(key []byte) ace.Token {
	s.t.Helper()
	shared := bytes.Repeat([]byte{7}, 32)
	text := base64.RawURLEncoding.EncodeToString
	s.write("issuer.jwks.json", fmt.Sprintf(`{"keys":[
		{"kty":"OKP","crv":"Ed25519","kid":"1","alg":"EdDSA","x":"%s"},
		{"kty":"oct","kid":"2","alg":"A256GCM","k":"%s"}]}`, text(public(1)), text(shared)))
	rights, err := ace.Scope{{Filter: "a/#", Publish: true, Subscribe: true}}.Encode()
	require.NoError(s.t, err)
	expires := time.Now().Add(time.Hour)
	payload, err := json.Marshal(map[string]any{
		"iss": "https://as.example", "aud": "broker", "sub": "alice", "exp": expires.Unix(), "scope": rights,
		"cnf": map[string]any{"jwk": map[string]any{"kty": "oct", "kid": "of alice", "k": text(key)}},
	})
	require.NoError(s.t, err)
	encrypt, err := jose.NewEncrypter(jose.A256GCM, jose.Recipient{Algorithm: jose.DIRECT, Key: shared, KeyID: "2"}, nil)
	require.NoError(s.t, err)
	encrypted, err := encrypt.Encrypt(payload)
	require.NoError(s.t, err)
	raw, err := encrypted.CompactSerialize()
	require.NoError(s.t, err)
	proof, err := ace.Secret(key)
	require.NoError(s.t, err)
	return ace.Token{Raw: []byte(raw), Key: proof, KeyID: "of alice", Expires: expires}
}

// psk is TLS with a pre-shared key.
func psk(t *testing.T, cfg tlspsk.Config) scheme {
	t.Helper()
	s, err := tlspsk.New(cfg)
	require.NoError(t, err)
	return s
}

// TestEveryScheme runs one application, with clients of both versions that publish to each other, under each scheme
// that there is on the way to the gateway, before each broker, as it is and with payloads sealed end to end.
func TestEveryScheme(t *testing.T) {
	s := newSite(t)
	bound := s.secret(public(99))
	device := tlspsk.Config{Identity: "device1", Key: bytes.Repeat([]byte{0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef}, 4)}
	listed := func(t *testing.T) scheme { return psk(t, device) }
	ofToken := func(form ace.PSKIdentity) func(t *testing.T) scheme {
		return func(t *testing.T) scheme { return psk(t, tlspsk.Config{Credentials: ace.PSK(ace.Static(bound), form)}) }
	}
	tokens := func(t *testing.T) scheme { return token(t, 1) }
	password := func(t *testing.T) scheme { return login(t, alicesPassword) }
	aes := func(*testing.T) scheme { return aesmsg.Session(aesmsg.SessionConfig{}) }
	light := func(*testing.T) scheme { return present.Session(present.SessionConfig{}) }
	ways := []struct {
		listener, url string
		schemes       []func(*testing.T) scheme // from the wire up
	}{
		{"none", "mqtt", nil},
		{"none over TLS", "mqtts", nil},
		{"PSK", "mqtts", []func(*testing.T) scheme{listed}},
		{"ACE over TLS", "mqtts", []func(*testing.T) scheme{tokens}},
		{"ACE over PSK", "mqtts", []func(*testing.T) scheme{listed, tokens}},
		{"ACE as PSK", "mqtts", []func(*testing.T) scheme{ofToken(ace.PSKToken)}},
		{"ACE as PSK", "mqtts", []func(*testing.T) scheme{ofToken(ace.PSKKeyIDCBOR)}},
		{"MQTT-Auth", "mqtt", []func(*testing.T) scheme{password}},
		{"MQTT-Auth over TLS", "mqtts", []func(*testing.T) scheme{password}},
		{"MQTT-Auth over PSK", "mqtts", []func(*testing.T) scheme{listed, password}},
		{"MQTT-Auth and AES", "mqtt", []func(*testing.T) scheme{password, aes}},
		{"MQTT-Auth and PRESENT", "mqtt", []func(*testing.T) scheme{password, light}},
	}
	aesKey, err := aesmsg.GenerateKey("a/#")
	require.NoError(t, err)
	lightKey, err := present.GenerateKey("a/#")
	require.NoError(t, err)
	sealing := map[string]func(*testing.T) scheme{
		"": nil,
		", aesmsg on top": func(t *testing.T) scheme {
			s, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{aesKey}})
			require.NoError(t, err)
			return s
		},
		", present on top": func(t *testing.T) scheme {
			s, err := present.New(present.Config{Keys: []present.Key{lightKey}})
			require.NoError(t, err)
			return s
		},
	}
	for broker, upstream := range upstreams(t) {
		r := s.start(upstreamURL(upstream), everyScheme)
		at := func(name, scheme string) string {
			return r.url(scheme, slices.IndexFunc(r.listeners, func(l *listener) bool { return l.name == name }))
		}
		s.reload(r, upstreamURL(upstream), everyScheme)
		s.upload(at("ACE over TLS", "tls"), bound)
		for i, way := range ways {
			for top, seal := range sealing {
				schemes := way.schemes
				if seal != nil {
					schemes = append(slices.Clone(schemes), seal)
				}
				t.Run(fmt.Sprintf("%s/%d %s%s", broker, i, way.listener, top), func(t *testing.T) {
					t.Parallel()
					s.converse(t, at(way.listener, way.url), schemes)
				})
			}
		}
	}
}

// upload gives a token to a listener.
func (s *site) upload(server string, token ace.Token) {
	s.t.Helper()
	conn, err := tls.Dial("tcp", strings.TrimPrefix(server, "tls://"), s.authority.ClientConfig())
	require.NoError(s.t, err)
	defer conn.Close()
	require.NoError(s.t, ace.Upload(s.t.Context(), conn, "uploads", token))
}

// converse is the application. Its code is the same under all schemes.
func (s *site) converse(t *testing.T, server string, schemes []func(*testing.T) scheme) {
	topic := "a/" + rand.Text()
	trust := s.authority.ClientConfig()
	five, toFive := v5(t, server, rand.Text(), trust, func(cfg *autopaho.ClientConfig) {
		for _, add := range schemes {
			*cfg = add(t).Wrap(*cfg)
		}
	})
	opts := mqtt.NewClientOptions().AddBroker(server).SetClientID(rand.Text()).SetTLSConfig(trust).SetAutoReconnect(false).
		SetConnectTimeout(patience)
	for _, add := range schemes {
		opts = add(t).WrapV3(opts)
	}
	three, toThree := mqtt.NewClient(opts), make(chan mqtt.Message, 100)
	complete(t, three.Connect())
	defer three.Disconnect(0)

	_, err := five.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: topic, QoS: 1}}})
	require.NoError(t, err)
	complete(t, three.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) { toThree <- m }))
	heard := func(text string) {
		require.Equal(t, text, string(receive(t, toFive).Payload))
		require.Equal(t, text, string(receive(t, toThree).Payload()))
	}
	_, err = five.Publish(t.Context(), &paho.Publish{Topic: topic, QoS: 1, Payload: []byte("of the first")})
	require.NoError(t, err)
	heard("of the first")
	complete(t, three.Publish(topic, 1, false, "of the second"))
	heard("of the second")
}

// TestUploadOutlivesReload: the key of a token that was sent to authz-info opens the door after a reload too, unless
// the token is not valid any more by what has been reloaded.
func TestUploadOutlivesReload(t *testing.T) {
	s := newSite(t)
	bound := s.secret(public(99))
	broker := upstreams(t)["mochi"]
	r := s.start(upstreamURL(broker), everyScheme)
	at := func(name string) *listener {
		return r.listeners[slices.IndexFunc(r.listeners, func(l *listener) bool { return l.name == name })]
	}
	s.upload(at("ACE over TLS").served.Addr().String(), bound)
	s.reload(r, upstreamURL(broker), everyScheme)
	door := at("ACE as PSK").served.Addr().String()
	byKeyID := func(*testing.T) scheme {
		return psk(t, tlspsk.Config{Credentials: ace.PSK(ace.Static(bound), ace.PSKKeyIDCBOR)})
	}
	s.converse(t, "mqtts://"+door, []func(*testing.T) scheme{byKeyID})
	s.reload(r, upstreamURL(broker), strings.ReplaceAll(everyScheme, "audience: [broker]", "audience: [another]"))
	_, err := tlspsk.Dial(t.Context(), "tcp", door, &tlspsk.Config{Credentials: ace.PSK(ace.Static(bound), ace.PSKKeyIDCBOR)})
	require.Error(t, err)
}
