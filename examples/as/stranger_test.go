package main

// A stranger has demo.json, HTTPS and a socket, and no code of this module: what follows is written from RFC 9431 and
// the MQTT standards, byte by byte.

import (
	"bufio"
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// facts is demo.json as its readers understand it.
type facts struct {
	AS, Broker, CA string
	Lifetime       int
	Clients        []struct {
		ID       string `json:"client_id"`
		Secret   string `json:"client_secret"`
		Audience string
		Scope    json.RawMessage
	}

	pool *x509.CertPool
}

func readFacts(t *testing.T, dir string) facts {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "demo.json"))
	require.NoError(t, err)
	var f facts
	require.NoError(t, json.Unmarshal(text, &f))
	certificates, err := os.ReadFile(filepath.Join(dir, f.CA))
	require.NoError(t, err)
	f.pool = x509.NewCertPool()
	require.True(t, f.pool.AppendCertsFromPEM(certificates))
	return f
}

// token is a token with its key.
type token struct {
	text string
	key  []byte
}

// token asks for a token with the secret of a client by Basic, or in the body.
func (f facts) token(t *testing.T, client int, basic bool) token {
	t.Helper()
	who := f.Clients[client]
	members := map[string]string{"grant_type": "client_credentials", "audience": who.Audience}
	if !basic {
		members["client_id"], members["client_secret"] = who.ID, who.Secret
	}
	body, err := json.Marshal(members)
	require.NoError(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.AS+"/token", bytes.NewReader(body))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/ace+json")
	if basic {
		r.SetBasicAuth(who.ID, who.Secret)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: f.pool}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.Equal(t, "application/ace+json", response.Header.Get("Content-Type"))
	var answer struct {
		AccessToken string `json:"access_token"`
		TokenType   string `json:"token_type"`
		ExpiresIn   int    `json:"expires_in"`
		Profile     string `json:"ace_profile"`
		Scope       string
		Cnf         struct {
			JWK struct{ Kty, Alg, K string }
		}
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	require.Equal(t, "PoP", answer.TokenType)
	require.Equal(t, "mqtt_tls", answer.Profile)
	require.Equal(t, f.Lifetime, answer.ExpiresIn)
	require.Equal(t, "oct", answer.Cnf.JWK.Kty)
	require.Equal(t, "HS256", answer.Cnf.JWK.Alg)
	key, err := base64.RawURLEncoding.DecodeString(answer.Cnf.JWK.K)
	require.NoError(t, err)
	granted, err := base64.RawURLEncoding.DecodeString(answer.Scope)
	require.NoError(t, err)
	require.JSONEq(t, string(who.Scope), string(granted))
	return token{answer.AccessToken, key}
}

// line is a TLS connection to the broker.
type line struct {
	*testing.T
	conn *tls.Conn
	in   *bufio.Reader
}

func (f facts) dial(t *testing.T, version uint16) line {
	t.Helper()
	at, err := url.Parse(f.Broker)
	require.NoError(t, err)
	require.Equal(t, "mqtts", at.Scheme)
	dialer := tls.Dialer{Config: &tls.Config{RootCAs: f.pool, MinVersion: version, MaxVersion: version, NextProtos: []string{"mqtt"}}}
	conn, err := dialer.DialContext(t.Context(), "tcp", at.Host)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return line{t, conn.(*tls.Conn), bufio.NewReader(conn)}
}

// proof is the MAC over the bytes that TLS exports for this connection.
func (l line) proof(key []byte) []byte {
	l.Helper()
	state := l.conn.ConnectionState()
	exported, err := state.ExportKeyingMaterial("EXPORTER-ACE-MQTT-Sign-Challenge", []byte{}, 32)
	require.NoError(l, err)
	return mac(key, exported)
}

func mac(key, input []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(input)
	return h.Sum(nil)
}

// binaryData is a field with its length in two bytes.
func binaryData[T string | []byte](b T) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
}

