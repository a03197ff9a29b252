package tlspsk

import (
	"bytes"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What OpenSSL calls the things that are negotiated. RFC 8442 suites it does not have.
var (
	opensslVersion = map[Version]string{TLS13: "-tls1_3", TLS12: "-tls1_2"}
	opensslGroup   = map[Group]string{X25519: "X25519", P256: "P-256"}
	opensslSuite   = map[CipherSuite][]string{
		TLS_AES_128_GCM_SHA256:                      {"-ciphersuites", "TLS_AES_128_GCM_SHA256"},
		TLS_CHACHA20_POLY1305_SHA256:                {"-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"},
		TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256: {"-cipher", "ECDHE-PSK-CHACHA20-POLY1305"},
	}
)

// foreignVariants are those that other implementations have.
func foreignVariants() []variant {
	var some []variant
	for _, v := range variants() {
		if v.suite != TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256 {
			some = append(some, v)
		}
	}
	return some
}

func opensslArgs(v variant) []string {
	args := []string{opensslVersion[v.version], "-groups", opensslGroup[v.group]}
	return append(append(args, opensslSuite[v.suite]...), "-psk", deviceKeyHex, "-psk_identity", deviceName)
}

// opensslServer starts openssl s_server and returns its address.
func opensslServer(t *testing.T, args ...string) (*program, string) {
	t.Helper()
	p := run(t, "openssl", append([]string{"s_server", "-accept", "127.0.0.1:0", "-nocert", "-naccept", "1"}, args...)...)
	return p, p.expect(`ACCEPT (127\.0\.0\.1:\d+)`)[1]
}

// export is the exporter as openssl prints it.
func export(t *testing.T, conn *Conn) string {
	t.Helper()
	material, err := conn.ExportKeyingMaterial(exportLabel, nil, 40)
	require.NoError(t, err)
	return strings.ToUpper(hex.EncodeToString(material))
}

const exportLabel = "EXPORTER-ACE-MQTT-Sign-Challenge"

// TestOpenSSLServer connects to s_server with every version, suite and group that it has, and compares the secrets of
// the key schedule with those that it logs, and the exporter.
func TestOpenSSLServer(t *testing.T) {
	for _, v := range foreignVariants() {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "keys")
			server, address := opensslServer(t, append(opensslArgs(v), "-keylogfile", log, "-alpn", "mqtt",
				"-keymatexport", exportLabel, "-keymatexportlen", "40")...)
			config := clientConfig()
			config.ServerName = "broker.example.org"
			var secrets [][]byte
			config.watch = func(secret []byte) { secrets = append(secrets, bytes.Clone(secret)) }
			conn, err := dial(t, address, config)
			require.NoError(t, err)
			require.Equal(t, ConnectionState{HandshakeComplete: true, Version: v.version, CipherSuite: v.suite, Group: v.group,
				Identity: deviceName, NegotiatedProtocol: "mqtt", ServerName: "broker.example.org"}, conn.ConnectionState())
			write(t, conn, "from the client\n")
			server.expect("from the client")
			require.Contains(t, server.expect(`Keying material: ([0-9A-F]+)`)[1], export(t, conn))
			server.say("from the server")
			require.Equal(t, "from the server", line(t, conn))
			requireLogged(t, log, secrets)

			if v.version == TLS13 {
				server.say("K")
				go func() { // what comes in one piece with a command is taken for a part of it
					for !conn.out.owed.Load() && t.Context().Err() == nil {
						time.Sleep(time.Millisecond)
					}
					_, _ = io.WriteString(server.stdin, "after one update\n")
				}()
				require.Equal(t, "after one update", line(t, conn))
				write(t, conn, "after the other update\n") // s_server asked for it
				server.expect("after the other update")
			}
			require.NoError(t, conn.Close())
			server.wait()
		})
	}
}

// requireLogged compares secrets with those of an SSLKEYLOGFILE.
func requireLogged(t *testing.T, file string, secrets [][]byte) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var logged, ours []string
	for _, m := range regexp.MustCompile(`(?m)^[A-Z0-9_]+ [0-9a-fA-F]+ ([0-9a-fA-F]+)$`).FindAllStringSubmatch(string(text), -1) {
		logged = append(logged, strings.ToLower(m[1]))
	}
	for _, s := range secrets {
		ours = append(ours, hex.EncodeToString(s))
	}
	require.NotEmpty(t, logged)
	require.ElementsMatch(t, logged, ours)
}

