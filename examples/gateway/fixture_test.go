package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"net/url"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/pake"
)

// patience bounds what only a failure makes last.
const patience = time.Minute

// site is a directory with certificates, keys and a configuration.
type site struct {
	t         *testing.T
	dir       string
	authority *ca.Authority
}

func newSite(t *testing.T) *site {
	t.Helper()
	authority, err := ca.New()
	require.NoError(t, err)
	s := &site{t, t.TempDir(), authority}
	s.issue("server")
	verifier, err := pake.NewVerifier(pake.Config{Stretch: pake.Stretch{Skip: true}}, "alice", "broker.example", []byte("0123456789abcdef0123456789abcdef"))
	require.NoError(t, err)
	text, err := verifier.MarshalText()
	require.NoError(t, err)
	s.write("users.txt", "# name and verifier\nalice "+string(text)+"\n")
	s.write("psk.txt", "# a comment\ndevice1:"+strings.Repeat("0123456789abcdef", 4)+"\n")
	return s
}

// issue writes name.pem and name.key.
func (s *site) issue(name string) {
	certificate, err := s.authority.Issue(ca.Subject{})
	require.NoError(s.t, err)
	certificateFile, keyFile, err := ca.WriteFiles(s.dir, name, certificate)
	require.NoError(s.t, err)
	require.NoError(s.t, os.Rename(certificateFile, filepath.Join(s.dir, name+".pem")))
	require.NoError(s.t, os.Rename(keyFile, filepath.Join(s.dir, name+".key")))
}

func (s *site) write(name, text string) string {
	file := filepath.Join(s.dir, name)
	require.NoError(s.t, os.WriteFile(file, []byte(text), 0o600))
	return file
}

// running is a gateway under test.
type running struct {
	*gateway
	reloads chan reload
	stop    func() error
	log     *lockedBuffer
}

// lockedBuffer is a log that tests read while it is written.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start runs a gateway with a configuration of this text, in which %s is the upstream.
func (s *site) start(upstream, text string) *running {
	s.t.Helper()
	return s.startLogging(slog.LevelDebug, upstream, text)
}

// startLogging is start with a log of this level.
func (s *site) startLogging(level slog.Level, upstream, text string) *running {
	s.t.Helper()
	cfg, err := loadConfig(s.write("gateway.yaml", fmt.Sprintf(text, upstream)))
	require.NoError(s.t, err)
	log := new(lockedBuffer)
	g, err := newGateway(cfg, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: level})))
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{gateway: g, reloads: make(chan reload), log: log}
	ended, ready := make(chan error, 1), make(chan struct{})
	go func() { ended <- g.run(ctx, r.reloads, func() error { close(ready); return nil }) }()
	<-ready
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-ended:
			return err
		case <-time.After(patience):
			return fmt.Errorf("the gateway does not end:\n%s", log)
		}
	})
	s.t.Cleanup(func() { require.NoError(s.t, r.stop()) })
	return r
}

// reload has a gateway read a configuration of this text, and returns when every listener has taken it.
func (s *site) reload(r *running, upstream, text string) {
	s.t.Helper()
	cfg, err := loadConfig(s.write("gateway.yaml", fmt.Sprintf(text, upstream)))
	require.NoError(s.t, err)
	taken := func() int { return strings.Count(r.log.String(), "msg=reloaded") }
	before := taken()
	r.reloads <- reload{cfg, nil}
	require.Eventually(s.t, func() bool {
		require.NotContains(s.t, r.log.String(), "not reloaded")
		return taken() == before+len(r.listeners)
	}, patience, time.Millisecond)
}

// url is where a listener can be reached.
func (r *running) url(scheme string, listener int) string {
	return scheme + "://" + r.listeners[listener].served.Addr().String()
}

// get asks the admin address.
func (r *running) get(t *testing.T, path string) (int, string) {
	t.Helper()
	answer, err := http.Get("http://" + r.admin.listener.Addr().String() + path)
	require.NoError(t, err)
	defer answer.Body.Close()
	var body bytes.Buffer
	_, err = body.ReadFrom(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, body.String()
}

// upstreams are brokers to stand in front of.
func upstreams(t *testing.T) map[string]brokers.Broker {
	t.Helper()
	embedded, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	all := map[string]brokers.Broker{embedded.Name(): embedded}
	mosquitto, err := brokers.StartMosquitto(t.Context(), brokers.Config{})
	if err == nil {
		all[mosquitto.Name()] = mosquitto
	} else if os.Getenv("MQTTSEC_CI") == "1" {
		require.NoError(t, err)
	}
	for _, b := range all {
		t.Cleanup(func() { require.NoError(t, b.Close()) })
	}
	return all
}

func upstreamURL(b brokers.Broker) string {
	u := b.URL(brokers.TCP)
	u.Scheme = "mqtt"
	return u.String()
}

// v5 connects a client of MQTT 5 that puts what it receives into the channel.
func v5(t *testing.T, server, id string, trust *tls.Config, edit func(*autopaho.ClientConfig)) (*autopaho.ConnectionManager, chan *paho.Publish) {
	t.Helper()
	u, err := url.Parse(server)
	require.NoError(t, err)
	got, failed := make(chan *paho.Publish, 100), make(chan error, 100)
	cfg := autopaho.ClientConfig{
		ServerUrls: []*url.URL{u}, TlsCfg: trust, KeepAlive: 30, ConnectTimeout: patience,
		CleanStartOnInitialConnection: true,
		OnConnectError:                func(err error) { failed <- err },
		ClientConfig: paho.ClientConfig{ClientID: id, PacketTimeout: patience, OnPublishReceived: []func(paho.PublishReceived) (bool, error){
			func(p paho.PublishReceived) (bool, error) { got <- p.Packet; return true, nil },
		}},
	}
	if edit != nil {
		edit(&cfg)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cm, err := autopaho.NewConnection(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { <-cm.Done() })
	connected := make(chan error, 1)
	go func() { connected <- cm.AwaitConnection(ctx) }()
	select {
	case err := <-connected:
		require.NoError(t, err)
	case err := <-failed:
		require.NoError(t, err)
	}
	return cm, got
}

// v3 connects a client of MQTT 3.1.1.
func v3(t *testing.T, server, id string, trust *tls.Config) mqtt.Client {
	t.Helper()
	opts := mqtt.NewClientOptions().AddBroker(server).SetClientID(id).SetProtocolVersion(4).SetTLSConfig(trust).
		SetConnectTimeout(patience).SetAutoReconnect(false)
	client := mqtt.NewClient(opts)
	complete(t, client.Connect())
	t.Cleanup(func() { client.Disconnect(0) })
	return client
}

func complete(t *testing.T, token mqtt.Token) {
	t.Helper()
	require.True(t, token.WaitTimeout(patience))
	require.NoError(t, token.Error())
}

func receive[T any](t *testing.T, from <-chan T) T {
	t.Helper()
	select {
	case v := <-from:
		return v
	case <-time.After(patience):
		t.Fatal("nothing received")
		panic("unreachable")
	}
}

// listening is a server of the test's own, which serve plays.
func listening(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				serve(conn)
			}()
		}
	}()
	return "mqtt://" + l.Addr().String()
}
