package mqttauth

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
)

const (
	// sayAgainAfter is how long a frame of a run waits for its answer before it is published again.
	sayAgainAfter = 2 * time.Second
	// maxOwnPacket bounds what a connection of our own receives, bytes.
	maxOwnPacket = 64 << 10

	ownKeepAlive = 60 // seconds
)

// own is a connection of ours at an unmodified broker: MQTT 3.1.1, which they all speak, a clean session, and a Client
// Identifier that nobody else has, since a run on the device's own would meet the messages that wait for it.
type own struct {
	client    *Client
	conn      net.Conn
	temporary []byte
	packets   chan wire.Packet // what comes in, until the connection ends
	ended     chan struct{}    // closed by close
	writing   sync.Mutex
	id        uint16
	welcome   handshake.Welcome
	*requests
}

// first goes through the first phase on conn. If it fails the caller closes conn.
func (c *Client) first(ctx context.Context, conn net.Conn) (*own, error) {
	if err := layer.Handshake(ctx, conn); err != nil {
		return nil, err
	}
	if err := c.checkSecure(conn); err != nil {
		return nil, err // before an account is made that could not be used
	}
	o := &own{
		client: c, conn: conn, temporary: []byte(c.temporary(c.cfg.ClientID)),
		packets: make(chan wire.Packet), ended: make(chan struct{}),
	}
	o.requests = newRequests(func(b []byte) error { return o.publish(b, 0) }, o.ended)
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	go o.read()
	if err := o.begin(ctx); err != nil {
		close(o.ended)
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = errors.Join(cause, err)
		}
		return nil, err
	}
	go o.serve()
	return o, nil
}

// read hands on what comes in.
func (o *own) read() {
	defer close(o.packets)
	for {
		p, err := wire.Read(o.conn, maxOwnPacket)
		if err != nil {
			return
		}
		select {
		case o.packets <- p:
		case <-o.ended:
			return
		}
	}
}

// serve takes responses until the connection ends.
func (o *own) serve() {
	for p := range o.packets {
		if b := o.frameIn(p); b != nil {
			o.requests.response(b)
		}
	}
}

func (o *own) close() {
	close(o.ended)
	if p, err := (&wire.ReasonPacket{Type: wire.Disconnect}).Append(nil, wire.V311); err == nil {
		o.conn.SetWriteDeadline(time.Now().Add(time.Second))
		o.write(p, nil)
	}
	o.conn.Close()
}

// begin is the first phase up to the welcome.
func (o *own) begin(ctx context.Context) error {
	if err := o.connect(ctx); err != nil {
		return err
	}
	hello, run, err := o.client.start(o.client.cfg.ClientID)
	if err != nil {
		return err
	}
	defer run.Abort()
	challenge, err := o.ask(ctx, hello, frame.Challenge)
	if err != nil {
		return err
	}
	proof, err := run.Challenge(challenge)
	if err != nil {
		return unproved(err)
	}
	b, err := o.ask(ctx, proof, frame.Welcome)
	if err != nil {
		return fmt.Errorf("%w: no answer to the proof: %w", ErrPassword, err)
	}
	session, w, err := run.Welcome(b)
	if err != nil {
		return unproved(err)
	}
	o.welcome = w
	o.requests.begin(session, w.Time.Sub(o.client.clock.Now()))
	return nil
}

