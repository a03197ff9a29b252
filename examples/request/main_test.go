package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// tap keeps what the broker sees.
type tap struct {
	mochi.HookBase
	mu   sync.Mutex
	seen []packets.Packet
}

func (*tap) ID() string { return "tap" }

func (*tap) Provides(event byte) bool { return event == mochi.OnPublish }

func (t *tap) OnPublish(_ *mochi.Client, p packets.Packet) (packets.Packet, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = append(t.seen, p)
	return p, nil
}

// TestRequest asks two questions of one service, and looks at what the broker had of them: topics, and nothing that it
// could answer itself.
func TestRequest(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	seen := new(tap)
	require.NoError(t, broker.Server.AddHook(seen, nil))
	key, err := aesmsg.GenerateKey("home/#")
	require.NoError(t, err)
	text, err := key.MarshalText()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "home.key")
	require.NoError(t, os.WriteFile(file, text, 0o600))

	serving, stop := context.WithCancel(ctx)
	service, err := connect(serving, broker.URL(brokers.TCP).String(), file)
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() {
		served <- service.answer(serving, "home/questions", func(question []byte) []byte { return bytes.ToUpper(question) })
	}()
	require.Eventually(t, func() bool { // the service answers nothing before it has subscribed
		return len(broker.Server.Topics.Subscribers("home/questions").Subscriptions) > 0
	}, time.Minute, time.Millisecond)

	asking, end := context.WithCancel(ctx)
	client, err := connect(asking, broker.URL(brokers.TCP).String(), file)
	require.NoError(t, err)
	for question, want := range map[string]string{"is the door open?": "IS THE DOOR OPEN?", "and the gate?": "AND THE GATE?"} {
		answer, err := client.ask(ctx, "home/questions", []byte(question))
		require.NoError(t, err)
		require.Equal(t, want, string(answer))
	}
	end()
	<-client.Done()
	stop()
	require.NoError(t, <-served)
	<-service.Done()

	seen.mu.Lock()
	defer seen.mu.Unlock()
	require.Len(t, seen.seen, 4)
	for _, p := range seen.seen {
		require.EqualValues(t, 0xFC, p.Payload[0], "not sealed")
		require.Empty(t, p.Properties.ResponseTopic)
		require.Empty(t, p.Properties.CorrelationData)
	}
}
