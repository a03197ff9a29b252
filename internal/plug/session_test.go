package plug

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/session/state"
	filestore "github.com/eclipse/paho.golang/paho/store/file"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// sessionDirs are where a client's session is: what it sends, and what it receives.
type sessionDirs struct{ client, server string }

func newSessionDirs(t *testing.T) sessionDirs { return sessionDirs{t.TempDir(), t.TempDir()} }

func (d sessionDirs) open(t *testing.T) *state.State {
	client, err := filestore.New(d.client, "c", ".msg")
	require.NoError(t, err)
	server, err := filestore.New(d.server, "s", ".msg")
	require.NoError(t, err)
	return state.New(client, server)
}

// awaitEmpty waits until the session has nothing in flight.
func (d sessionDirs) awaitEmpty(t *testing.T) {
	t.Helper()
	awaitFiles(t, d.client, "*", 0)
}

// withSession returns a configuration for s with the session in d.
func withSession(t *testing.T, s *server, d sessionDirs) autopaho.ClientConfig {
	return autopaho.ClientConfig{
		ServerUrls:   []*url.URL{parse(t, "mqtt://"+s.tcp(t))},
		ClientConfig: paho.ClientConfig{Session: d.open(t)},
	}
}

// publishUnacknowledged publishes and gives up on the answer.
func publishUnacknowledged(t *testing.T, m *manager, s *server, p *paho.Publish) wire.PublishPacket {
	ctx, cancel := context.WithCancel(m.ctx)
	done := make(chan error, 1)
	go func() {
		_, err := m.Publish(ctx, p)
		done <- err
	}()
	got := await(t, s.published)
	if p.QoS == 2 {
		require.Equal(t, got.ID, await(t, s.released))
	}
	cancel()
	require.ErrorIs(t, await(t, done), context.Canceled)
	return got
}

func TestSessionAcrossRestart(t *testing.T) {
	d := newSessionDirs(t)
	s := newServer(never)
	m := newManager(t, withSession(t, s, d))
	m.await()
	first := publishUnacknowledged(t, m, s, publication(1))
	requirePublication(t, first, 1, false)
	m.stop()
	requireSecret(t, files(t, d.client, "*"), 1)

	s = newServer(always)
	s.present = true
	m = newManager(t, withSession(t, s, d))
	again := await(t, s.published)
	requirePublication(t, again, 1, true)
	require.Equal(t, first.ID, again.ID)
	d.awaitEmpty(t)
	m.stop()
	require.Empty(t, s.published)
}

// TestSessionQoS2AcrossRestart is interrupted before PUBREC, then before PUBCOMP.
func TestSessionQoS2AcrossRestart(t *testing.T) {
	d := newSessionDirs(t)
	s := newServer(never)
	s.deaf = true
	m := newManager(t, withSession(t, s, d))
	m.await()
	ctx, cancel := context.WithCancel(m.ctx)
	go func() {
		await(t, s.published)
		cancel()
	}()
	_, err := m.Publish(ctx, publication(2))
	require.ErrorIs(t, err, context.Canceled)
	m.stop()
	requireSecret(t, files(t, d.client, "*"), 1)

	s = newServer(never)
	s.present = true
	m = newManager(t, withSession(t, s, d))
	got := await(t, s.published)
	requirePublication(t, got, 2, true)
	require.Equal(t, got.ID, await(t, s.released))
	m.stop()
	for _, b := range files(t, d.client, "*") {
		require.Equal(t, wire.Pubrel, wire.Packet(b).Type())
	}

	s = newServer(always)
	s.present = true
	m = newManager(t, withSession(t, s, d))
	require.Equal(t, got.ID, await(t, s.released))
	d.awaitEmpty(t)
	m.stop()
	require.Empty(t, s.published, "a PUBLISH was sent again after its PUBREL")
}

// TestSessionReceivesQoS2 shows that nothing is stored of what is received but that it
// was.
func TestSessionReceivesQoS2(t *testing.T) {
	d := newSessionDirs(t)
	s := newServer(never)
	s.greeting = &wire.PublishPacket{QoS: 2, ID: 9, Topic: []byte("home/safe"), Payload: []byte(secret)}
	cfg := withSession(t, s, d)
	received := make(chan string, 1)
	cfg.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
		received <- string(p.Packet.Payload)
		return true, nil
	}}
	m := newManager(t, cfg)
	require.Equal(t, secret, await(t, received))
	awaitFiles(t, d.server, "s*.msg", 1)
	m.stop()
	for _, b := range files(t, d.server, "*") {
		require.Equal(t, wire.Pubrec, wire.Packet(b).Type())
		require.NotContains(t, string(b), secret)
	}
}

