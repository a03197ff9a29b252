package main

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

// key is that of the fixture's device1.
func key(t *testing.T) []byte {
	t.Helper()
	key, err := hex.DecodeString(strings.Repeat("0123456789abcdef", 4))
	require.NoError(t, err)
	return key
}

// knock sends a CONNECT of MQTT 3.1.1 and returns the code of the answer.
func knock(t *testing.T, conn net.Conn, m wire.ConnectPacket) byte {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	m.Version, m.ClientID, m.CleanStart = wire.V311, []byte("knocks"), true
	p, err := m.Append(nil)
	require.NoError(t, err)
	_, err = conn.Write(p)
	require.NoError(t, err)
	answer, err := wire.Read(conn, 1<<10)
	require.NoError(t, err)
	require.Equal(t, wire.Connack, answer.Type())
	return answer.Body()[1]
}

// TestPasswordOfVerifiedNames has the gateway vouch for the names that it has verified, and for no other.
func TestPasswordOfVerifiedNames(t *testing.T) {
	connects := make(chan wire.ConnectPacket, 1)
	upstream := listening(t, func(conn net.Conn) {
		p, err := wire.Read(conn, 1<<16)
		if err != nil {
			return
		}
		if m, err := wire.ParseConnect(p); err == nil {
			connects <- m
			_, _ = conn.Write([]byte{0x20, 2, 0, 0})
		}
	})
	s := newSite(t)
	s.write("broker.pass", "secret\nand a comment\n")
	r := s.start(upstream, `
upstream: {url: "%s", password_file: broker.pass}
drain: 0s
listeners:
  - {name: named, address: "127.0.0.1:0", psk: {keys: psk.txt, identity_as_username: true}}
  - {name: keys, address: "127.0.0.1:0", psk: {keys: psk.txt}}
  - {name: plain, address: "127.0.0.1:0"}
`)
	ann := wire.ConnectPacket{HasUsername: true, Username: []byte("ann")}
	brought := ann
	brought.HasPassword, brought.Password = true, []byte("her own")
	for _, test := range []struct {
		listener       int
		m              wire.ConnectPacket
		name, password string
	}{
		{0, wire.ConnectPacket{}, "device1", "secret"},
		{0, ann, "device1", "secret"},
		{0, brought, "device1", "her own"},
		{1, wire.ConnectPacket{}, "", ""},
		{1, ann, "ann", ""},
		{2, ann, "ann", ""},
		{2, brought, "ann", "her own"},
	} {
		address := r.listeners[test.listener].served.Addr().String()
		var conn net.Conn
		var err error
		if test.listener < 2 {
			conn, err = tlspsk.Dial(t.Context(), "tcp", address, &tlspsk.Config{Identity: "device1", Key: key(t)})
		} else {
			conn, err = net.Dial("tcp", address)
		}
		require.NoError(t, err)
		require.Zero(t, knock(t, conn, test.m))
		got := receive(t, connects)
		require.Equal(t, test.name, string(got.Username))
		require.Equal(t, test.password, string(got.Password))
		require.Equal(t, test.password != "", got.HasPassword)
	}
}

func TestPasswordFileWithout(t *testing.T) {
	s := newSite(t)
	_, err := loadPassword(s.write("empty", "\nsecret\n"))
	require.ErrorContains(t, err, "no password in its first line")
	_, err = loadPassword(s.write("crlf", "secret\r\n"))
	require.NoError(t, err)
}

// TestEjabberdLearnsAddresses shows PROXY headers and passwords to a broker that wants both: it says where its clients
// come from, and the gateway's own address nowhere.
func TestEjabberdLearnsAddresses(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	defer cancel()
	broker, err := brokers.StartEjabberd(ctx, 1)
	if errors.Is(err, brokers.ErrNotInstalled) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	s := newSite(t)
	s.write("broker.pass", "secret")
	s.write("psk.txt", "device1@localhost:"+hex.EncodeToString(key(t))+"\n")
	r := s.start("mqtt://"+broker.Proxied(0).Host, `
upstream: {url: "%s", password_file: broker.pass, proxy_protocol: true}
drain: 0s
listeners: [{address: "127.0.0.1:0", psk: {keys: psk.txt, identity_as_username: true}}]
`)
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := dialer.DialContext(ctx, "tcp", r.listeners[0].served.Addr().String())
	require.NoError(t, err)
	secured := tlspsk.Client(conn, &tlspsk.Config{Identity: "device1@localhost", Key: key(t)})
	require.Zero(t, knock(t, secured, wire.ConnectPacket{}))
	_, err = broker.AwaitLog(ctx, 0, "Accepted MQTT authentication for device1@localhost")
	require.NoError(t, err)
	_, err = broker.AwaitLog(ctx, 0, "Accepted proxied connection "+conn.LocalAddr().String())
	require.NoError(t, err)
}
