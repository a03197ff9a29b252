package link

import (
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// counted is a scheme that also counts how often it is asked.
type counted struct {
	Scheme
	wraps atomic.Int32
}

func (s *counted) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	s.wraps.Add(1)
	return s.Scheme.Wrap(cfg)
}

func (s *counted) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	s.wraps.Add(1)
	return s.Scheme.WrapV3(opts)
}

func sealing(t *testing.T) *counted {
	key, err := aesmsg.GenerateKey("#")
	require.NoError(t, err)
	sealer, err := aesmsg.New(aesmsg.Config{
		Keys:     []aesmsg.Key{key},
		Rejected: func(r aesmsg.Rejection) { t.Errorf("rejected: %v", r) },
	})
	require.NoError(t, err)
	return &counted{Scheme: sealer}
}

// TestLink sends more messages than fit the window with either client, plain and sealed,
// at both QoS, with and without TLS: all of them arrive.
func TestLink(t *testing.T) {
	broker, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	for _, client := range []Client{V5, V3} {
		for _, transport := range []string{brokers.TCP, brokers.TLS} {
			for _, qos := range []byte{0, 1} {
				for _, scheme := range []*counted{nil, sealing(t)} {
					cfg := Config{
						Broker: Broker{
							URL: broker.URL(transport),
							TLS: &tls.Config{RootCAs: broker.RootCAs(), MinVersion: tls.VersionTLS12},
						},
						Client: client, Topic: "link/a", QoS: qos, Size: 100,
					}
					name := string(client) + " " + transport + " QoS " + string('0'+rune(qos)) + " plain"
					if scheme != nil {
						cfg.Scheme = scheme
						name = name[:len(name)-len("plain")] + "sealed"
					}
					t.Run(name, func(t *testing.T) { exercise(t, cfg, scheme) })
				}
			}
		}
	}
}

func exercise(t *testing.T, cfg Config, scheme *counted) {
	l, err := Open(t.Context(), cfg)
	require.NoError(t, err)
	const n = 3*window + 1
	require.NoError(t, l.Send(t.Context(), n))
	require.EqualValues(t, n, l.flow.state.received.Load())
	before := time.Now()
	delay, err := l.Delay(t.Context())
	require.NoError(t, err)
	require.Positive(t, delay)
	require.LessOrEqual(t, delay, time.Since(before))
	require.NoError(t, l.Close())

	disconnect, err := Connect(t.Context(), cfg)
	require.NoError(t, err)
	require.NoError(t, disconnect())

	const few = 4
	traffic, err := Weigh(t.Context(), cfg, few)
	require.NoError(t, err)
	require.Greater(t, traffic.Connect, int64(len("\x10..\x00\x04MQTT")))
	require.Greater(t, traffic.Message, float64(cfg.Size))
	if scheme != nil {
		require.EqualValues(t, 5, scheme.wraps.Load(), "both ends, each time, but for Connect, which has one")
	}
}

// TestWeighCountsSealing compares two links that differ in the scheme alone: what passes
// in addition is exactly what sealing adds.
func TestWeighCountsSealing(t *testing.T) {
	broker, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	for _, client := range []Client{V5, V3} {
		cfg := Config{Broker: Broker{URL: broker.URL(brokers.TCP)}, Client: client, Topic: "link/a", Size: 40}
		plain, err := Weigh(t.Context(), cfg, 8)
		require.NoError(t, err)
		cfg.Scheme = sealing(t)
		sealed, err := Weigh(t.Context(), cfg, 8)
		require.NoError(t, err)
		require.InDelta(t, aesmsg.Overhead, sealed.Message-plain.Message, 0.01)
	}
}

// TestTravelCountsRoundTrips: TCP aside, plain MQTT waits once and TLS 1.3 once more, and the bytes of CONNECT and
// CONNACK are all there are.
func TestTravelCountsRoundTrips(t *testing.T) {
	broker, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	const delay = 25 * time.Millisecond
	for _, client := range []Client{V5, V3} {
		cfg := Config{Broker: Broker{URL: broker.URL(brokers.TCP)}, Client: client}
		plain, err := Travel(t.Context(), cfg, delay)
		require.NoError(t, err)
		require.EqualValues(t, 1, plain.RoundTrips)
		traffic, err := Weigh(t.Context(), Config{Broker: cfg.Broker, Client: client, Topic: "link/a"}, 1)
		require.NoError(t, err)
		require.Equal(t, traffic.Connect, plain.Bytes)
		require.GreaterOrEqual(t, plain.Time, 2*delay, "the way there and back")

		cfg.Broker = Broker{URL: broker.URL(brokers.TLS), TLS: &tls.Config{RootCAs: broker.RootCAs(), MinVersion: tls.VersionTLS13}}
		secure, err := Travel(t.Context(), cfg, delay)
		require.NoError(t, err)
		require.Greater(t, secure.RoundTrips, plain.RoundTrips)
		require.Greater(t, secure.Bytes, plain.Bytes)
		require.GreaterOrEqual(t, secure.Time, 4*delay)
	}
}

func TestOpenReportsARefusedConnection(t *testing.T) {
	broker := Broker{URL: &url.URL{Scheme: "tcp", Host: "127.0.0.1:1"}} // where nobody listens
	for _, client := range []Client{V5, V3} {
		_, err := Open(t.Context(), Config{Broker: broker, Client: client, Topic: "a"})
		require.ErrorContains(t, err, "link: subscriber: ")
		_, err = Connect(t.Context(), Config{Broker: broker, Client: client, Topic: "a"})
		require.ErrorContains(t, err, "link: ")
	}
}

func TestFlowHoldsThePublisherBack(t *testing.T) {
	f := newFlow(1)
	for range window {
		require.NoError(t, f.admit(t.Context()))
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, f.admit(ctx), context.Canceled, "the window is full")

	f = newFlow(1)
	for range window {
		require.NoError(t, f.admit(t.Context()))
	}
	done := make(chan error)
	go func() { done <- f.admit(t.Context()) }()
	for range window / 2 {
		f.receive([]byte{1})
	}
	require.NoError(t, <-done)
	require.EqualValues(t, window+1, f.sent)

	go func() { done <- f.drain(t.Context()) }()
	for range window/2 + 1 {
		f.receive([]byte{1})
	}
	require.NoError(t, <-done)
	require.False(t, f.arrived().IsZero())
}

func TestFlowNoticesForeignPayloads(t *testing.T) {
	f := newFlow(1)
	require.NoError(t, f.admit(t.Context()))
	f.receive([]byte("what a sealed message would look like"))
	require.ErrorIs(t, f.drain(t.Context()), errForeign)
}

func TestRelayPassesAndCounts(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		request := make([]byte, 5)
		if _, err := io.ReadFull(conn, request); err == nil {
			_, _ = conn.Write([]byte("answer")) // the other end notices if it fails
		}
	}()
	relay, err := newRelay(listener.Addr().String(), time.Millisecond)
	require.NoError(t, err)
	require.Zero(t, relay.Last())
	conn, err := net.Dial("tcp", relay.Addr())
	require.NoError(t, err)
	_, err = conn.Write([]byte("hello"))
	require.NoError(t, err)
	answer, err := io.ReadAll(conn)
	require.NoError(t, err)
	require.Equal(t, "answer", string(answer))
	require.EqualValues(t, len("hello")+len("answer"), relay.Last())
	require.EqualValues(t, 1, relay.passages()[0].trips.Load())
	require.NoError(t, relay.Close())
}
