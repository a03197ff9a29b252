package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

// webSocket is a listener of MQTT over WebSocket (MQTT5 section 6), on any path.
type webSocket struct {
	network net.Listener
	server  *http.Server
	conns   chan net.Conn
	closed  chan struct{}
	once    sync.Once
	err     error
}

// newWebSocket listens on network, whose connections secure makes safe first if it is not nil.
func newWebSocket(network net.Listener, secure func(context.Context, net.Conn) (net.Conn, error), limits limitsConfig) *webSocket {
	w := &webSocket{network: network, conns: make(chan net.Conn), closed: make(chan struct{})}
	upgrader := websocket.Upgrader{
		Subprotocols: []string{"mqtt", "mqttv3.1"},
		// A page of another origin has no credentials that a browser would add by itself: MQTT's are in CONNECT.
		CheckOrigin:      func(*http.Request) bool { return true },
		HandshakeTimeout: limits.ConnectTimeout.value,
	}
	w.server = &http.Server{
		ReadHeaderTimeout: limits.ConnectTimeout.value,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          log.New(io.Discard, "", 0), // peers go away in every way there is
		Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			ws, err := upgrader.Upgrade(rw, r, nil)
			if err != nil {
				return // Upgrade has answered
			}
			w.hand(&webSocketConn{Conn: ws.NetConn(), ws: ws})
		}),
	}
	raw := network
	if secure != nil {
		raw = newSecured(network, secure, limits)
	}
	go func() {
		err := w.server.Serve(raw)
		w.end(err)
	}()
	return w
}

func (w *webSocket) hand(conn net.Conn) {
	select {
	case w.conns <- conn:
	case <-w.closed:
		_ = conn.Close()
	}
}

func (w *webSocket) end(err error) {
	w.once.Do(func() {
		w.err = err
		close(w.closed)
	})
}

// Accept returns the next connection.
func (w *webSocket) Accept() (net.Conn, error) {
	select {
	case conn := <-w.conns:
		return conn, nil
	case <-w.closed:
		return nil, w.err
	}
}

// Close stops listening. What has been accepted lives on.
func (w *webSocket) Close() error {
	w.end(net.ErrClosed)
	return w.server.Close()
}

// Addr is the listener's address.
func (w *webSocket) Addr() net.Addr { return w.network.Addr() }

// webSocketConn carries a byte stream in binary messages.
type webSocketConn struct {
	net.Conn // addresses, deadlines and Close of the connection below
	ws       *websocket.Conn
	message  io.Reader
}

// NetConn is the connection below, for those who look for TLS.
func (c *webSocketConn) NetConn() net.Conn { return c.Conn }

// Read reads on within the current message, then in the next one.
func (c *webSocketConn) Read(b []byte) (int, error) {
	for {
		if c.message == nil {
			kind, message, err := c.ws.NextReader()
			if closing := (*websocket.CloseError)(nil); errors.As(err, &closing) {
				return 0, io.EOF
			}
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, fmt.Errorf("a WebSocket message of type %d: only binary ones carry MQTT", kind)
			}
			c.message = message
		}
		n, err := c.message.Read(b)
		if errors.Is(err, io.EOF) {
			c.message, err = nil, nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
}

// Write sends b as one message.
func (c *webSocketConn) Write(b []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// secured secures each connection in a goroutine of its own, within the time and number that the limits allow.
type secured struct {
	net.Listener
	ready chan net.Conn
	ended chan struct{}
	err   error
}

func newSecured(inner net.Listener, secure func(context.Context, net.Conn) (net.Conn, error), limits limitsConfig) *secured {
	s := &secured{Listener: inner, ready: make(chan net.Conn), ended: make(chan struct{})}
	places := make(chan struct{}, limits.Pending.value)
	go func() {
		defer close(s.ended)
		for {
			conn, err := inner.Accept()
			if temporary := (interface{ Temporary() bool })(nil); errors.As(err, &temporary) && temporary.Temporary() {
				time.Sleep(10 * time.Millisecond)
				continue
			}
			if err != nil {
				s.err = err
				return
			}
			select {
			case places <- struct{}{}:
			default:
				_ = conn.Close()
				continue
			}
			go func() {
				defer func() { <-places }()
				ctx, cancel := context.WithTimeout(context.Background(), limits.ConnectTimeout.value)
				defer cancel()
				safe, err := secure(ctx, conn)
				if err != nil {
					_ = conn.Close()
					return
				}
				select {
				case s.ready <- safe:
				case <-s.ended:
					_ = safe.Close()
				}
			}()
		}
	}()
	return s
}

// Accept returns the next connection that is secured.
func (s *secured) Accept() (net.Conn, error) {
	select {
	case conn := <-s.ready:
		return conn, nil
	case <-s.ended:
		return nil, s.err
	}
}
