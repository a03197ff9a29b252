package acebroker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// Errors that end a connection before its CONNECT is let through, besides those of tokens.
var (
	// ErrRefused: the client is not authorized to connect.
	ErrRefused = errors.New("acebroker: connection refused")
	// ErrProtocol: a packet that the exchange does not have at this place.
	ErrProtocol = errors.New("acebroker: packet out of place")
)

// connection is the filter of one connection. Until its CONNECT is let through, Incoming and Outgoing never run at
// the same time.
type connection struct {
	l        *Listener
	settings *settings       // as they were when it began
	ctx      context.Context // ends when CONNECT is let through or time is over
	exporter layer.KeyExporter
	resumed  bool
	remote   net.Addr
	known    *access // the token whose key was TLS's pre-shared one; nil for every other connection

	packet     wire.Packet // CONNECT, while a challenge is open
	candidates []*access   // tokens that the answer to it may be for
	nonce      pop.Nonce
	method     bool // CONNECT named the method ace

	renewing sync.Mutex // held while the token is replaced, here and at the guard; before mu

	mu      sync.Mutex
	session *guard.Session // nil until CONNECT is let through
	access  *access        // nil for a client without a token
	renewal renewal
	unwatch func() bool // stops the timer of watch
	closed  bool
}

// Incoming implements layer.Filter.
func (f *connection) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if session := f.guarded(); session != nil {
		if p.Type() == wire.Auth {
			return nil, f.reauthenticate(c, p)
		}
		return session.Incoming(p)
	}
	switch {
	case p.Type() == wire.Connect && f.packet == nil:
		return nil, f.connect(c, bytes.Clone(p))
	case p.Type() == wire.Auth && f.packet != nil:
		return nil, f.answer(c, p)
	}
	// Nothing else before CONNACK (RFC 9431, section 2.2.4).
	return nil, c.End(ErrProtocol, f.refusal(wire.ProtocolError))
}

// Outgoing implements layer.Filter.
func (f *connection) Outgoing(_ *layer.Conn, p wire.Packet) (wire.Packet, error) {
	session := f.guarded()
	if session == nil {
		return nil, ErrProtocol
	}
	p, err := session.Outgoing(p)
	if err != nil || p.Type() != wire.Connack || !f.method {
		return p, err
	}
	m, err := wire.ParseConnack(p, wire.V5)
	if err != nil || m.Code >= wire.UnspecifiedError {
		return p, err
	}
	// Success names the method (MQTT5 4.12).
	m.Properties = m.Properties.Without(wire.AuthenticationMethod).Without(wire.AuthenticationData)
	m.Properties = m.Properties[:len(m.Properties):len(m.Properties)].AppendBytes(wire.AuthenticationMethod, []byte(pop.Method))
	return m.Append(nil, wire.V5)
}

// Closed implements layer.Filter.
func (f *connection) Closed() {
	f.mu.Lock()
	f.closed = true
	session, access := f.session, f.access
	f.renewal.stop()
	f.watch(nil)
	f.mu.Unlock()
	if session == nil {
		return
	}
	if access != nil {
		f.l.live.remove(f, access)
	}
	session.Closed()
}

func (f *connection) guarded() *guard.Session {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.session
}

// refusal is the CONNACK for the CONNECT at hand, or for none.
func (f *connection) refusal(reason byte) wire.Packet {
	m, err := wire.ParseConnect(f.packet)
	if err != nil {
		return nil
	}
	return f.settings.hints.refusalPacket(&m, reason, guard.ReturnCode(reason), f.l.clock.Now())
}

// refuse ends the connection with CONNACK. The client learns the Reason Code, the log why.
func (f *connection) refuse(c *layer.Conn, reason byte, why error) error {
	m, err := wire.ParseConnect(f.packet)
	if err == nil {
		f.l.logger.Warn("connect refused", "client", shown(string(m.ClientID)), "peer", f.remote.String(), "version", m.Version, "reason", why.Error())
	}
	return c.End(fmt.Errorf("%w: %w", ErrRefused, why), f.refusal(reason))
}

var (
	errVersion   = errors.New("MQTT 3.1")
	errMethod    = errors.New("another authentication method")
	errUserName  = errors.New("a user name or password beside the authentication method")
	errNoToken   = errors.New("no token")
	errExporter  = errors.New("no TLS exporter: TLS has ended before")
	errResumed   = errors.New("a proof over the exporter of a resumed TLS session")
	errClientID  = errors.New("the identity may not use this Client Identifier")
	errOversized = errors.New("the CONNECT for the broker cannot be written")
)

