package tlspsk

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCheckKey(t *testing.T) {
	random := make([]byte, 32)
	rand.Read(random)
	random[0] = 0xff
	for name, tt := range map[string]struct {
		key []byte
		ok  bool
	}{
		"16 octets":           {deviceKey, true},
		"32 octets":           {random, true},
		"ascending":           {[]byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, true},
		"nothing":             {nil, false},
		"15 octets":           {deviceKey[:15], false},
		"password":            {[]byte("correct horse battery staple"), false},
		"password in German":  {[]byte("Zwölf Boxkämpfer jagen"), false},
		"hexadecimal":         {[]byte(deviceKeyHex), false},
		"base64 with newline": {[]byte("m0wd7gJ/pTHIZpAV8jqI1w==\n"), false},
		"zeros":               {make([]byte, 32), false},
		"repeated":            {bytes.Repeat([]byte{0xde, 0xad, 0xbe, 0xef}, 8), false},
		"too long":            {bytes.Repeat(deviceKey, 1<<12), false},
	} {
		err := CheckKey(tt.key)
		if tt.ok {
			require.NoError(t, err, name)
			continue
		}
		require.ErrorIs(t, err, ErrWeakKey, name)
		if len(tt.key) > 0 {
			require.NotContains(t, err.Error(), string(tt.key), name)
		}
	}
}

func TestConfigIsChecked(t *testing.T) {
	for name, edit := range map[string]func(c *Config){
		"no identity":        func(c *Config) { c.Identity = "" },
		"long identity":      func(c *Config) { c.Identity = strings.Repeat("x", maxIdentity+1) },
		"no key":             func(c *Config) { c.Key = nil },
		"short key":          func(c *Config) { c.Key = c.Key[:8] },
		"unknown version":    func(c *Config) { c.MinVersion = 0x0302 },
		"versions":           func(c *Config) { c.MinVersion, c.MaxVersion = TLS13, TLS12 },
		"server name":        func(c *Config) { c.ServerName = strings.Repeat("x", 256) },
		"empty protocol":     func(c *Config) { c.NextProtos = []string{""} },
		"long protocol":      func(c *Config) { c.NextProtos = []string{strings.Repeat("x", 256)} },
		"too many protocols": func(c *Config) { c.NextProtos = make([]string, 65) },
	} {
		c := clientConfig()
		edit(c)
		_, err := New(*c)
		require.ErrorIs(t, err, ErrConfig, name)
		a, _ := net.Pipe()
		require.ErrorIs(t, Client(a, c).Handshake(), ErrConfig, name)
		_, err = Dial(t.Context(), "tcp", "127.0.0.1:1", c)
		require.ErrorIs(t, err, ErrConfig, name)
	}
	a, _ := net.Pipe()
	require.ErrorIs(t, Client(a, nil).Handshake(), ErrConfig)
	require.ErrorIs(t, Server(a, clientConfig()).Handshake(), ErrConfig)
	_, err := NewListener(nil, clientConfig())
	require.ErrorIs(t, err, ErrConfig)
	_, err = New(Config{Identity: "x", Key: []byte("correct horse battery staple")})
	require.ErrorIs(t, err, ErrWeakKey)
}

// TestNewCopies: what the application changes afterwards has no effect.
func TestNewCopies(t *testing.T) {
	c := *clientConfig()
	c.Key = bytes.Clone(c.Key)
	c.NextProtos = []string{"mqtt"}
	s, err := New(c)
	require.NoError(t, err)
	clear(c.Key)
	c.NextProtos[0] = "h2"
	a, b := tcpPair(t)
	result := handshaking(t, Server(b, serverConfig()))
	conn, err := s.Conn(t.Context(), a)
	require.NoError(t, err)
	require.NoError(t, result())
	require.Equal(t, "mqtt", conn.(*Conn).ConnectionState().NegotiatedProtocol)
}

// TestServerName is RFC 6066 section 3: no addresses, no final dot.
func TestServerName(t *testing.T) {
	for name, want := range map[string]string{"broker.example.org": "broker.example.org", "broker.example.org.": "broker.example.org",
		"127.0.0.1": "", "::1": "", "[::1]": "", "fe80::1%eth0": "", "localhost": "localhost", "": ""} {
		require.Equal(t, want, (&Config{ServerName: name}).serverName(), name)
	}
}

