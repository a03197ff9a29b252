package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/brokers/ports"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth"
)

// Three gateways as processes of their own before one mosquitto, the first with the store of MQTT-Auth and the others
// with shared: users, claims, tokens, revocations, guesses and Client Identifiers are those of all; without the first
// nobody logs in, and with it again everything goes on.

// programs is the directory of what built has built, if it has.
var programs string

// built is this program.
var built = sync.OnceValues(func() (program string, err error) {
	if programs, err = os.MkdirTemp("", "gateway"); err != nil {
		return "", err
	}
	program = filepath.Join(programs, "gateway")
	said, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, said)
	}
	return program, err
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(programs)
	os.Exit(code)
}

// child is a gateway in a process of its own.
type child struct {
	t       *testing.T
	file    string
	log     *lockedBuffer
	command *exec.Cmd
	ended   chan error
}

func startChild(t *testing.T, file string) *child {
	t.Helper()
	c := &child{t: t, file: file}
	c.start()
	t.Cleanup(c.kill)
	return c
}

func (c *child) start() {
	c.t.Helper()
	program, err := built()
	require.NoError(c.t, err)
	c.log, c.ended = new(lockedBuffer), make(chan error, 1)
	c.command = exec.Command(program, "-v", "-config", c.file)
	c.command.Stdout, c.command.Stderr = c.log, c.log
	require.NoError(c.t, c.command.Start())
	go func(command *exec.Cmd, ended chan error) { ended <- command.Wait() }(c.command, c.ended)
	c.address("listening")
	c.address("admin")
}

// kill ends it as a power cut does.
func (c *child) kill() {
	if c.command != nil {
		_ = c.command.Process.Kill()
		<-c.ended
		c.command = nil
	}
}

// address is the one that the log has of what.
func (c *child) address(what string) (address string) {
	c.t.Helper()
	line := regexp.MustCompile(`msg=` + what + `\b.* address=(\S+)`)
	require.Eventually(c.t, func() bool {
		m := line.FindStringSubmatch(c.log.String())
		if m != nil {
			address = m[1]
		}
		return m != nil
	}, patience, 5*time.Millisecond, "%s", c.log)
	return address
}

// ready awaits what /readyz says.
func (c *child) ready(status int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool {
		answer, err := http.Get("http://" + c.address("admin") + "/readyz")
		if err != nil {
			return false
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		return errors.Join(answer.Body.Close()) == nil && answer.StatusCode == status
	}, patience, 20*time.Millisecond, "%s", c.log)
}

func (c *child) metric(name string) string {
	c.t.Helper()
	answer, err := http.Get("http://" + c.address("admin") + "/metrics")
	require.NoError(c.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(c.t, err)
	m := regexp.MustCompile(`(?m)^` + name + `\{.*\} (\S+)$`).FindSubmatch(text)
	require.NotNil(c.t, m, name)
	return string(m[1])
}

// unavailable has clients hear that they are to come later.
func (c *child) unavailable() {
	c.t.Helper()
	require.Equal(c.t, wire.V3ServerUnavailable, connack(c.t, c.address("listening"), wire.V311))
	require.Equal(c.t, wire.ServerUnavailable, connack(c.t, c.address("listening"), wire.V5))
}

// fleet are gateways with one store, which is the first one's, before one broker.
type fleet struct {
	*site
	upstream, store string // the broker, and the address at which the first one serves the store
	gateways        []*child
}

const (
	sharing = `
upstream: {url: %q}
drain: 0s
admin: {address: "127.0.0.1:0"}
listeners:
  - name: passwords
    address: "127.0.0.1:0"
    scheme: mqttauth
    mqttauth:
      server: broker.example
      public: [{filter: "open/#", publish: true, subscribe: true}]
`
	having = `      users: users.txt
      store: gateway.db
      share: {address: %q, certificate: server.pem, key: server.key, client_ca: ca.pem}
`
	using = `      shared: {url: "https://%s", ca: ca.pem, certificate: peer.pem, key: peer.key, grace: %s}
`
)

func newFleet(t *testing.T, grace string) *fleet {
	t.Helper()
	f := prepareFleet(t)
	f.gateways = []*child{f.having()}
	for range 2 {
		f.gateways = append(f.gateways, f.using(grace))
	}
	return f
}

// having starts the gateway that has the store, and using one of the others.
func (f *fleet) having() *child {
	f.t.Helper()
	return startChild(f.t, f.write("first.yaml", fmt.Sprintf(sharing+having, f.upstream, f.store)))
}

func (f *fleet) using(grace string) *child {
	f.t.Helper()
	return startChild(f.t, f.write("other.yaml", fmt.Sprintf(sharing+using, f.upstream, f.store, grace)))
}

// prepareFleet starts the broker alone.
func prepareFleet(t *testing.T) *fleet {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("there is no SIGHUP")
	}
	broker, err := brokers.StartMosquitto(t.Context(), brokers.Config{})
	if errors.Is(err, brokers.ErrNoMosquitto) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	f := &fleet{site: newSite(t), upstream: upstreamURL(broker)}
	f.enrol("alice", alicesPassword, "bob", "bob's password")
	f.credentials()
	var held ports.Set
	f.store, err = held.Take()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, held.Close()) })
	return f
}

