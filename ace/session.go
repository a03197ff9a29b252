package ace

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// session is one client's connection: a layer.Filter that authenticates and renews. Packets that it does not consume
// pass byte for byte.
type session struct {
	scheme    *scheme
	tunnel    *tunnel
	conn      *layer.Conn
	publishes layer.Publishes // of use if scopes are enforced

	ctx    context.Context // of requests for tokens during the connection
	cancel context.CancelFunc

	mu    sync.Mutex
	phase phase
	token Token  // that the broker has, or is being shown first
	next  *Token // that the broker is being shown by re-authentication
	asked bool   // the broker is to challenge, and has not
	stops []func() bool

	// Where a token is renewed by another connection, this one ends when the client has acknowledged what it was given,
	// or else the broker would send that again, and a client that does not remember it would show it twice.
	unacknowledged map[uint16]struct{} // packet identifiers of PUBLISHes to the client
	leaving        *Token              // the new token, while the connection waits for that
}

// phase is how far a session has come.
type phase int

const (
	offered phase = iota // until CONNACK
	up
	over
)

func newSession(s *scheme, t *tunnel, token Token) *session {
	ctx, cancel := context.WithCancel(context.Background())
	f := &session{scheme: s, tunnel: t, token: token, ctx: ctx, cancel: cancel}
	if s.enforce {
		f.publishes.Out = f.judge
	}
	return f
}

// over returns conn with the session on it.
func (f *session) over(conn net.Conn) *layer.Conn {
	f.conn = layer.New(conn, f)
	return f.conn
}

// Outgoing puts the token into CONNECT.
func (f *session) Outgoing(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if f.scheme.enforce {
		var err error
		if p, err = f.publishes.Outgoing(c, p); p == nil || err != nil {
			return nil, err
		}
	}
	switch p.Type() {
	case wire.Connect:
		return f.connect(p)
	case wire.Auth:
		return nil, fmt.Errorf("%w: the application sends AUTH; authentication is not its business here", ErrConfig)
	case wire.Puback, wire.Pubrec:
		return f.acknowledged(c, p)
	}
	return p, nil
}

// Incoming takes what concerns authentication.
func (f *session) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if f.scheme.enforce {
		var err error
		if p, err = f.publishes.Incoming(c, p); p == nil || err != nil {
			return nil, err
		}
	}
	switch p.Type() {
	case wire.Connack:
		return f.connack(c, p)
	case wire.Auth:
		return nil, f.auth(c, p)
	case wire.Disconnect:
		return p, f.disconnect(c, p)
	case wire.Publish:
		f.delivered(c, p)
	}
	return p, nil
}

// Closed ends what the session has under way.
func (f *session) Closed() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.phase = over
	f.cancel()
	f.stopTimers()
}

// connect edits CONNECT (RFC 9431, 2.2.4 and 6.1).
func (f *session) connect(p wire.Packet) (wire.Packet, error) {
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	if err := f.free(&m); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.token.valid(f.scheme.clock.Now()); err != nil {
		return nil, err
	}
	if f.scheme.enforce && m.Will != nil && !f.covers(string(m.Will.Topic)) {
		return nil, fmt.Errorf("%w: the Will is to be published on %.100q", ErrScope, m.Will.Topic)
	}
	proof, err := f.proof(m.Version)
	if err != nil {
		return nil, err
	}
	if m.Version == wire.V5 && f.scheme.method != "" {
		data, err := f.scheme.form.first(&f.token, proof)
		if err != nil {
			return nil, err
		}
		m.Properties = authentication(m.Properties, f.scheme.method, data)
		f.conn.Hold() // nothing but AUTH may be sent until CONNACK (MQTT 5, 4.12), also by clients that do not wait for it
		return m.Append(nil)
	}
	if err := f.scheme.form.password(&m, &f.token, proof); err != nil {
		return nil, err
	}
	return m.Append(nil)
}