// TestTamperedSessionIsGivenUp has a stored message that does not open: the connection
// survives it, the messages beside it are sent, and nothing stays in flight.
func TestTamperedSessionIsGivenUp(t *testing.T) {
	for _, qos := range []byte{1, 2} {
		for name, tamper := range map[string]func([]byte) []byte{
			"flipped bit": func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
			"planted": func(b []byte) []byte {
				m, err := wire.ParsePublish(b, wire.V5)
				require.NoError(t, err)
				m.Payload = []byte("planted")
				b, err = m.Append(nil, wire.V5)
				require.NoError(t, err)
				return b
			},
			"not MQTT": func(b []byte) []byte {
				m, err := wire.ParsePublish(b, wire.V5)
				require.NoError(t, err)
				b, err = m.Append(nil, wire.V5)
				require.NoError(t, err)
				b[bytes.Index(b, []byte("home"))] = 0 // U+0000 in the topic
				return b
			},
		} {
			t.Run(fmt.Sprintf("%s QoS %d", name, qos), func(t *testing.T) {
				d := newSessionDirs(t)
				s := newServer(never)
				s.deaf = true
				m := newManager(t, withSession(t, s, d))
				m.await()
				ctx, cancel := context.WithCancel(m.ctx)
				var wg sync.WaitGroup
				for range 3 {
					wg.Go(func() { m.Publish(ctx, publication(qos)) })
				}
				victim := await(t, s.published)
				await(t, s.published)
				await(t, s.published)
				cancel()
				wg.Wait()
				m.stop()
				requireSecret(t, files(t, d.client, "*"), 3)
				name := filepath.Join(d.client, fmt.Sprintf("c%d.msg", victim.ID))
				b, err := os.ReadFile(name)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(name, tamper(b), 0o600))

				s = newServer(always)
				s.present = true
				cfg := withSession(t, s, d)
				var log testLog
				cfg.Errors = &log
				m = newManager(t, cfg)
				for range 2 {
					got := await(t, s.published)
					requirePublication(t, got, qos, true)
					require.NotEqual(t, victim.ID, got.ID)
				}
				d.awaitEmpty(t)
				m.stop()
				require.Len(t, s.connects, 1, "the client had to reconnect")
				require.Empty(t, s.published)
				log.require(t, fmt.Sprintf("stored message %d does not open", victim.ID))
			})
		}
	}
}

// testLog is a logger that remembers.
type testLog struct {
	mu    sync.Mutex
	lines []string
}

func (l *testLog) Println(v ...any) { l.add(fmt.Sprintln(v...)) }

func (l *testLog) Printf(format string, v ...any) { l.add(fmt.Sprintf(format, v...)) }

func (l *testLog) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
}

func (l *testLog) require(t *testing.T, part string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	require.True(t, slices.ContainsFunc(l.lines, func(s string) bool { return strings.Contains(s, part) }), l.lines)
}

// TestMessageOfTopicAliasIsNotStored publishes with an alias alone: the message arrives,
// the disk does not see it, and after a reconnection, where nobody knows the alias, its
// publisher learns that it is lost.
func TestMessageOfTopicAliasIsNotStored(t *testing.T) {
	d := newSessionDirs(t)
	s := newServer(never)
	m := newManager(t, withSession(t, s, d))
	m.await()
	alias := uint16(4)
	p := publication(1)
	p.Topic, p.Properties.TopicAlias = "", &alias
	failed := make(chan error, 1)
	go func() {
		_, err := m.Publish(m.ctx, p)
		failed <- err
	}()
	got := await(t, s.published)
	require.Equal(t, secret, string(got.Payload))
	for _, b := range files(t, d.client, "*") {
		require.NotContains(t, string(b), secret)
		require.NotContains(t, string(b), secretName)
	}
	await(t, s.connects)
	s.presentNow.Store(true)
	m.TerminateConnectionForTest()
	require.ErrorContains(t, await(t, failed), "error publishing")
	await(t, s.connects)
	d.awaitEmpty(t)
	m.stop()
	require.Empty(t, s.published)
}

