package ace

import (
	"context"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// The plugin's token begins with this, and has this key.
const (
	pluginToken = "opaque."
	pluginKey   = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
)

// mosquitto starts Eclipse Mosquitto with the plugin of testdata, which the C compiler makes first. It shares no code
// with this module: framing and AUTH are Mosquitto's, HMAC is OpenSSL's.
func mosquitto(t *testing.T) *brokers.Mosquitto {
	t.Helper()
	plugin := filepath.Join(t.TempDir(), "mosquitto_ace.so")
	build := exec.CommandContext(t.Context(), "gcc", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", plugin,
		filepath.Join("testdata", "mosquitto_ace.c"), "-lcrypto")
	if out, err := build.CombinedOutput(); err != nil {
		lacking(t, fmt.Sprintf("the plugin does not compile (libmosquitto-dev, mosquitto-dev, libssl-dev): %s", out))
	}
	return startMosquitto(t, brokers.Config{Mosquitto: brokers.MosquittoConfig{Lines: []string{
		"allow_anonymous false", "plugin " + plugin, "plugin_opt_token " + pluginToken, "plugin_opt_key " + pluginKey,
	}}})
}

// startMosquitto starts Mosquitto, if it is installed.
func startMosquitto(t *testing.T, cfg brokers.Config) *brokers.Mosquitto {
	t.Helper()
	b, err := brokers.StartMosquitto(t.Context(), cfg)
	if errors.Is(err, brokers.ErrNoMosquitto) {
		lacking(t, err.Error())
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// lacking skips a test on a machine without the programs it needs, which a machine for tests must have.
func lacking(t *testing.T, what string) {
	t.Helper()
	if os.Getenv("MQTTSEC_CI") != "" {
		t.Fatal(what)
	}
	t.Skip(what)
}

// opaque is a token that the plugin takes, with a number in it, if the key is right.
func opaque(t *testing.T, n int32, key string) ace.Token {
	t.Helper()
	secret, err := hex.DecodeString(key)
	require.NoError(t, err)
	proof, err := ace.Secret(secret)
	require.NoError(t, err)
	return ace.Token{Raw: fmt.Appendf(nil, "%s%d", pluginToken, n), Key: proof, Obtained: time.Now(), Expires: time.Now().Add(time.Hour)}
}

// config is a client's.
func config(b *brokers.Mosquitto, id string) autopaho.ClientConfig {
	return autopaho.ClientConfig{
		ServerUrls: []*url.URL{b.URL(brokers.TLS)}, TlsCfg: &tls.Config{RootCAs: b.RootCAs()}, KeepAlive: 60, ConnectTimeout: patience,
		ReconnectBackoff: func(int) time.Duration { return 10 * time.Millisecond },
		ClientConfig:     paho.ClientConfig{ClientID: id, PacketTimeout: patience},
	}
}

// start connects a client, or returns why it cannot.
func start(t *testing.T, cfg autopaho.ClientConfig) (*autopaho.ConnectionManager, error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	failed := make(chan error, 1)
	cfg.OnConnectError = func(err error) {
		select {
		case failed <- err:
		default:
		}
	}
	up := make(chan struct{}, 1)
	cfg.OnConnectionUp = func(*autopaho.ConnectionManager, *paho.Connack) {
		select {
		case up <- struct{}{}:
		default:
		}
	}
	cm, err := autopaho.NewConnection(ctx, cfg)
	require.NoError(t, err)
	select {
	case err := <-failed:
		cancel()
		<-cm.Done()
		return nil, err
	case <-up:
	case <-time.After(patience):
		t.Fatal("neither connected nor refused")
	}
	t.Cleanup(func() { _ = cm.Disconnect(ctx) })
	return cm, nil
}

// said counts the lines of the broker's log that end like this.
func said(b *brokers.Mosquitto, end string) (n int) {
	for _, line := range b.Log() {
		if strings.HasSuffix(line, end) {
			n++
		}
	}
	return n
}

// says waits until the broker's log has n such lines; it comes by a pipe.
func says(t *testing.T, b *brokers.Mosquitto, n int, end string) {
	t.Helper()
	require.Eventually(t, func() bool { return said(b, end) == n }, patience, time.Millisecond, "%q", end)
}

// TestMosquittoChallenges is the challenge of RFC 9431, 2.2.4.2.2, with a broker that somebody else has written: a
// client with the key publishes and receives, one without it, with another token, with a proof over the TLS
// connection, or with no method at all is refused.
func TestMosquittoChallenges(t *testing.T) {
	b := mosquitto(t)
	authenticator := func(token ace.Token, challenge bool) *ace.Authenticator {
		a, err := ace.New(ace.Config{Source: ace.Static(token), Challenge: challenge})
		require.NoError(t, err)
		return a
	}
	got := make(chan string, 1)
	cfg := config(b, "owner")
	cfg.OnPublishReceived = []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
		got <- string(p.Packet.Payload)
		return true, nil
	}}
	cm, err := start(t, authenticator(opaque(t, 1, pluginKey), true).Wrap(cfg))
	require.NoError(t, err)
	_, err = cm.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "t", QoS: 1}}})
	require.NoError(t, err)
	_, err = cm.Publish(t.Context(), &paho.Publish{Topic: "t", QoS: 1, Payload: []byte("hello")})
	require.NoError(t, err)
	require.Equal(t, "hello", <-got)
	says(t, b, 1, "ace: owner has the key")

	foreign := opaque(t, 1, pluginKey)
	foreign.Raw = []byte("another")
	for name, a := range map[string]*ace.Authenticator{
		"thief":    authenticator(opaque(t, 1, strings.Repeat("00", 32)), true),
		"stranger": authenticator(foreign, true),
		"exporter": authenticator(opaque(t, 1, pluginKey), false),
	} {
		_, err := start(t, a.Wrap(config(b, name)))
		var refusal *ace.NotAuthorizedError
		require.ErrorAs(t, err, &refusal, name)
		require.Zero(t, said(b, "ace: "+name+" has the key"))
	}
	_, err = start(t, config(b, "nobody"))
	require.Error(t, err)
}

