package plug

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"golang.org/x/net/proxy"
)

// dialV5 opens a connection as autopaho would, with t in place of TLS if it is not nil.
func dialV5(ctx context.Context, cfg *autopaho.ClientConfig, u *url.URL, t Transport) (net.Conn, error) {
	switch strings.ToLower(u.Scheme) {
	case "mqtt", "tcp", "":
		conn, err := dialVia(ctx, proxyV5(), u.Host)
		return transport(ctx, t, conn, err, u)
	case "mqtts", "tls", "ssl", "mqtt+ssl", "tcps":
		conn, err := dialVia(ctx, proxyV5(), u.Host)
		return handshake(ctx, t, conn, err, cfg.TlsCfg, u)
	case "ws":
		return dialWebsocket(ctx, nil, cfg.WebSocketCfg, u, t)
	case "wss":
		return dialWebsocket(ctx, cfg.TlsCfg, cfg.WebSocketCfg, u, t)
	case "unix":
		conn, err := dialUnix(ctx, new(net.Dialer), u)
		return transport(ctx, t, conn, err, u)
	}
	return nil, unknownScheme(u)
}

// proxyV5 returns the dialer that autopaho would use: it takes the environment's
// proxy only if all_proxy is there in lower case.
func proxyV5() proxy.Dialer {
	if os.Getenv("all_proxy") == "" {
		return new(net.Dialer)
	}
	return proxy.FromEnvironment()
}

// dialV3 opens a connection as paho.mqtt.golang would with these options, with t in place of TLS if it is not nil.
func dialV3(ctx context.Context, o *mqtt.ClientOptions, u *url.URL, t Transport) (net.Conn, error) {
	dialer := o.Dialer
	if dialer == nil {
		dialer = &net.Dialer{Timeout: 30 * time.Second}
	}
	switch strings.ToLower(u.Scheme) {
	case "mqtt", "tcp":
		conn, err := dialVia(ctx, proxy.FromEnvironmentUsing(dialer), u.Host)
		return transport(ctx, t, conn, err, u)
	case "mqtts", "tls", "ssl", "mqtt+ssl", "tcps":
		return dialTLSV3(ctx, dialer, o.TLSConfig, u, t)
	case "ws":
		return dialWebsocketV3(ctx, o, nil, u, t)
	case "wss":
		return dialWebsocketV3(ctx, o, o.TLSConfig, u, t)
	case "unix":
		conn, err := dialUnix(ctx, dialer, u)
		return transport(ctx, t, conn, err, u)
	}
	return nil, unknownScheme(u)
}

// dialTLSV3 counts the handshake into the dialer's own limits, as paho.mqtt.golang
// does, and like it uses a proxy only if all_proxy is there in lower case.
func dialTLSV3(ctx context.Context, dialer *net.Dialer, config *tls.Config, u *url.URL, t Transport) (net.Conn, error) {
	if dialer.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, dialer.Timeout)
		defer cancel()
	}
	if !dialer.Deadline.IsZero() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, dialer.Deadline)
		defer cancel()
	}
	var via proxy.Dialer = dialer
	if os.Getenv("all_proxy") != "" {
		via = proxy.FromEnvironmentUsing(dialer)
	}
	conn, err := dialVia(ctx, via, u.Host)
	return handshake(ctx, t, conn, err, config, u)
}

// dialVia opens a TCP connection with d. A dialer that an application has registered
// with package proxy need not know contexts: when ctx ends, it is left to itself, and
// what it still opens is closed.
func dialVia(ctx context.Context, d proxy.Dialer, address string) (net.Conn, error) {
	if d, ok := d.(proxy.ContextDialer); ok {
		return d.DialContext(ctx, "tcp", address)
	}
	type result struct {
		conn net.Conn
		err  error
	}
	dialed := make(chan result)
	go func() {
		conn, err := d.Dial("tcp", address)
		select {
		case dialed <- result{conn, err}:
		case <-ctx.Done():
			if err == nil {
				conn.Close()
			}
		}
	}()
	select {
	case r := <-dialed:
		return r.conn, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// dialUnix opens the socket that u names as its path, or, as paho.mqtt.golang has
// it for one in the working directory, as its host.
func dialUnix(ctx context.Context, d *net.Dialer, u *url.URL) (net.Conn, error) {
	name := u.Host
	if name == "" {
		name = u.Path
	}
	return d.DialContext(ctx, "unix", name)
}

// transport puts t on a connection that was dialed without TLS, if t is not nil, and closes it if that fails.
func transport(ctx context.Context, t Transport, conn net.Conn, err error, u *url.URL) (net.Conn, error) {
	if err != nil || t == nil {
		return conn, err
	}
	safe, err := t.Secure(ctx, conn, u)
	if err != nil {
		conn.Close()
		return nil, err
	}
	return safe, nil
}

// handshake runs TLS, or t in its place, on conn, and closes conn if that fails. The
// server is checked against the name in config, or else the one in u.
func handshake(ctx context.Context, t Transport, conn net.Conn, err error, config *tls.Config, u *url.URL) (net.Conn, error) {
	if err != nil || t != nil {
		return transport(ctx, t, conn, err, u)
	}
	config = config.Clone()
	if config == nil {
		config = new(tls.Config)
	}
	if config.ServerName == "" {
		config.ServerName = u.Hostname()
	}
	safe := tls.Client(conn, config)
	if err := safe.HandshakeContext(ctx); err != nil {
		conn.Close()
		return nil, err
	}
	return safe, nil
}

// unknownScheme says what cannot be dialed, without a password that the URL may have.
func unknownScheme(u *url.URL) error {
	return fmt.Errorf("plug: unsupported scheme %q in the server URL %s: mqtt, tcp, mqtts, tls, ssl, ws, wss and unix are known", u.Scheme, u.Redacted())
}