// credentials writes what gateways show each other, and whom they trust.
func (s *site) credentials() {
	s.write("ca.pem", string(s.authority.PEM()))
	s.issuePeer()
}

// issuePeer writes what a gateway shows the one with the store.
func (s *site) issuePeer() {
	certificate, err := s.authority.Issue(ca.Subject{Name: "gateway", Client: true})
	require.NoError(s.t, err)
	certificateFile, keyFile, err := ca.WriteFiles(s.dir, "peer", certificate)
	require.NoError(s.t, err)
	require.NoError(s.t, os.Rename(certificateFile, filepath.Join(s.dir, "peer.pem")))
	require.NoError(s.t, os.Rename(keyFile, filepath.Join(s.dir, "peer.key")))
}

func (f *fleet) url(gateway int) string { return "tcp://" + f.gateways[gateway].address("listening") }

// connectV3 logs in with the client for MQTT 3.1.1.
func (f *fleet) connectV3(gateway int, as *mqttauth.Client, id string) (client mqtt.Client, lost chan error, err error) {
	lost = make(chan error, 1)
	client = mqtt.NewClient(as.WrapV3(mqtt.NewClientOptions().AddBroker(f.url(gateway)).SetClientID(id).SetAutoReconnect(false).
		SetConnectTimeout(patience).SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })))
	done := client.Connect()
	require.True(f.t, done.WaitTimeout(patience))
	f.t.Cleanup(func() { client.Disconnect(0) })
	return client, lost, done.Error()
}

// connectV5 logs in with the client for MQTT 5, which does not come back when its connection ends.
func (f *fleet) connectV5(gateway int, as *mqttauth.Client, id string) (cm *autopaho.ConnectionManager, got chan *paho.Publish, lost chan error) {
	lost = make(chan error, 1)
	cm, got = v5(f.t, f.url(gateway), id, nil, func(cfg *autopaho.ClientConfig) {
		cfg.OnConnectionDown = func() bool { lost <- nil; return false }
		*cfg = as.Wrap(*cfg)
	})
	return cm, got, lost
}

// TestSharedStore: what one gateway knows the others know.
func TestSharedStore(t *testing.T) {
	f := newFleet(t, "30s")
	// Alice claims at one gateway; tokens that she issues are good at the others, with both clients.
	alice := login(t, alicesPassword)
	_, _, err := f.connectV3(1, alice, "owner")
	require.NoError(t, err)
	owner, err := mqttauth.NewOwnerToken("site/1/#")
	require.NoError(t, err)
	_, err = alice.Claim(t.Context(), owner, time.Hour)
	require.NoError(t, err)
	issue := func(kind mqttauth.Kind) mqttauth.Token {
		token, err := owner.Issue(mqttauth.Terms{Kind: kind, Filter: "site/1/a", Expires: time.Now().Add(time.Hour)})
		require.NoError(t, err)
		return token
	}
	write, read := issue(mqttauth.Auth1), issue(mqttauth.Auth2)
	writer, writersEnd, err := f.connectV3(0, loginAs(t, "bob", "bob's password", write), "writer")
	require.NoError(t, err)
	reader, got, readersEnd := f.connectV5(2, loginAs(t, "bob", "bob's password", read), "reader")
	_, err = reader.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "site/1/a", QoS: 1}}})
	require.NoError(t, err)
	complete(t, writer.Publish("site/1/a", 1, false, "hello"))
	require.Equal(t, "hello", string(receive(t, got).Payload))

	// What was granted at one gateway is so at another, without the token: the same user with the same identifier.
	again, _, err := f.connectV3(1, loginAs(t, "bob", "bob's password"), "writer")
	require.NoError(t, err)
	complete(t, again.Publish("site/1/a", 1, false, "from elsewhere"))
	require.Equal(t, "from elsewhere", string(receive(t, got).Payload))
	require.Error(t, receive(t, writersEnd), "the broker has one connection of a client")

	// Another user does not get the Client Identifier, at any gateway.
	for gateway := range f.gateways {
		_, _, err = f.connectV3(gateway, login(t, alicesPassword), "writer")
		require.Error(t, err)
	}
	require.True(t, again.IsConnected())

	// She revokes one token where she is, and its connection ends where that is.
	require.NoError(t, alice.Revoke(t.Context(), owner.Filter(), read.ID()))
	receive(t, readersEnd)

	// A user who is taken from the first gateway's file is gone everywhere, and one who is put there is known.
	kept, _, keptsEnd := f.connectV5(2, alice, "kept")
	_, bobsEnd, err := f.connectV3(2, loginAs(t, "bob", "bob's password"), "bob")
	require.NoError(t, err)
	f.enrol("alice", alicesPassword, "carol", "carol's password")
	require.NoError(t, f.gateways[0].command.Process.Signal(syscall.SIGHUP))
	require.Error(t, receive(t, bobsEnd))
	_, _, err = f.connectV3(1, loginAs(t, "bob", "bob's password"), "bob")
	require.Error(t, err)
	_, _, err = f.connectV3(1, loginAs(t, "carol", "carol's password"), "carol")
	require.NoError(t, err)
	_, err = kept.Publish(t.Context(), &paho.Publish{Topic: "open/a", QoS: 1, Payload: []byte("x")})
	require.NoError(t, err)
	require.Empty(t, keptsEnd)
	for _, g := range f.gateways {
		require.Equal(t, "1", g.metric("mqttsec_mqttauth_store_available"))
	}
}

