package authbroker

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/pake"
)

// Errors that end a connection before its CONNECT is let through.
var (
	// ErrRefused: the client may not connect.
	ErrRefused = errors.New("authbroker: connection refused")
	// ErrProtocol: a packet that the handshake does not have at this place.
	ErrProtocol = errors.New("authbroker: packet out of place")
)

const unspecified = wire.UnspecifiedError

// connection is the filter of one connection. Until its CONNECT is let through, Incoming and Outgoing never run at the
// same time.
type connection struct {
	l        *Listener
	settings *settings // as they were when it began
	remote   net.Addr
	source   string

	packet    wire.Packet // CONNECT, until it is let through
	version   wire.Version
	clientID  string
	temporary string
	hello     *frame.ID // of the run
	answered  bool      // before v5: CONNACK has been sent
	run       *handshake.Session
	lingering bool          // refused, and may still present tokens
	mark      string        // what Store.end had noted of the user when CONNECT was let through
	expiry    time.Duration // of the MQTT session, for ever if negative

	names []string // of live

	refreshing sync.Mutex // one at a time
	held       []grant    // what the session's grant is made of
	mu         sync.Mutex
	conn       *layer.Conn
	session    *guard.Session // nil until CONNECT is let through
	closed     bool
	next       time.Time   // when grants are to be looked at anew; never if zero
	stop       func() bool // the timer for that
}

// Incoming implements layer.Filter.
func (f *connection) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if session := f.current(); session != nil {
		if p.Type() == wire.Auth || p.Type() == wire.Connect {
			return nil, c.End(ErrProtocol, layer.Goodbye(c, wire.ProtocolError))
		}
		return session.Incoming(p)
	}
	switch {
	case f.lingering:
		return nil, f.linger(c, p)
	case p.Type() == wire.Connect && f.packet == nil:
		return nil, f.connect(c, bytes.Clone(p))
	case p.Type() == wire.Auth && f.packet != nil && f.version == wire.V5:
		return nil, f.auth(c, p)
	case p.Type() == wire.Subscribe && f.packet != nil && f.version != wire.V5 && f.hello == nil:
		return nil, f.subscribe(c, p)
	case p.Type() == wire.Publish && f.packet != nil && f.version != wire.V5:
		return nil, f.publish(c, p)
	}
	return nil, c.End(ErrProtocol, nil)
}

// Outgoing implements layer.Filter.
func (f *connection) Outgoing(_ *layer.Conn, p wire.Packet) (wire.Packet, error) {
	session := f.current()
	if session == nil {
		return nil, ErrProtocol
	}
	p, err := session.Outgoing(p)
	if err != nil || p == nil || p.Type() != wire.Connack {
		return p, err
	}
	m, err := wire.ParseConnack(p, f.version)
	if err != nil {
		return nil, err
	}
	return f.welcome(&m)
}

// Closed implements layer.Filter.
func (f *connection) Closed() {
	f.mu.Lock()
	f.closed = true
	session, conn := f.session, f.conn
	f.arm(time.Time{})
	f.mu.Unlock()
	if session == nil {
		return
	}
	f.l.live.remove(conn, f, f.run.User)
	session.Closed()
}

// current returns the session, whose grants are those of this moment, or nil before there is one.
func (f *connection) current() *guard.Session {
	f.mu.Lock()
	session, next := f.session, f.next
	f.mu.Unlock()
	if session != nil && !next.IsZero() && !f.l.clock.Now().Before(next) {
		f.refresh()
	}
	return session
}

// refuse ends the connection. The client learns the Reason Code, the log why.
func (f *connection) refuse(c *layer.Conn, reason byte, why error) error {
	f.logRefusal(why)
	return c.End(fmt.Errorf("%w: %w", ErrRefused, why), f.refusal(reason))
}

