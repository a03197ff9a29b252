package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gorilla/websocket"
)

// maxRequest bounds the request with which a WebSocket begins.
const maxRequest = 16 << 10

// upgrader takes MQTT over WebSocket (MQTT5 section 6), on any path, from pages of the listed origins.
//
// Without a list it takes any page: a page has no credentials that a browser would add by itself, for MQTT's are in
// CONNECT. Where certificates of clients are demanded, a browser has and does (RFC 6455, section 10.2): only a page of
// the gateway's own host may come then. Who sends no Origin is no browser.
func upgrader(origins []string, certificates bool) *websocket.Upgrader {
	u := &websocket.Upgrader{
		Subprotocols:   []string{"mqtt", "mqttv3.1"},
		ReadBufferSize: 4 << 10, WriteBufferSize: 4 << 10,
	}
	switch {
	case len(origins) > 0:
		u.CheckOrigin = func(r *http.Request) bool {
			origin := r.Header.Get("Origin")
			return origin == "" || slices.ContainsFunc(origins, func(o string) bool { return strings.EqualFold(o, origin) })
		}
	case !certificates:
		u.CheckOrigin = func(*http.Request) bool { return true }
	}
	return u
}

// checkOrigins wants origins in the form in which browsers send them (RFC 6454, section 6.2).
func (l *listenerConfig) checkOrigins(k *checker, at string) {
	if len(l.Origins) > 0 && l.Transport.value != transportWebSocket {
		k.wrong(l.Address.line, "%s.origins without transport: websocket", at)
	}
	for _, o := range l.Origins {
		u, err := url.Parse(o)
		if err != nil || u.Host == "" || o != u.Scheme+"://"+u.Host {
			k.wrong(l.Address.line, "%s.origins: %q is no origin such as https://app.example", at, o)
		}
	}
}

// upgrade makes a WebSocket of a connection on which nothing has been said. It needs no HTTP server, and so a
// listener's bounds on what is not established, in time, number and by address, count here as well.
func upgrade(ctx context.Context, conn net.Conn, upgrader *websocket.Upgrader) (net.Conn, error) {
	if until, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(until); err != nil {
			return nil, err
		}
	}
	r := bufio.NewReader(io.LimitReader(conn, maxRequest))
	request, err := http.ReadRequest(r)
	if err != nil {
		return nil, fmt.Errorf("not a WebSocket: %w", err)
	}
	answer := &answer{conn: conn, r: r, header: make(http.Header)}
	ws, err := upgrader.Upgrade(answer, request, nil)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("not a WebSocket: %w", err), answer.send())
	}
	if err := conn.SetDeadline(time.Time{}); err != nil {
		return nil, err
	}
	return &webSocketConn{Conn: conn, ws: ws}, nil
}

// answer is the http.ResponseWriter of one request.
type answer struct {
	conn   net.Conn
	r      *bufio.Reader
	header http.Header
	code   int
	body   bytes.Buffer
}

// Header returns the header to be sent.
func (a *answer) Header() http.Header { return a.header }

// WriteHeader notes the status.
func (a *answer) WriteHeader(code int) { a.code = code }

// Write notes the body.
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// Hijack gives the connection away.
func (a *answer) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return a.conn, bufio.NewReadWriter(a.r, bufio.NewWriter(a.conn)), nil
}

// send sends a refusal, if there is one.
func (a *answer) send() error {
	if a.code == 0 {
		return nil
	}
	response := http.Response{
		StatusCode: a.code, ProtoMajor: 1, ProtoMinor: 1, Header: a.header, Close: true,
		ContentLength: int64(a.body.Len()), Body: io.NopCloser(&a.body),
	}
	return response.Write(a.conn)
}

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
