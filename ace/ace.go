package ace

import (
	"context"
	"fmt"
	"net"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/plug"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// Config says where tokens come from and how they are used. Source or Discover is all that most applications set.
type Config struct {
	// Source gives the tokens. Unless it is a [Cache] or [Static], a Cache is put around it.
	Source TokenSource

	// Discover takes the place of Source where the broker is to say where a token can be had (RFC 9431, 2.4.1):
	// before the first connection, and again after the broker has refused a token, a CONNECT without one is sent on a
	// connection of its own, and Discover gets the broker's answer. It must decide whether that server may issue
	// tokens for this broker, by a list of its own for example, and return a source of tokens, or an error: nothing
	// vouches for the answer but the broker, and what it names is sent the client's credentials. A CNonce of the hint
	// goes into [ASConfig]. Discovery needs MQTT v5 at the broker, also for a client of MQTT 3.1.1, and Wrap or
	// WrapV3.
	Discover func(ctx context.Context, hint Hint) (TokenSource, error)

	// Challenge proves possession over a challenge of the broker's also where the TLS connection could be used for it.
	// Set it for a broker behind a proxy that ends TLS. It needs MQTT v5.
	Challenge bool

	// Stored says that the broker has the token already, by [Upload] or otherwise: CONNECT carries none, and the broker
	// challenges. It implies Challenge. Source still gives the token, for its key.
	Stored bool

	// SkipChainCheck accepts a TLS connection whose certificate chain crypto/tls has not verified, because
	// InsecureSkipVerify is set and VerifyConnection or VerifyPeerCertificate does it. Without it such a connection is
	// refused, unless the authorization server has named the broker's key ("rs_cnf") and the broker has it.
	SkipChainCheck bool

	// RefuseUncovered withholds messages on topics that the token's scope does not cover, before the broker sees
	// them. On v5 a Publish at QoS 1 then returns an error, and at QoS 2 a PublishResponse with ReasonCode 0x87, as
	// for a refusal by the broker; at QoS 0 and on MQTT 3.1.1 only Refused tells (the client's token does not complete
	// at QoS 1 and 2). A Will on such a topic keeps the client from connecting. A scope that is not known covers all.
	RefuseUncovered bool

	// Refused, if set, is told of each topic on which RefuseUncovered, which it needs, has withheld a message. The
	// connection waits for it, so it must not block and must not call the client.
	Refused func(topic string)

	// QuietRenewal keeps the client's packets back, and the broker's from the client, while a token is renewed on v5:
	// for brokers such as Mosquitto 2.0 that end a connection on which anything else is sent meanwhile, which MQTT
	// allows.
	QuietRenewal bool

	// Renewed, if set, is told of each renewal during a connection: the new token, or why there is none. After an error
	// it is tried again until the token expires. It must not block.
	Renewed func(Token, error)

	// Clock is the time; nil is the real one.
	Clock Clock
}

// Clock is the time by which tokens are renewed and expire, for programs that test that without waiting for it. Its
// methods are
//
//	Now() time.Time
//	// AfterFunc calls f in its own goroutine after d, unless stop is called before and returns true.
//	AfterFunc(d time.Duration, f func()) (stop func() bool)
type Clock = layer.Clock

// orReal returns the clock, or that of the machine if there is none.
func orReal(c Clock) Clock {
	if c == nil {
		return layer.SystemClock{}
	}
	return c
}

// Authenticator puts tokens into the connections of MQTT clients. [New] makes one; it is safe for concurrent use and
// may serve any number of clients that use the same tokens.
type Authenticator struct {
	scheme *scheme
}

// New returns an Authenticator, or an error that says what is wrong with the configuration.
func New(cfg Config) (*Authenticator, error) {
	if (cfg.Source == nil) == (cfg.Discover == nil) {
		return nil, fmt.Errorf("%w: Config needs a Source or Discover, and not both", ErrConfig)
	}
	if as, ok := cfg.Source.(*AS); ok && as.cfg.Bearer {
		return nil, fmt.Errorf("%w: Config.Source asks for bearer tokens; they are for NewBearer", ErrConfig)
	}
	if cfg.Refused != nil && !cfg.RefuseUncovered {
		return nil, fmt.Errorf("%w: Config.Refused without RefuseUncovered", ErrConfig)
	}
	s := &scheme{
		method:    pop.Method,
		form:      proofForm{stored: cfg.Stored},
		challenge: cfg.Challenge || cfg.Stored,
		skipChain: cfg.SkipChainCheck,
		enforce:   cfg.RefuseUncovered,
		quiet:     cfg.QuietRenewal,
		discover:  cfg.Discover,
		refused:   cfg.Refused,
		renewed:   cfg.Renewed,
		clock:     orReal(cfg.Clock),
	}
	if cfg.Source != nil {
		s.source = cached(cfg.Source, s.clock)
	}
	return &Authenticator{s}, nil
}

// Wrap returns a copy of cfg, for paho.golang (MQTT v5), whose connections authenticate with tokens. The application's
// code stays as it is:
//
//	cm, err := autopaho.NewConnection(ctx, auth.Wrap(cfg))
//
// The server URL must be one with TLS: mqtts, tls, ssl or wss. The application must not set a user name, a password
// or an authentication method of its own. A token is renewed during the connection, which goes on. When renewal fails
// until the token expires, the connection ends with [ErrTokenExpired], and autopaho tries again.
//
// What keeps a connection from being made is what autopaho tells OnConnectError; errors.Is and errors.As find the
// errors of this package in it.
func (a *Authenticator) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	return plug.V5(cfg, a.scheme)
}

// WrapV3 is Wrap for paho.mqtt.golang (MQTT 3.1.1):
//
//	client := mqtt.NewClient(auth.WrapV3(opts))
//
// MQTT 3.1.1 cannot renew a token during a connection. When it is due and the new one is there, the connection ends
// with DISCONNECT and the client makes another: ConnectionLost is called with [ErrRenewal], and OnConnect again. With
// SetCleanSession(false) no message of QoS 1 or 2 is lost by that; leave AutoReconnect on. TLS sessions are not
// resumed, for the proof would not be fresh, and there is no challenge in its place.
//
// Nor can it refuse a PUBLISH other than by the end of the connection, of which ConnectionLost hears as io.EOF; at QoS
// 1 and 2 the client sends the message again whenever it is back. Config.RefuseUncovered withholds it instead.
func (a *Authenticator) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	return plug.V3(opts, a.scheme)
}

// Conn returns conn on which the client's CONNECT authenticates, for any library that takes a net.Conn. conn must be
// a TLS connection, or one below which there is one by the method NetConn. ctx bounds the TLS handshake, if that is
// still to be done, and the request for a token. The connection is one that paho.golang may write to from several
// goroutines (a sync.Locker). Where a token is to be discovered, Conn fails: it has no other connection to do that
// on; see [Discover].
func (a *Authenticator) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	return a.scheme.Conn(ctx, conn)
}
