package main

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
)

// gatekeeper is a broker's port that reads the beginning of a CONNECT. judge gets
// the protocol level in it, and returns what to answer before it closes, or true
// to let the client through to the broker behind.
func gatekeeper(t *testing.T, behind *url.URL, judge func(level byte) (answer []byte, pass bool)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	serve := func(conn net.Conn) {
		defer func() { _ = conn.Close() }()
		in := bufio.NewReader(conn)
		head, err := in.Peek(9) // type, a length of one byte, "MQTT" with its length, level
		if err != nil {
			return
		}
		answer, pass := judge(head[8])
		if !pass {
			_, _ = conn.Write(answer)
			return
		}
		broker, err := net.Dial("tcp", behind.Host)
		if err != nil {
			return
		}
		defer func() { _ = broker.Close() }()
		go func() {
			_, _ = io.Copy(broker, in)
			_ = broker.Close()
		}()
		_, _ = io.Copy(conn, broker)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return "tcp://" + listener.Addr().String()
}

// TestOneVersion runs against brokers that take one version of MQTT and refuse the
// other in the ways that are in use: by the end of the connection and by CONNACK.
func TestOneVersion(t *testing.T) {
	broker, err := brokers.StartEmbedded(brokers.Config{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	for name, test := range map[string]struct {
		speaks  byte
		refusal []byte
		says    string
	}{
		"3.1.1, end of connection": {4, nil, "This broker takes MQTT 3.1.1 only"},
		"3.1.1, CONNACK":           {4, []byte{0x20, 2, 0, 1}, "This broker takes MQTT 3.1.1 only"},
		"5, CONNACK":               {5, []byte{0x20, 2, 0, 1}, "This broker takes MQTT 5 only"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			at := gatekeeper(t, broker.URL(brokers.TCP), func(level byte) ([]byte, bool) {
				return test.refusal, level == test.speaks
			})
			out, err := quickstart(t, "-broker", at)
			require.NoError(t, err, out)
			require.Contains(t, out, test.says)
			require.Equal(t, 1, strings.Count(out, "refused: ErrReplay"))
			require.Equal(t, 1, strings.Count(out, "  eavesdropper  "+opening))
		})
	}
}

// TestRefusals makes each mistake that users make, and wants the sentence that says
// what to do.
func TestRefusals(t *testing.T) {
	authority, err := ca.New()
	require.NoError(t, err)
	broker, err := brokers.StartEmbedded(brokers.Config{Authority: authority})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	cafile, err := authority.WriteFile(t.TempDir())
	require.NoError(t, err)

	address := func(transport string) string { return broker.URL(transport).String() }
	as := func(transport, scheme string) string { return scheme + "://" + broker.URL(transport).Host }
	refusing := func(v5, v3 byte) string {
		return gatekeeper(t, nil, func(level byte) ([]byte, bool) {
			if level == 5 {
				return []byte{0x20, 3, 0, v5, 0}, false
			}
			return []byte{0x20, 2, 0, v3}, false
		})
	}
	serving := func(s ca.Subject) string {
		certificate, err := authority.Issue(s)
		require.NoError(t, err)
		config := authority.ClientConfig()
		config.Certificates = append(config.Certificates, certificate)
		server := httptest.NewUnstartedServer(http.NotFoundHandler())
		server.Config.ErrorLog = nil
		server.TLS = config
		server.StartTLS()
		t.Cleanup(server.Close)
		return server.Listener.Addr().String()
	}
	another := gatekeeper(t, nil, func(byte) ([]byte, bool) { return []byte("HTTP/1.1 400 Bad Request\r\n\r\n"), false })
	noWebsocket := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(noWebsocket.Close)

	for name, test := range map[string]struct {
		args []string
		says string
	}{
		"no user":             {[]string{refusing(0x87, 5)}, "use -user and MQTT_PASSWORD"},
		"bad password":        {[]string{refusing(0x86, 4), "-user", "ann", "-password", "x"}, "check -user and MQTT_PASSWORD"},
		"TLS expected":        {[]string{as(brokers.TLS, "tcp")}, "this port speaks TLS, use tls://"},
		"TLS not spoken":      {[]string{as(brokers.TCP, "tls")}, "try tcp://"},
		"unknown certificate": {[]string{address(brokers.TLS)}, "with -cafile"},
		"the same for wss":    {[]string{address(brokers.WSS)}, "with -cafile"},
		"another name": {
			[]string{"tls://" + serving(ca.Subject{Hosts: []string{"elsewhere.example"}}), "-cafile", cafile},
			"use the one in it: elsewhere.example",
		},
		"expired": {
			[]string{"tls://" + serving(ca.Subject{NotAfter: time.Now().Add(-time.Minute)}), "-cafile", cafile},
			"has expired",
		},
		"port closed":     {[]string{"tcp://127.0.0.1:1"}, "nothing listens there"},
		"no such host":    {[]string{"tcp://broker.invalid:1883"}, "no host of that name"},
		"WebSocket path":  {[]string{"ws" + strings.TrimPrefix(noWebsocket.URL, "http") + "/mqtt2"}, `no WebSocket at path "/mqtt2"`},
		"something else":  {[]string{another}, "neither MQTT 5 nor 3.1.1"},
		"TLS on the HTTP": {[]string{"wss" + strings.TrimPrefix(noWebsocket.URL, "http") + "/mqtt"}, "does not speak TLS"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out, err := quickstart(t, append([]string{"-broker"}, test.args...)...)
			require.ErrorContains(t, err, test.says, out)
			require.ErrorContains(t, err, "connect to ")
		})
	}
}
