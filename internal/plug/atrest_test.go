package plug

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/autopaho/queue"
	filequeue "github.com/eclipse/paho.golang/autopaho/queue/file"
	memoryqueue "github.com/eclipse/paho.golang/autopaho/queue/memory"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	v3packets "github.com/eclipse/paho.mqtt.golang/packets"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

const (
	secret     = "the safe is behind the picture"
	secretName = "secret property name"
)

// publication is a message on a covered topic that is secret in all its parts.
func publication(qos byte) *paho.Publish {
	return &paho.Publish{QoS: qos, Retain: true, Topic: "home/safe", Payload: []byte(secret), Properties: &paho.PublishProperties{
		ContentType: "text/plain",
		User:        paho.UserProperties{{Key: secretName, Value: secret}, {Key: "b", Value: ""}},
	}}
}

// requirePublication checks that the server got what publication returns.
func requirePublication(t *testing.T, m wire.PublishPacket, qos byte, dup bool) {
	t.Helper()
	require.Equal(t, secret, string(m.Payload))
	require.Equal(t, "home/safe", string(m.Topic))
	require.Equal(t, qos, m.QoS)
	require.Equal(t, dup, m.Dup)
	require.True(t, m.Retain)
	contentType, _ := m.Properties.Bytes(wire.ContentType)
	require.Equal(t, "text/plain", string(contentType))
	var names []string
	for k := range m.Properties.Pairs() {
		names = append(names, k)
	}
	require.Equal(t, []string{secretName, "b"}, names)
}

// requireSecret checks that there are n files and nothing legible in them.
func requireSecret(t *testing.T, found map[string][]byte, n int) {
	t.Helper()
	require.Len(t, found, n)
	for _, b := range found {
		require.NotContains(t, string(b), secret)
		require.NotContains(t, string(b), secretName)
		require.NotContains(t, string(b), "text/plain")
		require.Contains(t, string(b), "home/safe", "this is not the message")
	}
}

// flip changes the last byte of a file.
func flip(t *testing.T, name string) {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	b[len(b)-1] ^= 1
	require.NoError(t, os.WriteFile(name, b, 0o600))
}

// manager is an autopaho with what has to be stopped.
type manager struct {
	*autopaho.ConnectionManager
	t   *testing.T
	ctx context.Context
}

func newManager(t *testing.T, cfg autopaho.ClientConfig) *manager {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	cfg.KeepAlive = 30
	cfg.SessionExpiryInterval = 3600
	cfg.ClientID = "client-1"
	cfg.ConnectTimeout, cfg.PacketTimeout = time.Minute, time.Minute
	cfg.ReconnectBackoff = func(n int) time.Duration { return time.Duration(n) * 10 * time.Millisecond }
	cm, err := autopaho.NewConnection(ctx, V5(cfg, newVault()))
	require.NoError(t, err)
	return &manager{cm, t, ctx}
}

func (m *manager) await() { require.NoError(m.t, m.AwaitConnection(m.ctx)) }
func (m *manager) stop()  { require.NoError(m.t, m.Disconnect(m.ctx)) }

