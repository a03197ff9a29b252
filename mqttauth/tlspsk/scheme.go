package tlspsk

import (
	"context"
	"net"
	"net/url"
	"strings"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/plug"
)

// Scheme secures the connections of MQTT clients with a pre-shared key, in place of TLS with certificates. [New] makes
// one; the zero Scheme is of no use. It is safe for concurrent use and may serve any number of clients, which are one
// and the same to the server.
type Scheme struct {
	config *Config
	asIs   bool // NextProtos was set
}

var (
	_ plug.Scheme    = (*Scheme)(nil)
	_ plug.Transport = (*Scheme)(nil)
)

// New returns a Scheme for clients, or an error that wraps [ErrConfig] and says what is wrong with the Config, whose
// Identity and Key are needed. Nothing that cfg points to is kept.
//
// Without a ServerName, the host in the server's URL is sent. Without NextProtos, "mqtt" is offered to a broker, and
// "http/1.1" to the web server in front of one under wss.
func New(cfg Config) (*Scheme, error) {
	if err := cfg.checkClient(); err != nil {
		return nil, err
	}
	return &Scheme{config: cfg.clone(), asIs: cfg.NextProtos != nil}, nil
}

// Conn secures a connection to a broker, with any library that takes a net.Conn; what it returns is a *[Conn] after its
// handshake. ctx bounds the handshake. If it fails, conn is the caller's to close.
func (s *Scheme) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	return s.secure(ctx, conn, s.config)
}

// Secure is Conn for a server whose URL is known: it is what Wrap and WrapV3 let the clients call.
func (s *Scheme) Secure(ctx context.Context, conn net.Conn, server *url.URL) (net.Conn, error) {
	config := s.config.forHost(server.Hostname())
	if !s.asIs && strings.EqualFold(server.Scheme, "wss") {
		web := *config
		web.NextProtos = []string{"http/1.1"}
		config = &web
	}
	return s.secure(ctx, conn, config)
}

func (s *Scheme) secure(ctx context.Context, conn net.Conn, config *Config) (net.Conn, error) {
	safe := Client(conn, config)
	if err := safe.HandshakeContext(ctx); err != nil {
		return nil, err
	}
	return safe, nil
}

// Wrap returns a copy of cfg for paho.golang whose connections are secured with the key; cfg is not changed.
//
// Under mqtts, tls, ssl and wss the key takes the place of certificates, and cfg.TlsCfg is not used. Under mqtt, tcp
// and unix it is used as well: a broker must know that. Under ws, and if cfg.AttemptConnection opens connections that
// have TLS already, connecting fails. Nothing falls back to a connection without the key.
func (s *Scheme) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig { return plug.V5(cfg, s) }

// WrapV3 is Wrap for paho.mqtt.golang: opts.TLSConfig is not used, and opts.CustomOpenConnectionFn must not open
// connections that have TLS. A protocol version that is not set becomes 4.
func (s *Scheme) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions { return plug.V3(opts, s) }