// TestProtocols is ALPN (RFC 7301 section 3): ours is mqtt, no list is no matter, and a list without anything in common
// is refused.
func TestProtocols(t *testing.T) {
	for _, tt := range []struct {
		client, server []string
		want           string
		fails          bool
	}{
		{nil, nil, "mqtt", false},
		{[]string{}, nil, "", false},
		{nil, []string{}, "", false},
		{[]string{"h2", "mqtt"}, nil, "mqtt", false},
		{[]string{"a", "b"}, []string{"b", "a"}, "b", false},
		{[]string{"h2"}, nil, "", true},
	} {
		for _, version := range []Version{TLS12, TLS13} {
			cc, sc := clientConfig(), serverConfig()
			cc.NextProtos, sc.NextProtos, cc.MaxVersion = tt.client, tt.server, version
			a, b := tcpPair(t)
			client, server := Client(a, cc), Server(b, sc)
			clientErr, serverErr := shake(client, server)
			if tt.fails {
				require.ErrorIs(t, clientErr, alertNoApplicationProtocol)
				requireFault(t, alertNoApplicationProtocol, serverErr)
				continue
			}
			require.NoError(t, clientErr)
			require.NoError(t, serverErr)
			require.Equal(t, tt.want, client.ConnectionState().NegotiatedProtocol)
			require.Equal(t, tt.want, server.ConnectionState().NegotiatedProtocol)
		}
	}
}

// TestVersions: the highest that both allow.
func TestVersions(t *testing.T) {
	for _, tt := range []struct{ clientMin, clientMax, serverMin, serverMax, want Version }{
		{0, 0, 0, 0, TLS13}, {0, TLS12, 0, 0, TLS12}, {0, 0, 0, TLS12, TLS12}, {TLS13, 0, 0, TLS12, 0}, {0, TLS12, TLS13, 0, 0},
	} {
		cc, sc := clientConfig(), serverConfig()
		cc.MinVersion, cc.MaxVersion, sc.MinVersion, sc.MaxVersion = tt.clientMin, tt.clientMax, tt.serverMin, tt.serverMax
		a, b := tcpPair(t)
		client, server := Client(a, cc), Server(b, sc)
		clientErr, serverErr := shake(client, server)
		if tt.want == 0 {
			require.ErrorIs(t, clientErr, alertProtocolVersion)
			requireFault(t, alertProtocolVersion, serverErr)
			continue
		}
		require.NoError(t, clientErr)
		require.NoError(t, serverErr)
		require.Equal(t, tt.want, server.ConnectionState().Version)
	}
}

// TestWrongKeyAndUnknownIdentityLookTheSame compares all that a client sees, at both versions.
func TestWrongKeyAndUnknownIdentityLookTheSame(t *testing.T) {
	for _, version := range []Version{TLS12, TLS13} {
		var seen [][]int
		for _, edit := range []func(*Config){
			func(c *Config) { c.Key = append([]byte{1}, deviceKey...) },
			func(c *Config) { c.Identity = "device-8" },
		} {
			cc := clientConfig()
			cc.MaxVersion = version
			edit(cc)
			a, b := tcpPair(t)
			var lengths []int
			note := func(_ int, raw []byte) [][]byte {
				lengths = append(lengths, len(raw), int(raw[0]))
				return [][]byte{raw}
			}
			client, server := Client(a, cc), Server(&tap{Conn: b, edit: note}, serverConfig())
			clientErr, serverErr := shake(client, server)
			require.ErrorIs(t, serverErr, ErrAuthentication)
			want := map[Version]AlertError{TLS12: alertBadRecordMAC, TLS13: alertDecryptError}[version]
			require.ErrorIs(t, clientErr, want)
			seen = append(seen, lengths)
		}
		require.Equal(t, seen[0], seen[1])
	}
}