// TestResendOnReconnect keeps the process and loses the connection; the publisher gets
// its acknowledgement over the second one.
func TestResendOnReconnect(t *testing.T) {
	d := newSessionDirs(t)
	s := newServer(never)
	s.acks = func(byte) bool { return s.presentNow.Load() }
	m := newManager(t, withSession(t, s, d))
	m.await()
	published := make(chan error, 1)
	go func() {
		_, err := m.Publish(m.ctx, publication(1))
		published <- err
	}()
	requirePublication(t, await(t, s.published), 1, false)
	requireSecret(t, files(t, d.client, "*"), 1)
	s.presentNow.Store(true)
	m.TerminateConnectionForTest()
	requirePublication(t, await(t, s.published), 1, true)
	require.NoError(t, await(t, published))
	d.awaitEmpty(t)
	m.stop()
}

// TestUnfreezableIsRefused wants an error, nothing stored or sent, no panic of paho's
// memory store, and no endless retry by autopaho's queue.
func TestUnfreezableIsRefused(t *testing.T) {
	s := newServer(always)
	for _, manager := range []*state.State{newSessionDirs(t).open(t), state.NewInMemory()} {
		cfg := withSession(t, s, newSessionDirs(t))
		cfg.Session = manager
		m := newManager(t, cfg)
		m.await()
		p := publication(1)
		p.Payload = tooLarge
		_, err := m.Publish(m.ctx, p)
		require.ErrorIs(t, err, errTest)
		require.ErrorIs(t, err, paho.ErrInvalidArguments)
		p = publication(1)
		p.Topic = "home/\x00"
		_, err = m.Publish(m.ctx, p)
		require.ErrorIs(t, err, wire.ErrMalformed)
		require.ErrorIs(t, err, paho.ErrInvalidArguments)
		_, err = m.Publish(m.ctx, publication(1))
		require.NoError(t, err)
		requirePublication(t, await(t, s.published), 1, false)
		m.stop()
	}
	require.Empty(t, s.published)
}

// plainWriter is a connection without a lock.
type plainWriter struct{ bytes.Buffer }

func TestThawerPassesOtherPackets(t *testing.T) {
	var log testLog
	sess := &frozenSession{frost: frost{scheme: newVault(), version: wire.V5}, errs: &log}
	var conn plainWriter
	w := newThawer(&conn, sess)
	rel := &packets.Pubrel{PacketID: 5}
	_, err := rel.WriteTo(w)
	require.NoError(t, err)
	_, err = (&packets.Puback{PacketID: 6}).WriteTo(w)
	require.NoError(t, err)
	var want bytes.Buffer
	rel.WriteTo(&want)
	(&packets.Puback{PacketID: 6}).WriteTo(&want)
	require.Equal(t, want.Bytes(), conn.Bytes())

	// What is no MQTT at all costs its own place and no other.
	conn.Reset()
	_, err = (&packets.Publish{QoS: 3, Topic: "home/x", PacketID: 7}).WriteTo(w)
	require.NoError(t, err)
	require.Zero(t, conn.Len())
	log.require(t, "is not MQTT")
	_, err = rel.WriteTo(w)
	require.NoError(t, err)
	require.Equal(t, want.Bytes()[:conn.Len()], conn.Bytes())
	require.NotZero(t, conn.Len())

	_, err = rel.WriteTo(newThawer(failingWriter{}, sess))
	require.ErrorIs(t, err, errTest)
}

type failingWriter struct{}

func (failingWriter) Write([]byte) (int, error) { return 0, errTest }

func TestRefusalIsOfThePacketsQoS(t *testing.T) {
	require.IsType(t, (*packets.Puback)(nil), refusal(skipped{1, 1}).Content)
	require.IsType(t, (*packets.Pubrec)(nil), refusal(skipped{1, 2}).Content)
}

func TestIdentifier(t *testing.T) {
	for want, p := range map[uint16]wire.Packet{
		0x0102: {0x32, 6, 0, 1, 'a', 1, 2, 0},
		0x0304: {0x32, 4, 0, 0, 3, 4},
	} {
		require.Equal(t, want, identifier(p))
	}
	for _, p := range []wire.Packet{nil, {0x32}, {0x32, 0}, {0x32, 1, 0}, {0x32, 3, 0, 0, 1}, {0x32, 4, 0, 9, 1, 1}, {0x32, 0xFF}} {
		require.Zero(t, identifier(p))
	}
}
