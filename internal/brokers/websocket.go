package brokers

import (
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"time"

	"github.com/gorilla/websocket"
)

// serveWebsocket hands every WebSocket connection that arrives on listener to serve, as a byte stream, and returns
// when the listener is closed.
func serveWebsocket(listener net.Listener, serve func(net.Conn)) {
	upgrader := websocket.Upgrader{
		Subprotocols: []string{"mqtt"},
		CheckOrigin:  func(*http.Request) bool { return true },
	}
	server := &http.Server{
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // clients of a test go away in every way there is
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			ws, err := upgrader.Upgrade(w, r, nil)
			if err != nil {
				return // Upgrade has answered the client
			}
			serve(&websocketConn{Conn: ws.NetConn(), ws: ws})
		}),
	}
	_ = server.Serve(listener) // always returns an error; the one that matters, a closed listener, is wanted
	_ = server.Close()         // those that have not become WebSocket connections yet
}

// websocketConn carries a byte stream in binary messages (MQTT5 section 6).
type websocketConn struct {
	net.Conn // addresses, deadlines and Close of the connection below
	ws       *websocket.Conn
	message  io.Reader
}

// Read reads on within the current message, then in the next one.
func (c *websocketConn) Read(b []byte) (int, error) {
	for {
		if c.message == nil {
			kind, message, err := c.ws.NextReader()
			if err != nil {
				return 0, err
			}
			if kind != websocket.BinaryMessage {
				return 0, fmt.Errorf("brokers: WebSocket message of type %d, only binary ones carry MQTT", kind)
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
func (c *websocketConn) Write(b []byte) (int, error) {
	if err := c.ws.WriteMessage(websocket.BinaryMessage, b); err != nil {
		return 0, err
	}
	return len(b), nil
}
