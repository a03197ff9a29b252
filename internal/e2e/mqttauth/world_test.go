package mqttauth

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/brokers/ports"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/pake"
)

const serverName = "broker.test"

// quick is stretching that costs a test nothing.
var quick = pake.Stretch{Time: 1, Memory: 1024, Threads: 1}

func password(user string) []byte { return []byte("the password of " + user) }

// enrol makes users in a store.
func enrol(t testing.TB, store *authbroker.Store, users ...string) {
	t.Helper()
	for _, user := range users {
		v, err := pake.NewVerifier(pake.Config{Stretch: quick}, user, serverName, password(user))
		require.NoError(t, err)
		require.NoError(t, store.SetUser(user, v))
	}
}

// budget lets many clients of a test log in from one address.
func budget(t testing.TB) *pake.Budget {
	t.Helper()
	b, err := pake.NewBudget(pake.BudgetConfig{Free: 10_000, FreePerUser: 10_000, FreePerSource: 10_000})
	require.NoError(t, err)
	return b
}

// world is an embedded broker behind a listener of authbroker, and a wire that is listened to.
type world struct {
	broker   *brokers.Embedded
	listener *authbroker.Listener
	store    *authbroker.Store
	config   authbroker.Config
	address  string
	url      *url.URL
	tap      *tap
}

func newWorld(t testing.TB, change func(*authbroker.Config), users ...string) *world {
	t.Helper()
	store, err := authbroker.OpenStore(filepath.Join(t.TempDir(), "authority.db"))
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	if len(users) == 0 {
		users = []string{"alice", "bob", "eve"}
	}
	enrol(t, store, users...)
	w := &world{store: store, tap: new(tap)}
	w.config = authbroker.Config{Server: serverName, Store: store, Stretch: quick, Budget: budget(t)}
	if change != nil {
		change(&w.config)
	}
	w.broker, err = brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { w.broker.Close() })
	var held ports.Set // a port that is nobody else's, also while a test has nobody listen on it
	t.Cleanup(func() { require.NoError(t, held.Close()) })
	w.address, err = held.Take()
	require.NoError(t, err)
	w.listen(t)
	return w
}

// listen begins to listen, anew after the listener was closed.
func (w *world) listen(t testing.TB) {
	t.Helper()
	var inner net.Listener
	require.Eventually(t, func() (free bool) { // a process that begins holds what was closed a moment ago
		var err error
		inner, err = net.Listen("tcp", w.address)
		return err == nil
	}, patience, time.Millisecond)
	w.url = &url.URL{Scheme: "mqtt", Host: inner.Addr().String()}
	var err error
	w.listener, err = authbroker.NewListener(tapped{inner, w.tap}, w.config)
	require.NoError(t, err)
	t.Cleanup(func() { w.listener.Close() })
	require.NoError(t, w.broker.Serve(w.listener))
}

// relay puts mosquitto behind the listener, in place of the embedded broker.
func (w *world) relay(t testing.TB) {
	t.Helper()
	m := startMosquitto(t, brokers.Config{})
	require.NoError(t, w.listener.Shutdown(ctx(t)))
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.url = &url.URL{Scheme: "mqtt", Host: inner.Addr().String()}
	w.listener, err = authbroker.NewListener(tapped{inner, w.tap}, w.config)
	require.NoError(t, err)
	var copying sync.WaitGroup
	t.Cleanup(func() {
		_ = w.listener.Shutdown(context.Background())
		copying.Wait()
	})
	copying.Go(func() {
		for {
			client, err := w.listener.Accept()
			if err != nil {
				return
			}
			broker, err := net.Dial("tcp", m.URL(brokers.TCP).Host)
			if err != nil {
				client.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{client, broker}, {broker, client}} {
				copying.Go(func() {
					_, _ = io.Copy(way[0], way[1])
					_, _ = client.Close(), broker.Close()
				})
			}
		}
	})
}

// startMosquitto starts mosquitto until the test ends. A machine without it skips the test.
func startMosquitto(t testing.TB, cfg brokers.Config) *brokers.Mosquitto {
	t.Helper()
	m, err := brokers.StartMosquitto(ctx(t), cfg)
	if errors.Is(err, brokers.ErrNoMosquitto) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { m.Close() })
	return m
}

// client returns the MQTT-Auth client of a user, with the tokens in its wallet.
func (w *world) client(t testing.TB, user string, tokens ...mqttauth.Token) *mqttauth.Client {
	t.Helper()
	return newClient(t, mqttauth.Config{User: user, Password: password(user), Wallet: mqttauth.NewWallet(tokens...)})
}

func newClient(t testing.TB, cfg mqttauth.Config) *mqttauth.Client {
	t.Helper()
	cfg.Server, cfg.Stretch, cfg.Timeout = serverName, quick, cmp.Or(cfg.Timeout, patience)
	if cfg.Refused == nil {
		cfg.Refused = func(token mqttauth.Token, err error) { t.Logf("%v refused: %v", token, err) }
	}
	c, err := mqttauth.New(cfg)
	require.NoError(t, err)
	return c
}

// connect connects a user, who must be let in.
func (w *world) connect(t testing.TB, lib library, user string, s settings, tokens ...mqttauth.Token) (peer, *mqttauth.Client) {
	t.Helper()
	c := w.client(t, user, tokens...)
	p, err := lib(t, c, w.url, s)
	require.NoError(t, err)
	return p, c
}

// owned has a user claim a filter, and returns her token and a function that issues tokens.
func (w *world) owned(t testing.TB, lib library, user, filter string) (owner mqttauth.OwnerToken, c *mqttauth.Client) {
	t.Helper()
	_, c = w.connect(t, lib, user, settings{})
	owner, err := mqttauth.NewOwnerToken(filter)
	require.NoError(t, err)
	_, err = c.Claim(ctx(t), owner, time.Hour)
	require.NoError(t, err)
	return owner, c
}

func issue(t testing.TB, owner mqttauth.OwnerToken, kind mqttauth.Kind, filter string, life time.Duration) mqttauth.Token {
	t.Helper()
	token, err := owner.Issue(mqttauth.Terms{Kind: kind, Filter: filter, Expires: time.Now().Add(life)})
	require.NoError(t, err)
	return token
}

func ctx(t testing.TB) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return c
}

// longer is ctx for a program that has to be built.
func longer(t testing.TB) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(context.Background(), 5*patience)
	t.Cleanup(cancel)
	return c
}

// without are the names of a list that are not in another.
func without(names, others []string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool { return slices.Contains(others, name) })
}

// tap keeps what goes over a wire, both directions.
type tap struct {
	mu   sync.Mutex
	seen bytes.Buffer
}

func (w *tap) write(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen.Write(b)
}

func (w *tap) recording() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.seen.Bytes())
}

type tapped struct {
	net.Listener
	tap *tap
}

func (l tapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tappedConn{c.(*net.TCPConn), l.tap}, nil
}

type tappedConn struct {
	*net.TCPConn
	tap *tap
}

func (c *tappedConn) Read(b []byte) (int, error) {
	n, err := c.TCPConn.Read(b)
	c.tap.write(b[:n])
	return n, err
}

func (c *tappedConn) Write(b []byte) (int, error) {
	c.tap.write(b)
	return c.TCPConn.Write(b)
}

func (c *tappedConn) ReadAfterTimeout() bool { return true }
