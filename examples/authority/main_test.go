package main

import (
	"bytes"
	"context"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/present"
)

// waiting bounds what only a failure makes last.
const waiting = time.Minute

// authority runs the program with a line of standard input and returns what it printed.
func authority(t *testing.T, line string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waiting)
	defer cancel()
	in := filepath.Join(t.TempDir(), "in")
	require.NoError(t, os.WriteFile(in, []byte(line), 0o600))
	f, err := os.Open(in)
	require.NoError(t, err)
	defer f.Close()
	var out bytes.Buffer
	err = run(ctx, args, f, &out, &out)
	return out.String(), err
}

// lines collects what a running program says.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text.Write(b)
	select {
	case l.more <- struct{}{}:
	default:
	}
	return len(b), nil
}

func (l *lines) await(t *testing.T, pattern string) []string {
	t.Helper()
	limit := time.After(waiting)
	for {
		l.mu.Lock()
		found := regexp.MustCompile(pattern).FindStringSubmatch(l.text.String())
		l.mu.Unlock()
		if found != nil {
			return found
		}
		select {
		case <-l.more:
		case <-limit:
			l.mu.Lock()
			defer l.mu.Unlock()
			require.FailNow(t, "not said", "%s in %s", pattern, l.text.String())
		}
	}
}

// start runs the program until the test ends, or stop is called.
func start(t *testing.T, args ...string) (said *lines, stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	said = &lines{more: make(chan struct{}, 1)}
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, args, nil, io.Discard, said) }()
	var once sync.Once
	stop = func() (err error) {
		once.Do(func() {
			cancel()
			err = <-ended
		})
		return err
	}
	t.Cleanup(func() { _ = stop() })
	return said, stop
}

func connect(t *testing.T, address, user, password string, layers ...interface {
	WrapV3(*mqtt.ClientOptions) *mqtt.ClientOptions
}) (mqtt.Client, error) {
	t.Helper()
	auth, err := mqttauth.New(mqttauth.Config{User: user, Password: []byte(password), Server: "broker.example", Timeout: waiting})
	require.NoError(t, err)
	u := url.URL{Scheme: "mqtt", Host: address}
	opts := auth.WrapV3(mqtt.NewClientOptions().AddBroker(u.String()).SetClientID(user + "-device").SetAutoReconnect(false))
	for _, l := range layers {
		opts = l.WrapV3(opts)
	}
	client := mqtt.NewClient(opts)
	t.Cleanup(func() { client.Disconnect(50) })
	token := client.Connect()
	require.True(t, token.WaitTimeout(waiting))
	return client, token.Error()
}

// TestUsersWhileItServes: users are made before and while it serves, log in, and are cut off when they are removed.
func TestUsersWhileItServes(t *testing.T) {
	store := filepath.Join(t.TempDir(), "authority.db")
	at := []string{"-server", "broker.example", "-store", store}
	_, err := authority(t, "first secret\n", append([]string{"user", "add", "alice"}, at...)...)
	require.NoError(t, err)
	said, stop := start(t, append([]string{"serve", "-listen", "127.0.0.1:0", "-public", "news/#"}, at...)...)
	address := said.await(t, `listening address=(\S+)`)[1]
	alice, err := connect(t, address, "alice", "first secret")
	require.NoError(t, err)
	token := alice.Publish("news/today", 1, false, "all well")
	require.True(t, token.WaitTimeout(waiting))
	require.NoError(t, token.Error())

	_, err = connect(t, address, "bob", "second secret")
	require.Error(t, err)
	_, err = authority(t, "second secret\n", append([]string{"user", "add", "bob"}, at...)...)
	require.NoError(t, err)
	_, err = authority(t, "x\n", append([]string{"user", "add", "bob"}, at...)...)
	require.ErrorContains(t, err, "passwd")
	bob, err := connect(t, address, "bob", "second secret")
	require.NoError(t, err)
	names, err := authority(t, "", "user", "list", "-store", store)
	require.NoError(t, err)
	require.Equal(t, "alice\nbob\n", names)
	verifiers, err := authority(t, "", "user", "list", "-verifiers", "-store", store) // from the one that serves
	require.NoError(t, err)
	require.Regexp(t, `^alice augpake-p256 \S+\nbob augpake-p256 \S+\n$`, verifiers)

	_, err = authority(t, "", "user", "remove", "bob", "-store", store)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !bob.IsConnected() }, waiting, 5*time.Millisecond)
	_, err = connect(t, address, "bob", "second secret")
	require.Error(t, err)
	_, err = authority(t, "third secret\n", append([]string{"user", "passwd", "alice"}, at...)...)
	require.NoError(t, err)
	_, err = connect(t, address, "alice", "third secret")
	require.NoError(t, err)
	require.NoError(t, stop())
	_, err = os.Stat(socketOf(store))
	require.ErrorIs(t, err, os.ErrNotExist)
	again, err := authority(t, "", "user", "list", "-verifiers", "-store", store) // from the file
	require.NoError(t, err)
	require.Regexp(t, `^alice augpake-p256 \S+\n$`, again)
}