// variable is a Variable Byte Integer.
func variable(n int) []byte { return binary.AppendUvarint(nil, uint64(n)) } // which is the same code

func (l line) send(first byte, parts ...[]byte) {
	l.Helper()
	body := bytes.Join(parts, nil)
	_, err := l.conn.Write(append(append([]byte{first}, variable(len(body))...), body...))
	require.NoError(l, err)
}

func (l line) receive(first byte) []byte {
	l.Helper()
	got, err := l.in.ReadByte()
	require.NoError(l, err)
	length, err := binary.ReadUvarint(l.in)
	require.NoError(l, err)
	body := make([]byte, length)
	_, err = io.ReadFull(l.in, body)
	require.NoError(l, err)
	require.Equal(l, first, got, "body %x", body)
	return body
}

// ace is the properties of a packet with Authentication Data.
func ace(data []byte) []byte {
	properties := append([]byte{21}, binaryData("ace")...)
	properties = append(append(properties, 22), binaryData(data)...)
	return append(variable(len(properties)), properties...)
}

func (l line) connect5(id string, data []byte) {
	l.Helper()
	l.send(0x10, binaryData("MQTT"), []byte{5, 2, 0, 60}, ace(data), binaryData(id))
}

// connected5 wants a CONNACK that says yes.
func (l line) connected5() {
	l.Helper()
	body := l.receive(0x20)
	require.Zero(l, body[1], "reason code of %x", body)
	require.Contains(l, string(body), string(append([]byte{21}, binaryData("ace")...)), "the Authentication Method (MQTT 5, 4.12)")
}

// TestAStrangerGetsInWithTheExporter: RFC 9431, figure 3, with the secret by Basic and in the body.
func TestAStrangerGetsInWithTheExporter(t *testing.T) {
	f := readFacts(t, startDemo(t))
	for name, version := range map[string]uint16{"1.2": tls.VersionTLS12, "1.3": tls.VersionTLS13} {
		t.Run("TLS "+name, func(t *testing.T) {
			token := f.token(t, 0, version == tls.VersionTLS12)
			l := f.dial(t, version)
			l.connect5("stranger-"+name, append(binaryData(token.text), l.proof(token.key)...))
			l.connected5()
			l.use5()
		})
	}
}

// TestAStrangerGetsInWithTheChallenge: RFC 9431, figures 4 to 6.
func TestAStrangerGetsInWithTheChallenge(t *testing.T) {
	f := readFacts(t, startDemo(t))
	token := f.token(t, 0, true)
	l := f.dial(t, tls.VersionTLS13)
	l.connect5("stranger", binaryData(token.text))
	body := l.receive(0xf0)
	require.EqualValues(t, 0x18, body[0])
	require.Equal(t, ace(body[len(body)-8:]), body[1:])
	nonce := []byte("ABCDEFGH")
	l.send(0xf0, []byte{0x18}, ace(append(bytes.Clone(nonce), mac(token.key, append(bytes.Clone(body[len(body)-8:]), nonce...))...)))
	l.connected5()
	l.use5()
}

// use5 does what the first client may and may not.
func (l line) use5() {
	l.Helper()
	subscribe := func(filter string) byte {
		l.send(0x82, []byte{0, 1, 0}, binaryData(filter), []byte{1})
		body := l.receive(0x90)
		return body[len(body)-1]
	}
	publish := func(topic string) {
		l.send(0x32, binaryData(topic), []byte{0, 2, 0}, []byte("on"))
	}
	require.EqualValues(l, 1, subscribe("demo/+/state"))
	require.EqualValues(l, 0x87, subscribe("#"))
	require.EqualValues(l, 0x87, subscribe("demo/#"))
	publish("demo/device2/state")
	require.EqualValues(l, 0x87, l.receive(0x40)[2])
	publish("demo/device1/state")
	seen := map[byte][]byte{}
	for range 2 { // the message and its acknowledgement, in either order
		first, err := l.in.Peek(1)
		require.NoError(l, err)
		seen[first[0]] = l.receive(first[0])
	}
	require.True(l, len(seen[0x40]) == 2 || seen[0x40][2] == 0)
	require.Contains(l, string(seen[0x32]), "demo/device1/state")
}

