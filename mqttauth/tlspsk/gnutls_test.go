package tlspsk

import (
	"net"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// gnutlsPriority is a variant in GnuTLS's language.
func gnutlsPriority(v variant) string {
	version := map[Version]string{TLS13: "TLS1.3", TLS12: "TLS1.2"}[v.version]
	group := map[Group]string{X25519: "X25519", P256: "SECP256R1"}[v.group]
	cipher := "CHACHA20-POLY1305"
	if v.suite == TLS_AES_128_GCM_SHA256 {
		cipher = "AES-128-GCM"
	}
	return "NORMAL:-VERS-ALL:+VERS-" + version + ":-CIPHER-ALL:+" + cipher + ":-GROUP-ALL:+GROUP-" + group + ":-KX-ALL:+ECDHE-PSK:+DHE-PSK"
}

// gnutlsServer starts gnutls-serv, which echoes, and returns its address.
func gnutlsServer(t *testing.T, args ...string) (*program, string) {
	t.Helper()
	port := freePort(t)
	p := run(t, "gnutls-serv", append([]string{"--port", port, "--echo", "--pskpasswd", keyFile(t)}, args...)...)
	p.expect(`listening on IPv4`)
	return p, net.JoinHostPort("127.0.0.1", port)
}

func TestGnuTLSServer(t *testing.T) {
	for _, v := range foreignVariants() {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			server, address := gnutlsServer(t, "--priority", gnutlsPriority(v), "--alpn", "mqtt", "--alpn-fatal",
				"--sni-hostname", "broker.example.org", "--sni-hostname-fatal")
			config := clientConfig()
			config.ServerName = "broker.example.org"
			if v.version == TLS13 {
				config.limit = 8 // it echoes each line, and bears updates
			}
			conn, err := dial(t, address, config)
			require.NoError(t, err)
			require.Equal(t, ConnectionState{HandshakeComplete: true, Version: v.version, CipherSuite: v.suite, Group: v.group,
				Identity: deviceName, NegotiatedProtocol: "mqtt", ServerName: "broker.example.org"}, conn.ConnectionState())
			for range 5 {
				write(t, conn, "there and back\n")
				require.Equal(t, "there and back", line(t, conn))
			}
			require.Contains(t, server.expect(`PSK authentication[^\n]*`)[0], deviceName)

			config.ServerName = "another.example.org"
			_, err = dial(t, address, config)
			var a AlertError
			require.ErrorAs(t, err, &a, "it sees another name")
			config.ServerName = "broker.example.org"
			config.NextProtos = []string{"h2"}
			_, err = dial(t, address, config)
			require.ErrorAs(t, err, &a)
			require.Equal(t, alertNoApplicationProtocol, a)
		})
	}
}

func TestGnuTLSClient(t *testing.T) {
	for _, v := range foreignVariants() {
		t.Run(v.String(), func(t *testing.T) {
			t.Parallel()
			config := serverConfig()
			config.limit = 8
			if v.version == TLS12 {
				config.MaxVersion, config.limit = TLS12, 0
			}
			_, port, result := serve(t, config)
			client := run(t, "gnutls-cli", "--port", port, "127.0.0.1", "--sni-hostname", "broker.example.org", "--alpn", "mqtt",
				"--pskusername", deviceName, "--pskkey", deviceKeyHex, "--priority", gnutlsPriority(v), "--inline-commands")
			a := receiveAccepted(t, result)
			require.NoError(t, a.err)
			require.Equal(t, ConnectionState{HandshakeComplete: true, Version: v.version, CipherSuite: v.suite, Group: v.group,
				Identity: deviceName, NegotiatedProtocol: "mqtt", ServerName: "broker.example.org"}, a.conn.ConnectionState())
			if v.version == TLS12 {
				return // gnutls-cli 3.7.9 crashes when it prints what it has negotiated, with its own server as well
			}
			client.say("from the client")
			require.Equal(t, "from the client", line(t, a.conn))
			for range 5 {
				write(t, a.conn, "from the server\n")
			}
			client.expect("(?s)(from the server.*){5}")
			first := append([]byte(nil), a.conn.in.secret...)
			client.say("^rekey^")
			client.expect("Rekey was completed")
			client.say("after its update")
			require.Equal(t, "after its update", line(t, a.conn))
			require.NotEqual(t, first, a.conn.in.secret)
			require.NoError(t, a.conn.Close())
			client.wait()
		})
	}
}

func TestGnuTLSHelloRetryRequest(t *testing.T) {
	p256 := variant{TLS13, TLS_AES_128_GCM_SHA256, P256}
	_, address := gnutlsServer(t, "--priority", gnutlsPriority(p256))
	conn, err := dial(t, address, clientConfig())
	require.NoError(t, err)
	require.Equal(t, P256, conn.ConnectionState().Group)

	config := serverConfig()
	config.groups = []Group{X25519}
	_, port, result := serve(t, config)
	run(t, "gnutls-cli", "--port", port, "127.0.0.1", "--pskusername", deviceName, "--pskkey", deviceKeyHex, "--single-key-share",
		"--priority", gnutlsPriority(p256)+":+GROUP-X25519")
	a := receiveAccepted(t, result)
	require.NoError(t, a.err)
	require.Equal(t, X25519, a.conn.ConnectionState().Group)
}

func TestGnuTLSRefusals(t *testing.T) {
	wrong := strings.Repeat("0badc0de", 4)
	for _, v := range []variant{{TLS13, TLS_AES_128_GCM_SHA256, X25519}, {TLS12, TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256, X25519}} {
		for name, tt := range map[string]struct {
			identity, key string
			want          error
		}{
			"wrong key":        {deviceName, wrong, ErrAuthentication},
			"unknown identity": {"nobody", deviceKeyHex, ErrUnknownIdentity},
		} {
			t.Run(v.version.String()+" "+name, func(t *testing.T) {
				t.Parallel()
				_, port, result := serve(t, serverConfig())
				client := run(t, "gnutls-cli", "--port", port, "127.0.0.1", "--pskusername", tt.identity, "--pskkey", tt.key, "--priority", gnutlsPriority(v))
				a := receiveAccepted(t, result)
				require.ErrorIs(t, a.err, tt.want)
				alert := client.expect(`Received alert \[(\d+)\]`)[1]
				require.Equal(t, map[Version]string{TLS13: "51", TLS12: "20"}[v.version], alert)
			})
		}
		t.Run(v.version.String()+" server", func(t *testing.T) {
			t.Parallel()
			_, address := gnutlsServer(t, "--priority", gnutlsPriority(v))
			config := clientConfig()
			config.Identity = "nobody"
			_, err := dial(t, address, config)
			var a AlertError
			require.ErrorAs(t, err, &a)
			config = clientConfig()
			config.Key = append([]byte{1}, deviceKey...)
			_, err = dial(t, address, config)
			require.ErrorAs(t, err, &a)
		})
	}
}
