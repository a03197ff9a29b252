package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
)

// described is demo.json as its readers know it.
type described struct {
	AS, Broker, CA, Admin string
	Lifetime              int
	Clients               []struct {
		ID       string    `json:"client_id"`
		Secret   string    `json:"client_secret"`
		Audience string    `json:"audience"`
		Scope    ace.Scope `json:"scope"`
	}
}

// demonstrate runs the demo before a broker until the test ends.
func demonstrate(t *testing.T, upstream string, lifetime time.Duration) (d described, trust *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		o := demoOptions{dir: dir, upstream: upstream, lifetime: lifetime}
		ended <- runDemo(ctx, o, new(bytes.Buffer), slog.New(slog.DiscardHandler))
	}()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, receive(t, ended))
	})
	var text []byte
	require.Eventually(t, func() (written bool) {
		var err error
		text, err = os.ReadFile(filepath.Join(dir, "demo.json"))
		return err == nil
	}, patience, 5*time.Millisecond)
	require.NoError(t, json.Unmarshal(text, &d))
	certificate, err := os.ReadFile(filepath.Join(dir, d.CA))
	require.NoError(t, err)
	trust = &tls.Config{RootCAs: x509.NewCertPool()}
	require.True(t, trust.RootCAs.AppendCertsFromPEM(certificate))
	return d, trust
}

// authenticator is a client of the demo.
func (d described) authenticator(t *testing.T, client int, trust *tls.Config, edit func(*ace.Config)) *ace.Authenticator {
	t.Helper()
	source, err := d.source(client, trust)
	require.NoError(t, err)
	cfg := ace.Config{Source: source}
	if edit != nil {
		edit(&cfg)
	}
	a, err := ace.New(cfg)
	require.NoError(t, err)
	return a
}

// source is where a client of the demo gets its tokens.
func (d described) source(client int, trust *tls.Config) (*ace.AS, error) {
	c := d.Clients[client]
	return ace.NewAS(ace.ASConfig{Endpoint: d.AS + "/token", ClientID: c.ID, ClientSecret: c.Secret, Audience: c.Audience, TLS: trust})
}

// TestDemo gives clients of both versions tokens, before each broker: what they cover passes, all else does not.
func TestDemo(t *testing.T) {
	for name, broker := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			d, trust := demonstrate(t, upstreamURL(broker), time.Minute)
			require.Equal(t, 60, d.Lifetime)
			require.GreaterOrEqual(t, len(d.Clients), 2)
			may, mayNot := d.Clients[0].Scope[0].Filter, "elsewhere"

			a := d.authenticator(t, 0, trust, nil)
			cm, got := v5(t, d.Broker, d.Clients[0].ID, trust, func(cfg *autopaho.ClientConfig) { *cfg = a.Wrap(*cfg) })
			answer, err := cm.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{
				{Topic: d.Clients[0].Scope[1].Filter, QoS: 1}, {Topic: "#", QoS: 1},
			}})
			require.Error(t, err, "one of two filters is beyond the token")
			require.Equal(t, []byte{1, 0x87}, answer.Reasons)
			_, err = cm.Publish(t.Context(), &paho.Publish{Topic: may, QoS: 1, Payload: []byte("v5")})
			require.NoError(t, err)
			require.Equal(t, "v5", string(receive(t, got).Payload))
			refused, err := cm.Publish(t.Context(), &paho.Publish{Topic: mayNot, QoS: 1, Payload: []byte("x")})
			require.Error(t, err)
			require.Equal(t, byte(0x87), refused.ReasonCode)

			second := d.authenticator(t, 1, trust, nil)
			opts := mqtt.NewClientOptions().AddBroker(d.Broker).SetClientID(d.Clients[1].ID).SetTLSConfig(trust).SetAutoReconnect(false)
			lost := make(chan error, 1)
			opts.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
			client := mqtt.NewClient(second.WrapV3(opts))
			complete(t, client.Connect())
			complete(t, client.Publish(d.Clients[1].Scope[0].Filter, 1, false, "v3"))
			require.Equal(t, "v3", string(receive(t, got).Payload))
			client.Publish(mayNot, 1, false, "x")
			require.Error(t, receive(t, lost), "MQTT 3.1.1 has no word for it but the end")

			answered, err := http.Get(d.Admin + "/readyz")
			require.NoError(t, err)
			require.NoError(t, answered.Body.Close())
			require.Equal(t, http.StatusOK, answered.StatusCode)
		})
	}
}

// TestDemoRenewal: a client of v5 outlives its token.
func TestDemoRenewal(t *testing.T) {
	const lifetime = 10 * time.Second
	d, trust := demonstrate(t, upstreamURL(upstreams(t)["mochi"]), lifetime)
	renewed := make(chan error, 10)
	a := d.authenticator(t, 0, trust, func(cfg *ace.Config) {
		cfg.Source = early(func() (*ace.AS, error) { return d.source(0, trust) })
		cfg.Renewed = func(_ ace.Token, err error) { renewed <- err }
	})
	cm, got := v5(t, d.Broker, d.Clients[0].ID, trust, func(cfg *autopaho.ClientConfig) { *cfg = a.Wrap(*cfg) })
	_, err := cm.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: d.Clients[0].Scope[1].Filter, QoS: 1}}})
	require.NoError(t, err)
	for over := time.Now().Add(lifetime + time.Second); time.Now().Before(over); {
		require.NoError(t, receive(t, renewed))
		_, err := cm.Publish(t.Context(), &paho.Publish{Topic: d.Clients[0].Scope[0].Filter, QoS: 1, Payload: []byte("on")})
		require.NoError(t, err)
		require.Equal(t, "on", string(receive(t, got).Payload))
	}
}

// early gives tokens that are to be renewed when half of their life is over, which leaves a slow machine the rest. Each
// is of a new source, since one keeps its token for as long as it would itself.
type early func() (*ace.AS, error)

func (e early) Token(ctx context.Context) (ace.Token, error) {
	source, err := e()
	if err != nil {
		return ace.Token{}, err
	}
	token, err := source.Token(ctx)
	left := time.Until(token.Expires)
	// Renewal is due after four fifths of all.
	return ace.Token{Raw: token.Raw, Key: token.Key, Expires: token.Expires, Obtained: token.Expires.Add(-5 * left / 2)}, err
}