// refusal tells a client that it is refused: by CONNACK, or by the welcome where it has had one. Where it has had a
// CONNACK and is not known, there is no word for it.
func (f *connection) refusal(reason byte) wire.Packet {
	m := wire.ConnackPacket{Code: reason}
	if f.version != wire.V5 {
		m.Code = guard.ReturnCode(reason)
	}
	var p wire.Packet
	switch {
	case f.run != nil:
		p, _ = f.welcome(&m)
	case !f.answered:
		p, _ = m.Append(nil, f.version)
	}
	return p
}

// silence ends the connection without a word, as every failure of a run does: a wrong password, a user who does not
// exist and a frame of somebody else look the same.
func (f *connection) silence(c *layer.Conn, why error) error {
	f.logRefusal(why)
	return c.End(fmt.Errorf("%w: %w", ErrRefused, why), nil)
}

func (f *connection) logRefusal(why error) {
	f.l.logger.Warn("connect refused", "client", shown(f.clientID), "peer", f.remote.String(), "version", f.version, "reason", shown(why.Error()))
}

var (
	errVersion   = errors.New("MQTT 3.1")
	errNoMethod  = errors.New("no authentication method")
	errMethod    = errors.New("another authentication method")
	errClientID  = errors.New("a Client Identifier that is not 1 to 64 of letters, digits, '.', '_' and '-'")
	errForeign   = errors.New("the user may not use this Client Identifier")
	errOtherID   = errors.New("hello with another Client Identifier than CONNECT")
	errOtherRun  = errors.New("a frame of another run")
	errCopied    = errors.New("the hello of another connection's run")
	errOversized = errors.New("the CONNECT for the broker cannot be written")
)

// connect takes a CONNECT, which waits until the client is known. On v5 it has the hello; before v5 the client expects
// a CONNACK before it speaks on.
func (f *connection) connect(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseConnect(p)
	if err != nil {
		return err
	}
	f.packet, f.version, f.clientID = p, m.Version, string(m.ClientID)
	f.temporary = temporary(f.settings.TemporaryTopic, f.clientID)
	unavailable := f.l.store.Available()
	switch {
	case m.Version == wire.V31:
		connack, _ := (&wire.ConnackPacket{Code: wire.V3UnacceptableProtocolVersion}).Append(nil, wire.V31)
		return c.End(fmt.Errorf("%w: %w", ErrRefused, errVersion), connack)
	case !frame.ValidClientID(f.clientID):
		return f.refuse(c, wire.ClientIdentifierNotValid, errClientID)
	case unavailable != nil:
		return f.refuse(c, wire.ServerUnavailable, unavailable)
	case m.Version != wire.V5:
		connack, err := (&wire.ConnackPacket{}).Append(nil, m.Version)
		if err != nil {
			return err
		}
		f.answered = true
		return c.Send(connack)
	}
	method, named := m.Properties.Bytes(wire.AuthenticationMethod)
	switch {
	case !named:
		return f.refuse(c, wire.NotAuthorized, errNoMethod)
	case string(method) != Method:
		return f.refuse(c, wire.BadAuthenticationMethod, errMethod)
	}
	data, _ := m.Properties.Bytes(wire.AuthenticationData)
	return f.frame(c, data)
}

// auth takes an AUTH of a run.
func (f *connection) auth(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseReason(p, wire.V5)
	if err != nil {
		return err
	}
	method, _ := m.Properties.Bytes(wire.AuthenticationMethod)
	if m.Reason != wire.ContinueAuthentication || string(method) != Method {
		return f.silence(c, ErrProtocol)
	}
	data, _ := m.Properties.Bytes(wire.AuthenticationData)
	return f.frame(c, data)
}

// subscribe takes the one subscription that a client makes before its run. The broker never hears of it.
func (f *connection) subscribe(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseSubscribe(p, f.version)
	if err != nil {
		return err
	}
	if len(m.Subscriptions) != 1 || string(m.Subscriptions[0].Filter) != f.temporary {
		return f.silence(c, ErrProtocol)
	}
	suback := wire.SubackPacket{Type: wire.Suback, ID: m.ID, Codes: []byte{min(m.Subscriptions[0].Options&3, 1)}}
	ack, err := suback.Append(nil, f.version)
	if err != nil {
		return err
	}
	return c.Send(ack)
}

