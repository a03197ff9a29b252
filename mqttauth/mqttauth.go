package mqttauth

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/plug"
	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/pake"
)

// Config says who the client is and how it logs in. User, Password and Server are required, everything else has a
// default.
type Config struct {
	// User is the user's name at the authority: 1 to 255 octets of UTF-8.
	User string
	// Password is the user's. It never leaves the device and must not be set in the client's options too. A random
	// secret of a device goes here as text, hexadecimal say; with Stretch.Skip it costs no stretching.
	Password []byte
	// Server is the authority's name, the one that its verifiers were made for. An authority with another name is
	// refused.
	Server string
	// ClientID is the Client Identifier of the connections: 1 to 64 of A-Z, a-z, 0-9, ".", "_" and "-". Required with
	// TwoPhase. Elsewhere the one in CONNECT counts, and must be this one unless this is empty.
	ClientID string

	// Groups are offered to the authority, the preferred one first: P-256 if empty.
	Groups []pake.Group
	// Stretch is the least cost of a password guess that the client accepts from the authority, and MaxStretch the
	// greatest that it is ready to pay, as in pake.Config: what devices are enrolled with by default, and 64 MiB, if
	// zero.
	Stretch, MaxStretch pake.Stretch

	// Wallet has the tokens that are presented after every handshake, before the application sees its CONNACK. None
	// if nil.
	Wallet Wallet
	// Refused is told of each token that the authority does not accept: the connection goes on without it. The error
	// is a *RefusedError. It is called before the application sees its CONNACK and must return soon. Ignored if nil.
	Refused func(t Token, err error)

	// AuthenticationTopic is where the client's frames go: "mqttauth/auth" if empty.
	AuthenticationTopic string
	// TemporaryTopic is where the authority's frames come; "%c" in it stands for the ClientID and must be there:
	// "mqttauth/c/%c" if empty.
	TemporaryTopic string
	// Timeout bounds the handshake, with all that is presented, from CONNECT on: 30 seconds if zero.
	Timeout time.Duration

	// TwoPhase is for a broker that knows nothing of MQTT-Auth, with an authority beside it. Before the client's
	// connection another one is made, with the account in Bootstrap, on which the handshake runs, tokens are
	// presented and the authority issues a ticket: a user name and a password, which then go into CONNECT. A ticket
	// is kept for later connections until shortly before it expires; the client's connection ends then with
	// ErrExpired, and the library makes the next one with a new ticket. Mosquitto queues nothing for the session of a
	// device that is away when its ticket has expired.
	TwoPhase bool
	// Bootstrap is the account of the first phase, as whoever set the authority up has named it
	// (authbroker.MosquittoSetup); everybody may know it. It may use the two topics and nothing else; the zero value is
	// anonymous.
	Bootstrap Account
	// AllowPlaintext lets the ticket's password go over a connection without TLS, where whoever listens can use it
	// until the ticket expires.
	AllowPlaintext bool
}

// String names the user and the authority, and nothing that is secret.
func (c Config) String() string {
	return fmt.Sprintf("mqttauth.Config(user %q at %q, password hidden)", c.User, c.Server)
}

// GoString is String.
func (c Config) GoString() string { return c.String() }

// Format writes String whatever the verb.
func (c Config) Format(f fmt.State, _ rune) { io.WriteString(f, c.String()) }

// LogValue is String, for slog.
func (c Config) LogValue() slog.Value { return slog.StringValue(c.String()) }

// Account is a user name and a password at a broker.
type Account struct {
	Username string // none if empty
	Password string // none if empty
}

// Format writes the user name alone.
func (a Account) Format(f fmt.State, _ rune) { io.WriteString(f, a.LogValue().String()) }

// LogValue is the user name alone, for slog.
func (a Account) LogValue() slog.Value {
	return slog.StringValue(fmt.Sprintf("mqttauth.Account(%q)", a.Username))
}

const (
	defaultAuthenticationTopic = "mqttauth/auth"
	defaultTemporaryTopic      = "mqttauth/c/%c"
	defaultTimeout             = 30 * time.Second

	method = "MQTT-Auth"
)

// Client puts MQTT-Auth under the connections of an MQTT client. It is safe for concurrent use and may serve several
// connections, of which requests go out on the latest.
type Client struct {
	cfg       Config        // without what the next two return: functions, so that no verb of fmt prints it
	password  func() []byte // Config.Password
	bootstrap func() Account
	clock     layer.Clock

	mu      sync.Mutex
	current *link   // the latest connection that is established
	opener  *opener // with TwoPhase: how connections of our own are made
	ticket  *ticket
}

