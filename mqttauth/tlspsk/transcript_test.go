package tlspsk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"
)

// transcript is what both sides of a connection have sent.
type transcript struct {
	toServer, toClient []byte
	exported           []byte
}

// The texts of a recorded connection.
const toServerText, toClientText = "to the server", "to the client"

// recorded runs a handshake with a fixed source of randomness, sends a text each way and closes.
func recorded(t *testing.T, cc, sc *Config) (tr transcript) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, 1)
	a, b := net.Pipe()
	note := func(all *[]byte) func(int, []byte) [][]byte {
		return func(_ int, raw []byte) [][]byte {
			*all = append(*all, raw...)
			return [][]byte{raw}
		}
	}
	client := Client(&tap{Conn: a, edit: note(&tr.toServer)}, cc)
	server := Server(&tap{Conn: b, edit: note(&tr.toClient)}, sc)
	clientErr, serverErr := shake(client, server)
	require.NoError(t, clientErr)
	require.NoError(t, serverErr)
	sendText(t, client, server, toServerText)
	sendText(t, server, client, toClientText)
	var err error
	tr.exported, err = client.ExportKeyingMaterial("EXPORTER-pinned", []byte("context"), 16)
	require.NoError(t, err)
	for _, ends := range [][2]*Conn{{server, client}, {client, server}} {
		done := make(chan error, 1)
		go func() { done <- ends[0].CloseWrite() }()
		_, err := io.Copy(io.Discard, ends[1])
		require.NoError(t, err)
		require.NoError(t, <-done)
	}
	_ = a.Close()
	_ = b.Close()
	return tr
}

