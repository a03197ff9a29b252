package main

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/go-jose/go-jose/v4"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
)

const tokens = `
upstream: {url: "%s"}
drain: 0s
limits: {pending: 64, pending_per_address: 16}
listeners:
  - name: tls
    address: "127.0.0.1:0"
    tls: {certificate: server.pem, key: server.key}
    scheme: ace
    ace: &ace
      issuer: https://as.example
      audience: [broker]
      algorithms: [EdDSA]
      keys: issuer.jwks.json
  - name: wss
    address: "127.0.0.1:0"
    transport: websocket
    tls: {certificate: server.pem, key: server.key}
    scheme: ace
    ace: *ace
`

// signer is the key of an issuer, or of a client, that a number stands for.
func signer(n byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n, 1, 2, 3}, 8))
}

func public(n byte) ed25519.PublicKey { return signer(n).Public().(ed25519.PublicKey) }

// trusts writes the key set of an issuer.
func (s *site) trusts(issuer byte) {
	x := base64.RawURLEncoding.EncodeToString(public(issuer))
	s.write("issuer.jwks.json", fmt.Sprintf(`{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","alg":"EdDSA","x":"%s"}]}`, x))
}

// token is a client's way in: a token that an issuer has signed.
func token(t *testing.T, issuer byte) *ace.Authenticator {
	t.Helper()
	return named(t, issuer, "a token", "alice")
}

// named is a token with an identifier, for somebody.
func named(t *testing.T, issuer byte, id, subject string) *ace.Authenticator {
	t.Helper()
	rights, err := ace.Scope{{Filter: "a/#", Publish: true, Subscribe: true}}.Encode()
	require.NoError(t, err)
	expires := time.Now().Add(time.Hour)
	payload, err := json.Marshal(map[string]any{
		"iss": "https://as.example", "aud": "broker", "sub": subject, "jti": id, "exp": expires.Unix(), "scope": rights,
		"cnf": map[string]any{"jwk": map[string]any{
			"kty": "OKP", "crv": "Ed25519", "x": base64.RawURLEncoding.EncodeToString(public(100)),
		}},
	})
	require.NoError(t, err)
	key := jose.SigningKey{Algorithm: jose.EdDSA, Key: jose.JSONWebKey{Key: signer(issuer), KeyID: "1"}}
	sign, err := jose.NewSigner(key, nil)
	require.NoError(t, err)
	signed, err := sign.Sign(payload)
	require.NoError(t, err)
	text, err := signed.CompactSerialize()
	require.NoError(t, err)
	proof, err := ace.Signer(signer(100))
	require.NoError(t, err)
	a, err := ace.New(ace.Config{Source: ace.Static{Raw: []byte(text), Key: proof, Expires: expires}})
	require.NoError(t, err)
	return a
}

// TestTokensOnEachTransport: TLS within reach of the exporter, with and without WebSocket in between, for clients of
// both versions.
func TestTokensOnEachTransport(t *testing.T) {
	s := newSite(t)
	s.trusts(1)
	r := s.start(upstreamURL(upstreams(t)["mochi"]), tokens)
	for i, scheme := range []string{"tls", "wss"} {
		t.Run(scheme, func(t *testing.T) {
			a, trust := token(t, 1), s.authority.ClientConfig()
			cm, got := v5(t, r.url(scheme, i), "five-"+scheme, trust, func(cfg *autopaho.ClientConfig) { *cfg = a.Wrap(*cfg) })
			_, err := cm.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "a/" + scheme, QoS: 1}}})
			require.NoError(t, err)
			opts := mqtt.NewClientOptions().AddBroker(r.url(scheme, i)).SetClientID("three-" + scheme).SetTLSConfig(trust)
			client := mqtt.NewClient(a.WrapV3(opts.SetAutoReconnect(false)))
			complete(t, client.Connect())
			defer client.Disconnect(0)
			complete(t, client.Publish("a/"+scheme, 1, false, "x"))
			require.Equal(t, "x", string(receive(t, got).Payload))
		})
	}
}

// TestIdentityAsClientIdentifier: where several gateways stand in front of one broker, none can know who is connected
// through the others.
func TestIdentityAsClientIdentifier(t *testing.T) {
	s := newSite(t)
	s.trusts(1)
	text := strings.Replace(tokens, "audience: [broker]", "audience: [broker]\n      client_identifier: identity", 1)
	r := s.start(upstreamURL(upstreams(t)["mochi"]), text)
	for id, admitted := range map[string]bool{"alice": true, "bob": false} {
		opts := mqtt.NewClientOptions().AddBroker(r.url("tls", 0)).SetClientID(id).SetTLSConfig(s.authority.ClientConfig())
		client := mqtt.NewClient(token(t, 1).WrapV3(opts.SetAutoReconnect(false)))
		connecting := client.Connect()
		require.True(t, connecting.WaitTimeout(patience))
		require.Equal(t, admitted, connecting.Error() == nil, id)
		client.Disconnect(0)
	}
}

