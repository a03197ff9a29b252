package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/pake"
)

const passwords = `
upstream: {url: "%s"}
drain: 0s
listeners:
  - name: passwords
    address: "127.0.0.1:0"
    scheme: mqttauth
    mqttauth: {server: broker.example, users: users.txt, public: [{filter: "open/#", publish: true, subscribe: true}]}
`

// login is alice's client, with the right password or another.
func login(t *testing.T, password string) *mqttauth.Client {
	t.Helper()
	return loginAs(t, "alice", password)
}

func loginAs(t *testing.T, user, password string, tokens ...mqttauth.Token) *mqttauth.Client {
	t.Helper()
	c, err := mqttauth.New(mqttauth.Config{
		User: user, Password: []byte(password), Server: "broker.example", Stretch: pake.Stretch{Skip: true},
		Wallet: mqttauth.NewWallet(tokens...), Groups: []pake.Group{pake.P256, pake.Ristretto255},
	})
	require.NoError(t, err)
	return c
}

const alicesPassword = "0123456789abcdef0123456789abcdef"

// TestPasswords logs in with clients of both versions before each broker, and cuts a user off who is taken from the
// file.
func TestPasswords(t *testing.T) {
	for name, broker := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			r := s.start(upstreamURL(broker), passwords)
			server := r.url("tcp", 0)
			alice := login(t, alicesPassword)
			cm, got := v5(t, server, "five", nil, func(cfg *autopaho.ClientConfig) { *cfg = alice.Wrap(*cfg) })
			_, err := cm.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "open/#", QoS: 1}}})
			require.NoError(t, err)

			opts := mqtt.NewClientOptions().AddBroker(server).SetClientID("three").SetAutoReconnect(false)
			lost := make(chan error, 1)
			opts.SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })
			three := mqtt.NewClient(alice.WrapV3(opts))
			complete(t, three.Connect())
			complete(t, three.Publish("open/door", 1, false, "hello"))
			require.Equal(t, "hello", string(receive(t, got).Payload))

			refused, err := cm.Publish(t.Context(), &paho.Publish{Topic: "shut", QoS: 1, Payload: []byte("x")})
			require.Error(t, err)
			require.Equal(t, byte(0x87), refused.ReasonCode)

			wrong := mqtt.NewClient(login(t, "another").WrapV3(mqtt.NewClientOptions().AddBroker(server).SetClientID("thief")))
			token := wrong.Connect()
			require.True(t, token.WaitTimeout(patience))
			require.Error(t, token.Error())

			s.write("users.txt", "# nobody\n")
			cfg, err := loadConfig(r.cfg.file)
			require.NoError(t, err)
			r.reloads <- reload{cfg, nil}
			require.Error(t, receive(t, lost))
		})
	}
}

// enrol writes the users' file: names and passwords by turns.
func (s *site) enrol(of ...string) {
	var text strings.Builder
	for i := 0; i < len(of); i += 2 {
		v, err := pake.NewVerifier(pake.Config{Stretch: pake.Stretch{Skip: true}}, of[i], "broker.example", []byte(of[i+1]))
		require.NoError(s.t, err)
		verifier, err := v.MarshalText()
		require.NoError(s.t, err)
		fmt.Fprintf(&text, "%s %s\n", of[i], verifier)
	}
	s.write("users.txt", text.String())
}

// TestClaims: who may claim what stands in the file; the owner takes one token back, the administrator a claim with all
// tokens of it, and a password that is another one ends what was logged in with the old one.
func TestClaims(t *testing.T) {
	const bobsPassword = "bob's password"
	for name, broker := range upstreams(t) {
		t.Run(name, func(t *testing.T) {
			s, upstream := newSite(t), upstreamURL(broker)
			s.enrol("alice", alicesPassword, "bob", bobsPassword)
			text := strings.Replace(passwords, "users: users.txt", `users: users.txt, store: gateway.db, claims: [{user: alice, filter: "site/#"}]`, 1)
			r := s.start(upstream, text)
			server := r.url("tcp", 0)
			connect := func(c *mqttauth.Client, id string) (mqtt.Client, chan error, error) {
				lost := make(chan error, 1)
				client := mqtt.NewClient(c.WrapV3(mqtt.NewClientOptions().AddBroker(server).SetClientID(id).SetAutoReconnect(false).
					SetConnectionLostHandler(func(_ mqtt.Client, err error) { lost <- err })))
				done := client.Connect()
				require.True(t, done.WaitTimeout(patience))
				return client, lost, done.Error()
			}
			alice := login(t, alicesPassword)
			_, alicesEnd, err := connect(alice, "owner")
			require.NoError(t, err)
			claim := func(filter string) (mqttauth.OwnerToken, error) {
				owner, err := mqttauth.NewOwnerToken(filter)
				require.NoError(t, err)
				_, err = alice.Claim(t.Context(), owner, time.Hour)
				return owner, err
			}
			_, err = claim("elsewhere/#")
			require.ErrorIs(t, err, mqttauth.ErrForbidden)
			owner, err := claim("site/1/#")
			require.NoError(t, err)
			issue := func(kind mqttauth.Kind) mqttauth.Token {
				token, err := owner.Issue(mqttauth.Terms{Kind: kind, Filter: "site/1/a", Expires: time.Now().Add(time.Hour)})
				require.NoError(t, err)
				return token
			}
			write, writersEnd, err := connect(loginAs(t, "bob", bobsPassword, issue(mqttauth.Auth1)), "writer")
			require.NoError(t, err)
			read := issue(mqttauth.Auth2)
			bob, readersEnd := loginAs(t, "bob", bobsPassword, read), make(chan error, 1)
			reader, got := v5(t, server, "reader", nil, func(cfg *autopaho.ClientConfig) {
				cfg.OnConnectionDown = func() bool { readersEnd <- nil; return false }
				*cfg = bob.Wrap(*cfg)
			})
			_, err = reader.Subscribe(t.Context(), &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "site/1/a", QoS: 1}}})
			require.NoError(t, err)
			complete(t, write.Publish("site/1/a", 1, false, "hello"))
			require.Equal(t, "hello", string(receive(t, got).Payload))

			require.NoError(t, alice.Revoke(t.Context(), owner.Filter(), read.ID()))
			receive(t, readersEnd)
			complete(t, write.Publish("site/1/a", 1, false, "the other token stands"))

			s.reload(r, upstream, strings.Replace(text, `{user: alice, filter: "site/#"}`, "", 1))
			write.Publish("site/1/a", 1, false, "x")
			require.Error(t, receive(t, writersEnd))
			_, err = claim("site/1/#")
			require.ErrorIs(t, err, mqttauth.ErrForbidden)

			s.enrol("alice", "another", "bob", bobsPassword)
			s.reload(r, upstream, text)
			require.Error(t, receive(t, alicesEnd))
			_, _, err = connect(login(t, alicesPassword), "late")
			require.Error(t, err)
			again, end, err := connect(login(t, "another"), "again")
			require.NoError(t, err)
			s.reload(r, upstream, text)
			require.True(t, again.IsConnected())
			require.Empty(t, end)
			again.Disconnect(0)
		})
	}
}

