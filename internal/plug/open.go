package plug

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/url"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// Opener is what a scheme has besides that makes connections of its own before the client's: for the first of two
// phases, say, or to find out who issues tokens. Open is called in place of Conn and returns the client's connection,
// secured.
//
// dial opens a connection to the server as the client's would be opened: with its URL, TLS configuration, proxy and
// options, and through the schemes below this one. Open may call it any number of times, and closes what it does not
// return. ctx bounds all of it, except for a function of the application that opens connections, to which the client's
// own context goes. u is the server's URL.
type Opener interface {
	Open(ctx context.Context, u *url.URL, dial func(context.Context) (net.Conn, error)) (net.Conn, error)
}

// Transport is what a scheme has besides that takes the place of TLS: under mqtts, wss and their like the connection is
// dialed, through a proxy if there is one, and handed to Secure as it is, without crypto/tls. Secure is called in place
// of Conn; u is the server's URL, for the host of Server Name Indication and the protocol of ALPN. Under wss, what
// Secure returns carries the websocket.
//
// Under mqtt and unix, where the client would use no TLS, Secure is called as well. Under ws, and on a connection that
// a function of the application has opened with TLS already, there is an error: TLS does not run in TLS.
type Transport interface {
	Secure(ctx context.Context, conn net.Conn, u *url.URL) (net.Conn, error)
}

// Unresumed is what a scheme has besides that cannot work on a resumed TLS session. Where NeedsUnresumedTLS says so,
// connections are dialed without the ClientSessionCache that the application may have set in its TLS configuration.
type Unresumed interface {
	NeedsUnresumedTLS(v wire.Version) bool
}

// Errors that a connection fails with before anything is sent.
var (
	errTLSInTLS  = errors.New("plug: the scheme takes the place of TLS, and the connection has TLS already")
	errPlainWS   = errors.New("plug: the scheme takes the place of TLS, and the server URL has ws; use wss")
	errNotOpened = errors.New("plug: the scheme opened no connection")
)

// attempt is one attempt to open a client's connection.
type attempt struct {
	scheme  Scheme
	url     *url.URL
	timeout time.Duration // 0 for none
	below   func() (net.Conn, error)
	dial    func(context.Context, Transport) (net.Conn, error) // if there is no function below
}

// open returns the connection that the client gets. A function of the application takes its time; what is done here is
// bounded.
func (a *attempt) open(ctx context.Context) (net.Conn, error) {
	if o, ok := a.scheme.(Opener); ok {
		ctx, cancel := a.bound(ctx)
		defer cancel()
		conn, err := o.Open(ctx, a.url, a.connect)
		if err == nil && conn == nil {
			err = errNotOpened
		}
		return conn, err
	}
	if a.below == nil {
		var cancel context.CancelFunc
		ctx, cancel = a.bound(ctx)
		defer cancel()
	}
	conn, err := a.connect(ctx)
	if err != nil {
		return nil, err
	}
	if a.below != nil {
		var cancel context.CancelFunc
		ctx, cancel = a.bound(ctx)
		defer cancel()
	}
	return a.secure(ctx, conn)
}

func (a *attempt) bound(ctx context.Context) (context.Context, context.CancelFunc) {
	if a.timeout == 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, a.timeout)
}

// connect opens a connection as the client would.
func (a *attempt) connect(ctx context.Context) (net.Conn, error) {
	if a.below == nil {
		t, _ := a.scheme.(Transport)
		return a.dial(ctx, t)
	}
	conn, err := a.below()
	if err == nil && conn == nil {
		err = errNoConn
	}
	return conn, err
}

// secure puts the scheme on conn, and closes conn if that fails.
func (a *attempt) secure(ctx context.Context, conn net.Conn) (net.Conn, error) {
	safe, err := a.apply(ctx, conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return safe, nil
}

func (a *attempt) apply(ctx context.Context, conn net.Conn) (net.Conn, error) {
	t, ok := a.scheme.(Transport)
	switch {
	case !ok:
		return a.scheme.Conn(ctx, conn)
	case a.below == nil:
		return conn, nil // dial has secured it
	}
	if k, _ := layer.Exporter(conn); k != nil {
		return nil, errTLSInTLS
	}
	return t.Secure(ctx, conn, a.url)
}

// unresumed returns config as the scheme needs it.
func unresumed(s Scheme, v wire.Version, config *tls.Config) *tls.Config {
	if config == nil || config.ClientSessionCache == nil {
		return config
	}
	if u, ok := s.(Unresumed); !ok || !u.NeedsUnresumedTLS(v) {
		return config
	}
	config = config.Clone()
	config.ClientSessionCache = nil
	return config
}
