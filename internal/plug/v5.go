package plug

import (
	"context"
	"net"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/log"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// defaultConnectTimeout is autopaho's own default.
const defaultConnectTimeout = 10 * time.Second

// V5 returns a copy of cfg whose connections s secures. cfg and what it points to
// are not changed.
//
// In the copy, AttemptConnection opens a connection as cfg would have (with
// cfg.AttemptConnection if that is set) and then calls s.Conn. cfg.ConnectTimeout, 10
// seconds if it is 0, bounds dialing and s.Conn together, because autopaho gives
// AttemptConnection a context without a time limit; a function of the application gets
// that context, as it would without this one, and after it s.Conn has the time for
// itself. Dialing itself, V5 knows the URL schemes mqtt and tcp (or none), mqtts, tls,
// ssl, mqtt+ssl and tcps, ws, wss, and unix, which autopaho lacks: unix:///path/of/socket.
//
// ConnectPacketBuilder also asks the server for problem information, after a builder
// of the application has run. The zero value of paho.ConnectProperties declines it,
// and a server then strips User Properties, which schemes need, from what it sends
// (MQTT5 3.1.2.11.7).
//
// What stores messages, and AttemptConnection and ConnectPacketBuilder, are to be set
// before wrapping: set on the result, they undo the protection. A Queue or Session that
// replaces a protected one is noticed, and the connection not opened; an AttemptConnection
// cannot be noticed.
//
// If s is also AtRest, messages in cfg.Queue and cfg.Session are stored frozen. Where
// these are nil autopaho keeps messages in memory, and nothing is done. A stored
// message that does not thaw is given up: it goes to the queue's quarantine, or ends
// in the session as if the server had refused it with reason 0x80, since both would
// otherwise be tried again for ever; cfg.Errors is told. So is one whose topic only a
// Topic Alias names: an alias ends with its connection (MQTT5 3.3.2.3.4), the message
// could not be sent again, and without its topic it cannot be frozen either.
func V5(cfg autopaho.ClientConfig, s Scheme) autopaho.ClientConfig {
	cfg.ServerUrls = slices.Clone(cfg.ServerUrls)
	cfg.BrokerUrls = slices.Clone(cfg.BrokerUrls)
	cfg.OnPublishReceived = slices.Clone(cfg.OnPublishReceived)

	a := &attemptV5{scheme: s, below: cfg.AttemptConnection}
	cfg.AttemptConnection = a.connect
	cfg.ConnectPacketBuilder = askForProblems(renaming(cfg.ConnectPacketBuilder, cfg.ClientID, s))

	rest, ok := s.(AtRest)
	if !ok {
		return cfg
	}
	a.session = cfg.Session != nil
	f := frost{scheme: rest, session: cfg.ClientID, version: wire.V5, owner: a}
	switch q := cfg.Queue.(type) {
	case nil:
	case frozenQueue:
		cfg.Queue = frozenQueue{Queue: q.Queue, frost: f.above(q.frost)}
	default:
		cfg.Queue = frozenQueue{Queue: q, frost: f}
	}
	if below, ok := cfg.Session.(*frozenSession); ok {
		cfg.Session = &frozenSession{SessionManager: below.SessionManager, frost: f.above(below.frost), errs: below.errs}
	} else if cfg.Session != nil {
		errs := cfg.Errors
		if errs == nil {
			errs = log.NOOPLogger{}
		}
		cfg.Session = &frozenSession{SessionManager: cfg.Session, frost: f, errs: errs}
	}
	return cfg
}

// Renamed is what a scheme has that must know of a Client Identifier which a ConnectPacketBuilder of the application
// sets in place of the configured one, under which messages are stored.
type Renamed interface {
	Renamed(configured, actual string)
}

// renaming returns a ConnectPacketBuilder that runs below, and tells s of the Client Identifier that it set.
func renaming(below builderFunc, configured string, s Scheme) builderFunc {
	r, ok := s.(Renamed)
	if below == nil || !ok {
		return below
	}
	return func(cp *paho.Connect, u *url.URL) (*paho.Connect, error) {
		cp, err := below(cp, u)
		if err == nil && cp != nil && cp.ClientID != configured {
			r.Renamed(configured, cp.ClientID)
		}
		return cp, err
	}
}

// builderFunc is the type of autopaho's ConnectPacketBuilder.
type builderFunc = func(*paho.Connect, *url.URL) (*paho.Connect, error)

// connectFunc is the type of autopaho's AttemptConnection.
type connectFunc = func(context.Context, autopaho.ClientConfig, *url.URL) (net.Conn, error)

// attemptV5 opens the connections of one wrapped configuration, which any number of
// connection managers may use.
type attemptV5 struct {
	scheme  Scheme
	below   connectFunc // nil to dial
	session bool        // there was one to protect
}

// connect is an AttemptConnection. It takes everything from the cfg it is called
// with, which is the one that the connection manager works with.
func (a *attemptV5) connect(ctx context.Context, cfg autopaho.ClientConfig, u *url.URL) (net.Conn, error) {
	if err := a.intact(&cfg); err != nil {
		return nil, err
	}
	cfg.TlsCfg = unresumed(a.scheme, wire.V5, cfg.TlsCfg)
	try := attempt{scheme: a.scheme, url: u, timeout: cfg.ConnectTimeout}
	if try.timeout == 0 {
		try.timeout = defaultConnectTimeout
	}
	if a.below != nil {
		try.below = func() (net.Conn, error) { return a.below(ctx, cfg, u) }
	} else {
		try.dial = func(ctx context.Context, t Transport) (net.Conn, error) { return dialV5(ctx, &cfg, u, t) }
	}
	conn, err := try.open(ctx)
	if err != nil {
		return nil, err
	}
	return lockable(conn), nil
}

// lockable returns conn if paho can write packets to it from several goroutines:
// paho writes one in pieces and keeps them together with the connection's own lock.
// The kernel's connections take all pieces in one system call.
func lockable(conn net.Conn) net.Conn {
	switch conn.(type) {
	case sync.Locker, *net.TCPConn, *net.UnixConn:
		return conn
	}
	return &lockedConn{Conn: conn}
}

// lockedConn adds to a connection the lock that paho looks for.
type lockedConn struct {
	net.Conn
	sync.Mutex
}

// NetConn returns the connection below, for those who look for one that they know.
func (c *lockedConn) NetConn() net.Conn { return c.Conn }

// ReadAfterTimeout tells a layer above what holds for the connection below.
func (c *lockedConn) ReadAfterTimeout() bool { return layer.SurvivesTimeout(c.Conn) }

// CloseWrite ends the stream to the server if the connection below can.
func (c *lockedConn) CloseWrite() error {
	if c, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}

// askForProblems returns a ConnectPacketBuilder that runs below, if there is one, and
// then makes sure that CONNECT does not decline problem information. Without
// properties it does not: the property's absence means 1.
func askForProblems(below func(*paho.Connect, *url.URL) (*paho.Connect, error)) func(*paho.Connect, *url.URL) (*paho.Connect, error) {
	return func(cp *paho.Connect, u *url.URL) (*paho.Connect, error) {
		if below != nil {
			var err error
			if cp, err = below(cp, u); err != nil {
				return nil, err
			}
		}
		if cp == nil || cp.Properties == nil || cp.Properties.RequestProblemInfo {
			return cp, nil
		}
		// The builder may return the same struct each time, from several goroutines.
		edited, properties := *cp, *cp.Properties
		properties.RequestProblemInfo = true
		edited.Properties = &properties
		return &edited, nil
	}
}