// authentication appends method and data, unless there is no data, to copies of properties.
func authentication(ps wire.Properties, method string, data []byte) wire.Properties {
	ps = bytes.Clone(ps)
	ps = wire.Properties(ps).AppendBytes(wire.AuthenticationMethod, []byte(method))
	if len(data) > 0 {
		ps = ps.AppendBytes(wire.AuthenticationData, data)
	}
	return ps
}

// free refuses a CONNECT whose place for authentication is taken.
func (f *session) free(m *wire.ConnectPacket) error {
	_, method := m.Properties.Bytes(wire.AuthenticationMethod)
	_, data := m.Properties.Bytes(wire.AuthenticationData)
	switch {
	case m.Version == wire.V31:
		return fmt.Errorf("%w: MQTT 3.1 has no authentication with tokens; use 3.1.1 or 5", ErrConfig)
	case m.Version == wire.V5 && (method || data):
		return fmt.Errorf("%w: the application, or a scheme above this one, sets an authentication method of its own", ErrConfig)
	case m.HasUsername || m.HasPassword:
		return fmt.Errorf("%w: the application sets a user name or password, which the token takes the place of", ErrConfig)
	}
	return nil
}

// proof returns the proof that goes into CONNECT, nil if the broker is to challenge or none is needed. The token is
// locked.
func (f *session) proof(v wire.Version) ([]byte, error) {
	if !f.scheme.form.proves() {
		return nil, nil
	}
	input, err := f.tunnel.exporter()
	if v == wire.V5 && (f.scheme.challenge || err != nil) {
		f.asked = true
		return nil, nil
	}
	if f.scheme.challenge {
		return nil, fmt.Errorf("%w: MQTT 3.1.1 has no challenge; unset Config.Challenge and Config.Stored, or use v5", ErrConfig)
	}
	if err != nil {
		return nil, err
	}
	return f.token.Key.Prove(input)
}

// connack checks that success means what it says, and explains a refusal.
func (f *session) connack(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	m, err := wire.ParseConnack(p, c.Version())
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if m.Code != wire.Success {
		return f.refusal(c, p, &m)
	}
	if f.phase != offered {
		return nil, fmt.Errorf("%w: a second CONNACK", layer.ErrProtocol)
	}
	if err := f.success(c, &m); err != nil {
		return nil, c.End(err, layer.Goodbye(c, wire.ProtocolError))
	}
	f.phase = up
	f.schedule()
	return f.pass(c, p)
}

// pass lets CONNACK go to the client, and what the client has written meanwhile to the broker.
func (f *session) pass(c *layer.Conn, connack wire.Packet) (wire.Packet, error) {
	if c.Version() != wire.V5 || f.scheme.method == "" {
		return connack, nil
	}
	return nil, c.Release(connack)
}

// success refuses a broker that has not done its part.
func (f *session) success(c *layer.Conn, m *wire.ConnackPacket) error {
	if f.asked {
		return fmt.Errorf("%w: it reports success and has not challenged", ErrChallenge)
	}
	if c.Version() != wire.V5 || f.scheme.method == "" {
		return nil
	}
	method, ok := m.Properties.Bytes(wire.AuthenticationMethod)
	switch {
	case !ok && !f.scheme.form.proves():
		return nil // brokers that take bearer tokens forget it
	case string(method) != f.scheme.method:
		return fmt.Errorf("%w: it reports success without naming the method %q (MQTT 5, 4.12); does it know it?", ErrChallenge, f.scheme.method)
	}
	return nil
}

// refusal turns a CONNACK that is about the token into an error. Any other passes: the client knows what to do.
func (f *session) refusal(c *layer.Conn, p wire.Packet, m *wire.ConnackPacket) (wire.Packet, error) {
	e := &NotAuthorizedError{Code: m.Code}
	if c.Version() == wire.V5 {
		switch m.Code {
		case wire.BadAuthenticationMethod:
			return nil, e
		case wire.NotAuthorized, wire.BadUserNameOrPassword:
		default:
			return f.pass(c, p)
		}
		if reason, ok := m.Properties.Bytes(wire.ReasonString); ok {
			e.Reason = printable(string(reason))
		}
		e.Hint = hintIn(m.Properties)
	} else if m.Code < wire.V3BadUserNameOrPassword {
		return p, nil
	}
	f.scheme.rejected(&f.token)
	return nil, e
}

