package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"time"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

// pskDemo shows tlspsk: a broker that knows two devices by a name and a key, without certificates and passwords, and
// somebody on the network between.
func pskDemo(ctx context.Context, s stage) error {
	d, stop, err := newKeyed()
	if err != nil {
		return err
	}
	defer stop()
	fmt.Fprintf(s.out, "broker  %s, with a key for each of %q and %q\n", d.server.url, deviceA, deviceB)
	topic := s.base + "/kitchen/door"
	for _, versions := range [][2]tlspsk.Version{{tlspsk.TLS13, tlspsk.TLS13}, {tlspsk.TLS12, tlspsk.TLS12}} {
		if err := d.deliver(ctx, s.out, topic, versions); err != nil {
			return err
		}
	}
	return d.refuse(ctx, s.out)
}

const deviceA, deviceB = "device-a", "device-b"

// keyed is the stage of this demo.
type keyed struct {
	server server
	keys   map[string][]byte
	wire   *wiretap

	mu    sync.Mutex
	users []string // as the broker sees them
}

// newKeyed starts a broker behind a listener with keys, and a wiretap in front of it.
func newKeyed() (*keyed, func(), error) {
	d := &keyed{keys: map[string][]byte{deviceA: newPSK(), deviceB: newPSK()}}
	broker, err := brokers.StartEmbedded(brokers.Config{})
	if err != nil {
		return nil, nil, err
	}
	stop := func() { _ = broker.Close() } // the program ends: nothing depends on it any more
	if err := broker.Server.AddHook(&census{demo: d}, nil); err != nil {
		stop()
		return nil, nil, err
	}
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		stop()
		return nil, nil, err
	}
	d.wire = &wiretap{Listener: inner}
	listener, err := tlspsk.NewListener(d.wire, &tlspsk.Config{Keys: func(identity string) []byte { return d.keys[identity] }})
	if err == nil {
		err = broker.Serve(listener)
	}
	if err != nil {
		stop()
		return nil, nil, err
	}
	d.server = server{url: &url.URL{Scheme: "mqtts", Host: inner.Addr().String()}}
	return d, stop, nil
}

func newPSK() []byte {
	key := make([]byte, 32)
	rand.Read(key)
	return key
}

// deliver lets one device send to the other, of another version of MQTT, and looks at what went over the wire.
func (d *keyed) deliver(ctx context.Context, out io.Writer, topic string, versions [2]tlspsk.Version) error {
	var schemes [2]scheme
	for i, name := range []string{deviceA, deviceB} {
		psk, err := tlspsk.New(tlspsk.Config{Identity: name, Key: d.keys[name], MaxVersion: versions[i]})
		if err != nil {
			return err
		}
		schemes[i] = psk
	}
	d.wire.forget()
	fmt.Fprintf(out, "\nMQTT 5 to MQTT 3.1.1, %v\n", versions[0])
	received, err := exchange(ctx, d.server.v5(id("a"), schemes[0]), d.server.v3(id("b"), schemes[1]), topic, opening)
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "  application   %s\n", received)
	if received != opening {
		return fmt.Errorf("the application received %q", received)
	}
	seen := d.wire.heard()
	for what, text := range map[string]string{"payload": opening, "topic": topic, "key": string(d.keys[deviceA])} {
		if bytes.Contains(seen, []byte(text)) {
			return fmt.Errorf("the %s went over the network in the clear", what)
		}
	}
	if !bytes.Contains(seen, []byte(deviceA)) {
		return errors.New("the wiretap did not hear the devices")
	}
	fmt.Fprintf(out, "  eavesdropper  %d octets, with the devices' names and nothing else in the clear\n", len(seen))
	d.mu.Lock()
	defer d.mu.Unlock()
	fmt.Fprintf(out, "  broker        users %q\n", d.users)
	if len(d.users) != 2 {
		return fmt.Errorf("the broker knows the users %q", d.users)
	}
	d.users = nil
	return nil
}

// refuse tries to connect in ways that must fail.
func (d *keyed) refuse(ctx context.Context, out io.Writer) error {
	fmt.Fprintln(out, "\nSomebody else tries")
	for _, attempt := range []struct {
		what     string
		identity string
		key      []byte
	}{
		{"a device's name without its key", deviceA, newPSK()},
		{"a name that nobody has", "device-c", newPSK()},
		{"another device's key", deviceA, d.keys[deviceB]},
	} {
		psk, err := tlspsk.New(tlspsk.Config{Identity: attempt.identity, Key: attempt.key})
		if err != nil {
			return err
		}
		conn, err := d.server.v5(id("x"), psk).connect(ctx)
		if err == nil {
			conn.close()
			return fmt.Errorf("%s: the broker let it in", attempt.what)
		}
		var alert tlspsk.AlertError
		if !errors.As(err, &alert) {
			return fmt.Errorf("%s: %w", attempt.what, err)
		}
		fmt.Fprintf(out, "  %-33s refused: %s\n", attempt.what, alert.Name())
	}
	plain := d.server
	plain.url = &url.URL{Scheme: "tcp", Host: d.server.url.Host}
	limited, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	conn, err := plain.v3(id("x"), nil).connect(limited)
	if err == nil {
		conn.close()
		return errors.New("the broker let in a client without TLS")
	}
	fmt.Fprintf(out, "  %-33s refused\n", "a client without TLS")

	_, err = tlspsk.New(tlspsk.Config{Identity: deviceA, Key: []byte("correct horse battery staple")})
	if !errors.Is(err, tlspsk.ErrWeakKey) {
		return fmt.Errorf("a password in place of a key: %v", err)
	}
	fmt.Fprintf(out, "  %-33s refused before anything is sent: ErrWeakKey\n", "a password in place of a key")
	return nil
}

// census notes who connects, by the name that the handshake has proved.
type census struct {
	mochi.HookBase
	demo *keyed
}

func (*census) ID() string { return "census" }

func (*census) Provides(event byte) bool { return event == mochi.OnConnect }

func (c *census) OnConnect(client *mochi.Client, _ packets.Packet) error {
	if conn, ok := client.Net.Conn.(*tlspsk.Conn); ok {
		c.demo.mu.Lock()
		defer c.demo.mu.Unlock()
		c.demo.users = append(c.demo.users, conn.ConnectionState().Identity)
	}
	return nil
}

// wiretap is a listener that keeps what all its connections receive and send.
type wiretap struct {
	net.Listener
	mu  sync.Mutex
	all []byte
}

// Accept waits for a connection.
func (w *wiretap) Accept() (net.Conn, error) {
	conn, err := w.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &tapped{conn, w}, nil
}

func (w *wiretap) keep(b []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, b...)
}

func (w *wiretap) heard() []byte {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Clone(w.all)
}

func (w *wiretap) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = nil
}

type tapped struct {
	net.Conn
	wire *wiretap
}

func (c *tapped) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.wire.keep(b[:n])
	return n, err
}

func (c *tapped) Write(b []byte) (int, error) {
	c.wire.keep(b)
	return c.Conn.Write(b)
}
