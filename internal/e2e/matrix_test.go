package e2e

import (
	"fmt"
	"slices"
	"testing"

	"github.com/mqttsec/mqttsec/internal/brokers"
)

// feature is something that an application does with MQTT. The function is the same whether its clients are protected
// or not, and fails if the application would notice the difference.
type feature struct {
	name string
	run  func(*cell)
}

func features() []feature {
	return []feature{
		{"QoS0", func(c *cell) { exchange(c, 0) }},
		{"QoS1", func(c *cell) { exchange(c, 1) }},
		{"QoS2", func(c *cell) { exchange(c, 2) }},
		{"Retained", retained},
		{"Will", will},
		{"Properties", properties},
		{"ResendQoS1", func(c *cell) { resend(c, 1) }},
		{"ResendQoS2", func(c *cell) { resend(c, 2) }},
		{"PersistentSession", persistentSession},
		{"SharedSubscription", sharedSubscription},
		{"TopicAliases", topicAliases},
		{"QueueAcrossRestart", queueAcrossRestart},
		{"SessionAcrossRestart", sessionAcrossRestart},
		{"EightMebibytes", eightMebibytes},
		{"EightPublishers", eightPublishers},
	}
}

// TestMatrix runs every feature with every library over every transport on every broker, plain and under every suite,
// with somebody who listens in.
func TestMatrix(t *testing.T) {
	for _, p := range places(t) {
		t.Run(fmt.Sprintf("%s/%s/%s/%s", p.suite.name, p.driver.name, p.transport, p.brokerName), func(t *testing.T) {
			t.Parallel()
			p.broker = p.get(t)
			for _, f := range features() {
				t.Run(f.name, func(t *testing.T) {
					t.Parallel()
					c := newCell(t, p.place)
					f.run(c)
					c.requireSecrecy()
				})
			}
		})
	}
}

// unlit is a place whose broker may not run yet.
type unlit struct {
	place
	brokerName string
	get        func(testing.TB) brokers.Broker
}

// places are all combinations; in short mode those over TCP.
func places(t *testing.T) []unlit {
	transports := []string{brokers.TCP, brokers.TLS, brokers.WS, brokers.WSS}
	if testing.Short() {
		transports = transports[:1]
	}
	var all []unlit
	for _, s := range slices.Concat([]suite{unsealed()}, sealedSuites()) {
		for _, d := range drivers() {
			for _, b := range sharedBrokers {
				for _, transport := range transports {
					all = append(all, unlit{place{suite: s, driver: d, transport: transport}, b.name, b.get})
				}
			}
		}
	}
	if len(all) == 0 {
		t.Fatal("nothing to test")
	}
	return all
}
