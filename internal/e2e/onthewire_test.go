package e2e

import (
	"path/filepath"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/stretchr/testify/require"
)

// TestNothingReadableOnTheWire sniffs a whole session without TLS: CONNECT with a Will, messages with and without
// properties, a retained one, at every QoS. What the application wrote is nowhere in it.
func TestNothingReadableOnTheWire(t *testing.T) {
	for _, s := range append(sealedSuites(), unsealed()) {
		for _, d := range drivers() {
			t.Run(s.name+"/"+d.name, func(t *testing.T) {
				t.Parallel()
				c := newCell(t, place{suite: s, driver: d, broker: sharedEmbedded(t), transport: brokers.TCP})
				network := newRelay(t, c.broker.URL(brokers.TCP))
				u := network.url(c.broker.URL(brokers.TCP))
				sub := c.connect(options{url: u})
				require.NoError(t, sub.subscribe(c.ctx, c.topic("#"), 2))
				pub := c.connect(options{url: u, will: &message{topic: c.topic("will"), payload: []byte(marker), retain: true}})
				for qos := range byte(3) {
					m := message{topic: c.topic("m"), payload: []byte(marker), qos: qos, retain: qos == 1}
					if d.v5 {
						m.properties = &paho.PublishProperties{
							ContentType:     marker,
							ResponseTopic:   marker,
							CorrelationData: []byte(marker),
							User:            paho.UserProperties{{Key: marker, Value: marker}},
						}
					}
					require.NoError(t, pub.publish(c.ctx, m))
				}
				untilLast(c, pub, sub, 2)
				if s.sealed {
					require.NotContains(t, network.sniffed(), marker)
				} else {
					require.Contains(t, network.sniffed(), marker)
				}
			})
		}
	}
}

// TestAliasLeavesNothingReadableOnDisk publishes with a topic alias through a session in files. The library stores the
// packet without its topic then, by which nobody could tell whether a key covers it.
func TestAliasLeavesNothingReadableOnDisk(t *testing.T) {
	for _, s := range append(sealedSuites(), unsealed()) {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			c := newCell(t, place{suite: s, driver: drivers()[0], broker: sharedEmbedded(t), transport: brokers.TCP})
			network := newRelay(t, c.broker.URL(brokers.TCP))
			dir := filepath.Join(tempDir(t), "store")
			pub := c.connect(options{
				url:     network.url(c.broker.URL(brokers.TCP)),
				aliases: 2, persistent: true, dir: dir, still: true,
			})
			m := message{topic: c.topic("alias"), payload: []byte(marker), qos: 1}
			require.NoError(t, pub.publish(c.ctx, m)) // sets the alias
			network.hold(true)
			manager := pub.(*autopahoClient).manager
			go func() { _, _ = manager.Publish(c.ctx, publishV5(m)) }() // ends with the test
			require.NoError(t, network.awaitAnswer(c.ctx))
			c.requireNothingReadable(dir)
			network.hold(false)
			require.Eventually(t, func() bool { return storedFiles(t, dir) == 0 }, patience, pollInterval)
			require.Len(t, c.overheard(), 2)
			c.requireSecrecy()
			require.NotErrorIs(t, manager.Disconnect(c.ctx), autopaho.ConnectionDownError)
		})
	}
}