// connect does CONNECT and SUBSCRIBE.
func (o *own) connect(ctx context.Context) error {
	var random [8]byte
	rand.Read(random[:]) // never fails
	account := o.client.bootstrap()
	m := wire.ConnectPacket{
		Version: wire.V311, CleanStart: true, KeepAlive: ownKeepAlive, ClientID: []byte("mqttauth-" + hex.EncodeToString(random[:])),
		HasUsername: account.Username != "", Username: []byte(account.Username),
		HasPassword: account.Password != "", Password: []byte(account.Password),
	}
	if err := o.write(m.Append(nil)); err != nil {
		return err
	}
	p, err := o.await(ctx, wire.Connack)
	if err != nil {
		return err
	}
	connack, err := wire.ParseConnack(p, wire.V311)
	if err != nil {
		return err
	}
	if connack.Code != 0 {
		return fmt.Errorf("%w: the broker refused Config.Bootstrap, the account of the first phase, with code %d", ErrNotConnected, connack.Code)
	}
	s := wire.SubscribePacket{ID: o.nextID(), Subscriptions: []wire.Subscription{{Filter: o.temporary, Options: 1}}}
	if err := o.write(s.Append(nil, wire.V311)); err != nil {
		return err
	}
	if p, err = o.await(ctx, wire.Suback); err != nil {
		return err
	}
	suback, err := wire.ParseSuback(p, wire.V311)
	if err != nil {
		return err
	}
	if suback.ID != s.ID || len(suback.Codes) != 1 || suback.Codes[0] >= wire.V3SubscriptionFailure {
		return fmt.Errorf("%w: the broker refused the subscription to %q", ErrNotConnected, o.temporary)
	}
	return nil
}

func (o *own) write(p []byte, err error) error {
	if err != nil {
		return err
	}
	o.writing.Lock()
	defer o.writing.Unlock()
	_, err = o.conn.Write(p)
	return err
}

// nextID counts packet identifiers upwards: nobody else uses any here.
func (o *own) nextID() uint16 {
	if o.id++; o.id == 0 {
		o.id = 1
	}
	return o.id
}

func (o *own) publish(b []byte, qos byte) error {
	m := wire.PublishPacket{Topic: []byte(o.client.cfg.AuthenticationTopic), Payload: b, QoS: qos}
	if qos > 0 {
		m.ID = o.nextID()
	}
	return o.write(m.Append(nil, wire.V311))
}

// await returns the next packet of a type; others are passed over.
func (o *own) await(ctx context.Context, t wire.Type) (wire.Packet, error) {
	for {
		select {
		case p, ok := <-o.packets:
			if !ok {
				return nil, fmt.Errorf("%w: the broker ended the first phase", ErrNotConnected)
			}
			if p.Type() == t {
				return p, nil
			}
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// ask publishes a frame of the run until a frame of the type t answers.
func (o *own) ask(ctx context.Context, b []byte, t frame.Type) ([]byte, error) {
	sent, err := frame.Parse(b)
	if err != nil {
		return nil, err
	}
	again := time.NewTicker(sayAgainAfter)
	defer again.Stop()
	for {
		if err := o.publish(b, 1); err != nil {
			return nil, err
		}
		answer, err := o.answer(ctx, sent.Session, t, again.C)
		if answer != nil || err != nil {
			return answer, err
		}
	}
}

// answer returns the frame that answers, or nothing once it is time to ask again.
func (o *own) answer(ctx context.Context, id frame.ID, t frame.Type, again <-chan time.Time) ([]byte, error) {
	for {
		select {
		case p, ok := <-o.packets:
			if !ok {
				return nil, fmt.Errorf("%w: the broker ended the first phase", ErrNotConnected)
			}
			b := o.frameIn(p)
			if f, err := frame.Parse(b); err == nil && f.Session == id && f.Type == t {
				return b, nil
			}
		case <-again:
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// frameIn returns the frame in a packet, acknowledged, or nil.
func (o *own) frameIn(p wire.Packet) []byte {
	if p.Type() != wire.Publish {
		return nil
	}
	m, err := wire.ParsePublish(p, wire.V311)
	if err != nil {
		return nil
	}
	if m.QoS == 1 {
		ack := wire.AckPacket{Type: wire.Puback, ID: m.ID}
		if o.write(ack.Append(nil, wire.V311)) != nil {
			return nil
		}
	}
	if m.Retain || !bytes.Equal(m.Topic, o.temporary) {
		return nil
	}
	return m.Payload
}