// TestOpenSSLClient lets s_client connect with every version, suite and group that it has.
func TestOpenSSLClient(t *testing.T) {
	for _, v := range foreignVariants() {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			log := filepath.Join(t.TempDir(), "keys")
			config := serverConfig()
			var secrets [][]byte
			config.watch = func(secret []byte) { secrets = append(secrets, bytes.Clone(secret)) }
			if v.version == TLS12 {
				config.MaxVersion = TLS12 // else the random would tell s_client of a downgrade, which it is
			}
			host, port, result := serve(t, config)
			client := run(t, "openssl", append([]string{"s_client", "-connect", host + ":" + port, "-keylogfile", log, "-alpn", "spdy,mqtt",
				"-servername", "broker.example.org", "-keymatexport", exportLabel, "-keymatexportlen", "40"}, opensslArgs(v)...)...)
			a := receiveAccepted(t, result)
			require.NoError(t, a.err)
			require.Equal(t, ConnectionState{HandshakeComplete: true, Version: v.version, CipherSuite: v.suite, Group: v.group,
				Identity: deviceName, NegotiatedProtocol: "mqtt", ServerName: "broker.example.org"}, a.conn.ConnectionState())
			client.say("from the client")
			require.Equal(t, "from the client", line(t, a.conn))
			write(t, a.conn, "from the server\n")
			client.expect("from the server")
			require.Contains(t, client.expect(`Keying material: ([0-9A-F]+)`)[1], export(t, a.conn))
			require.Contains(t, client.printed(), "ALPN protocol: mqtt")
			requireLogged(t, log, secrets)
			if v.version == TLS13 {
				client.say("K")
				client.expect("KEYUPDATE")
				client.say("after one update")
				require.Equal(t, "after one update", line(t, a.conn))
				write(t, a.conn, "after the other update\n")
				client.expect("after the other update")
			}
			require.NoError(t, a.conn.Close())
			client.wait()
		})
	}
}

// TestOpenSSLKeyUpdate updates our keys many times, with both of its roles at the other end.
func TestOpenSSLKeyUpdate(t *testing.T) {
	v := variant{TLS13, TLS_AES_128_GCM_SHA256, X25519}
	server, address := opensslServer(t, opensslArgs(v)...)
	config := clientConfig()
	config.limit = 8
	conn, err := dial(t, address, config)
	require.NoError(t, err)
	for range 20 { // OpenSSL bears 32 updates
		write(t, conn, "enough for another key\n")
	}
	write(t, conn, "to the server\n")
	server.expect("(?s)(enough for another key.*){20}to the server")

	config = serverConfig()
	config.limit = 8
	host, port, result := serve(t, config)
	client := run(t, "openssl", append([]string{"s_client", "-connect", host + ":" + port}, opensslArgs(v)...)...)
	a := receiveAccepted(t, result)
	require.NoError(t, a.err)
	for range 20 {
		write(t, a.conn, "enough for another key\n")
	}
	write(t, a.conn, "to the client\n")
	client.expect("to the client")
}

func TestOpenSSLHelloRetryRequest(t *testing.T) {
	v := variant{TLS13, TLS_AES_128_GCM_SHA256, P256}
	_, address := opensslServer(t, opensslArgs(v)...)
	config := clientConfig() // with a key share for X25519 only
	conn, err := dial(t, address, config)
	require.NoError(t, err)
	require.Equal(t, P256, conn.ConnectionState().Group)

	config = serverConfig()
	config.groups = []Group{X25519}
	host, port, result := serve(t, config)
	run(t, "openssl", "s_client", "-connect", host+":"+port, "-tls1_3", "-groups", "P-256:X25519", "-psk", deviceKeyHex, "-psk_identity", deviceName)
	a := receiveAccepted(t, result)
	require.NoError(t, a.err)
	require.Equal(t, X25519, a.conn.ConnectionState().Group)
}