// TestMosquittoReauthenticates: AUTH 0x19, the challenge and AUTH 0x00, three times on one connection that is in use.
// Mosquitto ends a connection on which another packet comes in between.
func TestMosquittoReauthenticates(t *testing.T) {
	b := mosquitto(t)
	source := &dueTokens{next: make(chan struct{}), token: func(n int32) (ace.Token, error) { return opaque(t, n, pluginKey), nil }}
	renewed := make(chan ace.Token, 1)
	a, err := ace.New(ace.Config{Source: source, Challenge: true, QuietRenewal: true, Renewed: func(token ace.Token, err error) {
		if err == nil {
			renewed <- token
		}
	}})
	require.NoError(t, err)
	cfg := config(b, "renewer")
	var leaving atomic.Bool // the broker may close before the library has
	cfg.OnClientError = func(err error) {
		if !leaving.Load() {
			t.Error(err)
		}
	}
	cm, err := start(t, a.Wrap(cfg))
	require.NoError(t, err)
	done := make(chan struct{})
	var load sync.WaitGroup
	load.Go(func() {
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			default:
			}
			if _, err := cm.Publish(t.Context(), &paho.Publish{Topic: "t", QoS: byte(n % 3)}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for n := 2; n < 5; n++ {
		source.next <- struct{}{}
		require.Equal(t, fmt.Sprint(pluginToken, n), string((<-renewed).Raw))
		says(t, b, n, "ace: renewer has the key")
	}
	close(done)
	load.Wait()
	leaving.Store(true)
}

// dueTokens is a source of tokens that are all to be renewed at once, as if four fifths of their lifetime were over,
// but for that each but the first waits until the test wants it. So renewal needs no clock.
type dueTokens struct {
	next  chan struct{}
	token func(n int32) (ace.Token, error)
	n     atomic.Int32
}

func (d *dueTokens) Token(ctx context.Context) (ace.Token, error) {
	n := d.n.Add(1)
	if n > 1 {
		select {
		case <-d.next:
		case <-ctx.Done():
			d.n.Add(-1)
			return ace.Token{}, ctx.Err()
		}
	}
	token, err := d.token(n)
	left := time.Until(token.Expires)
	token.Obtained = token.Expires.Add(-10 * left)
	return token, err
}