// TestReloadOfKeys: an issuer's key changes under a connection, which stays; tokens under the old key are refused from
// then on.
func TestReloadOfKeys(t *testing.T) {
	s := newSite(t)
	s.trusts(1)
	r := s.start(upstreamURL(upstreams(t)["mochi"]), tokens)
	trust := s.authority.ClientConfig()
	connect := func(id string, issuer byte) error {
		opts := mqtt.NewClientOptions().AddBroker(r.url("tls", 0)).SetClientID(id).SetTLSConfig(trust).SetAutoReconnect(false)
		client := mqtt.NewClient(token(t, issuer).WrapV3(opts))
		done := client.Connect()
		require.True(t, done.WaitTimeout(patience))
		client.Disconnect(0)
		return done.Error()
	}
	require.NoError(t, connect("before", 1))
	require.Error(t, connect("stranger", 2))
	a := token(t, 1)
	living, got := v5(t, r.url("tls", 0), "living", trust, func(cfg *autopaho.ClientConfig) { *cfg = a.Wrap(*cfg) })
	_, err := living.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "a/b", QoS: 1}}})
	require.NoError(t, err)

	s.trusts(2)
	cfg, err := loadConfig(r.cfg.file)
	require.NoError(t, err)
	r.reloads <- reload{cfg, nil}
	r.reloads <- reload{cfg, nil} // taken when the first one is done
	require.NotContains(t, r.log.String(), "not reloaded")
	require.NoError(t, connect("after", 2))
	require.Error(t, connect("late", 1))
	_, err = living.Publish(t.Context(), &paho.Publish{Topic: "a/b", QoS: 1, Payload: []byte("still here")})
	require.NoError(t, err)
	require.Equal(t, "still here", string(receive(t, got).Payload))
}

// TestSilentPeers: strangers who stay silent, in TLS or in HTTP, drive each other out and not a client that comes from
// elsewhere.
func TestSilentPeers(t *testing.T) {
	s := newSite(t)
	s.trusts(1)
	r := s.start(upstreamURL(upstreams(t)["mochi"]), tokens)
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	for i := range r.listeners {
		for n := range 200 {
			conn, err := from.Dial("tcp", r.listeners[i].served.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			if n%2 == 0 {
				_, _ = conn.Write([]byte{22, 3, 1}) // half a record's header; the listener may have gone already
			}
		}
	}
	a := token(t, 1)
	v5(t, r.url("wss", 1), "true", s.authority.ClientConfig(), func(cfg *autopaho.ClientConfig) { *cfg = a.Wrap(*cfg) })
}

// TestRevokedTokens: a token and a subject that come into the file end what lives by them, and get nobody in again.
func TestRevokedTokens(t *testing.T) {
	s := newSite(t)
	s.trusts(1)
	s.write("revoked.txt", "# nothing\n")
	upstream := upstreamURL(upstreams(t)["mochi"])
	text := strings.Replace(tokens, "audience: [broker]", "audience: [broker]\n      revoked: revoked.txt", 1)
	r := s.start(upstream, text)
	connect := func(id, subject string) (client mqtt.Client, lost chan error, err error) {
		lost = make(chan error, 1)
		opts := mqtt.NewClientOptions().AddBroker(r.url("tls", 0)).SetClientID(rand.Text()).SetTLSConfig(s.authority.ClientConfig())
		opts.SetAutoReconnect(false).SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
		client = mqtt.NewClient(named(t, 1, id, subject).WrapV3(opts))
		done := client.Connect()
		require.True(t, done.WaitTimeout(patience))
		t.Cleanup(func() { client.Disconnect(0) })
		return client, lost, done.Error()
	}
	_, byID, err := connect("one", "alice")
	require.NoError(t, err)
	_, bySubject, err := connect("two", "bob")
	require.NoError(t, err)
	living, end, err := connect("three", "alice")
	require.NoError(t, err)

	s.write("revoked.txt", "id one\nsubject bob 2999-01-01T00:00:00Z\nid three 2001-01-01T00:00:00Z\n")
	s.reload(r, upstream, text)
	require.Error(t, receive(t, byID))
	require.Error(t, receive(t, bySubject))
	_, _, err = connect("one", "alice")
	require.Error(t, err)
	_, _, err = connect("four", "bob")
	require.Error(t, err)
	complete(t, living.Publish("a/b", 1, false, "still here"))
	require.Empty(t, end)
	require.NoError(t, r.stop())

	r = s.start(upstream, text)
	_, _, err = connect("one", "alice")
	require.Error(t, err, "after a restart")
	_, _, err = connect("three", "alice")
	require.NoError(t, err)
}