// connect judges a CONNECT: which way of authentication it is for, if any.
func (f *connection) connect(c *layer.Conn, p wire.Packet) error {
	f.packet = p
	m, err := wire.ParseConnect(p)
	if err != nil {
		return err
	}
	method, named := m.Properties.Bytes(wire.AuthenticationMethod)
	switch {
	case m.Version == wire.V31:
		connack, _ := (&wire.ConnackPacket{Code: wire.V3UnacceptableProtocolVersion}).Append(nil, wire.V31)
		return c.End(fmt.Errorf("%w: %w", ErrRefused, errVersion), connack)
	case named && string(method) != pop.Method:
		return f.refuse(c, wire.BadAuthenticationMethod, errMethod)
	case named && (m.HasUsername || m.HasPassword):
		return f.refuse(c, wire.NotAuthorized, errUserName)
	case named:
		f.method = true
		data, _ := m.Properties.Bytes(wire.AuthenticationData)
		return f.authenticate(c, &m, data)
	case m.HasUsername && pop.IsUsername(m.Username):
		return f.byUserName(c, &m)
	case f.known != nil && !m.HasUsername && !m.HasPassword:
		return f.admitKnown(c)
	case m.HasUsername, m.HasPassword, !f.settings.publicOnly():
		return f.refuse(c, wire.NotAuthorized, errNoToken)
	}
	return f.admit(c, nil)
}

// publicOnly tells whether there is anything to do for a client without a token.
func (s *settings) publicOnly() bool { return len(s.Public) > 0 || s.AuthzInfo }

// authenticate takes the Authentication Data of a CONNECT.
func (f *connection) authenticate(c *layer.Conn, m *wire.ConnectPacket, data []byte) error {
	auth, err := pop.ParseAuthData(data)
	if err != nil {
		return f.refuse(c, wire.NotAuthorized, err)
	}
	if auth.Token == nil {
		return f.tokenless(c, m)
	}
	a, err := f.settings.verifier.verify(f.ctx, auth.Token)
	if err != nil {
		return f.refuse(c, reasonFor(err), err)
	}
	if auth.Proof == nil {
		return f.challenge(c, a)
	}
	if err := f.prove(a, auth.Proof); err != nil {
		return f.refuse(c, wire.NotAuthorized, err)
	}
	return f.admit(c, a)
}

// reasonFor tells a client whose token is refused from one that should come back later.
func reasonFor(err error) byte {
	if errors.Is(err, ErrUnreachable) {
		return wire.ServerUnavailable
	}
	return wire.NotAuthorized
}

// tokenless looks for tokens that came with the Client Identifier before.
func (f *connection) tokenless(c *layer.Conn, m *wire.ConnectPacket) error {
	now := f.l.clock.Now()
	if !f.settings.StoredTokens {
		return f.refuse(c, wire.NotAuthorized, errNoToken)
	}
	var valid []*access
	why := errNoToken
	for _, stored := range f.l.store.get(string(m.ClientID), now) {
		a, err := f.settings.verifier.fresh(f.ctx, stored)
		if err == nil {
			err = f.l.revoked.check(a, now)
		}
		if err == nil {
			valid = append(valid, a)
		} else if errors.Is(err, ErrUnreachable) {
			why = err // it may come back with the same token
		}
	}
	if len(valid) == 0 {
		return f.refuse(c, reasonFor(why), why)
	}
	return f.challenge(c, valid...)
}

// byUserName takes a token and a proof out of User Name and Password (RFC 9431, section 6).
func (f *connection) byUserName(c *layer.Conn, m *wire.ConnectPacket) error {
	token, err := pop.ParseUsername(m.Username)
	if err != nil {
		return f.refuse(c, wire.NotAuthorized, err)
	}
	a, err := f.settings.verifier.verify(f.ctx, token)
	if err == nil {
		err = f.prove(a, m.Password)
	}
	if err != nil {
		return f.refuse(c, reasonFor(err), err)
	}
	return f.admit(c, a)
}

// prove checks a proof over the exporter of this very TLS session. In a resumed one it is refused always: the
// exporter may have been proved over before (RFC 9431, section 4).
func (f *connection) prove(a *access, proof []byte) error {
	var err error
	switch {
	case f.exporter == nil:
		err = errExporter
	case f.resumed:
		err = errResumed
	}
	if err == nil {
		var input []byte
		if input, err = pop.ExporterInput(f.exporter); err == nil {
			err = a.key.Verify(input, proof)
		}
	}
	if err != nil {
		f.l.counters.proofFailed.Add(1)
		return fmt.Errorf("%w: %w", ErrProof, err)
	}
	return nil
}

// challenge asks for a proof over a fresh nonce.
func (f *connection) challenge(c *layer.Conn, candidates ...*access) error {
	f.candidates, f.nonce = candidates, pop.NewNonce()
	return f.l.sendChallenge(c, f.nonce)
}