func sendText(t testing.TB, from, to *Conn, text string) {
	t.Helper()
	go func() { _, _ = io.WriteString(from, text) }()
	got := make([]byte, len(text))
	_, err := io.ReadFull(to, got)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

// TestPinnedTranscripts keeps every octet of connections with pinned randomness as it is, and what is exported from
// them. That others understand them is shown elsewhere; this shows a change.
func TestPinnedTranscripts(t *testing.T) {
	pinned := map[string]string{
		"TLS 1.3 TLS_AES_128_GCM_SHA256 X25519":                      "7fd9a06243bd49d6244cfb7469655a36",
		"TLS 1.3 TLS_AES_128_GCM_SHA256 X25519 after a retry":        "d1ce0bda9c41becec20fab56a7aebef3",
		"TLS 1.3 TLS_AES_128_GCM_SHA256 P-256":                       "10215aa3d87cb87bb0099b17b095eb88",
		"TLS 1.3 TLS_AES_128_GCM_SHA256 P-256 after a retry":         "410be9bc9e722074b3549bff2b22c0e9",
		"TLS 1.3 TLS_CHACHA20_POLY1305_SHA256 X25519":                "6c326134b7bd5b957ef2be699ceaac76",
		"TLS 1.3 TLS_CHACHA20_POLY1305_SHA256 X25519 after a retry":  "f237bc224dec505c8c55fb59a6d2671e",
		"TLS 1.3 TLS_CHACHA20_POLY1305_SHA256 P-256":                 "19a9d3893f65d590e17bb4e61d835b09",
		"TLS 1.3 TLS_CHACHA20_POLY1305_SHA256 P-256 after a retry":   "24852bae8cdb273ca84ecef92924d145",
		"TLS 1.2 TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256 X25519":       "dbc3e3b7e6c052588b0afd316aac9711",
		"TLS 1.2 TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256 P-256":        "f1622f6f2719c182a08a8a114d567d91",
		"TLS 1.2 TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256 X25519": "bcc15d16e0b3171be7ce608c77065b1e",
		"TLS 1.2 TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256 P-256":  "ed014515f0afbacdb8e2bf33d6c92cb2",
	}
	for _, v := range variants() {
		for _, retry := range []bool{false, true} {
			name := v.String()
			cc, sc := v.apply(clientConfig()), serverConfig()
			cc.ServerName = "broker.example.org"
			if retry && v.version == TLS13 {
				name += " after a retry"
				cc.groups = []Group{X25519, P256}
				if v.group == X25519 {
					cc.groups = []Group{P256, X25519}
				}
				sc.groups = []Group{v.group}
			} else if retry {
				continue
			}
			t.Run(name, func(t *testing.T) {
				tr := recorded(t, cc, sc)
				sum := sha256.Sum256(bytes.Join([][]byte{tr.toServer, tr.toClient, tr.exported}, []byte("|")))
				require.Equal(t, pinned[name], hex.EncodeToString(sum[:16]), name)
			})
		}
	}
}

// script is a connection whose peer says what it says whatever it hears.
type script struct {
	in  *bytes.Reader
	out bytes.Buffer
}

func (s *script) Read(b []byte) (int, error)       { return s.in.Read(b) }
func (s *script) Write(b []byte) (int, error)      { return s.out.Write(b) }
func (s *script) Close() error                     { return nil }
func (s *script) LocalAddr() net.Addr              { return nil }
func (s *script) RemoteAddr() net.Addr             { return nil }
func (s *script) SetDeadline(time.Time) error      { return nil }
func (s *script) SetReadDeadline(time.Time) error  { return nil }
func (s *script) SetWriteDeadline(time.Time) error { return nil }

// scripted runs one side against what a peer has sent, and returns what it read and the error that ended it.
func scripted(side func(net.Conn) *Conn, in []byte) ([]byte, error) {
	conn := side(&script{in: bytes.NewReader(in)})
	defer conn.Close()
	data, err := io.ReadAll(conn)
	return data, err
}

// splice is a transcript with a piece of it replaced.
func splice(whole []byte, at, cut uint16, by []byte) []byte {
	from := min(int(at), len(whole))
	to := min(from+int(cut), len(whole))
	return append(append(bytes.Clone(whole[:from]), by...), whole[to:]...)
}

// transcripts are recorded once for each variant.
var transcripts sync.Map

func transcriptOf(t *testing.T, v variant) transcript {
	if tr, ok := transcripts.Load(v); ok {
		return tr.(transcript)
	}
	tr := recorded(t, v.apply(clientConfig()), serverConfig())
	transcripts.Store(v, tr)
	return tr
}

// addSplices adds the transcript of each variant as it is, and with changes at places where messages and records begin.
func addSplices(f *testing.F) {
	for i := range variants() {
		f.Add(byte(i), uint16(0), uint16(0), []byte{})
		for _, at := range []uint16{0, 3, 5, 9, 43, 100, 130, 150, 200, 260} {
			f.Add(byte(i), at, uint16(1), []byte{0xff})
			f.Add(byte(i), at, uint16(0), []byte{21, 3, 3, 0, 2, 1, 90})
			f.Add(byte(i), at, uint16(60), []byte{})
		}
	}
}

// FuzzClient shows a client what a server has sent in a real connection, with a piece replaced. Whatever that is, the
// client does not panic, and what it reads is what the server wrote, as far as it came.
func FuzzClient(f *testing.F) {
	addSplices(f)
	f.Fuzz(func(t *testing.T, pick byte, at, cut uint16, by []byte) {
		v := variants()[int(pick)%len(variants())]
		whole := transcriptOf(t, v).toClient
		in := splice(whole, at, cut, by)
		cryptotest.SetGlobalRandom(t, 1) // the same hello as then
		data, err := scripted(func(conn net.Conn) *Conn { return Client(conn, v.apply(clientConfig())) }, in)
		requirePrefix(t, toClientText, data, err, bytes.Equal(in, whole))
	})
}

// FuzzServer is the same the other way.
func FuzzServer(f *testing.F) {
	addSplices(f)
	f.Fuzz(func(t *testing.T, pick byte, at, cut uint16, by []byte) {
		v := variants()[int(pick)%len(variants())]
		whole := transcriptOf(t, v).toServer
		in := splice(whole, at, cut, by)
		cryptotest.SetGlobalRandom(t, 1)
		client := &clientHandshake{config: v.apply(clientConfig())}
		require.NoError(t, client.makeHello()) // takes from the source what the client took then
		data, err := scripted(func(conn net.Conn) *Conn { return Server(conn, serverConfig()) }, in)
		requirePrefix(t, toServerText, data, err, bytes.Equal(in, whole))
	})
}

func requirePrefix(t *testing.T, text string, data []byte, err error, whole bool) {
	t.Helper()
	require.True(t, strings.HasPrefix(text, string(data)), "%q", data)
	if whole {
		require.NoError(t, err, "the connection as it was")
		require.Equal(t, text, string(data))
	}
}