func TestReadKeys(t *testing.T) {
	keys, err := ReadKeys(strings.NewReader("# devices\r\n\n" + deviceName + ":" + deviceKeyHex + "\r\nGerät 8:" + strings.ToUpper(deviceKeyHex) + "00\n   \n"))
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{deviceName: deviceKey, "Gerät 8": append(bytes.Clone(deviceKey), 0)}, keys)

	for text, want := range map[string]string{
		"ok:" + deviceKeyHex + "\nno colon here\n": "line 2: no colon",
		":" + deviceKeyHex:                         "line 1: no identity",
		"# c\n\nname:":                             "line 3: no key",
		"a:b:" + deviceKeyHex:                      "line 1: more than one colon",
		"name:" + deviceKeyHex + "0":               "line 1: the key is not hexadecimal",
		"name:zz" + deviceKeyHex:                   "line 1: the key is not hexadecimal",
		"name:" + deviceKeyHex[:30]:                "line 1: tlspsk: weak key: 15 octets",
		"name:" + hex.EncodeToString([]byte("a password of some length")):          "line 1: tlspsk: weak key: it is a text",
		"name:" + deviceKeyHex + "\nname:" + deviceKeyHex:                          `line 2: identity "name" again`,
		strings.Repeat("x", maxIdentity+1) + ":" + deviceKeyHex:                    "line 1: identity of",
		"name:" + strings.Repeat("ab", maxKey+1) + "\n":                            "line 1: ",
		"ok:" + deviceKeyHex + "\n" + strings.Repeat("x", 4*maxKey) + ":" + "00\n": "line 2: longer than",
	} {
		_, err := ReadKeys(strings.NewReader(text))
		require.ErrorIs(t, err, ErrKeyFile)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), deviceKeyHex[:16])
	}
}

func TestLoadKeys(t *testing.T) {
	keys, err := LoadKeys(keyFile(t))
	require.NoError(t, err)
	require.Equal(t, map[string][]byte{deviceName: deviceKey}, keys)
	_, err = LoadKeys(filepath.Join(t.TempDir(), "none"))
	require.ErrorIs(t, err, os.ErrNotExist)
	bad := filepath.Join(t.TempDir(), "psk")
	require.NoError(t, os.WriteFile(bad, []byte("nonsense"), 0o600))
	_, err = LoadKeys(bad)
	require.ErrorIs(t, err, ErrKeyFile)
	require.ErrorContains(t, err, bad+": ")
}

func FuzzReadKeys(f *testing.F) {
	f.Add([]byte("# devices\n" + deviceName + ":" + deviceKeyHex + "\n"))
	f.Add([]byte("a:b:c\r\n\r\n:"))
	f.Fuzz(func(t *testing.T, text []byte) {
		keys, err := ReadKeys(bytes.NewReader(text))
		if err != nil {
			require.Nil(t, keys)
			return
		}
		for identity, key := range keys {
			require.NotEmpty(t, identity)
			require.NoError(t, CheckKey(key))
		}
	})
}

// TestCredentials: they are asked for with each handshake, with its context, and checked as those in a Config are.
func TestCredentials(t *testing.T) {
	type ctxKey struct{}
	ctx := context.WithValue(t.Context(), ctxKey{}, "this one")
	calls := 0
	config := Config{Credentials: func(ctx context.Context) (string, []byte, error) {
		require.Equal(t, "this one", ctx.Value(ctxKey{}))
		calls++
		return deviceName, deviceKey, nil
	}}
	s, err := New(config)
	require.NoError(t, err)
	for n := range 2 {
		a, b := tcpPair(t)
		server := Server(b, serverConfig())
		result := handshaking(t, server)
		conn, err := s.Conn(ctx, a)
		require.NoError(t, err)
		require.NoError(t, result())
		require.Equal(t, n+1, calls)
		require.Equal(t, deviceName, conn.(*Conn).PSKIdentity())
		require.Equal(t, deviceName, server.PSKIdentity())
	}

	for name, tt := range map[string]struct {
		identity string
		key      []byte
		err      error
		want     error
	}{
		"error":       {"", nil, io.ErrNoProgress, io.ErrNoProgress},
		"no identity": {"", deviceKey, nil, ErrConfig},
		"weak key":    {"x", []byte("correct horse battery staple"), nil, ErrWeakKey},
	} {
		a, _ := net.Pipe()
		err := Client(a, &Config{Credentials: func(context.Context) (string, []byte, error) { return tt.identity, tt.key, tt.err }}).Handshake()
		require.ErrorIs(t, err, tt.want, name)
	}
	config.Identity = "beside"
	_, err = New(config)
	require.ErrorIs(t, err, ErrConfig)
}
