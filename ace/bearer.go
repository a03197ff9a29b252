package ace

import (
	"context"
	"fmt"
	"net"
	"strings"
	"unicode/utf8"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/plug"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// BearerConfig says which bearer tokens are shown to a broker, and how.
type BearerConfig struct {
	// Source gives the tokens. Unless it is a [Cache] or [Static], a Cache is put around it.
	Source TokenSource

	// Method is the Authentication Method under which the token is Authentication Data on MQTT v5, such as
	// "OAUTH2-JWT", "CUSTOM-JWT" or "K8S-SAT". It is the broker that defines it. Empty, and on MQTT 3.1.1, the token
	// is the password.
	Method string

	// Username is the User Name that goes with a token in the password. It may be empty on v5 alone, where there is
	// then none, and on MQTT 3.1.1, where it is then empty.
	Username string

	// SkipChainCheck is as in Config.
	SkipChainCheck bool
	// Renewed is as in Config.
	Renewed func(Token, error)
	// Clock is the time; nil is the real one.
	Clock Clock
}

// Bearer puts bearer tokens into the connections of MQTT clients, for brokers that do not do RFC 9431. [NewBearer]
// makes one; it is safe for concurrent use and may serve any number of clients.
//
// There is no proof of possession: whoever sees the token, the broker included, can use it until it expires. It is
// therefore shown on verified TLS connections only.
type Bearer struct {
	scheme *scheme
}

// NewBearer returns a Bearer, or an error that says what is wrong with the configuration.
func NewBearer(cfg BearerConfig) (*Bearer, error) {
	switch {
	case cfg.Source == nil:
		return nil, fmt.Errorf("%w: BearerConfig.Source is nil", ErrConfig)
	case cfg.Method == pop.Method:
		return nil, fmt.Errorf("%w: BearerConfig.Method %q wants a proof of possession; use New", ErrConfig, cfg.Method)
	case cfg.Method != "" && cfg.Username != "":
		return nil, fmt.Errorf("%w: BearerConfig has a Method and a Username; a token stands in one place", ErrConfig)
	case !validText(cfg.Method), !validText(cfg.Username):
		return nil, fmt.Errorf("%w: BearerConfig: Method and Username are text of at most 65535 bytes", ErrConfig)
	}
	if as, ok := cfg.Source.(*AS); ok && !as.cfg.Bearer {
		return nil, fmt.Errorf("%w: BearerConfig.Source asks for tokens that are bound to a key; set ASConfig.Bearer", ErrConfig)
	}
	return &Bearer{&scheme{
		method:    cfg.Method,
		form:      bearerForm{username: cfg.Username},
		skipChain: cfg.SkipChainCheck,
		renewed:   cfg.Renewed,
		clock:     orReal(cfg.Clock),
		source:    cached(cfg.Source, orReal(cfg.Clock)),
	}}, nil
}

// validText reports whether s can be a string of MQTT (MQTT5 1.5.4).
func validText(s string) bool {
	return len(s) <= 65535 && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

// Wrap is [Authenticator.Wrap] for bearer tokens. With a Method a token is renewed during the connection, else by a new
// connection, as with WrapV3.
func (b *Bearer) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig { return plug.V5(cfg, b.scheme) }

// WrapV3 is [Authenticator.WrapV3] for bearer tokens, in the password.
func (b *Bearer) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions { return plug.V3(opts, b.scheme) }

// Conn is [Authenticator.Conn] for bearer tokens.
func (b *Bearer) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	return b.scheme.Conn(ctx, conn)
}

// bearerForm is the token as it is.
type bearerForm struct {
	username string
}

func (bearerForm) proves() bool { return false }

func (bearerForm) suits(t *Token) error {
	if t.Key.Verifier().Algorithm() != "" {
		return fmt.Errorf("%w: it is bound to a key, whose possession a Bearer does not prove", ErrToken)
	}
	if len(t.Raw) > 65535 {
		return fmt.Errorf("%w: %d bytes, more than MQTT can carry", ErrToken, len(t.Raw))
	}
	return nil
}

func (bearerForm) first(token *Token, _ []byte) ([]byte, error) { return token.Raw, nil }

func (bearerForm) again(token *Token) ([]byte, error) { return token.Raw, nil }

func (f bearerForm) password(m *wire.ConnectPacket, token *Token, _ []byte) error {
	m.HasUsername = f.username != "" || m.Version != wire.V5 // before v5 there is no password without it
	m.Username = []byte(f.username)
	m.HasPassword, m.Password = true, token.Raw
	return nil
}