// New returns a Client, or an error that names what is wrong with cfg.
func New(cfg Config) (*Client, error) {
	if cfg.AuthenticationTopic == "" {
		cfg.AuthenticationTopic = defaultAuthenticationTopic
	}
	if cfg.TemporaryTopic == "" {
		cfg.TemporaryTopic = defaultTemporaryTopic
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = defaultTimeout
	}
	password, account := append([]byte(nil), cfg.Password...), cfg.Bootstrap
	cfg.Password, cfg.Bootstrap.Password = nil, ""
	c := &Client{
		cfg: cfg, clock: layer.SystemClock{},
		password: func() []byte { return password }, bootstrap: func() Account { return account },
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return c, nil
}

func (c *Client) check() error {
	cfg := &c.cfg
	id := cfg.ClientID
	switch {
	case id == "" && cfg.TwoPhase:
		return fmt.Errorf("%w: Config.TwoPhase needs Config.ClientID", ErrClientID)
	case id == "":
		id = "any"
	case !frame.ValidClientID(id):
		return fmt.Errorf("%w: %.80q", ErrClientID, id)
	}
	// A run that is given up at once says what is wrong with names, password, groups and costs.
	_, run, err := c.start(id)
	if err != nil {
		return err
	}
	run.Abort()
	switch {
	case !topic.ValidName(cfg.AuthenticationTopic):
		return fmt.Errorf("mqttauth: Config.AuthenticationTopic %.80q is no topic", cfg.AuthenticationTopic)
	case !strings.Contains(cfg.TemporaryTopic, "%c") || !topic.ValidName(c.temporary(id)):
		return fmt.Errorf("mqttauth: Config.TemporaryTopic %.80q is no topic with %%c in it", cfg.TemporaryTopic)
	case c.temporary(id) == cfg.AuthenticationTopic:
		return fmt.Errorf("mqttauth: Config.AuthenticationTopic and Config.TemporaryTopic are one topic")
	case cfg.Timeout < time.Second:
		return fmt.Errorf("mqttauth: Config.Timeout is %v: it must be at least one second", cfg.Timeout)
	case !cfg.TwoPhase && (c.bootstrap() != Account{} || cfg.AllowPlaintext):
		return fmt.Errorf("mqttauth: Config.Bootstrap and Config.AllowPlaintext are for Config.TwoPhase")
	}
	return nil
}

// start begins a run for a Client Identifier.
func (c *Client) start(clientID string) ([]byte, *handshake.Client, error) {
	return handshake.Start(handshake.ClientConfig{
		User: c.cfg.User, Server: c.cfg.Server, ClientID: clientID, Password: c.password(),
		Groups: c.cfg.Groups, Stretch: c.cfg.Stretch, MaxStretch: c.cfg.MaxStretch,
	})
}

// temporary returns the topic on which the authority answers a client.
func (c *Client) temporary(clientID string) string {
	return strings.ReplaceAll(c.cfg.TemporaryTopic, "%c", clientID)
}

// Format writes the type and the user name alone.
func (c *Client) Format(f fmt.State, _ rune) {
	io.WriteString(f, "mqttauth.Client{"+c.cfg.User+"}")
}

// Conn returns conn with the handshake in it: on v5 in CONNECT, AUTH and CONNACK, before v5 by messages on the two
// topics. The application, or any library that takes a net.Conn, reads a CONNACK only once the authority has proved
// itself. The connection has ExportKeyingMaterial, as a tls.ConnectionState has, from then on. ctx bounds the TLS
// handshake if conn is a *tls.Conn that has not done it. With TwoPhase, Conn needs a ticket, which Wrap and WrapV3
// fetch.
func (c *Client) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if err := layer.Handshake(ctx, conn); err != nil {
		return nil, err
	}
	if c.cfg.TwoPhase {
		t := c.validTicket()
		if t == nil {
			return nil, fmt.Errorf("%w: no ticket; Wrap and WrapV3 fetch one", ErrNotConnected)
		}
		return c.second(conn, t)
	}
	l := newLink(c, conn)
	return &Conn{Conn: l.conn, link: l}, nil
}

// Wrap returns a copy of cfg, for paho.golang (MQTT v5), whose connections are authenticated. It dials as autopaho
// would; a connection fails as it does when a broker refuses it.
func (c *Client) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	return plug.V5(cfg, c.scheme())
}

// WrapV3 is Wrap for paho.mqtt.golang (MQTT 3.1.1). A PUBLISH that no token allows ends the connection there, behind a
// listener of authbroker; at QoS 1 and 2 the client sends it again whenever it is back.
func (c *Client) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	return plug.V3(opts, c.scheme())
}

// scheme is what package plug gets: Open is there for two phases alone.
func (c *Client) scheme() plug.Scheme {
	if c.cfg.TwoPhase {
		return twoPhases{c}
	}
	return onePhase{c}
}

type onePhase struct{ client *Client }

func (s onePhase) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	return s.client.Conn(ctx, conn)
}

// Conn is a connection with the handshake in it.
type Conn struct {
	*layer.Conn
	link *link
}

// NetConn returns the connection below.
func (c *Conn) NetConn() net.Conn { return c.Conn }

// Read reads as net.Conn's does. A connection that ends during the handshake returns one of this package's errors.
func (c *Conn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err != nil {
		err = c.link.explain(err)
	}
	return n, err
}

// ExportKeyingMaterial returns length octets that the two sides of the handshake have and nobody else, for a use that
// label names and purpose tells apart, as the method of tls.ConnectionState does. Before the handshake is done it is
// ErrNoKeys.
func (c *Conn) ExportKeyingMaterial(label string, purpose []byte, length int) ([]byte, error) {
	s := c.link.session.Load()
	if s == nil {
		return nil, ErrNoKeys
	}
	return s.ExportKeyingMaterial(label, purpose, length)
}
