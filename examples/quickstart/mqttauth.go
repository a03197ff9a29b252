package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/mqttauth/sidechannel"
	"github.com/mqttsec/mqttsec/pake"
)

// mqttAuthDemo shows mqttauth: users log in with passwords that are never sent, one of them owns topics, and tokens of
// hers decide who else publishes and reads there.
func mqttAuthDemo(ctx context.Context, s stage) error {
	d, stop, err := newAuthority(s, authbroker.NoHop)
	if err != nil {
		return err
	}
	defer stop()
	if err := d.logIn(ctx); err != nil {
		return err
	}
	home := s.base + "/#"
	owner, err := d.claim(ctx, home)
	if err != nil {
		return err
	}
	for _, v := range []version{d.server.mqtt5(), d.server.mqtt311()} {
		fmt.Fprintf(s.out, "\n%s\n", v.name)
		read, err := d.invite(ctx, v, owner)
		if err != nil {
			return err
		}
		if err := d.readWith(ctx, v, owner, read); err != nil {
			return err
		}
	}
	return d.overheard(d.tokens)
}

// The users of this demo. Alice owns the topics.
const alice, sensor, bob = "alice", "sensor", "bob"

const authorityName = "broker.example"

// authority is the stage of this demo: a broker behind an authority, and a wiretap in front of both.
type authority struct {
	out    io.Writer
	base   string
	server server
	wire   *wiretap
	owner  *mqttauth.Client
	tokens []mqttauth.Token
}

func passwordOf(user string) []byte { return []byte("correct horse of " + user) }