// saltOf asks a listener for a user, with whatever password, and returns the salt that it answers.
func saltOf(t *testing.T, address, user string) string {
	t.Helper()
	challenge := challengeOf(t, address, user)
	at := 1 + 1 + 16 + 1 + 2 + len("broker.example") + 2 // see package mqttauth, "The protocol"
	require.Greater(t, len(challenge), at+26)
	return string(challenge[at+10 : at+26])
}

// challengeOf asks a listener for a user, with whatever password, and returns the challenge.
func challengeOf(t *testing.T, address, user string) []byte {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer conn.Close()
	heard := &recorder{Conn: conn}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	client, err := loginAs(t, user, "a guess").Conn(ctx, heard)
	require.NoError(t, err)
	defer client.Close()
	p, err := (&wire.ConnectPacket{Version: wire.V5, CleanStart: true, ClientID: []byte(rand.Text())}).Append(nil)
	require.NoError(t, err)
	_, err = client.Write(p)
	require.NoError(t, err)
	_, _ = io.Copy(io.Discard, client) // until it is refused
	p, err = wire.Read(&heard.b, 1<<16)
	require.NoError(t, err)
	m, err := wire.ParseReason(p, wire.V5)
	require.NoError(t, err)
	challenge, _ := m.Properties.Bytes(wire.AuthenticationData)
	return challenge
}

// recorder remembers what has been read.
type recorder struct {
	net.Conn
	b bytes.Buffer
}

func (r *recorder) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	r.b.Write(b[:n])
	return n, err
}

// TestDecoys: two gateways that have a secret in common say the same of a user who does not exist.
func TestDecoys(t *testing.T) {
	s := newSite(t)
	s.write("decoys.secret", strings.Repeat("secret! ", 4)+"\n")
	shared := strings.Replace(passwords, "users: users.txt", "users: users.txt, decoys: decoys.secret", 1)
	salts := make(map[string]int)
	for _, text := range []string{shared, shared, passwords} {
		r := s.start("mqtt://127.0.0.1:1", text)
		salts[saltOf(t, r.listeners[0].served.Addr().String(), "nobody")]++
	}
	require.Len(t, salts, 2, "the same with the secret, another without")
}

// TestDecoysLikeUsers: the challenge for a user who does not exist has the group and the costs of those who do, if the
// settings say so, and the log tells if they do not.
func TestDecoysLikeUsers(t *testing.T) {
	stretch := pake.Stretch{Time: 1, Memory: 1024, Threads: 2}
	s := newSite(t)
	verifier, err := pake.NewVerifier(pake.Config{Group: pake.Ristretto255, Stretch: stretch}, "alice", "broker.example", []byte(alicesPassword))
	require.NoError(t, err)
	text, err := verifier.MarshalText()
	require.NoError(t, err)
	s.write("users.txt", "alice "+string(text)+"\n")
	const like = "users: users.txt, group: ristretto255, stretch: {time: 1, memory_kib: 1024, threads: 2}"
	const warning = "show strangers who exists"
	for _, test := range []struct {
		settings string
		same     bool
	}{{"users: users.txt", false}, {like, true}} {
		r := s.start("mqtt://127.0.0.1:1", strings.Replace(passwords, "users: users.txt", test.settings, 1))
		shape := func(user string) string {
			challenge := challengeOf(t, r.listeners[0].served.Addr().String(), user)
			group := challenge[18]
			at := 1 + 1 + 16 + 1 + 2 + len("broker.example") + 2
			return fmt.Sprintf("%d %x %d", group, challenge[at:at+10], len(challenge))
		}
		require.Equal(t, test.same, shape("alice") == shape("nobody"))
		require.Equal(t, !test.same, strings.Contains(r.log.String(), warning))
	}
}
