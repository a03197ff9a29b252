package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/stretchr/testify/require"
)

// TestBrokerRestart stops the broker while messages pass and starts it again with the state that it had. Whatever was
// published arrives.
func TestBrokerRestart(t *testing.T) {
	start := map[string]func(t *testing.T) brokers.Broker{
		"mochi": func(t *testing.T) brokers.Broker {
			b, err := brokers.StartEmbedded(brokers.Config{})
			require.NoError(t, err)
			return b
		},
		"mosquitto": func(t *testing.T) brokers.Broker {
			b, err := brokers.StartMosquitto(patient(t), brokers.Config{})
			needMosquitto(t, err)
			return b
		},
	}
	for name, get := range start {
		for _, s := range append(sealedSuites(), unsealed()) {
			for _, d := range drivers() {
				t.Run(fmt.Sprintf("%s/%s/%s", s.name, d.name, name), func(t *testing.T) {
					t.Parallel()
					b := get(t)
					t.Cleanup(func() { require.NoError(t, b.Close()) })
					restart(newCell(t, place{suite: s, driver: d, broker: b, transport: brokers.TCP}))
				})
			}
		}
	}
}

func restart(c *cell) {
	const messages = 40
	subscriber, publisher := unique("sub"), unique("pub")
	sub := c.connect(options{id: subscriber, persistent: true})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), 2))
	o := options{id: publisher, persistent: true}
	if !c.driver.v5 {
		// In files, because paho.mqtt.golang's own memory store hands out packets that are being sent, and resuming a
		// session edits them (a data race of the library).
		o.dir = filepath.Join(tempDir(c.t), "store")
	}
	pub := c.connect(o)
	// A pause for those that lose messages of their own accord if the connection breaks while one is published: mochi
	// acknowledges what it has not taken in, and forgets what arrives while a session is taken over; paho.mqtt.golang
	// may store without sending what is published while it resumes the session.
	pause := c.broker.Name() == "mochi" || !c.driver.v5
	before, published, half := messages/4, make(chan error, 1), make(chan struct{})
	if pause {
		before = messages / 2
	}
	go func() {
		for i := range messages {
			if i == messages/2 && pause {
				<-half
			}
			m := message{topic: c.topic("m"), payload: fmt.Appendf(nil, "%s %d", marker, i), qos: byte(1 + i%2)}
			if err := publishStubbornly(c.ctx, c.driver, pub, m); err != nil {
				published <- err
				return
			}
		}
		published <- nil
	}()
	_, err := sub.inbox().awaitCount(c.ctx, before)
	require.NoError(c.t, err)
	require.NoError(c.t, c.broker.Stop())
	require.NoError(c.t, c.broker.Start(c.ctx))
	if v3, ok := pub.(*v3Client); ok {
		require.Eventually(c.t, v3.library.IsConnectionOpen, patience, pollInterval)
	}
	if b, ok := c.broker.(*brokers.Embedded); ok {
		require.Eventually(c.t, func() bool { return b.Connected(subscriber) && b.Connected(publisher) }, patience, pollInterval)
	}
	close(half)
	require.NoError(c.t, <-published)
	var want []string
	for i := range messages {
		want = append(want, fmt.Sprintf("%s %d", marker, i))
	}
	got, err := sub.inbox().await(c.ctx, func(got []message) bool {
		return !slices.ContainsFunc(want, func(text string) bool { return count(got, text) == 0 })
	})
	require.Subset(c.t, payloads(got), want)
	require.NoError(c.t, err)
}

// publishStubbornly tries again as long as the library does not take the message because there is no connection.
func publishStubbornly(ctx context.Context, d driver, pub client, m message) error {
	for {
		err := pub.publish(ctx, m)
		if err == nil || !d.v5 {
			return nil // paho.mqtt.golang has stored it, whatever it says
		}
		if inUse := refusedError(0x91); err == inUse {
			return nil // mochi has the message
		}
		select {
		case <-time.After(pollInterval):
		case <-ctx.Done():
			return err
		}
	}
}