// auth goes through the challenge and through re-authentication.
func (f *session) auth(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseReason(p, c.Version())
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.step(c, &m); err != nil {
		return c.End(err, layer.Goodbye(c, wire.ProtocolError))
	}
	return nil
}

func (f *session) step(c *layer.Conn, m *wire.ReasonPacket) error {
	if method, _ := m.Properties.Bytes(wire.AuthenticationMethod); string(method) != f.scheme.method {
		return fmt.Errorf("%w: AUTH names the method %.50q", ErrChallenge, method)
	}
	token := &f.token
	switch {
	case f.phase == offered:
	case f.next != nil:
		token = f.next
	default:
		return fmt.Errorf("%w: AUTH that was not asked for", ErrChallenge)
	}
	switch m.Reason {
	case wire.ContinueAuthentication:
		return f.answer(c, m, token)
	case wire.Success:
		if f.next == nil || f.asked {
			return fmt.Errorf("%w: it reports success and has not challenged", ErrChallenge)
		}
		return f.accepted()
	}
	return fmt.Errorf("%w: AUTH with reason 0x%02X", ErrChallenge, m.Reason)
}

// answer proves possession over the broker's nonce and one of our own (RFC 9431, 2.2.4.2.2).
func (f *session) answer(c *layer.Conn, m *wire.ReasonPacket, token *Token) error {
	if !f.asked {
		return fmt.Errorf("%w: it was not asked to challenge", ErrChallenge)
	}
	data, _ := m.Properties.Bytes(wire.AuthenticationData)
	theirs, err := pop.ParseNonce(data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrChallenge, err)
	}
	f.asked = false
	ours := pop.NewNonce()
	proof, err := token.Key.Prove(pop.ChallengeInput(theirs, ours))
	if err != nil {
		return err
	}
	reply := pop.Reply{Nonce: ours, Proof: proof}.Append(nil)
	return f.send(c, wire.ContinueAuthentication, reply)
}

// send sends AUTH.
func (f *session) send(c *layer.Conn, reason byte, data []byte) error {
	m := wire.ReasonPacket{Type: wire.Auth, Reason: reason, Properties: authentication(nil, f.scheme.method, data)}
	p, err := m.Append(nil, wire.V5)
	if err != nil {
		return err
	}
	return c.Send(p)
}

// disconnect notes a broker that does not accept the token any more. The client is told by the packet itself.
func (f *session) disconnect(c *layer.Conn, p wire.Packet) error {
	if c.Version() != wire.V5 {
		return nil // a broker sends none
	}
	m, err := wire.ParseReason(p, wire.V5)
	if err != nil || m.Reason != wire.NotAuthorized {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	token := &f.token
	if f.next != nil {
		token = f.next
		e := &NotAuthorizedError{Code: m.Reason}
		if reason, ok := m.Properties.Bytes(wire.ReasonString); ok {
			e.Reason = printable(string(reason))
		}
		f.tell(Token{}, e)
		if err := f.release(); err != nil {
			return err
		}
	}
	f.scheme.rejected(token)
	return nil
}

// judge withholds what the scope does not cover.
func (f *session) judge(_ *layer.Conn, m *layer.Message) (wire.Packet, error) {
	name := string(m.Name)
	f.mu.Lock()
	covered := f.covers(name)
	f.mu.Unlock()
	if covered {
		return m.Packet()
	}
	if f.scheme.refused != nil {
		f.scheme.refused(name)
	}
	return nil, &layer.Withhold{Reason: wire.NotAuthorized, Err: ErrScope}
}

// covers reports whether the scope, if it is known, lets the client publish on a topic. The token is locked.
func (f *session) covers(name string) bool {
	return f.token.Scope == nil || f.token.Scope.AllowsPublish(name)
}
