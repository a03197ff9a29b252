package mqttauth

import (
	"bytes"
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/pake"
)

// step is where a link stands. It only goes up.
type step int32

const (
	beforeConnect step = iota
	awaitConnack       // CONNECT has left; before v5 nothing else has
	awaitChallenge
	awaitWelcome
	presenting // the authority has proved itself; tokens are being presented
	established
)

// link is the filter of one connection: it runs the handshake, withholds CONNACK until the authority has proved
// itself and has heard of the wallet, and carries requests from then on.
type link struct {
	client    *Client
	conn      *layer.Conn
	publishes layer.Publishes
	exchanges layer.Exchanges
	step      atomic.Int32
	session   atomic.Pointer[handshake.ClientSession]

	// Of the handshake, in Outgoing and Incoming up to CONNACK, where one follows the other.
	run       *handshake.Client
	hello     []byte
	temporary []byte // topic
	answered  bool   // CONNACK has come
	connack   wire.ConnackPacket
	welcome   handshake.Welcome
	handedOn  bool // to present

	*requests
	mu    sync.Mutex
	stop  func() bool   // of the time limit
	ended chan struct{} // the connection is over
}

func newLink(c *Client, conn net.Conn) *link {
	l := &link{client: c, ended: make(chan struct{})}
	l.publishes.In = l.judge
	l.conn = layer.New(conn, l)
	l.requests = newRequests(l.publish, l.ended)
	return l
}

func (l *link) at() step { return step(l.step.Load()) }

// Outgoing hears CONNECT and lets everything else pass.
func (l *link) Outgoing(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	p, err := l.publishes.Outgoing(c, p)
	if err != nil || p == nil || p.Type() != wire.Connect {
		return p, err
	}
	return l.connect(c, p)
}

func (l *link) connect(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	if err := l.client.checkConnect(&m); err != nil {
		return nil, c.End(err, nil)
	}
	l.temporary = []byte(l.client.temporary(string(m.ClientID)))
	if l.hello, l.run, err = l.client.start(string(m.ClientID)); err != nil {
		return nil, c.End(err, nil)
	}
	c.Hold()
	l.limit(l.client.cfg.Timeout)
	if m.Version != wire.V5 {
		l.step.Store(int32(awaitConnack))
		return p, nil
	}
	l.step.Store(int32(awaitChallenge))
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method))
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationData, l.hello)
	return m.Append(nil)
}

// checkConnect refuses a CONNECT that cannot be authenticated, or that says too much.
func (c *Client) checkConnect(m *wire.ConnectPacket) error {
	id := string(m.ClientID)
	switch {
	case !frame.ValidClientID(id), c.cfg.ClientID != "" && id != c.cfg.ClientID:
		return fmt.Errorf("%w: %.80q", ErrClientID, id)
	case m.HasPassword && subtle.ConstantTimeCompare(m.Password, c.password()) == 1:
		return ErrLeak
	}
	if _, asked := m.Properties.Bytes(wire.AuthenticationMethod); asked && m.Version == wire.V5 {
		return ErrMethod
	}
	return nil
}

// limit sets the time that the handshake may take.
func (l *link) limit(d time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stop = l.client.clock.AfterFunc(d, l.late)
}

// late ends a handshake that takes too long.
func (l *link) late() {
	at := l.at()
	if at == established {
		return
	}
	err := fmt.Errorf("%w after %v", ErrTimeout, l.client.cfg.Timeout)
	if at == awaitWelcome {
		err = fmt.Errorf("%w: no answer to the proof: %w", err, ErrPassword)
	}
	l.conn.End(err, nil)
}

// Incoming consumes what belongs to the handshake.
func (l *link) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	switch at := l.at(); {
	case at == beforeConnect:
		return nil, layer.ErrProtocol
	case at < established:
		if ours, err := l.exchanges.Incoming(c, p); err != nil {
			return nil, err
		} else if ours {
			return nil, l.proceed()
		}
	}
	p, err := l.publishes.Incoming(c, p)
	if err != nil || p == nil {
		return nil, err
	}
	switch p.Type() {
	case wire.Auth:
		return nil, l.auth(c, p)
	case wire.Connack:
		return nil, l.acknowledged(c, p)
	}
	return p, nil
}