// offline is an AttemptConnection that never succeeds.
func offline(ctx context.Context, _ autopaho.ClientConfig, _ *url.URL) (net.Conn, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func newFileQueue(t *testing.T, dir string) *filequeue.Queue {
	q, err := filequeue.New(dir, "q", ".msg")
	require.NoError(t, err)
	return q
}

func TestQueueAcrossRestart(t *testing.T) {
	dir := t.TempDir()
	u := []*url.URL{{Scheme: "mqtt"}}
	m := newManager(t, autopaho.ClientConfig{ServerUrls: u, Queue: newFileQueue(t, dir), AttemptConnection: offline})
	for qos := range byte(3) {
		require.NoError(t, m.PublishViaQueue(m.ctx, &autopaho.QueuePublish{Publish: publication(qos)}))
	}
	m.stop()
	requireSecret(t, files(t, dir, "q*.msg"), 3)

	s := newServer(always)
	q := newFileQueue(t, dir)
	m = newManager(t, autopaho.ClientConfig{ServerUrls: []*url.URL{parse(t, "mqtt://"+s.tcp(t))}, Queue: q})
	var qos []byte
	for range 3 {
		got := await(t, s.published)
		requirePublication(t, got, got.QoS, false)
		qos = append(qos, got.QoS)
	}
	require.ElementsMatch(t, []byte{0, 1, 2}, qos) // the file queue orders by time stamp only
	await(t, q.WaitForEmpty())
	await(t, s.released) // paho.golang crashes on a PUBREC when it has disconnected
	m.stop()
	require.Empty(t, files(t, dir, "*"))
}

func TestTamperedQueueEntryIsQuarantined(t *testing.T) {
	dir := t.TempDir()
	q := newFileQueue(t, dir)
	frozen := V5(autopaho.ClientConfig{Queue: q, ClientConfig: paho.ClientConfig{ClientID: "client-1"}}, newVault()).Queue
	require.NoError(t, frozen.Enqueue(encoded(t, publication(1))))
	for name := range files(t, dir, "q*.msg") {
		flip(t, name)
	}
	plain := publication(1)
	plain.Payload = []byte("planted")
	require.NoError(t, q.Enqueue(encoded(t, plain)), "an attacker plants a message on the disk")
	require.NoError(t, q.Enqueue(bytes.NewReader([]byte{0xFF})))
	require.NoError(t, frozen.Enqueue(encoded(t, publication(1))))

	s := newServer(always)
	m := newManager(t, autopaho.ClientConfig{ServerUrls: []*url.URL{parse(t, "mqtt://"+s.tcp(t))}, Queue: q})
	requirePublication(t, await(t, s.published), 1, false)
	await(t, q.WaitForEmpty())
	m.stop()
	require.Empty(t, s.published)
	require.Len(t, files(t, dir, "*.CORRUPT"), 3)
	require.Len(t, files(t, dir, "*"), 3)
}

func encoded(t *testing.T, p *paho.Publish) io.Reader {
	var b bytes.Buffer
	_, err := p.Packet().WriteTo(&b)
	require.NoError(t, err)
	return &b
}

func TestQueueRefuses(t *testing.T) {
	below := memoryqueue.New()
	v := newVault()
	q := V5(autopaho.ClientConfig{Queue: below}, v).Queue
	refused := publication(1)
	refused.Payload = tooLarge
	require.ErrorIs(t, q.Enqueue(encoded(t, refused)), errTest)

	alias := uint16(3)
	refused = publication(1)
	refused.Topic, refused.Properties.TopicAlias = "", &alias
	require.ErrorIs(t, q.Enqueue(encoded(t, refused)), errAlias)

	require.ErrorIs(t, q.Enqueue(bytes.NewReader([]byte{0xC0, 0})), wire.ErrMalformed)
	require.ErrorIs(t, q.Enqueue(failing{}), errTest)
	_, err := q.Peek()
	require.ErrorIs(t, err, queue.ErrEmpty, "something was stored all the same")

	uncovered := &paho.Publish{QoS: 1, Topic: "garden", Payload: []byte("x")}
	require.NoError(t, q.Enqueue(encoded(t, uncovered)))
	want, _ := io.ReadAll(encoded(t, uncovered))
	for _, q := range []queue.Queue{below, q} {
		e, err := q.Peek()
		require.NoError(t, err)
		r, err := e.Reader()
		require.NoError(t, err)
		got, err := io.ReadAll(r)
		require.NoError(t, err)
		require.Equal(t, want, got, "no key covers the topic")
	}
	require.True(t, slices.Equal([]string{"freeze  v5 out=true", "freeze  v5 out=true", "thaw  v5 out=true"}, v.noted()), v.noted())
}

// failing is a reader that fails.
type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errTest }

// brokenQueue has an entry that cannot be opened.
type brokenQueue struct{ queue.Queue }

func (q brokenQueue) Peek() (queue.Entry, error) { return q, nil }
func (q brokenQueue) Reader() (io.Reader, error) { return nil, errTest }
func (brokenQueue) Leave() error                 { return nil }
func (brokenQueue) Remove() error                { return nil }
func (brokenQueue) Quarantine() error            { return nil }

func TestQueueErrorsPass(t *testing.T) {
	e, err := V5(autopaho.ClientConfig{Queue: brokenQueue{}}, newVault()).Queue.Peek()
	require.NoError(t, err)
	_, err = e.Reader()
	require.ErrorIs(t, err, errTest)
}

