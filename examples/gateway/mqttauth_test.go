package main

import (
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/pake"
)

const passwords = `
upstream: {url: "%s"}
drain: 0s
listeners:
  - name: passwords
    address: "127.0.0.1:0"
    scheme: mqttauth
    mqttauth: {server: broker.example, users: users.txt, public: [{filter: "open/#", publish: true, subscribe: true}]}
`

// login is alice's client, with the right password or another.
func login(t *testing.T, password string) *mqttauth.Client {
	t.Helper()
	c, err := mqttauth.New(mqttauth.Config{
		User: "alice", Password: []byte(password), Server: "broker.example", Stretch: pake.Stretch{Skip: true},
	})
	require.NoError(t, err)
	return c
}

const alicesPassword = "0123456789abcdef0123456789abcdef"

// TestPasswords logs in with clients of both versions before each broker, and cuts a user off who is taken from the
// file.
func TestPasswords(t *testing.T) {
	for name, broker := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			r := s.start(upstreamURL(broker), passwords)
			server := r.url("tcp", 0)
			alice := login(t, alicesPassword)
			cm, got := v5(t, server, "five", nil, func(cfg *autopaho.ClientConfig) { *cfg = alice.Wrap(*cfg) })
			_, err := cm.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "open/#", QoS: 1}}})
			require.NoError(t, err)

			opts := mqtt.NewClientOptions().AddBroker(server).SetClientID("three").SetAutoReconnect(false)
			lost := make(chan error, 1)
			opts.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
			three := mqtt.NewClient(alice.WrapV3(opts))
			complete(t, three.Connect())
			complete(t, three.Publish("open/door", 1, false, "hello"))
			require.Equal(t, "hello", string(receive(t, got).Payload))

			refused, err := cm.Publish(t.Context(), &paho.Publish{Topic: "shut", QoS: 1, Payload: []byte("x")})
			require.Error(t, err)
			require.Equal(t, byte(0x87), refused.ReasonCode)

			wrong := mqtt.NewClient(login(t, "another").WrapV3(mqtt.NewClientOptions().AddBroker(server).SetClientID("thief")))
			token := wrong.Connect()
			require.True(t, token.WaitTimeout(patience))
			require.Error(t, token.Error())

			s.write("users.txt", "# nobody\n")
			cfg, err := loadConfig(r.cfg.file)
			require.NoError(t, err)
			r.reloads <- cfg
			require.Error(t, receive(t, lost))
		})
	}
}
