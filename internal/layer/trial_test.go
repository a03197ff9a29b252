package layer_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"net"
	"sync"
	"sync/atomic"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// The throw-away schemes that the tests put under both Eclipse clients and in front of a broker. They authenticate with
// a key that both sides know, in every way in which the schemes to come will.

var (
	errProof   = errors.New("trial: wrong proof")
	errExpired = errors.New("trial: expired")
)

const (
	method = "trial"
	label  = "EXPORTER-mqttsec-trial"
)

func proof(key, input []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(input)
	return m.Sum(nil)
}

func auth(reason byte, data []byte) wire.Packet {
	m := wire.ReasonPacket{Type: wire.Auth, Reason: reason}
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method)).AppendBytes(wire.AuthenticationData, data)
	p, err := m.Append(nil, wire.V5)
	if err != nil {
		panic(err)
	}
	return p
}

func dataOf(p wire.Packet) (reason byte, data []byte) {
	m, _ := wire.ParseReason(p, wire.V5)
	data, _ = m.Properties.Bytes(wire.AuthenticationData)
	return m.Reason, data
}

// exported is the proof over the TLS connection below conn.
func exported(key []byte, conn net.Conn) []byte {
	k, _ := layer.Exporter(conn)
	if k == nil {
		return nil
	}
	b, err := k.ExportKeyingMaterial(label, []byte{}, 32)
	if err != nil {
		return nil
	}
	return proof(key, b)
}

// prover is a client's scheme: a proof in CONNECT after TLS, and on v5 an answer to each challenge.
type prover struct {
	key   []byte
	conns chan *proverFilter
}

func newProver(key string) *prover {
	return &prover{key: []byte(key), conns: make(chan *proverFilter, 100)}
}

func (s *prover) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if err := layer.Handshake(ctx, conn); err != nil {
		return nil, err
	}
	f := &proverFilter{key: s.key, proof: exported(s.key, conn)}
	f.conn = layer.New(conn, f)
	s.conns <- f
	return f.conn, nil
}

type proverFilter struct {
	key, proof []byte
	conn       *layer.Conn
	renewed    atomic.Int64
}

func (f *proverFilter) Outgoing(_ *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if p.Type() != wire.Connect {
		return p, nil
	}
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	if m.Version == wire.V5 {
		m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method)).AppendBytes(wire.AuthenticationData, f.proof)
	} else {
		m.HasUsername, m.Username, m.HasPassword, m.Password = true, []byte(method), true, f.proof
	}
	return m.Append(nil)
}

func (f *proverFilter) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if p.Type() != wire.Auth {
		return p, nil
	}
	reason, data := dataOf(p)
	if reason == wire.Success {
		f.renewed.Add(1)
		return nil, nil
	}
	return nil, c.Send(auth(wire.ContinueAuthentication, proof(f.key, data)))
}

func (f *proverFilter) Closed() {}

// renew authenticates again, on whatever goroutine it is called.
func (f *proverFilter) renew() error { return f.conn.Send(auth(wire.ReAuthenticate, []byte("again"))) }

// guardian is the broker's half.
type guardian struct {
	key   []byte
	mu    sync.Mutex
	conns []*layer.Conn
}

func (g *guardian) filter(_ context.Context, conn net.Conn) (layer.Filter, error) {
	return &guardFilter{g: g, proof: exported(g.key, conn)}, nil
}

type guardFilter struct {
	g         *guardian
	proof     []byte
	connect   wire.Packet // withheld
	challenge []byte
}

func (f *guardFilter) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	switch p.Type() {
	case wire.Connect:
		return f.connected(c, p)
	case wire.Auth:
		return nil, f.answered(c, p)
	}
	if f.connect != nil {
		return nil, c.End(errProof, nil)
	}
	return p, nil
}

func (f *guardFilter) connected(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	f.g.mu.Lock()
	f.g.conns = append(f.g.conns, c)
	f.g.mu.Unlock()
	shown := m.Password
	if m.Version == wire.V5 {
		shown, _ = m.Properties.Bytes(wire.AuthenticationData)
		m.Properties = m.Properties.Without(wire.AuthenticationMethod).Without(wire.AuthenticationData)
	}
	if len(f.proof) == 0 || !hmac.Equal(shown, f.proof) {
		return nil, c.End(errProof, f.refusal(m.Version))
	}
	m.HasUsername, m.HasPassword = false, false
	p, err = m.Append(nil)
	if err != nil || m.Version != wire.V5 {
		return p, err
	}
	f.connect, f.challenge = p, bytes.Repeat([]byte{1}, 65_000)
	return nil, c.Send(auth(wire.ContinueAuthentication, f.challenge))
}