// auth takes the challenge on v5.
func (l *link) auth(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseReason(p, c.Version())
	if err != nil {
		return err
	}
	name, _ := m.Properties.Bytes(wire.AuthenticationMethod)
	challenge, _ := m.Properties.Bytes(wire.AuthenticationData)
	if l.at() != awaitChallenge || m.Reason != wire.ContinueAuthentication || string(name) != method {
		return c.End(fmt.Errorf("%w: an AUTH packet out of place", ErrUnproved), nil)
	}
	proof, err := l.run.Challenge(challenge)
	if err != nil {
		return c.End(unproved(err), nil)
	}
	l.step.Store(int32(awaitWelcome))
	answer := wire.ReasonPacket{Type: wire.Auth, Reason: wire.ContinueAuthentication}
	answer.Properties = answer.Properties.AppendBytes(wire.AuthenticationMethod, []byte(method))
	answer.Properties = answer.Properties.AppendBytes(wire.AuthenticationData, proof)
	packet, err := answer.Append(nil, c.Version())
	if err != nil {
		return err
	}
	return c.Send(packet)
}

// unproved is what a failure of the run means for the application.
func unproved(err error) error {
	if errors.Is(err, pake.ErrStretch) || errors.Is(err, ErrServerName) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnproved, err)
}

// acknowledged takes CONNACK. A refusal passes as it is: nobody vouches for it, and it grants nothing.
func (l *link) acknowledged(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseConnack(p, c.Version())
	if err != nil {
		return err
	}
	if l.answered {
		return c.End(fmt.Errorf("%w: a second CONNACK", ErrDowngrade), nil)
	}
	l.answered = true
	data, _ := m.Properties.Bytes(wire.AuthenticationData)
	data = bytes.Clone(data)
	m.Properties = bytes.Clone(m.Properties.Without(wire.AuthenticationMethod).Without(wire.AuthenticationData))
	l.connack = m
	switch {
	case m.Code != 0 && len(data) == 0:
		return l.release()
	case c.Version() != wire.V5:
		return l.subscribe(c)
	case len(data) == 0:
		return c.End(ErrDowngrade, nil)
	}
	return l.welcomed(c, data)
}

// subscribe begins the handshake before v5. The CONNACK was the go-ahead, what it says comes with the welcome.
func (l *link) subscribe(c *layer.Conn) error {
	l.step.Store(int32(awaitChallenge))
	return l.exchanges.Subscribe(c, func(codes []byte) error {
		if len(codes) != 1 || codes[0] >= wire.V3SubscriptionFailure {
			return c.End(fmt.Errorf("%w: the broker refused the subscription to %q", ErrUnproved, l.temporary), nil)
		}
		return l.say(c, l.hello)
	}, wire.Subscription{Filter: l.temporary, Options: 1})
}

// say publishes a frame of the handshake before v5.
func (l *link) say(c *layer.Conn, b []byte) error {
	m := wire.PublishPacket{Topic: []byte(l.client.cfg.AuthenticationTopic), Payload: b}
	return l.exchanges.Publish(c, func([]byte) error { return nil }, m)
}

// publish sends a frame once the connection is established.
func (l *link) publish(b []byte) error {
	m := wire.PublishPacket{Topic: []byte(l.client.cfg.AuthenticationTopic), Payload: b}
	p, err := m.Append(nil, l.conn.Version())
	if err != nil {
		return err
	}
	return l.conn.Send(p)
}

// judge consumes what comes on the temporary topic. What is retained there, is no frame or of another session is
// dropped: on some brokers anybody can publish there.
func (l *link) judge(c *layer.Conn, m *layer.Message) (wire.Packet, error) {
	if l.temporary == nil || !bytes.Equal(m.Name, l.temporary) {
		return m.Packet()
	}
	if !m.Retain {
		if err := l.frame(c, m.Payload); err != nil {
			return nil, err
		}
	}
	return nil, &layer.Withhold{}
}