// TestOpenSSLRefusals is what both roles of OpenSSL and we say when there is nothing to agree on.
func TestOpenSSLRefusals(t *testing.T) {
	other := strings.Repeat("0badc0de", 4)
	alertIs := func(want AlertError) func(*testing.T, error) {
		return func(t *testing.T, err error) {
			var a AlertError
			require.ErrorAs(t, err, &a)
			require.Equal(t, want, a)
		}
	}
	for name, tt := range map[string]struct {
		server []string
		config func(c *Config)
		check  func(*testing.T, error)
	}{
		"wrong key, TLS 1.3": {[]string{"-tls1_3", "-psk", other, "-psk_identity", deviceName}, func(*Config) {}, alertIs(alertIllegalParameter)},
		"wrong key, TLS 1.2": {[]string{"-tls1_2", "-psk", other}, func(*Config) {}, alertIs(alertBadRecordMAC)},
		"no version":         {[]string{"-tls1_2", "-psk", deviceKeyHex}, func(c *Config) { c.MinVersion = TLS13 }, alertIs(alertProtocolVersion)},
		"no suite": {[]string{"-tls1_3", "-psk", deviceKeyHex, "-psk_identity", deviceName, "-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"},
			func(c *Config) { c.MinVersion, c.suites = TLS13, []CipherSuite{TLS_AES_128_GCM_SHA256} }, alertIs(alertHandshakeFailure)},
		"no suite in TLS 1.2": {[]string{"-tls1_2", "-psk", deviceKeyHex, "-cipher", "PSK-AES128-GCM-SHA256"}, func(*Config) {}, alertIs(alertHandshakeFailure)},
		"no group":            {[]string{"-tls1_3", "-psk", deviceKeyHex, "-psk_identity", deviceName, "-groups", "P-384"}, func(c *Config) { c.MinVersion = TLS13 }, alertIs(alertHandshakeFailure)},
		"no PSK":              {[]string{"-tls1_3"}, func(*Config) {}, alertIs(alertProtocolVersion)},
		"unknown identity, TLS 1.3": {[]string{"-tls1_3", "-psk", deviceKeyHex, "-psk_identity", "another"}, func(*Config) {},
			alertIs(alertMissingExtension)}, // it would want to use a certificate
	} {
		t.Run("server: "+name, func(t *testing.T) {
			t.Parallel()
			_, address := opensslServer(t, tt.server...)
			config := clientConfig()
			tt.config(config)
			_, err := dial(t, address, config)
			tt.check(t, err)
		})
	}

	for name, tt := range map[string]struct {
		client []string
		config func(c *Config)
		want   error
		alert  string
	}{
		"wrong key, TLS 1.3":        {[]string{"-tls1_3", "-psk", other, "-psk_identity", deviceName}, nil, ErrAuthentication, "decrypt error"},
		"wrong key, TLS 1.2":        {[]string{"-tls1_2", "-psk", other, "-psk_identity", deviceName}, nil, ErrAuthentication, "bad record mac"},
		"unknown identity, TLS 1.3": {[]string{"-tls1_3", "-psk", deviceKeyHex, "-psk_identity", "nobody"}, nil, ErrUnknownIdentity, "decrypt error"},
		"unknown identity, TLS 1.2": {[]string{"-tls1_2", "-psk", deviceKeyHex, "-psk_identity", "nobody"}, nil, ErrUnknownIdentity, "bad record mac"},
		"no group":                  {[]string{"-tls1_3", "-psk", deviceKeyHex, "-groups", "P-384"}, nil, nil, "handshake failure"},
		"no suite":                  {[]string{"-tls1_2", "-psk", deviceKeyHex, "-cipher", "ECDHE-PSK-AES128-CBC-SHA256"}, nil, nil, "handshake failure"},
		"no PSK":                    {[]string{"-tls1_3"}, nil, nil, "handshake failure"},
		"old version":               {[]string{"-tls1_1", "-cipher", "ALL:@SECLEVEL=0"}, nil, nil, "protocol version"},
		"new version only": {[]string{"-tls1_2", "-psk", deviceKeyHex}, func(c *Config) { c.MinVersion = TLS13 }, nil,
			"protocol version"},
		"another protocol": {[]string{"-tls1_3", "-psk", deviceKeyHex, "-psk_identity", deviceName, "-alpn", "h2"}, nil, nil, "no application protocol"},
		"downgrade": {[]string{"-tls1_2", "-fallback_scsv", "-psk", deviceKeyHex, "-psk_identity", deviceName}, nil, nil,
			"inappropriate fallback"},
	} {
		t.Run("client: "+name, func(t *testing.T) {
			t.Parallel()
			config := serverConfig()
			if tt.config != nil {
				tt.config(config)
			}
			host, port, result := serve(t, config)
			client := run(t, "openssl", append([]string{"s_client", "-connect", host + ":" + port}, tt.client...)...)
			a := receiveAccepted(t, result)
			require.Error(t, a.err)
			if tt.want != nil {
				require.ErrorIs(t, a.err, tt.want)
			}
			client.expect(tt.alert)
		})
	}
}