func (f *guardFilter) refusal(v wire.Version) wire.Packet {
	m := wire.ConnackPacket{Code: wire.V3NotAuthorized}
	if v == wire.V5 {
		m.Code = wire.NotAuthorized
	}
	p, err := m.Append(nil, v)
	if err != nil {
		panic(err)
	}
	return p
}

func (f *guardFilter) answered(c *layer.Conn, p wire.Packet) error {
	reason, data := dataOf(p)
	if reason == wire.ReAuthenticate {
		return c.Send(auth(wire.ContinueAuthentication, f.challenge))
	}
	if !hmac.Equal(data, proof(f.g.key, f.challenge)) {
		return c.End(errProof, layer.Goodbye(c, wire.NotAuthorized))
	}
	if f.connect == nil {
		return c.Send(auth(wire.Success, nil))
	}
	connect := f.connect
	f.connect = nil
	return c.Release(connect)
}

func (f *guardFilter) Outgoing(_ *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if p.Type() != wire.Connack {
		return p, nil
	}
	m, err := wire.ParseConnack(p, wire.V5)
	if err != nil {
		return p, nil // v3.1.1
	}
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method))
	return m.Append(nil, wire.V5)
}

func (f *guardFilter) Closed() {}

// end ends all connections as a timer at the expiry of their tokens does.
func (g *guardian) end(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.conns {
		_ = c.End(err, layer.Goodbye(c, wire.NotAuthorized))
	}
}

// visitor is a client's scheme for a broker as it is: between CONNECT and CONNACK it subscribes to a topic of its own,
// publishes a greeting, and waits for the answer of an authority, which is another client.
type visitor struct {
	key   []byte
	conns chan *visitorFilter
}

const greetings, answers = "trial/hello", "trial/answer/"

func (s *visitor) Conn(_ context.Context, conn net.Conn) (net.Conn, error) {
	f := &visitorFilter{key: s.key}
	f.publishes.In = f.answered
	f.conn = layer.New(conn, f)
	s.conns <- f
	return f.conn, nil
}

type visitorFilter struct {
	key       []byte
	conn      *layer.Conn
	publishes layer.Publishes
	exchanges layer.Exchanges
	connack   wire.Packet // withheld
	welcome   bool
	own       atomic.Int64 // packets of ours that the client must not see
}

func (f *visitorFilter) Outgoing(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if p.Type() == wire.Connect {
		c.Hold()
	}
	return f.publishes.Outgoing(c, p)
}

func (f *visitorFilter) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if ours, err := f.exchanges.Incoming(c, p); ours || err != nil {
		f.own.Add(1)
		return nil, errors.Join(err, f.finish(c))
	}
	if p.Type() == wire.Connack {
		f.connack = bytes.Clone(p)
		filter := []byte(answers + c.ClientID())
		return nil, f.exchanges.Subscribe(c, f.greet, wire.Subscription{Filter: filter, Options: 1})
	}
	p, err := f.publishes.Incoming(c, p)
	if err != nil {
		return nil, err
	}
	return p, f.finish(c)
}

func (f *visitorFilter) greet(codes []byte) error {
	if len(codes) != 1 || codes[0] > 2 {
		return errProof
	}
	published := func([]byte) error { return nil }
	return f.exchanges.Publish(f.conn, published, wire.PublishPacket{Topic: []byte(greetings), Payload: []byte(f.conn.ClientID())})
}

func (f *visitorFilter) answered(c *layer.Conn, m *layer.Message) (wire.Packet, error) {
	if string(m.Name) != answers+c.ClientID() {
		return m.Packet()
	}
	f.own.Add(1)
	if !hmac.Equal(m.Payload, proof(f.key, []byte(c.ClientID()))) {
		return nil, c.End(errProof, nil)
	}
	f.welcome = true
	return nil, &layer.Withhold{} // acknowledged
}

// finish lets the client have CONNACK once everything of ours is over.
func (f *visitorFilter) finish(c *layer.Conn) error {
	if !f.welcome || f.connack == nil || f.exchanges.Open() > 0 {
		return nil
	}
	connack := f.connack
	f.connack = nil
	return c.Release(connack)
}

func (f *visitorFilter) Closed() {}
