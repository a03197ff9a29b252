package plug

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"
)

// subprotocol is the name that MQTT has among websocket protocols (MQTT5 6.0).
const subprotocol = "mqtt"

// dialWebsocket opens a websocket as autopaho would, with t in place of TLS if it is not nil.
func dialWebsocket(ctx context.Context, config *tls.Config, cfg *autopaho.WebSocketConfig, u *url.URL, t Transport) (net.Conn, error) {
	var dialer *websocket.Dialer
	var header http.Header
	if cfg != nil && cfg.Dialer != nil {
		dialer = cfg.Dialer(u, config)
	}
	if cfg != nil && cfg.Header != nil {
		header = cfg.Header(u, config)
	}
	if dialer == nil {
		d := *websocket.DefaultDialer
		d.TLSClientConfig = config
		d.Subprotocols = []string{subprotocol}
		dialer = &d
	}
	return upgrade(ctx, dialer, u, header, t)
}

// dialWebsocketV3 opens a websocket as paho.mqtt.golang would, with t in place of TLS if it is not nil. User and
// password in the URL are for CONNECT and not for the web server.
func dialWebsocketV3(ctx context.Context, o *mqtt.ClientOptions, config *tls.Config, u *url.URL, t Transport) (net.Conn, error) {
	bare := *u
	bare.User = nil
	var options mqtt.WebsocketOptions // a copy: NewWebsocket fills in defaults
	if o.WebsocketOptions != nil {
		options = *o.WebsocketOptions
	}
	if t == nil {
		return mqtt.NewWebsocket(bare.String(), config, o.ConnectTimeout, o.HTTPHeaders, &options)
	}
	dialer := &websocket.Dialer{
		ReadBufferSize: options.ReadBufferSize, WriteBufferSize: options.WriteBufferSize, Subprotocols: []string{subprotocol},
		Proxy: http.ProxyFromEnvironment,
	}
	if options.Proxy != nil {
		dialer.Proxy = options.Proxy
	}
	return upgrade(ctx, dialer, &bare, o.HTTPHeaders, t)
}

// upgrade opens a websocket with dialer. With t, the dialer believes to speak without TLS, and t secures what it speaks
// on.
func upgrade(ctx context.Context, dialer *websocket.Dialer, u *url.URL, header http.Header, t Transport) (net.Conn, error) {
	target := u
	if t != nil {
		if strings.EqualFold(u.Scheme, "ws") {
			return nil, errPlainWS
		}
		given, d := dialer, *dialer
		d.NetDial, d.NetDialTLSContext, d.TLSClientConfig, d.Proxy = nil, nil, nil, nil
		d.NetDialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
			conn, err := dialThrough(ctx, given, u, address)
			return transport(ctx, t, conn, err, u)
		}
		dialer = &d
		bare := *u // the dialer's
		bare.Scheme = "ws"
		if bare.Port() == "" {
			bare.Host = net.JoinHostPort(bare.Hostname(), "443")
		}
		target = &bare
	}
	ws, _, err := dialer.DialContext(ctx, target.String(), header)
	if err != nil {
		return nil, fmt.Errorf("plug: websocket connection failed: %w", err)
	}
	return &wsConn{Conn: ws}, nil
}

// dialThrough opens the TCP connection that dialer would run TLS on to get to u.
func dialThrough(ctx context.Context, dialer *websocket.Dialer, u *url.URL, address string) (net.Conn, error) {
	if dialer.Proxy != nil {
		secure := *u
		secure.Scheme = "https"
		via, err := dialer.Proxy(&http.Request{Method: http.MethodGet, URL: &secure, Host: u.Host, Header: http.Header{}})
		if err != nil {
			return nil, err
		}
		if via != nil {
			return dialProxy(ctx, via, address)
		}
	}
	switch {
	case dialer.NetDialContext != nil:
		return dialer.NetDialContext(ctx, "tcp", address)
	case dialer.NetDial != nil:
		return dialer.NetDial("tcp", address)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", address)
}

// wsConn is the byte stream in a websocket's messages, whose bounds mean nothing
// (MQTT5 6.0). A deadline that passes ends the connection.
type wsConn struct {
	*websocket.Conn

	reading sync.Mutex
	message io.Reader // what is left of the message that is being read

	writing sync.Mutex
}

// Read reads from the message at hand, or else from the next that is not empty.
func (c *wsConn) Read(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	for {
		if c.message == nil {
			_, r, err := c.NextReader()
			if err != nil {
				return 0, err
			}
			c.message = r
		}
		n, err := c.message.Read(p)
		if err != io.EOF {
			return n, err
		}
		c.message = nil
		if n > 0 {
			return n, nil
		}
	}
}

// Write sends p as one binary message.
func (c *wsConn) Write(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if err := c.WriteMessage(websocket.BinaryMessage, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// SetDeadline sets the deadlines of both directions.
func (c *wsConn) SetDeadline(t time.Time) error {
	if err := c.SetReadDeadline(t); err != nil {
		return err
	}
	return c.SetWriteDeadline(t)
}
