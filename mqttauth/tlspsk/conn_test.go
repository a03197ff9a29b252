package tlspsk

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
)

const deviceName = "device-7"

// deviceKey is a key of 16 octets.
var deviceKey = []byte{0x9b, 0x4c, 0x1d, 0xee, 0x02, 0x7f, 0xa5, 0x31, 0xc8, 0x66, 0x90, 0x15, 0xf2, 0x3a, 0x88, 0xd7}

func clientConfig() *Config { return &Config{Identity: deviceName, Key: deviceKey} }

func serverConfig() *Config {
	return &Config{Keys: func(identity string) []byte {
		if identity == deviceName {
			return deviceKey
		}
		return nil
	}}
}

// tcpPair is a TCP connection over the loopback.
func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	accepted := make(chan net.Conn, 1)
	go func() {
		conn, err := l.Accept()
		if err == nil {
			accepted <- conn
		}
		close(accepted)
	}()
	client, err = net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	server = <-accepted
	require.NotNil(t, server)
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return client, server
}

// shake runs both sides of a handshake and returns their errors.
func shake(client, server *Conn) (clientErr, serverErr error) {
	done := make(chan error, 1)
	go func() {
		err := server.Handshake()
		if err != nil {
			_ = server.Close()
		}
		done <- err
	}()
	if clientErr = client.Handshake(); clientErr != nil {
		_ = client.Close()
	}
	return clientErr, <-done
}

// pair is a connection after its handshake.
func pair(t testing.TB, cc, sc *Config) (client, server *Conn) {
	t.Helper()
	a, b := tcpPair(t)
	client, server = Client(a, cc), Server(b, sc)
	clientErr, serverErr := shake(client, server)
	require.NoError(t, clientErr)
	require.NoError(t, serverErr)
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return client, server
}

// variant is a version with one of its suites and a group.
type variant struct {
	version Version
	suite   CipherSuite
	group   Group
}

func (v variant) String() string {
	return v.version.String() + " " + v.suite.String() + " " + v.group.String()
}

func (v variant) apply(c *Config) *Config {
	c.MinVersion, c.MaxVersion = v.version, v.version
	c.suites, c.groups = []CipherSuite{v.suite}, []Group{v.group}
	return c
}

// variants are all combinations.
func variants() []variant {
	var all []variant
	for _, v := range []Version{TLS13, TLS12} {
		for _, s := range suitesOf(v) {
			for _, g := range groupsByPreference {
				all = append(all, variant{v, s, g})
			}
		}
	}
	return all
}

// onePerSuite are the combinations with the preferred group.
func onePerSuite() []variant {
	var some []variant
	for _, v := range variants() {
		if v.group == X25519 {
			some = append(some, v)
		}
	}
	return some
}

func TestEveryVersionSuiteAndGroup(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.String(), func(t *testing.T) {
			client, server := pair(t, v.apply(clientConfig()), serverConfig())
			want := ConnectionState{HandshakeComplete: true, Version: v.version, CipherSuite: v.suite, Group: v.group,
				Identity: deviceName, NegotiatedProtocol: "mqtt"}
			require.Equal(t, want, client.ConnectionState())
			require.Equal(t, want, server.ConnectionState())
			exchange(t, client, server, 100_000)
			exchange(t, server, client, 1)

			for _, context := range [][]byte{nil, {}, []byte("context")} {
				a, err := client.ExportKeyingMaterial("EXPORTER-test", context, 48)
				require.NoError(t, err)
				b, err := server.ExportKeyingMaterial("EXPORTER-test", context, 48)
				require.NoError(t, err)
				require.Equal(t, a, b)
			}
		})
	}
}

// exchange sends n random octets one way.
func exchange(t testing.TB, from, to *Conn, n int) {
	t.Helper()
	sent := make([]byte, n)
	rand.Read(sent)
	done := make(chan error, 1)
	go func() {
		m, err := from.Write(sent)
		if err == nil && m != n {
			err = io.ErrShortWrite
		}
		done <- err
	}()
	got := make([]byte, n)
	_, err := io.ReadFull(to, got)
	require.NoError(t, err)
	require.NoError(t, <-done)
	require.True(t, bytes.Equal(sent, got))
}

// TestNothingIsExportedBeforeTheProof: in TLS 1.2 a server has the secrets as soon as a client names an identity.
func TestNothingIsExportedBeforeTheProof(t *testing.T) {
	for _, v := range onePerSuite() {
		if v.version != TLS12 {
			continue
		}
		a, b := tcpPair(t)
		passed := false
		client := Client(&tap{Conn: a, edit: func(_ int, raw []byte) [][]byte {
			if passed = passed || record.Type(raw[0]) == record.ChangeCipherSpec; passed {
				return nil
			}
			return [][]byte{raw}
		}}, v.apply(clientConfig()))
		server := Server(b, serverConfig())
		handshaking(t, client)
		handshaking(t, server)
		require.Eventually(t, func() bool {
			server.exporter.Lock()
			defer server.exporter.Unlock()
			return server.exporter.secret != nil
		}, patience, time.Millisecond)
		_, err := server.ExportKeyingMaterial("EXPORTER-test", nil, 32)
		require.ErrorIs(t, err, ErrIncomplete)
		require.False(t, server.HasKey(deviceKey))
		require.Zero(t, server.ConnectionState())
		require.Empty(t, server.PSKIdentity())
	}
}

// TestHasKey: a server can tell which of two keys the client proved, whatever Config.Keys says by then.
func TestHasKey(t *testing.T) {
	for _, v := range onePerSuite() {
		t.Run(v.String(), func(t *testing.T) {
			a, b := tcpPair(t)
			client, server := Client(a, v.apply(clientConfig())), Server(b, v.apply(serverConfig()))
			require.False(t, server.HasKey(deviceKey), "before the handshake")
			clientErr, serverErr := shake(client, server)
			require.NoError(t, errors.Join(clientErr, serverErr))
			defer func() { _ = client.Close(); _ = server.Close() }()
			require.True(t, server.HasKey(deviceKey))
			require.False(t, server.HasKey(append(deviceKey[1:len(deviceKey):len(deviceKey)], deviceKey[0])))
			require.False(t, server.HasKey(nil))
			require.False(t, client.HasKey(nil))
			require.False(t, client.HasKey(deviceKey), "a client has not checked any other")
		})
	}
}
