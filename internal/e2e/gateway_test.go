package e2e

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"testing"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/stretchr/testify/require"
)

// startGateway starts one that lets everything pass before a broker, for the time of the test.
func startGateway(t *testing.T, upstream brokers.Broker) *brokers.Gateway {
	t.Helper()
	g, err := brokers.StartGateway(patientFor(t, long), upstream.URL(brokers.TCP))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.Close()) })
	return g
}

// TestMatrixBehindTheGateway runs every feature through a gateway before mosquitto, with every library and over every
// transport that the gateway has, plain and sealed. [TestMatrix] runs the same features at mosquitto itself: what an
// application sees is the same.
func TestMatrixBehindTheGateway(t *testing.T) {
	gateway := startGateway(t, sharedMosquitto(t))
	transports := []string{brokers.TCP, brokers.TLS, brokers.WS, brokers.WSS}
	for _, s := range append([]suite{unsealed()}, sealedSuites()[0]) {
		for _, d := range drivers() {
			for _, transport := range transports {
				for _, f := range features() {
					t.Run(fmt.Sprintf("%s/%s/%s/%s", s.name, d.name, transport, f.name), func(t *testing.T) {
						t.Parallel()
						c := newCell(t, place{suite: s, driver: d, broker: gateway, transport: transport})
						f.run(c)
						c.requireSecrecy()
					})
				}
			}
		}
	}
}

// TestOtherBrokersBehindTheGateway runs what RabbitMQ and NATS have of MQTT through a gateway.
func TestOtherBrokersBehindTheGateway(t *testing.T) {
	for _, o := range others() {
		if !slices.Contains([]string{"rabbitmq", "nats"}, o.name) {
			continue
		}
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			broker, err := o.start(patientFor(t, long))
			if errors.Is(err, brokers.ErrNotInstalled) && os.Getenv("MQTTSEC_CI") != "1" {
				t.Skip(err)
			}
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, broker.Close()) })
			gateway := startGateway(t, node{broker, 0})
			for _, d := range drivers() {
				if d.v5 {
					continue
				}
				for _, f := range core() {
					if f.name == "Across" || o.without(f.name, broker) {
						continue
					}
					t.Run(d.name+"/"+f.name, func(t *testing.T) {
						t.Parallel()
						c := newCell(t, place{unsealed(), d, gateway, brokers.TCP, o.lacks})
						f.run(c)
						c.requireSecrecy()
					})
				}
			}
		})
	}
}