// TestUpstreamWithHop: in front of a broker elsewhere, payloads sealed on the way to it.
func TestUpstreamWithHop(t *testing.T) {
	behind, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { behind.Close() })
	store := filepath.Join(t.TempDir(), "authority.db")
	at := []string{"-server", "broker.example", "-store", store}
	_, err = authority(t, "secret\n", append([]string{"user", "add", "alice"}, at...)...)
	require.NoError(t, err)
	upstream := strings.Replace(behind.URL(brokers.TCP).String(), "tcp:", "mqtt:", 1)
	said, stop := start(t, append([]string{"serve", "-listen", "127.0.0.1:0", "-public", "news/#", "-hop", "present", "-upstream", upstream}, at...)...)
	address := said.await(t, `listening address=(\S+)`)[1]
	login := []string{"login", "alice", "-server", "broker.example", "-broker", "mqtt://" + address, "-hop", "present"}
	out, err := authority(t, "secret\n", login...)
	require.NoError(t, err)
	require.Equal(t, "alice is logged in at broker.example\n", out)
	_, err = authority(t, "guess\n", login...)
	require.ErrorIs(t, err, mqttauth.ErrPassword)
	alice, err := connect(t, address, "alice", "secret", present.Session(present.SessionConfig{}))
	require.NoError(t, err)
	received := make(chan string, 1)
	token := alice.Subscribe("news/#", 1, func(_ mqtt.Client, m mqtt.Message) { received <- string(m.Payload()) })
	require.True(t, token.WaitTimeout(waiting))
	require.NoError(t, token.Error())
	alice.Publish("news/today", 1, false, "all well")
	select {
	case text := <-received:
		require.Equal(t, "all well", text)
	case <-time.After(waiting):
		require.FailNow(t, "nothing received")
	}
	require.NoError(t, stop())
}