func TestWithoutStoresNothingIsDecorated(t *testing.T) {
	cfg := V5(autopaho.ClientConfig{}, newVault())
	require.Nil(t, cfg.Queue)
	require.Nil(t, cfg.Session)

	q := memoryqueue.New()
	require.Same(t, q, V5(autopaho.ClientConfig{Queue: q}, newSpy("a")).Queue, "the scheme is not AtRest")
}

// TestFrostRefusesAnotherPacket has schemes that make of a PUBLISH something else.
func TestFrostRefusesAnotherPacket(t *testing.T) {
	b, err := io.ReadAll(encoded(t, publication(1)))
	require.NoError(t, err)
	higher, err := io.ReadAll(encoded(t, publication(2)))
	require.NoError(t, err)
	other := publication(1)
	other.PacketID = 7
	another, err := io.ReadAll(encoded(t, other))
	require.NoError(t, err)
	for _, p := range []wire.Packet{nil, {0xC0, 0}, b[:len(b)-1], higher, another} {
		_, err := frost{scheme: returning{p}, version: wire.V5}.freeze(bytes.Clone(b), true)
		require.ErrorIs(t, err, errFrost)
	}
	_, err = frost{scheme: newVault(), version: wire.V5}.freeze(wire.Packet{byte(packets.PINGREQ) << 4, 0}, true)
	require.ErrorIs(t, err, wire.ErrMalformed)
}

// TestStackedAtRest: of two payload schemes the one next to the application freezes what it covers, and leaves the rest
// to the other; nothing that either covers is stored plain, and nothing is frozen twice.
func TestStackedAtRest(t *testing.T) {
	for topic, who := range map[string]string{"home/x": "above", "garden/x": "below", "shed": ""} {
		below, above := newVault(), newVault()
		below.key, below.covered = 0x33, "garden/"
		frozenBy := func() (who string) {
			for name, v := range map[string]*vault{"above": above, "below": below} {
				if slices.ContainsFunc(v.noted(), func(call string) bool { return strings.HasPrefix(call, "freeze") }) {
					who += name
				}
			}
			return who
		}
		t.Run("queue "+topic, func(t *testing.T) {
			inner := memoryqueue.New()
			q := V5(V5(autopaho.ClientConfig{Queue: inner}, below), above).Queue
			p := publication(1)
			p.Topic = topic
			require.NoError(t, q.Enqueue(encoded(t, p)))
			contents := func(q queue.Queue) []byte {
				e, err := q.Peek()
				require.NoError(t, err)
				r, err := e.Reader()
				require.NoError(t, err)
				b, err := io.ReadAll(r)
				require.NoError(t, err)
				return b
			}
			want, err := io.ReadAll(encoded(t, p))
			require.NoError(t, err)
			require.Equal(t, want, contents(q))
			require.Equal(t, who == "", bytes.Contains(contents(inner), []byte(secret)))
			if who == "above" {
				require.Equal(t, who, frozenBy())
			}
		})
		t.Run("store "+topic, func(t *testing.T) {
			inner := mqtt.NewMemoryStore()
			store := V3(V3(mqtt.NewClientOptions().SetStore(inner), below), above).Store
			store.Open()
			m := v3packets.NewControlPacket(v3packets.Publish).(*v3packets.PublishPacket)
			m.TopicName, m.Qos, m.MessageID, m.Payload = topic, 1, 7, []byte(secret)
			store.Put("o.7", m)
			require.Equal(t, secret, string(store.Get("o.7").(*v3packets.PublishPacket).Payload))
			require.Equal(t, who == "", bytes.Contains(inner.Get("o.7").(*v3packets.PublishPacket).Payload, []byte(secret)))
			if who == "above" {
				require.Equal(t, who, frozenBy())
			}
		})
	}
}

// returning is an AtRest that returns p.
type returning struct{ p wire.Packet }

func (r returning) Freeze(string, wire.Version, wire.Packet, bool) (wire.Packet, error) {
	return r.p, nil
}

func (r returning) Thaw(string, wire.Version, wire.Packet, bool) (wire.Packet, error) {
	return r.p, nil
}
