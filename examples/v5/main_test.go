package main

import (
	"bytes"
	"context"
	"net/url"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// TestRun runs the program beside a client as it was before the program's
// options were wrapped.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	key, err := aesmsg.GenerateKey("home/#")
	require.NoError(t, err)

	server := broker.URL(brokers.TCP)
	overheard, err := listen(ctx, server, "home/#")
	require.NoError(t, err)

	var out bytes.Buffer
	require.NoError(t, run(ctx, &out, server, key, "home/door", "open at 21.5"))
	require.Equal(t, "open at 21.5\n", out.String())
	seen := <-overheard
	require.NotContains(t, string(seen), "open at 21.5")
	require.Len(t, seen, len("open at 21.5")+aesmsg.Overhead)
}

func listen(ctx context.Context, server *url.URL, filter string) (<-chan []byte, error) {
	received := make(chan []byte, 1)
	cfg := autopaho.ClientConfig{ServerUrls: []*url.URL{server}, KeepAlive: 20}
	cfg.OnPublishReceived = []func(paho.PublishReceived) (bool, error){
		func(p paho.PublishReceived) (bool, error) {
			received <- p.Packet.Payload
			return true, nil
		},
	}

	cm, err := autopaho.NewConnection(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if err := cm.AwaitConnection(ctx); err != nil {
		return nil, err
	}
	_, err = cm.Subscribe(ctx, &paho.Subscribe{
		Subscriptions: []paho.SubscribeOptions{{Topic: filter, QoS: 1}},
	})
	return received, err
}