// TestBesideMosquitto: a broker as it is, with its plugin for accounts.
func TestBesideMosquitto(t *testing.T) {
	plugins, err := filepath.Glob("/usr/lib/*/mosquitto_dynamic_security.so")
	require.NoError(t, err)
	ctl, err := exec.LookPath("mosquitto_ctrl")
	if (err != nil || len(plugins) == 0) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip("mosquitto's dynamic-security plugin is not installed")
	}
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "dynsec.json")
	require.NoError(t, exec.Command(ctl, "dynsec", "init", file, "admin", "administrator").Run())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), waiting)
	defer cancel()
	broker, err := brokers.StartMosquitto(ctx, brokers.Config{Mosquitto: brokers.MosquittoConfig{
		Lines: []string{"allow_anonymous false", "max_queued_messages 1000", "plugin " + plugins[0], "plugin_opt_config_file {dir}/dynsec.json"},
		Files: map[string]string{"dynsec.json": string(text)},
	}})
	require.NoError(t, err)
	t.Cleanup(func() { broker.Close() })
	store := filepath.Join(t.TempDir(), "authority.db")
	at := []string{"-server", "broker.example", "-store", store}
	_, err = authority(t, "secret\n", append([]string{"user", "add", "alice"}, at...)...)
	require.NoError(t, err)
	t.Setenv(passwordVariable, "administrator")
	for range 2 { // the second time, what the first has set up is there
		address := "mqtts://" + broker.URL(brokers.TLS).Host
		said, stop := start(t, append([]string{"serve", "-broker", address, "-cafile", filepath.Join(broker.Dir(), "ca.pem"), "-public", "news/#"}, at...)...)
		said.await(t, "msg=serving")
		_, err := authority(t, "secret\n", "login", "alice", "-server", "broker.example", "-broker", address,
			"-cafile", filepath.Join(broker.Dir(), "ca.pem"), "-beside")
		require.NoError(t, err)
		auth, err := mqttauth.New(mqttauth.Config{
			User: "alice", Password: []byte("secret"), Server: "broker.example", ClientID: "device", TwoPhase: true, AllowPlaintext: true,
			Bootstrap: mqttauth.Account{Username: "bootstrap", Password: "bootstrap"},
		})
		require.NoError(t, err)
		opts := mqtt.NewClientOptions().AddBroker("mqtt://" + broker.URL(brokers.TCP).Host).SetClientID("device").SetAutoReconnect(false)
		client := mqtt.NewClient(auth.WrapV3(opts))
		token := client.Connect()
		require.True(t, token.WaitTimeout(waiting))
		require.NoError(t, token.Error())
		_, err = authority(t, "", "user", "remove", "alice", "-store", store)
		require.NoError(t, err)
		require.Eventually(t, func() bool { return !client.IsConnected() }, waiting, 5*time.Millisecond)
		_, err = authority(t, "secret\n", append([]string{"user", "add", "alice"}, at...)...)
		require.NoError(t, err)
		require.NoError(t, stop())
	}
}

// TestMisuse: what is wrong is said, and the password is never an argument.
func TestMisuse(t *testing.T) {
	for _, args := range [][]string{
		{}, {"sing"}, {"user"}, {"user", "sing"}, {"user", "add"}, {"user", "add", "alice"}, {"user", "add", "alice", "secret"},
		{"user", "add", "alice", "-server", "x"}, {"serve"}, {"serve", "-server", "x"}, {"serve", "-server", "x", "-store", "y"},
		{"serve", "-server", "x", "-store", "y", "-listen", ":0", "-cert", "z"},
		{"serve", "-server", "x", "-store", "y", "-listen", ":0", "-hop", "rot13"},
		{"serve", "-server", "x", "-store", "y", "-listen", ":0", "-broker", "mqtt://localhost"},
		{"serve", "-server", "x", "-store", "y", "-broker", "localhost"},
		{"serve", "-server", "x", "-store", "y", "-broker", "mqtt://localhost", "-hop", "aes"},
		{"serve", "-server", "x", "-store", "y", "-broker", "mqtt://localhost", "-ticket", "1ms"},
		{"serve", "-server", "x", "-store", "y", "-listen", ":0", "-upstream", "http://localhost"},
		{"user", "add", "alice", "-server", "x", "-store", "y", "-verifiers"},
		{"login", "-server", "x", "-broker", "mqtt://h"}, {"login", "alice", "-broker", "mqtt://h"}, {"login", "alice", "-server", "x"},
		{"login", "alice", "-server", "x", "-broker", "http://h"}, {"login", "alice", "-server", "x", "-broker", "mqtt://h", "-hop", "rot13"},
		{"login", "alice", "-server", "x", "-broker", "mqtt://h", "-plaintext"},
	} {
		said, err := authority(t, "", args...)
		require.ErrorIs(t, err, errUsage, "%q", args)
		require.NotEmpty(t, said)
	}
	store := filepath.Join(t.TempDir(), "db")
	_, err := authority(t, "", "user", "add", "alice", "-server", "x", "-store", store)
	require.ErrorContains(t, err, "no password")
	_, err = authority(t, "", "user", "remove", "nobody", "-store", store)
	require.ErrorContains(t, err, `no user "nobody"`)
}
