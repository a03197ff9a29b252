package tlspsk

import (
	"context"
	"net"
)

// Dial connects to the address with package net, runs the handshake and returns the connection. ctx bounds both, and
// has no influence afterwards. Without a ServerName in config, the host of address is sent.
func Dial(ctx context.Context, network, address string, config *Config) (*Conn, error) {
	if err := config.checkClient(); err != nil {
		return nil, err
	}
	inner, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	if host, _, err := net.SplitHostPort(address); err == nil {
		config = config.forHost(host)
	}
	conn := Client(inner, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = inner.Close()
		return nil, err
	}
	return conn, nil
}

// forHost is c with a ServerName, if it has none.
func (c *Config) forHost(host string) *Config {
	if c.ServerName != "" || len(host) > maxServerName {
		return c
	}
	d := *c
	d.ServerName = host
	return &d
}

// NewListener returns a listener whose connections are the server's side of this protocol on top of those that inner
// accepts; the connections are *Conn. Accept does not wait for a handshake: whoever reads or writes first runs it, or
// calls HandshakeContext to give it a time limit. The error wraps [ErrConfig].
func NewListener(inner net.Listener, config *Config) (net.Listener, error) {
	if err := config.checkServer(); err != nil {
		return nil, err
	}
	return &listener{inner, config}, nil
}

type listener struct {
	net.Listener
	config *Config
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return Server(conn, l.config), nil
}