func newAuthority(s stage, hop authbroker.Hop) (*authority, func(), error) {
	d := &authority{out: s.out, base: s.base}
	store := authbroker.MemoryStore()
	for _, user := range []string{alice, sensor, bob} {
		v, err := pake.NewVerifier(pake.Config{}, user, authorityName, passwordOf(user))
		if err == nil {
			err = store.SetUser(user, v)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	broker, err := brokers.StartEmbedded(brokers.Config{})
	if err != nil {
		return nil, nil, err
	}
	stop := func() { _ = broker.Close() } // the program ends: nothing depends on it any more
	passed := &tap{passed: make(chan message, 64)}
	if err := broker.Server.AddHook(passed, nil); err != nil {
		stop()
		return nil, nil, err
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		stop()
		return nil, nil, err
	}
	d.wire = &wiretap{Listener: inner}
	listener, err := authbroker.NewListener(d.wire, authbroker.Config{Server: authorityName, Store: store, Hop: hop})
	if err == nil {
		err = broker.Serve(listener)
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	d.server = server{url: &url.URL{Scheme: "mqtt", Host: inner.Addr().String()}, passed: passed.passed}
	fmt.Fprintf(s.out, "broker  %s, with verifiers of %q, %q and %q and no password\n", d.server.url, alice, sensor, bob)
	return d, stop, nil
}

// user is the scheme of a user, with tokens in the wallet.
func (d *authority) user(name string, password []byte, tokens ...mqttauth.Token) (*mqttauth.Client, error) {
	return mqttauth.New(mqttauth.Config{User: name, Password: password, Server: authorityName, Wallet: mqttauth.NewWallet(tokens...)})
}

// connect logs a user in.
func (d *authority) connect(ctx context.Context, v version, name string, protection scheme) (connection, error) {
	conn, err := v.client(id(name), protection).connect(ctx)
	if err != nil {
		return nil, fmt.Errorf("%s, %s: %w", name, v.name, err)
	}
	return conn, nil
}

// logIn tries passwords.
func (d *authority) logIn(ctx context.Context) error {
	fmt.Fprintln(d.out, "\nLogging in")
	for _, v := range []version{d.server.mqtt5(), d.server.mqtt311()} {
		wrong, err := d.user(bob, []byte("12345678"))
		if err != nil {
			return err
		}
		conn, err := v.client(id(bob), wrong).connect(ctx)
		if err == nil {
			conn.close()
			return errors.New("a wrong password was let in")
		}
		if !errors.Is(err, mqttauth.ErrPassword) {
			return fmt.Errorf("a wrong password: %w", err)
		}
		fmt.Fprintf(d.out, "  %-38s refused: ErrPassword\n", "a wrong password, "+v.name)
		limited, cancel := context.WithTimeout(ctx, 5*time.Second)
		conn, err = v.client(id(bob), nil).connect(limited)
		if err == nil { // before v5 a broker half answers CONNECT first, and ends what follows that is no handshake
			err = conn.subscribe(limited, d.base+"/#")
			conn.close()
		}
		cancel()
		if err == nil {
			return errors.New("a client without a password was let in")
		}
		fmt.Fprintf(d.out, "  %-38s refused\n", "no password at all, "+v.name)
	}
	return nil
}

// claim makes alice the owner of the topics.
func (d *authority) claim(ctx context.Context, filter string) (mqttauth.OwnerToken, error) {
	var none mqttauth.OwnerToken
	client, err := d.user(alice, passwordOf(alice))
	if err != nil {
		return none, err
	}
	if _, err := d.connect(ctx, d.server.mqtt5(), alice, client); err != nil {
		return none, err
	}
	owner, err := mqttauth.NewOwnerToken(filter)
	if err != nil {
		return none, err
	}
	until, err := client.Claim(ctx, owner, time.Hour)
	if err != nil {
		return none, err
	}
	d.owner = client
	fmt.Fprintf(d.out, "  %-38s until %s\n", alice+" claims "+filter, until.Format(time.TimeOnly))
	return owner, nil
}

// invite shows that bob gets nowhere without a token, and has alice make one, which goes to him by a QR code.
func (d *authority) invite(ctx context.Context, v version, owner mqttauth.OwnerToken) (mqttauth.Token, error) {
	var none mqttauth.Token
	client, err := d.user(bob, passwordOf(bob))
	if err != nil {
		return none, err
	}
	conn, err := d.connect(ctx, v, bob, client)
	if err != nil {
		return none, err
	}
	defer conn.close()
	if err := conn.subscribe(ctx, d.base+"/kitchen/door"); err == nil {
		return none, errors.New("bob subscribed without a token")
	}
	fmt.Fprintf(d.out, "  %-38s refused\n", "bob subscribes without a token")

	token, err := owner.Issue(mqttauth.Terms{Kind: mqttauth.Auth2, Filter: d.base + "/kitchen/#", Expires: time.Now().Add(time.Hour), Once: true})
	if err != nil {
		return none, err
	}
	qr, err := sidechannel.NewQR(token)
	if err != nil {
		return none, err
	}
	fmt.Fprintf(d.out, "  alice shows bob a token to read below %s/kitchen, for one hour and one user:\n%s\n", d.base, qr.Terminal(false))
	scanned, err := sidechannel.ReadText([]byte(qr.Text()))
	d.tokens = append(d.tokens, scanned)
	return scanned, err
}

// readWith lets bob read with his token what the sensor publishes with its own, and revokes his.
func (d *authority) readWith(ctx context.Context, v version, owner mqttauth.OwnerToken, read mqttauth.Token) error {
	topic := d.base + "/kitchen/door"
	client, err := d.user(bob, passwordOf(bob), read)
	if err != nil {
		return err
	}
	reader, err := d.connect(ctx, v, bob, client)
	if err != nil {
		return err
	}
	defer reader.close()
	if err := reader.subscribe(ctx, topic); err != nil {
		return fmt.Errorf("bob with his token: %w", err)
	}
	write, err := owner.Issue(mqttauth.Terms{Kind: mqttauth.Auth1, Filter: topic, Expires: time.Now().Add(time.Hour)})
	if err != nil {
		return err
	}
	d.tokens = append(d.tokens, write)
	client, err = d.user(sensor, passwordOf(sensor), write)
	if err != nil {
		return err
	}
	writer, err := d.connect(ctx, v, sensor, client)
	if err != nil {
		return err
	}
	defer writer.close()
	if err := writer.publish(ctx, topic, []byte(opening)); err != nil {
		return err
	}
	m, err := receive(ctx, reader)
	if err != nil {
		return err
	}
	fmt.Fprintf(d.out, "  %-38s %s\n", "bob, with the token, reads", m.payload)
	if string(m.payload) != opening {
		return fmt.Errorf("the application received %q", m.payload)
	}
	if err := d.owner.Revoke(ctx, owner.Filter(), read.ID()); err != nil {
		return err
	}
	for ctx.Err() == nil {
		if reader.subscribe(ctx, topic) != nil {
			fmt.Fprintf(d.out, "  %-38s bob is cut off\n", "alice takes the token back")
			return nil
		}
	}
	return fmt.Errorf("bob reads on: %w", context.Cause(ctx))
}

// overheard looks for secrets in what went over the network.
func (d *authority) overheard(tokens []mqttauth.Token) error {
	seen := d.wire.heard()
	for _, user := range []string{alice, sensor, bob} {
		if bytes.Contains(seen, passwordOf(user)) {
			return fmt.Errorf("the password of %s went over the network", user)
		}
	}
	for _, token := range tokens {
		text, err := token.MarshalText()
		if err != nil {
			return err
		}
		if bytes.Contains(seen, text) {
			return errors.New("a token went over the network")
		}
	}
	if !bytes.Contains(seen, []byte(d.base)) {
		return errors.New("the wiretap did not hear the devices")
	}
	fmt.Fprintf(d.out, "\nOn the network: %d octets, no password and no token among them\n", len(seen))
	return nil
}

// stacked is schemes on top of each other, the one nearest to the application first.
type stacked []scheme

// Wrap wraps from below.
func (s stacked) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	for i := len(s) - 1; i >= 0; i-- {
		cfg = s[i].Wrap(cfg)
	}
	return cfg
}

// WrapV3 wraps from below.
func (s stacked) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	for i := len(s) - 1; i >= 0; i-- {
		opts = s[i].WrapV3(opts)
	}
	return opts
}
