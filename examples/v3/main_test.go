package main

import (
	"bytes"
	"context"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
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

	server := broker.URL(brokers.TCP).String()
	opts := mqtt.NewClientOptions().AddBroker(server)
	client := mqtt.NewClient(opts)
	require.NoError(t, done(ctx, client.Connect()))
	defer client.Disconnect(250)
	overheard := make(chan []byte, 1)
	require.NoError(t, done(ctx, client.Subscribe("home/#", 1, func(_ mqtt.Client, m mqtt.Message) {
		overheard <- m.Payload()
	})))

	var out bytes.Buffer
	require.NoError(t, run(ctx, &out, server, key, "home/door", "open at 21.5"))
	require.Equal(t, "open at 21.5\n", out.String())
	seen := <-overheard
	require.NotContains(t, string(seen), "open at 21.5")
	require.Len(t, seen, len("open at 21.5")+aesmsg.Overhead)
}
