package ace

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// scheme is what [Authenticator] and [Bearer] have in common: the connections of clients that authenticate with tokens
// which are renewed. It is a plug.Scheme, plug.Opener and plug.Unresumed.
type scheme struct {
	method    string // Authentication Method on v5; empty: the token is the password
	form      form
	challenge bool // never use the exporter
	skipChain bool
	enforce   bool
	quiet     bool // nothing else is sent during re-authentication
	discover  func(context.Context, Hint) (TokenSource, error)
	refused   func(topic string)
	renewed   func(Token, error)
	clock     layer.Clock

	mu     sync.Mutex
	source TokenSource // nil until discovered
}

// cached puts a Cache around a source, unless it has no need of one.
func cached(s TokenSource, clock Clock) TokenSource {
	switch s.(type) {
	case *Cache, Static:
		return s
	}
	return &Cache{source: s, clock: clock}
}

// Open fetches a token, so that the broker need not wait for it, and then connects.
func (s *scheme) Open(ctx context.Context, _ *url.URL, dial func(context.Context) (net.Conn, error)) (net.Conn, error) {
	if err := s.discoverOn(ctx, dial); err != nil {
		return nil, err
	}
	token, err := s.token(ctx)
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	safe, err := s.attach(ctx, conn, token)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return safe, nil
}

// Conn is Open on a connection that is there already.
func (s *scheme) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if err := layer.Handshake(ctx, conn); err != nil {
		return nil, err
	}
	if _, err := s.tunnel(conn); err != nil {
		return nil, err // before a token is asked for
	}
	token, err := s.token(ctx)
	if err != nil {
		return nil, err
	}
	return s.attach(ctx, conn, token)
}

// NeedsUnresumedTLS tells that MQTT 3.1.1 has no challenge for a session that was resumed.
func (s *scheme) NeedsUnresumedTLS(v wire.Version) bool { return v != wire.V5 && s.form.proves() }

// token returns one that may be used.
func (s *scheme) token(ctx context.Context) (Token, error) {
	s.mu.Lock()
	source := s.source
	s.mu.Unlock()
	if source == nil {
		return Token{}, fmt.Errorf("%w: discovery needs a connection of its own, which Wrap and WrapV3 have", ErrDiscovery)
	}
	token, err := source.Token(ctx)
	if err != nil {
		return Token{}, err
	}
	if err := token.valid(s.clock.Now()); err != nil {
		return Token{}, err
	}
	return token, s.form.suits(&token)
}

// rejected makes the next connection begin with another token, and a discovered source be discovered again: the broker
// may have named a nonce that a token must have.
func (s *scheme) rejected(t *Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c, ok := s.source.(*Cache); ok {
		c.drop(t)
	}
	if s.discover != nil {
		s.source = nil
	}
}

// attach puts a session on conn.
func (s *scheme) attach(ctx context.Context, conn net.Conn, token Token) (net.Conn, error) {
	if err := layer.Handshake(ctx, conn); err != nil {
		return nil, err
	}
	t, err := s.tunnel(conn)
	if err != nil {
		return nil, err
	}
	if err := t.leadsTo(&token, s.skipChain); err != nil {
		return nil, err
	}
	return newSession(s, t, token).over(conn), nil
}

// tunnel is the encrypted connection below.
type tunnel struct {
	keys    layer.KeyExporter
	resumed bool
	state   *tls.ConnectionState // nil if it is not crypto/tls
	export  error                // why keys gives no material
}

// tunnel looks at the connection below and refuses one that is not encrypted (RFC 9431, 2.2.1 and 2.2.3).
func (s *scheme) tunnel(conn net.Conn) (*tunnel, error) {
	keys, resumed := encrypted(conn)
	if keys == nil {
		return nil, fmt.Errorf("%w: it is not encrypted, and whoever listens could use the token; use mqtts:// or wss://, or a tls.Conn", ErrInsecure)
	}
	t := &tunnel{keys: keys, resumed: resumed}
	if state, ok := keys.(*tls.ConnectionState); ok {
		t.state = state
		if state.Version < tls.VersionTLS12 {
			return nil, fmt.Errorf("%w: %s", ErrInsecure, tls.VersionName(state.Version))
		}
	}
	_, t.export = pop.ExporterInput(keys)
	// crypto/tls says in words alone whether it is renegotiation, which its user has enabled, or the missing extension.
	if t.export != nil && t.state != nil && t.state.Version == tls.VersionTLS12 && !strings.Contains(t.export.Error(), "renegotiation") {
		return nil, fmt.Errorf("%w: TLS 1.2 without Extended Master Secret", ErrInsecure)
	}
	return t, nil
}

// encrypted finds the TLS connection, conn itself or one below it: of crypto/tls, or with a pre-shared key, which is
// known by its method. Others have keying material, too, and encrypt nothing, such as MQTT-Auth's.
func encrypted(conn net.Conn) (keys layer.KeyExporter, resumed bool) {
	for {
		keys, resumed = layer.Exporter(conn)
		switch k := keys.(type) {
		case nil, *tls.ConnectionState, interface{ PSKIdentity() string }:
			return keys, resumed
		case interface{ NetConn() net.Conn }:
			conn = k.NetConn()
		default:
			return nil, false
		}
	}
}

// leadsTo checks that the broker at the other end is the one that the token may be shown to.
func (t *tunnel) leadsTo(token *Token, skipChain bool) error {
	if t.state == nil { // a pre-shared key has authenticated the broker
		if token.Broker != nil {
			return fmt.Errorf("%w: the connection has no certificate", ErrBrokerKey)
		}
		return nil
	}
	if token.Broker != nil {
		if err := token.Broker.match(t.state.PeerCertificates); err != nil {
			return err
		}
	}
	if len(t.state.VerifiedChains) == 0 && token.Broker == nil && !skipChain {
		return fmt.Errorf("%w: the broker's certificate was not verified; remove InsecureSkipVerify, or see Config.SkipChainCheck", ErrInsecure)
	}
	return nil
}

// exporter returns the bytes that a proof over the TLS connection is over.
func (t *tunnel) exporter() ([]byte, error) {
	switch {
	case t.resumed:
		return nil, fmt.Errorf("%w: the TLS session was resumed", ErrNoExporter)
	case t.export != nil:
		return nil, fmt.Errorf("%w: %w", ErrNoExporter, t.export)
	}
	return pop.ExporterInput(t.keys)
}