// frame takes one of the authority's frames. Those out of place are dropped.
func (l *link) frame(c *layer.Conn, b []byte) error {
	f, err := frame.Parse(b)
	if err != nil || l.run == nil || f.Session != l.run.Session() {
		return nil
	}
	at := l.at()
	switch {
	case f.Type == frame.Response:
		l.requests.response(b)
	case c.Version() == wire.V5:
	case f.Type == frame.Challenge && at == awaitChallenge:
		proof, err := l.run.Challenge(b)
		if err != nil {
			return c.End(unproved(err), nil)
		}
		l.step.Store(int32(awaitWelcome))
		return l.say(c, proof)
	case f.Type == frame.Welcome && at == awaitWelcome:
		return l.welcomed(c, b)
	}
	return nil
}

// welcomed ends the handshake: from here on the authority has proved itself, or the connection is over.
func (l *link) welcomed(c *layer.Conn, b []byte) error {
	if l.at() != awaitWelcome {
		return c.End(fmt.Errorf("%w: a welcome without a run", ErrDowngrade), nil)
	}
	session, w, err := l.run.Welcome(b)
	if err != nil {
		return c.End(unproved(err), nil)
	}
	if c.Version() == wire.V5 && (w.ReturnCode != l.connack.Code || w.SessionPresent != l.connack.SessionPresent) {
		return c.End(fmt.Errorf("%w: CONNACK is not what the authority says", ErrDowngrade), nil)
	}
	l.welcome = w
	l.connack.Code, l.connack.SessionPresent = w.ReturnCode, w.SessionPresent
	l.session.Store(session)
	l.requests.begin(session, w.Time.Sub(l.client.clock.Now()))
	l.step.Store(int32(presenting))
	return l.proceed()
}

// proceed goes on to the wallet once the authority has proved itself and no exchange of the handshake is open.
func (l *link) proceed() error {
	if l.at() != presenting || l.exchanges.Open() > 0 || l.handedOn {
		return nil
	}
	l.handedOn = true
	if l.welcome.ReturnCode != 0 && !l.wouldHelp() {
		return l.release()
	}
	go l.present()
	return nil
}

// wouldHelp tells of a client that is refused, by an authority that has proved itself, for what its tokens may well
// permit: a Will on a topic for which it has not presented any yet. Presented now, they are known when it comes again.
func (l *link) wouldHelp() bool {
	code := l.welcome.ReturnCode
	return l.client.cfg.Wallet != nil && (code == wire.NotAuthorized || code == wire.V3NotAuthorized)
}

// helpWithin is how long a client that is refused takes to present its tokens.
const helpWithin = 5 * time.Second

// present shows the wallet to the authority and then lets the application go on.
func (l *link) present() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	stop := l.whenEnded(cancel)
	defer stop()
	refused := l.welcome.ReturnCode != 0
	if refused {
		var expire context.CancelFunc
		ctx, expire = context.WithTimeout(ctx, helpWithin)
		defer expire()
	}
	err := l.client.presentWallet(ctx, l.requests, int(l.welcome.MaxTokens))
	if err == nil || refused {
		err = l.release()
	}
	if err != nil {
		l.conn.End(err, nil)
	}
}

// whenEnded calls f once the connection is over, until stop is called.
func (l *link) whenEnded(f func()) (stop func()) {
	stopped := make(chan struct{})
	go func() {
		select {
		case <-l.ended:
			f()
		case <-stopped:
		}
	}()
	return func() { close(stopped) }
}

// release lets the application go on, with its CONNACK first.
func (l *link) release() error {
	p, err := l.connack.Append(nil, l.conn.Version())
	if err != nil {
		return err
	}
	l.step.Store(int32(established))
	l.mu.Lock()
	l.stop()
	l.mu.Unlock()
	if l.session.Load() != nil && l.connack.Code == 0 {
		l.client.use(l)
	}
	return l.conn.Release(p)
}

// explain turns the end of a connection during the handshake into what it means.
func (l *link) explain(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed):
		return err
	case l.at() != awaitWelcome:
		return err
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET):
		return fmt.Errorf("%w (%w)", ErrPassword, err)
	}
	return err
}

// Closed forgets the connection.
func (l *link) Closed() {
	close(l.ended)
	l.client.forget(l)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		l.stop()
	}
	if l.at() != beforeConnect {
		l.run.Abort()
	}
}
