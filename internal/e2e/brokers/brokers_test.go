package brokers_test

import (
	"context"
	"crypto/tls"
	"errors"
	"net/url"
	"os"
	"strconv"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/mqttsec/mqttsec/internal/e2e/brokers"
	"github.com/stretchr/testify/require"
)

// patience bounds what only a failure makes last.
const patience = time.Minute

func start(t *testing.T) map[string]brokers.Broker {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	started := make(map[string]brokers.Broker)
	embedded, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	started[embedded.Name()] = embedded
	mosquitto, err := brokers.StartMosquitto(ctx, brokers.Config{})
	switch {
	case err == nil:
		started[mosquitto.Name()] = mosquitto
	case !errors.Is(err, brokers.ErrNoMosquitto) || os.Getenv("MQTTSEC_CI") == "1":
		require.NoError(t, err)
	}
	for _, b := range started {
		t.Cleanup(func() { require.NoError(t, b.Close()) })
	}
	return started
}

func connect(t *testing.T, b brokers.Broker, u *url.URL) mqtt.Client {
	t.Helper()
	opts := mqtt.NewClientOptions().AddBroker(u.String()).SetTLSConfig(&tls.Config{RootCAs: b.RootCAs()})
	client := mqtt.NewClient(opts.SetConnectTimeout(patience).SetAutoReconnect(false))
	complete(t, client.Connect())
	t.Cleanup(func() { client.Disconnect(0) })
	return client
}

func complete(t *testing.T, token mqtt.Token) {
	t.Helper()
	require.True(t, token.WaitTimeout(patience))
	require.NoError(t, token.Error())
}

func TestEveryTransportAcrossRestarts(t *testing.T) {
	transports := []string{brokers.TCP, brokers.TLS, brokers.WS, brokers.WSS, brokers.Unix}
	for name, b := range start(t) {
		t.Run(name, func(t *testing.T) {
			require.Nil(t, b.URL("pigeon"))
			for round := range 3 {
				for _, transport := range transports {
					client, got := connect(t, b, b.URL(transport)), make(chan string, 10)
					if round > 0 { // retained, across the restart
						complete(t, client.Subscribe("kept/"+transport, 1, func(_ mqtt.Client, m mqtt.Message) {
							got <- string(m.Payload())
						}))
						require.Equal(t, strconv.Itoa(round-1), receive(t, got))
					}
					complete(t, client.Publish("kept/"+transport, 1, true, strconv.Itoa(round)))
				}
				require.NoError(t, b.Stop())
				opts := mqtt.NewClientOptions().AddBroker(b.URL(brokers.TCP).String())
				token := mqtt.NewClient(opts).Connect()
				require.True(t, token.WaitTimeout(patience))
				require.Error(t, token.Error(), "stopped")
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				require.NoError(t, b.Start(ctx))
				cancel()
			}
		})
	}
}

func receive(t *testing.T, got <-chan string) string {
	t.Helper()
	select {
	case s := <-got:
		return s
	case <-time.After(patience):
		t.Fatal("nothing received")
		return ""
	}
}

func TestBridge(t *testing.T) {
	mosquitto, ok := start(t)["mosquitto"].(*brokers.Mosquitto)
	if !ok {
		t.Skip(brokers.ErrNoMosquitto)
	}
	for _, transport := range []string{brokers.WS, brokers.WSS} {
		bridge, err := brokers.NewBridge(mosquitto, transport)
		require.NoError(t, err)
		client := connect(t, mosquitto, bridge.URL())
		complete(t, client.Publish("large", 1, false, make([]byte, 8<<20)))
		require.NoError(t, bridge.Close())
	}
}

func TestInFlight(t *testing.T) {
	b, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	require.Zero(t, b.InFlight("nobody"))
	opts := mqtt.NewClientOptions().AddBroker(b.URL(brokers.TCP).String()).SetClientID("keeper").SetCleanSession(false)
	client := mqtt.NewClient(opts)
	complete(t, client.Connect())
	complete(t, client.Subscribe("kept", 1, nil))
	client.Disconnect(1000)
	other := connect(t, b, b.URL(brokers.TCP))
	complete(t, other.Publish("kept", 1, false, "x"))
	require.Eventually(t, func() bool { return b.InFlight("keeper") == 1 }, patience, time.Millisecond)
}