// TestSharedGuesses: who guesses at all gateways has no more guesses than at one.
func TestSharedGuesses(t *testing.T) {
	f := newFleet(t, "30s")
	const rounds = 3 // 9 guesses, of which 5 are free
	for range rounds {
		for gateway := range f.gateways {
			_, _, err := f.connectV3(gateway, loginAs(t, "alice", "a guess"), "guesser")
			require.Error(t, err)
		}
	}
	held := 0
	for _, g := range f.gateways {
		n := 0
		_, err := fmt.Sscan(g.metric("mqttsec_mqttauth_backed_off_total"), &n)
		require.NoError(t, err)
		held += n
	}
	require.Positive(t, held, "none of them alone has seen more than are free")
}

// TestStoreAway kills the gateway that has the store and starts it again. The others refuse meanwhile, end what is
// connected after the grace, and go on by themselves.
func TestStoreAway(t *testing.T) {
	f := newFleet(t, "1s")
	first, second := f.gateways[0], f.gateways[1]
	_, lost, err := f.connectV3(1, login(t, alicesPassword), "three")
	require.NoError(t, err)
	_, _, lost5 := f.connectV5(1, login(t, alicesPassword), "five")
	first.kill()
	second.ready(http.StatusServiceUnavailable)
	require.Equal(t, "0", second.metric("mqttsec_mqttauth_store_available"))
	require.NotEqual(t, "0", second.metric("mqttsec_mqttauth_store_failed_total"))
	require.Error(t, receive(t, lost))
	receive(t, lost5)
	second.unavailable()
	_, _, err = f.connectV3(1, login(t, alicesPassword), "three")
	require.Error(t, err)

	first.start()
	for _, g := range f.gateways {
		g.ready(http.StatusOK)
	}
	_, _, err = f.connectV3(1, login(t, alicesPassword), "three")
	require.NoError(t, err)
	f.connectV5(2, login(t, alicesPassword), "five")
}

// TestStoreComesLater starts a gateway before the one with the store. It refuses, and says so, until that one is there.
func TestStoreComesLater(t *testing.T) {
	f := prepareFleet(t)
	early := f.using("30s")
	f.gateways = []*child{early}
	early.ready(http.StatusServiceUnavailable)
	early.unavailable()
	require.Equal(t, "0", early.metric("mqttsec_mqttauth_store_available"))
	said := regexp.MustCompile(`level=ERROR msg="the store is not available.*connection refused`)
	require.Eventually(t, func() bool { return said.MatchString(early.log.String()) }, patience, time.Millisecond)

	f.gateways = append(f.gateways, f.having())
	early.ready(http.StatusOK)
	_, _, err := f.connectV3(0, login(t, alicesPassword), "three")
	require.NoError(t, err)
	f.connectV5(0, login(t, alicesPassword), "five")
	_, _, err = f.connectV3(0, loginAs(t, "alice", "a guess"), "guesser")
	require.Error(t, err)
	_, _, err = f.connectV3(0, loginAs(t, "nobody", "a guess"), "nobody")
	require.Error(t, err)
}
