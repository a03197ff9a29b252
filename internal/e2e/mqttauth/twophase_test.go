package mqttauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

const (
	admin, adminPassword         = "admin", "administrator"
	bootstrap, bootstrapPassword = "bootstrap", "known to everybody"
)

// beside is mosquitto with its dynamic-security plugin, and an authority beside it.
type beside struct {
	mosquitto *brokers.Mosquitto
	store     *authbroker.Store
	path      string
	config    authbroker.AuthorityConfig
	control   *authbroker.Mosquitto
	authority *authbroker.Authority
	stop      func() error
	log       *synced
	wiretap   *url.URL // in front of mosquitto, if there is one
}

// synced is a log that goroutines write.
type synced struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *synced) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

// dynsec returns a configuration of the plugin with an administrator, and where the plugin is.
func dynsec(t testing.TB) (file, plugin string) {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/*/mosquitto_dynamic_security.so")
	require.NoError(t, err)
	control, err := exec.LookPath("mosquitto_ctrl")
	if (err != nil || len(found) == 0) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip("mosquitto's dynamic-security plugin is not installed")
	}
	require.NoError(t, err)
	require.NotEmpty(t, found)
	path := filepath.Join(t.TempDir(), "dynsec.json")
	said, err := exec.Command(control, "dynsec", "init", path, admin, adminPassword).CombinedOutput()
	require.NoError(t, err, string(said))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text), found[0]
}

func newBeside(t testing.TB, change func(*authbroker.AuthorityConfig)) *beside {
	t.Helper()
	file, plugin := dynsec(t)
	b := &beside{log: new(synced), path: filepath.Join(t.TempDir(), "authority.db")}
	b.mosquitto = startMosquitto(t, brokers.Config{Mosquitto: brokers.MosquittoConfig{
		// Without a bound on what is queued, 2.0.11 drops a client that may not publish.
		Lines: []string{"allow_anonymous false", "max_queued_messages 1000", "plugin " + plugin, "plugin_opt_config_file {dir}/dynsec.json"},
		Files: map[string]string{"dynsec.json": file},
	}})
	var err error
	b.store, err = authbroker.OpenStore(b.path)
	require.NoError(t, err)
	t.Cleanup(func() { b.store.Close() })
	enrol(t, b.store, "alice", "bob", "eve")
	b.control, err = authbroker.NewMosquitto(ctx(t), b.client(admin, adminPassword))
	require.NoError(t, err)
	t.Cleanup(func() { b.control.Close() })
	setup := authbroker.MosquittoSetup{Bootstrap: bootstrap, BootstrapPassword: bootstrapPassword, Authority: "authority", AuthorityPassword: "the authority's"}
	require.NoError(t, b.control.Setup(ctx(t), setup))
	require.NoError(t, b.control.Setup(ctx(t), setup), "again")
	b.config = authbroker.AuthorityConfig{
		Server: serverName, Store: b.store, Stretch: quick, Budget: budget(t), Client: b.client("authority", "the authority's"), Provisioner: b.control,
		Logger: slog.New(slog.NewTextHandler(b.log, nil)),
	}
	if change != nil {
		change(&b.config)
	}
	b.run(t)
	return b
}

// client is how an account connects, over TLS.
func (b *beside) client(username, password string) autopaho.ClientConfig {
	return autopaho.ClientConfig{
		ServerUrls: []*url.URL{{Scheme: "mqtts", Host: b.mosquitto.URL(brokers.TLS).Host}}, TlsCfg: b.tls(),
		ConnectUsername: username, ConnectPassword: []byte(password), ConnectTimeout: patience,
		ReconnectBackoff: func(int) time.Duration { return 20 * time.Millisecond },
	}
}

func (b *beside) tls() *tls.Config { return &tls.Config{RootCAs: b.mosquitto.RootCAs()} }

// run starts the authority.
func (b *beside) run(t testing.TB) {
	t.Helper()
	var err error
	b.authority, err = authbroker.NewAuthority(b.config)
	require.NoError(t, err)
	life, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.authority.Run(life) }()
	var once sync.Once
	b.stop = func() (err error) {
		once.Do(func() { cancel(); err = <-ended })
		return err
	}
	stop := b.stop
	t.Cleanup(func() { _ = stop() })
	require.NoError(t, b.authority.AwaitReady(ctx(t)))
}

// user returns the client of a user, whose tickets go over TCP without TLS.
func (b *beside) user(t testing.TB, user, clientID string, tokens ...mqttauth.Token) *mqttauth.Client {
	t.Helper()
	return newClient(t, mqttauth.Config{
		User: user, Password: password(user), ClientID: clientID, Wallet: mqttauth.NewWallet(tokens...),
		TwoPhase: true, AllowPlaintext: true, Bootstrap: mqttauth.Account{Username: bootstrap, Password: bootstrapPassword},
	})
}

func (b *beside) url() *url.URL {
	if b.wiretap != nil {
		return b.wiretap
	}
	return &url.URL{Scheme: "mqtt", Host: b.mosquitto.URL(brokers.TCP).Host}
}

func (b *beside) connect(t testing.TB, lib library, user string, s settings, tokens ...mqttauth.Token) (peer, *mqttauth.Client) {
	t.Helper()
	p, c, err := b.try(t, lib, user, s, tokens...)
	require.NoError(t, err)
	return p, c
}

// try connects a user who may be too late, because tickets do not live long.
func (b *beside) try(t testing.TB, lib library, user string, s settings, tokens ...mqttauth.Token) (peer, *mqttauth.Client, error) {
	t.Helper()
	if s.clientID == "" {
		s.clientID = uniqueID()
	}
	c := b.user(t, user, s.clientID, tokens...)
	p, err := lib(t, c, b.url(), s)
	return p, c, err
}

func (b *beside) owned(t testing.TB, lib library, user, filter string) (mqttauth.OwnerToken, *mqttauth.Client) {
	t.Helper()
	p, c := b.connect(t, lib, user, settings{})
	p.close()
	return claimed(t, c, filter), c
}

// claimed has a user who has been connected claim a filter.
func claimed(t testing.TB, c *mqttauth.Client, filter string) mqttauth.OwnerToken {
	t.Helper()
	owner, err := mqttauth.NewOwnerToken(filter)
	require.NoError(t, err)
	_, err = c.Claim(ctx(t), owner, time.Hour)
	require.NoError(t, err)
	return owner
}

// accounts returns the accounts at mosquitto.
func (b *beside) accounts(t testing.TB) []string {
	t.Helper()
	names, err := b.control.Accounts(ctx(t))
	require.NoError(t, err)
	return names
}

// TestTwoPhases: beside an unmodified mosquitto, tokens decide, and it is mosquitto that refuses.
func TestTwoPhases(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) { twoPhases(t, lib, newBeside(t, nil)) })
}

// TestTwoPhasesBehindTheGateway: devices reach mosquitto, and the authority beside it, through a gateway that asks for
// nothing.
func TestTwoPhasesBehindTheGateway(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		b := newBeside(t, nil)
		gateway, err := brokers.StartGateway(longer(t), b.mosquitto.URL(brokers.TCP))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, gateway.Close()) })
		b.wiretap = &url.URL{Scheme: "mqtt", Host: gateway.URL(brokers.TCP).Host}
		twoPhases(t, lib, b)
	})
}

func twoPhases(t *testing.T, lib library, b *beside) {
	owner, _ := b.owned(t, lib, "alice", "plant/#")
	reader, _ := b.connect(t, lib, "bob", settings{}, issue(t, owner, mqttauth.Auth2, "plant/1/#", time.Hour))
	require.NoError(t, reader.subscribe("plant/1/#"))
	require.Error(t, reader.subscribe("plant/#"), "mosquitto refuses")
	writer, _ := b.connect(t, lib, "eve", settings{}, issue(t, owner, mqttauth.Auth1, "plant/1/#", time.Hour))
	require.NoError(t, writer.publish("plant/1/t", 1, "21"))
	receives(t, reader, "plant/1/t 21")
	require.Error(t, writer.subscribe("plant/1/#"))
	_ = writer.publish("plant/2/t", 1, "refused, or dropped on 3.1.1")
	require.NoError(t, writer.publish("plant/1/t", 1, "22"))
	receives(t, reader, "plant/1/t 22")
	_, err := lib(t, newClient(t, mqttauth.Config{
		User: "bob", Password: []byte("a guess"), ClientID: "thief", TwoPhase: true, AllowPlaintext: true,
		Bootstrap: mqttauth.Account{Username: bootstrap, Password: bootstrapPassword}, Timeout: time.Second,
	}), b.url(), settings{clientID: "thief"})
	require.Error(t, err)
}

// TestReconnectsUseTheTicket: no PAKE but the first.
func TestReconnectsUseTheTicket(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		b := newBeside(t, func(c *authbroker.AuthorityConfig) {
			c.Public = []authbroker.Rule{{Filter: "news/#", Publish: true, Subscribe: true}}
		})
		p, _ := b.connect(t, lib, "bob", settings{reconnect: true})
		for i := range 3 {
			require.NoError(t, b.mosquitto.Stop())
			require.NoError(t, b.mosquitto.Start(ctx(t)))
			loses(t, p)
			require.Eventually(t, func() bool { return p.ups() == i+2 }, patience, 5*time.Millisecond)
		}
		require.NoError(t, p.subscribe("news/1"))
		require.EqualValues(t, 1, b.authority.Counters().Welcomed)
		require.EqualValues(t, 1, b.authority.Counters().Tickets)
	})
}

// TestTicketExpires: the account goes when a token ends for which it was made, and the connection with it.
func TestTicketExpires(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		b := newBeside(t, nil)
		owner, _ := b.owned(t, lib, "alice", "plant/#")
		before := b.accounts(t)
		inTime(t, func(life time.Duration) bool {
			id, earlier := uniqueID(), b.accounts(t) // some may be of shorter lives
			c := b.user(t, "bob", id, issue(t, owner, mqttauth.Auth2, "plant/1", life))
			reader, err := lib(t, c, b.url(), settings{clientID: id})
			if err != nil || reader.subscribe("plant/1") != nil || len(without(b.accounts(t), earlier)) == 0 {
				return false // it has ended already
			}
			loses(t, reader)
			return true
		})
		require.Eventually(t, func() bool { return slices.Equal(before, b.accounts(t)) }, patience, 5*time.Millisecond)
	})
}

// TestTicketIsRenewed: a device that stays gets a new account before its old one is removed, and keeps what it has
// subscribed to, which mosquitto takes from a session whose account goes under a connection.
func TestTicketIsRenewed(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		inTime(t, func(life time.Duration) bool {
			life *= 2 // what is left of shorter ones is not worth another
			b := newBeside(t, func(cfg *authbroker.AuthorityConfig) { cfg.Ticket = life })
			p, alice, err := b.try(t, lib, "alice", settings{})
			if err != nil {
				return false
			}
			p.close()
			owner := claimed(t, alice, "plant/#")
			reader, _, err := b.try(t, lib, "bob", settings{persistent: true, reconnect: true}, issue(t, owner, mqttauth.Auth2, "plant/1", time.Hour))
			if err != nil || reader.subscribe("plant/1") != nil {
				return false
			}
			loses(t, reader)
			require.Eventually(t, func() bool { return reader.ups() > 1 }, patience, 5*time.Millisecond)
			writer, _, err := b.try(t, lib, "eve", settings{}, issue(t, owner, mqttauth.Auth1, "plant/1", time.Hour))
			if err != nil || writer.publish("plant/1", 1, "still here") != nil {
				return false
			}
			select {
			case got := <-reader.received():
				require.Equal(t, "plant/1 still here", got)
				return true
			case <-time.After(life):
				return false // it was not back in time
			}
		})
	})
}

// TestRevocationCutsOff: what the owner takes back ends at the broker before she has her answer.
func TestRevocationCutsOff(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		b := newBeside(t, nil)
		owner, alice := b.owned(t, lib, "alice", "plant/#")
		token := issue(t, owner, mqttauth.Auth2, "plant/1", time.Hour)
		reader, _ := b.connect(t, lib, "bob", settings{}, token)
		require.NoError(t, reader.subscribe("plant/1"))
		other, _ := b.connect(t, lib, "eve", settings{}, issue(t, owner, mqttauth.Auth2, "plant/2", time.Hour))
		require.NoError(t, alice.Revoke(ctx(t), "plant/#", token.ID()))
		loses(t, reader)
		require.NoError(t, other.subscribe("plant/2"))
		require.Empty(t, other.lost())
		_, err := b.authority.Revoke(ctx(t), authbroker.Revocation{User: "eve"})
		require.NoError(t, err)
		loses(t, other)
	})
}

// TestStrangeAccountsAreRemoved: an authority that starts removes accounts that a crashed one has left, with a store
// or without.
func TestStrangeAccountsAreRemoved(t *testing.T) {
	t.Parallel()
	clock := layertest.NewClock(time.Now())
	b := newBeside(t, func(c *authbroker.AuthorityConfig) { c.Clock = clock })
	_, _ = b.connect(t, connectV5, "bob", settings{})
	require.NotEmpty(t, b.accounts(t))
	require.NoError(t, b.stop())
	stranger := authbroker.Account{Username: authbroker.AccountPrefix + "left", Password: "p", ClientID: "x", Subscribe: []string{"#"}}
	require.NoError(t, b.control.Provision(ctx(t), stranger))
	require.NoError(t, b.control.Provision(ctx(t), stranger), "again")
	clock.Advance(48 * time.Hour) // beyond the ticket's life
	b.run(t)
	require.Empty(t, b.accounts(t))
}

// tool runs a client of mosquitto's own.
func tool(t testing.TB, b *beside, name string, account authbroker.Account, args ...string) (string, error) {
	t.Helper()
	u := b.url()
	args = append([]string{"-h", u.Hostname(), "-p", u.Port(), "-u", account.Username, "-P", account.Password, "-i", account.ClientID, "-V", "mqttv5"}, args...)
	said, err := exec.CommandContext(ctx(t), name, args...).CombinedOutput()
	return string(said), err
}

// TestMosquittoEnforces: with mosquitto's own clients, an account can do what it is for and nothing else.
func TestMosquittoEnforces(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("mosquitto_pub"); err != nil && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	b := newBeside(t, nil)
	account := authbroker.Account{
		Username: authbroker.AccountPrefix + strings.ToLower(rand.Text()), Password: rand.Text(), ClientID: uniqueID(),
		Publish: []string{"plant/1"}, Subscribe: []string{"plant/+/t"},
	}
	require.NoError(t, b.stop(), "an authority would remove what is not its own")
	require.NoError(t, b.control.Provision(ctx(t), account))
	said, err := tool(t, b, "mosquitto_pub", account, "-t", "plant/1", "-q", "1", "-m", "x")
	require.NoError(t, err, said)
	for _, topic := range []string{"plant/2", "mqttauth/auth", "$CONTROL/dynamic-security/v1"} {
		said, _ = tool(t, b, "mosquitto_pub", account, "-t", topic, "-q", "1", "-m", "x", "-d")
		require.Contains(t, strings.ToLower(said), "not authorized", topic)
	}
	said, err = tool(t, b, "mosquitto_sub", account, "-t", "plant/1/t", "-E")
	require.NoError(t, err, said)
	for _, filter := range []string{"#", "plant/#", "plant/1", "$SYS/#", "mqttauth/#", "$share/g/plant/#"} {
		said, _ = tool(t, b, "mosquitto_sub", account, "-t", filter, "-E", "-d")
		require.Regexp(t, `(?i)not authorized|denied|Subscribed \(mid: 1\): 1(28|35)`, said, filter)
	}
	other := account
	other.ClientID = uniqueID()
	_, err = tool(t, b, "mosquitto_pub", other, "-t", "plant/1", "-q", "1", "-m", "x")
	require.Error(t, err, "the account of another Client Identifier")
	bootstrapped := authbroker.Account{Username: bootstrap, Password: bootstrapPassword, ClientID: uniqueID()}
	said, _ = tool(t, b, "mosquitto_pub", bootstrapped, "-t", "plant/1", "-q", "1", "-m", "x", "-d")
	require.Contains(t, strings.ToLower(said), "not authorized")
	said, err = tool(t, b, "mosquitto_sub", bootstrapped, "-t", "mqttauth/c/"+account.ClientID, "-E")
	require.NoError(t, err, said)
	for _, filter := range []string{"mqttauth/c/+", "mqttauth/c/#", "mqttauth/+/+", "+/c/+", "$share/g/mqttauth/c/+"} {
		said, _ = tool(t, b, "mosquitto_sub", bootstrapped, "-t", filter, "-E", "-d")
		require.Regexp(t, `(?i)not authorized|denied|Subscribed \(mid: 1\): 1(28|35)`, said, filter)
	}
	require.NoError(t, b.control.Remove(ctx(t), account.Username))
	require.NoError(t, b.control.Remove(ctx(t), account.Username), "again")
	_, err = tool(t, b, "mosquitto_pub", account, "-t", "plant/1", "-q", "1", "-m", "x")
	require.Error(t, err)
	var exit *exec.ExitError
	require.True(t, errors.As(err, &exit))
}

// TestNothingSecretInTwoPhases: between devices and mosquitto, without TLS, a listener learns no password of a user and
// nothing of a token; the account that he does learn is for one hour and one Client Identifier.
func TestNothingSecretInTwoPhases(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		b := newBeside(t, nil)
		heard := b.listenIn(t)
		owner, _ := b.owned(t, lib, "alice", "plant/#")
		token := issue(t, owner, mqttauth.Auth1, "plant/1", time.Hour)
		p, _ := b.connect(t, lib, "bob", settings{}, token)
		require.NoError(t, p.publish("plant/1", 1, "x"))
		seen := string(heard.recording())
		require.Contains(t, seen, "plant/1")
		require.NotContains(t, seen, string(password("alice")))
		require.NotContains(t, seen, string(password("bob")))
		secret, err := token.MarshalBinary()
		require.NoError(t, err)
		require.NotContains(t, seen, string(secret[len(secret)-32:]))
	})
}

// listenIn puts a wiretap between devices and mosquitto.
func (b *beside) listenIn(t testing.TB) *tap {
	t.Helper()
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	heard, behind := new(tap), b.url().Host
	b.wiretap = &url.URL{Scheme: "mqtt", Host: inner.Addr().String()}
	var copying sync.WaitGroup
	t.Cleanup(func() { inner.Close(); copying.Wait() })
	copying.Go(func() {
		for {
			device, err := tapped{inner, heard}.Accept()
			if err != nil {
				return
			}
			broker, err := net.Dial("tcp", behind)
			if err != nil {
				device.Close()
				continue
			}
			for _, way := range [][2]net.Conn{{device, broker}, {broker, device}} {
				copying.Go(func() {
					_, _ = io.Copy(struct{ io.Writer }{way[0]}, struct{ io.Reader }{way[1]}) // not past Read and Write
					_, _ = device.Close(), broker.Close()
				})
			}
		}
	})
	return heard
}

// TestStrangersBeside: frames that anybody can publish come to nothing: replayed ones, ones in another's name, noise.
func TestStrangersBeside(t *testing.T) {
	t.Parallel()
	b := newBeside(t, nil)
	heard := b.listenIn(t)
	owner, alice := b.owned(t, connectV3, "alice", "plant/#")
	seen := heard.recording()
	eve := authbroker.Account{Username: bootstrap, Password: bootstrapPassword, ClientID: "eve"}
	send := func(payload []byte) {
		file := filepath.Join(t.TempDir(), "frame")
		require.NoError(t, os.WriteFile(file, payload, 0o600))
		said, err := tool(t, b, "mosquitto_pub", eve, "-t", "mqttauth/auth", "-q", "1", "-f", file)
		require.NoError(t, err, said)
	}
	before := b.authority.Counters()
	send(requestIn(t, seen)) // alice's own, again
	send([]byte("noise"))
	send(bytes.Repeat([]byte{1}, 5000))
	claims, err := b.store.Claims()
	require.NoError(t, err)
	require.Len(t, claims, 1)
	require.NoError(t, alice.Release(ctx(t), owner.Filter()), "and she goes on")
	require.Equal(t, before.Tickets+1, b.authority.Counters().Tickets, "hers alone")
}

// TestKilledBroker: mosquitto dies, comes back, and knows the accounts; the authority goes on.
func TestKilledBroker(t *testing.T) {
	t.Parallel()
	b := newBeside(t, nil)
	owner, alice := b.owned(t, connectV5, "alice", "plant/#")
	token := issue(t, owner, mqttauth.Auth2, "plant/1", time.Hour)
	reader, _ := b.connect(t, connectV5, "bob", settings{reconnect: true}, token)
	require.NoError(t, reader.subscribe("plant/1"))
	require.NoError(t, b.mosquitto.Kill())
	loses(t, reader)
	require.NoError(t, b.mosquitto.Start(ctx(t)))
	require.Eventually(t, func() bool { return reader.ups() == 2 }, patience, 5*time.Millisecond)
	require.NoError(t, reader.subscribe("plant/1"))
	require.EqualValues(t, 3, b.authority.Counters().Welcomed, "alice twice, bob once: his ticket is good")
	require.NoError(t, alice.Revoke(ctx(t), "plant/#", token.ID()))
	loses(t, reader)
}
