package main

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestOrigins: a page of another origin does not connect with the certificate that its reader's browser has, nor where
// pages are listed that may.
func TestOrigins(t *testing.T) {
	s := newSite(t)
	clients, err := ca.New()
	require.NoError(t, err)
	s.write("clients.pem", string(clients.PEM()))
	certificate, err := clients.Issue(ca.Subject{Name: "client", Client: true})
	require.NoError(t, err)
	r := s.start("mqtt://127.0.0.1:1", `
upstream: {url: %q}
drain: 0s
listeners:
  - {name: all, address: "127.0.0.1:0", transport: websocket}
  - {name: listed, address: "127.0.0.1:0", transport: websocket, origins: ["https://app.example", "http://127.0.0.1:8000"]}
  - name: certificates
    address: "127.0.0.1:0"
    transport: websocket
    tls: {certificate: server.pem, key: server.key, client_ca: clients.pem}
  - name: certificates, listed
    address: "127.0.0.1:0"
    transport: websocket
    origins: ["https://app.example"]
    tls: {certificate: server.pem, key: server.key, client_ca: clients.pem}
`)
	upgraded := func(listener int, origin string) int {
		conn, err := net.Dial("tcp", r.listeners[listener].served.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
		if listener >= 2 {
			config := s.authority.ClientConfig()
			config.ServerName, config.Certificates = "localhost", []tls.Certificate{certificate}
			conn = tls.Client(conn, config)
		}
		if origin != "" {
			origin = "Origin: " + origin + "\r\n"
		}
		fmt.Fprintf(conn, "GET /mqtt HTTP/1.1\r\nHost: gateway.example:8443\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
			"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: mqtt\r\n%s\r\n", origin)
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		return answer.StatusCode
	}
	const yes, no = http.StatusSwitchingProtocols, http.StatusForbidden
	for origin, want := range map[string][4]int{
		"":                             {yes, yes, yes, yes},
		"https://evil.example":         {yes, no, no, no},
		"null":                         {yes, no, no, no},
		"https://app.example":          {yes, yes, no, yes},
		"https://app.example.evil":     {yes, no, no, no},
		"http://127.0.0.1:8000":        {yes, yes, no, no},
		"https://gateway.example:8443": {yes, no, yes, no},
	} {
		for i, code := range want {
			require.Equal(t, code, upgraded(i, origin), "%q to %s", origin, r.listeners[i].name)
		}
	}
}

// TestTextMessages: MQTT is in binary messages and in no others (MQTT5 6.0.0-1).
func TestTextMessages(t *testing.T) {
	r := newSite(t).start(upstreamURL(upstreams(t)["mochi"]), everyTransport)
	hello, err := (&wire.ConnectPacket{Version: wire.V311, CleanStart: true, ClientID: []byte("c")}).Append(nil)
	require.NoError(t, err)
	for kind, taken := range map[int]bool{websocket.BinaryMessage: true, websocket.TextMessage: false} {
		ws, answer, err := websocket.DefaultDialer.Dial(r.url("ws", 2), nil)
		require.NoError(t, err)
		defer ws.Close()
		require.Equal(t, http.StatusSwitchingProtocols, answer.StatusCode)
		require.NoError(t, ws.SetReadDeadline(time.Now().Add(patience)))
		require.NoError(t, ws.WriteMessage(kind, hello))
		_, _, err = ws.ReadMessage()
		require.Equal(t, taken, err == nil, kind)
	}
}
