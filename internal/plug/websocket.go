package plug

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/gorilla/websocket"
)

// subprotocol is the name that MQTT has among websocket protocols (MQTT5 6.0).
const subprotocol = "mqtt"

// dialWebsocket opens a websocket as autopaho would.
func dialWebsocket(ctx context.Context, config *tls.Config, cfg *autopaho.WebSocketConfig, u *url.URL) (net.Conn, error) {
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
	ws, _, err := dialer.DialContext(ctx, u.String(), header)
	if err != nil {
		return nil, fmt.Errorf("plug: websocket connection failed: %w", err)
	}
	return &wsConn{Conn: ws}, nil
}

// dialWebsocketV3 opens a websocket as paho.mqtt.golang would. User and password in
// the URL are for CONNECT and not for the web server.
func dialWebsocketV3(o *mqtt.ClientOptions, config *tls.Config, u *url.URL) (net.Conn, error) {
	bare := *u
	bare.User = nil
	var options mqtt.WebsocketOptions // a copy: NewWebsocket fills in defaults
	if o.WebsocketOptions != nil {
		options = *o.WebsocketOptions
	}
	return mqtt.NewWebsocket(bare.String(), config, o.ConnectTimeout, o.HTTPHeaders, &options)
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