// publish takes a frame that a client before v5 publishes.
func (f *connection) publish(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParsePublish(p, f.version)
	if err != nil {
		return err
	}
	if string(m.Topic) != f.settings.AuthenticationTopic || m.QoS > 1 || m.Retain {
		return f.silence(c, ErrProtocol)
	}
	if m.QoS == 1 {
		ack, err := (&wire.AckPacket{Type: wire.Puback, ID: m.ID}).Append(nil, f.version)
		if err != nil {
			return err
		}
		if err := c.Send(ack); err != nil {
			return err
		}
	}
	return f.frame(c, m.Payload)
}

// frame takes a frame of the run: hello or proof.
func (f *connection) frame(c *layer.Conn, b []byte) error {
	head, err := frame.Parse(b)
	switch {
	case err != nil:
		return f.silence(c, err)
	case head.Type == frame.Hello:
		return f.begin(c, head.Session, b)
	case f.hello == nil || *f.hello != head.Session:
		return f.silence(c, errOtherRun)
	case head.Type == frame.Proof:
		return f.prove(c, b)
	}
	return f.silence(c, ErrProtocol)
}

// begin takes the hello. One run a connection, one connection a run, and only in the name of the Client Identifier in
// CONNECT: who copies somebody's hello, and then her proof sooner than it arrives, would else be let in in her place.
func (f *connection) begin(c *layer.Conn, id frame.ID, b []byte) error {
	hello, err := frame.ParseHello(b)
	switch {
	case err != nil:
		return f.silence(c, err)
	case f.hello != nil && *f.hello != id:
		return f.silence(c, errOtherRun)
	case hello.ClientID != f.clientID:
		return f.silence(c, errOtherID)
	}
	fresh := f.hello == nil
	f.hello = &id
	f.l.counters.hellos.Add(1)
	answer, err := f.receive(b)
	var wait *pake.BackoffError
	if errors.As(err, &wait) {
		f.l.counters.backedOff.Add(1)
		return f.refuse(c, wire.QuotaExceeded, err)
	}
	if errors.Is(err, ErrUnavailable) {
		return f.refuse(c, wire.ServerUnavailable, err)
	}
	if err == nil && fresh && answer.Repeated {
		err = errCopied
	}
	if err != nil {
		return f.silence(c, err)
	}
	if f.version == wire.V5 {
		return sendAuth(c, answer.Frame)
	}
	return f.say(c, answer.Frame)
}

// receive takes a frame of the run to the authority.
func (f *connection) receive(b []byte) (handshake.Answer, error) {
	authority, err := f.l.authority()
	if err != nil {
		return handshake.Answer{}, err
	}
	return authority.Receive(f.source, b)
}

// prove takes the proof, and lets the CONNECT through to the broker if it is right.
func (f *connection) prove(c *layer.Conn, b []byte) error {
	answer, err := f.receive(b)
	if err == nil && answer.Session == nil {
		err = handshake.ErrState
	}
	if err != nil {
		f.l.counters.proofFailed.Add(1)
		return f.silence(c, err)
	}
	f.run = answer.Session
	return f.admit(c)
}

// sendAuth sends a frame in an AUTH.
func sendAuth(c *layer.Conn, b []byte) error {
	m := wire.ReasonPacket{Type: wire.Auth, Reason: wire.ContinueAuthentication}
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(Method)).AppendBytes(wire.AuthenticationData, b)
	p, err := m.Append(nil, wire.V5)
	if err != nil {
		return err
	}
	return c.Send(p)
}

// spoken is a frame in a PUBLISH on the temporary topic, at QoS 0.
func (f *connection) spoken(b []byte) (wire.Packet, error) {
	m := wire.PublishPacket{Topic: []byte(f.temporary), Payload: b}
	return m.Append(nil, f.version)
}

func (f *connection) say(c *layer.Conn, b []byte) error {
	p, err := f.spoken(b)
	if err != nil {
		return err
	}
	return c.Send(p)
}
