package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// network is what the device reaches the broker through, when it is up.
type network struct {
	net.Listener
	broker string
	mu     sync.Mutex
	down   bool
	conns  []net.Conn
}

func newNetwork(t *testing.T, broker string) *network {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	n := &network{Listener: listener, broker: broker}
	t.Cleanup(func() {
		n.set(true)
		require.NoError(t, listener.Close())
	})
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n.relay(conn)
		}
	}()
	return n
}

func (n *network) relay(conn net.Conn) {
	n.mu.Lock()
	defer n.mu.Unlock()
	to, err := net.Dial("tcp", n.broker)
	if err != nil || n.down {
		_ = conn.Close()
		return
	}
	n.conns = append(n.conns, conn, to)
	go func() { _, _ = io.Copy(to, conn) }()
	go func() { _, _ = io.Copy(conn, to) }()
}

// set takes the network down, with the connections that there are, or up.
func (n *network) set(down bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.down = down
	for _, conn := range n.conns {
		_ = conn.Close()
	}
	n.conns = nil
}

// TestDevice publishes while there is a network, while there is none, and in a second run what the first had to leave.
// Everything arrives, once, and nothing of it can be read on the disk meanwhile.
func TestDevice(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	broker, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	key, err := aesmsg.GenerateKey("home/#")
	require.NoError(t, err)
	sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}})
	require.NoError(t, err)

	received := make(chan string, 100)
	opts := mqtt.NewClientOptions().AddBroker(broker.URL(brokers.TCP).String()).SetClientID("reader")
	reader := mqtt.NewClient(sealer.WrapV3(opts))
	done := func(token mqtt.Token) {
		t.Helper()
		require.True(t, token.WaitTimeout(time.Minute))
		require.NoError(t, token.Error())
	}
	done(reader.Connect())
	done(reader.Subscribe("home/#", 1, func(_ mqtt.Client, m mqtt.Message) { received <- string(m.Payload()) }))
	defer reader.Disconnect(250)
	await := func(want string) {
		t.Helper()
		select {
		case got := <-received:
			require.Equal(t, want, got)
		case <-ctx.Done():
			require.Fail(t, "lost: "+want)
		}
	}

	way := newNetwork(t, broker.URL(brokers.TCP).Host)
	dir := filepath.Join(t.TempDir(), "store")
	first, interrupt := context.WithCancel(ctx)
	in, device := io.Pipe()
	left := make(chan int, 1)
	go func() {
		left <- run(first, in, sealer, "tcp://"+way.Addr().String(), "meter7", dir, "home/meter7")
	}()
	say := func(reading int) {
		t.Helper()
		_, err := fmt.Fprintf(device, "reading %d\n", reading)
		require.NoError(t, err)
	}
	say(1)
	await("reading 1")
	say(2)
	await("reading 2")
	waiting := func(n int) {
		t.Helper()
		require.Eventually(t, func() bool { return len(stored(t, dir)) == n }, time.Minute, time.Millisecond)
	}
	waiting(0)
	way.set(true)
	say(3)
	say(4)
	waiting(2)
	interrupt()
	require.Equal(t, 2, <-left)
	for _, text := range stored(t, dir) {
		require.NotContains(t, text, "reading")
	}

	way.set(false)
	require.Zero(t, run(ctx, strings.NewReader("reading 5\n"), sealer, "tcp://"+way.Addr().String(), "meter7", dir, "home/meter7"))
	got := map[string]int{}
	for range 3 {
		select {
		case text := <-received:
			got[text]++
		case <-ctx.Done():
			require.Fail(t, "lost", "only %v have come", got)
		}
	}
	require.Equal(t, map[string]int{"reading 3": 1, "reading 4": 1, "reading 5": 1}, got)
	select {
	case text := <-received:
		require.Fail(t, "twice", text)
	default:
	}
}

// stored is the text of each file of a store.
func stored(t *testing.T, dir string) (texts []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, entry := range entries {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err == nil { // a file may leave while one looks
			texts = append(texts, string(text))
		}
	}
	return texts
}