func (l *Listener) sendChallenge(c *layer.Conn, nonce pop.Nonce) error {
	l.counters.challenges.Add(1)
	return sendAuth(c, wire.ContinueAuthentication, nonce[:])
}

// sendAuth sends an AUTH of this method, with data if there is any.
func sendAuth(c *layer.Conn, reason byte, data []byte) error {
	m := wire.ReasonPacket{Type: wire.Auth, Reason: reason}
	m.Properties = m.Properties.AppendBytes(wire.AuthenticationMethod, []byte(pop.Method))
	if data != nil {
		m.Properties = m.Properties.AppendBytes(wire.AuthenticationData, data)
	}
	p, err := m.Append(nil, wire.V5)
	if err != nil {
		return err
	}
	return c.Send(p)
}

// answer takes the AUTH that answers the challenge. There is one try.
func (f *connection) answer(c *layer.Conn, p wire.Packet) error {
	reply, err := parseReply(p)
	if err != nil {
		return f.refuse(c, wire.NotAuthorized, err)
	}
	input := pop.ChallengeInput(f.nonce, reply.Nonce)
	for _, a := range f.candidates {
		if a.key.Verify(input, reply.Proof) == nil {
			return f.admit(c, a)
		}
	}
	f.l.counters.proofFailed.Add(1)
	return f.refuse(c, wire.NotAuthorized, ErrProof)
}

func parseReply(p wire.Packet) (pop.Reply, error) {
	m, err := wire.ParseReason(p, wire.V5)
	if err != nil {
		return pop.Reply{}, err
	}
	method, _ := m.Properties.Bytes(wire.AuthenticationMethod)
	if m.Reason != wire.ContinueAuthentication || string(method) != pop.Method {
		return pop.Reply{}, fmt.Errorf("%w: AUTH that does not answer the challenge", ErrProtocol)
	}
	data, _ := m.Properties.Bytes(wire.AuthenticationData)
	return pop.ParseReply(data)
}

// admit lets the CONNECT through to the broker, without what was for this listener in it. a is nil for a client
// without a token.
func (f *connection) admit(c *layer.Conn, a *access) error {
	m, err := wire.ParseConnect(f.packet)
	if err != nil {
		return err
	}
	var grant guard.Grant
	if a != nil {
		grant = a.grant()
	} else {
		f.l.counters.anonymous.Add(1)
	}
	if allowed := f.settings.ClientIdentifier; allowed != nil && !allowed(grant.Identity, string(m.ClientID)) {
		return f.refuse(c, wire.ClientIdentifierNotValid, errClientID)
	}
	session, err := f.l.guard.Admit(c, &m, grant, f.take)
	var refusal *guard.Refusal
	if errors.As(err, &refusal) {
		return f.refuse(c, refusal.Code, err)
	} else if err != nil {
		return err
	}
	p, err := f.settings.plain(&m, grant.Identity)
	if err != nil {
		session.Closed()
		return f.refuse(c, wire.PacketTooLarge, err)
	}
	f.enter(session, a, string(m.ClientID))
	return c.Release(p)
}

// enter makes the session the connection's.
func (f *connection) enter(session *guard.Session, a *access, clientID string) {
	ctx := f.ctx
	f.packet, f.candidates, f.ctx = nil, nil, nil
	f.mu.Lock()
	f.session = session
	f.replace(a)
	closed := f.closed
	f.mu.Unlock()
	now := f.l.clock.Now()
	if a != nil {
		f.l.remember(ctx, clientID, a, now)
		// A revocation that came between the check of the token and this moment has not seen the session.
		if err := f.l.revoked.check(a, now); err != nil {
			session.End(wire.NotAuthorized, err)
		}
	}
	if closed {
		session.Closed()
	}
}

// remember stores the token that a client has connected with, or renewed. The Client Identifier may be another's, whose
// tokens must not make way because of a Reload alone, nor because of one that came while this client proved its key.
func (l *Listener) remember(ctx context.Context, clientID string, a *access, now time.Time) {
	s := l.current.Load()
	if !s.StoredTokens {
		return
	}
	a, err := s.verifier.fresh(ctx, a)
	if err == nil && l.judgeStored(ctx, s.verifier, clientID, a, now) == nil {
		l.store.put(clientID, a, now)
	}
}

// plain is the CONNECT for the broker.
func (s *settings) plain(m *wire.ConnectPacket, identity string) (wire.Packet, error) {
	m.Properties = m.Properties.Without(wire.AuthenticationMethod).Without(wire.AuthenticationData)
	m.HasPassword, m.Password = false, nil
	m.HasUsername, m.Username = false, nil
	if identity != "" {
		if name := s.UserName(identity); name != "" {
			m.HasUsername, m.Username = true, []byte(name)
		}
	}
	p, err := m.Append(nil)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errOversized, err)
	}
	return p, nil
}