// TestAStrangerGetsInWithUserNameAndPassword: RFC 9431, section 6, on MQTT 3.1.1.
func TestAStrangerGetsInWithUserNameAndPassword(t *testing.T) {
	f := readFacts(t, startDemo(t))
	token := f.token(t, 1, false)
	connect := func(l line, password []byte) []byte {
		user := "ace" + base64.RawURLEncoding.EncodeToString([]byte(token.text))
		l.send(0x10, binaryData("MQTT"), []byte{4, 0xc2, 0, 60}, binaryData("stranger3"), binaryData(user), binaryData(password))
		return l.receive(0x20)
	}
	l := f.dial(t, tls.VersionTLS13)
	require.Equal(t, []byte{0, 0}, connect(l, l.proof(token.key)))
	l.send(0x32, binaryData("demo/device2/state"), []byte{0, 2}, []byte("off"))
	require.Equal(t, []byte{0, 2}, l.receive(0x40))
	l.send(0x82, []byte{0, 3}, binaryData("demo/device1/#"), []byte{0}, binaryData("demo/#"), []byte{0})
	require.Equal(t, []byte{0, 3, 0, 0x80}, l.receive(0x90))
	l.send(0x32, binaryData("demo/device1/state"), []byte{0, 4}, []byte("off"))
	_, err := l.in.ReadByte()
	require.Error(t, err, "the connection ends: an acknowledgement would mean success")

	other := f.dial(t, tls.VersionTLS13)
	require.Equal(t, []byte{0, 5}, connect(other, l.proof(token.key)), "the proof of another connection")
}

// strangerAt gets a token for the audience of the sample configuration and a connection to its broker.
func strangerAt(t *testing.T, dir, printed, broker, id, secret, format string) (line, token) {
	t.Helper()
	certificates, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	require.NoError(t, err)
	pool := x509.NewCertPool()
	require.True(t, pool.AppendCertsFromPEM(certificates))
	at := regexp.MustCompile(`https://localhost:\d+/\.`).FindString(printed)
	f := facts{Broker: broker, pool: pool}
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, strings.TrimSuffix(at, ".")+"token",
		strings.NewReader("audience="+url.QueryEscape("mqtts://broker.example")))
	require.NoError(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(id, secret)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(r)
	require.NoError(t, err)
	defer func() { _ = response.Body.Close() }()
	var answer struct {
		AccessToken string `json:"access_token"`
		Cnf         struct{ JWK struct{ K string } }
	}
	require.NoError(t, json.NewDecoder(response.Body).Decode(&answer))
	key, err := base64.RawURLEncoding.DecodeString(answer.Cnf.JWK.K)
	require.NoError(t, err)
	if format == "cwt" { // in JSON a CWT is base64url (RFC 9770, section 4)
		raw, err := base64.RawURLEncoding.DecodeString(answer.AccessToken)
		require.NoError(t, err)
		answer.AccessToken = string(raw)
	}
	return f.dial(t, tls.VersionTLS13), token{answer.AccessToken, key}
}

// TestTheDemoShowsAnExpiry: when the token has expired the broker says so and closes.
func TestTheDemoShowsAnExpiry(t *testing.T) {
	dir := t.TempDir()
	start(t, "curl", "-demo", dir, "-lifetime", "3s")
	f := readFacts(t, dir)
	for tries := 1; ; tries++ { // until the machine is quick enough to connect within three seconds
		token := f.token(t, 0, true)
		l := f.dial(t, tls.VersionTLS13)
		l.connect5("stranger", append(binaryData(token.text), l.proof(token.key)...))
		if l.receive(0x20)[1] == 0x87 {
			require.Less(t, tries, 20)
			continue
		}
		require.EqualValues(t, 0x87, l.receive(0xe0)[0])
		_, err := l.in.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		return
	}
}
