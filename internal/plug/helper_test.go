package plug

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// server is a small MQTT server that tells the test what it is sent.
type server struct {
	present bool            // there is a session from before
	refuse  byte            // the reason to refuse CONNECT, if not 0
	acks    func(byte) bool // whether a PUBLISH of QoS 1 or a PUBREL (QoS 2) is acknowledged
	deaf    bool            // not even PUBREC

	presentNow atomic.Bool         // like present, from now on
	greeting   *wire.PublishPacket // sent after CONNACK
	reply      *wire.PublishPacket // sent after a PUBLISH of QoS 0

	connects  chan wire.ConnectPacket
	published chan wire.PublishPacket
	released  chan uint16
	upgrades  chan http.Header
}

func always(byte) bool { return true }
func never(byte) bool  { return false }

func newServer(acks func(byte) bool) *server {
	return &server{
		acks:      acks,
		connects:  make(chan wire.ConnectPacket, 64),
		published: make(chan wire.PublishPacket, 64),
		released:  make(chan uint16, 64),
		upgrades:  make(chan http.Header, 64),
	}
}

// listen serves l until the test ends.
func (s *server) listen(t *testing.T, l net.Listener) net.Addr {
	var mu sync.Mutex
	var wg sync.WaitGroup
	open := map[net.Conn]bool{}
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open[conn] = true
			mu.Unlock()
			wg.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		for conn := range open {
			conn.Close()
		}
		mu.Unlock()
		wg.Wait()
	})
	return l.Addr()
}

// tcp serves a TCP port and returns its address.
func (s *server) tcp(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return s.listen(t, l).String()
}

// tls serves a TLS port and returns its address.
func (s *server) tls(t *testing.T, config *tls.Config) string {
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	return s.listen(t, l).String()
}

// web serves websockets, over TLS unless config is nil, and returns the address.
func (s *server) web(t *testing.T, config *tls.Config) string {
	up := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
	h := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ws, err := up.Upgrade(w, r, nil)
		if err != nil {
			return
		}
		s.upgrades <- r.Header
		s.serve(&wsConn{Conn: ws})
	}))
	h.TLS = config
	if config != nil {
		h.StartTLS()
	} else {
		h.Start()
	}
	t.Cleanup(h.Close)
	return h.Listener.Addr().String()
}

// serve speaks MQTT on conn until it ends.
func (s *server) serve(conn net.Conn) {
	defer conn.Close()
	var version wire.Version
	var buf []byte
	chunk := make([]byte, 4096)
	for {
		n, err := wire.Scan(buf, wire.MaxPacket)
		if err != nil {
			return
		}
		if n == 0 || n > len(buf) {
			m, err := conn.Read(chunk)
			if err != nil {
				return
			}
			buf = append(buf, chunk[:m]...)
			continue
		}
		p := wire.Packet(bytes.Clone(buf[:n]))
		buf = buf[n:]
		if p.Type() == wire.Connect {
			c, err := wire.ParseConnect(p)
			if err != nil {
				return
			}
			version = c.Version
			s.connects <- c
		}
		answer := s.answer(p, version)
		if answer == nil {
			continue
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

func (s *server) answer(p wire.Packet, v wire.Version) (b []byte) {
	ack := func(t wire.Type, id uint16) []byte {
		b, _ := (&wire.AckPacket{Type: t, ID: id}).Append(nil, v)
		return b
	}
	switch p.Type() {
	case wire.Connect:
		b, _ = (&wire.ConnackPacket{SessionPresent: s.present || s.presentNow.Load(), Code: s.refuse}).Append(nil, v)
		if s.greeting != nil {
			b, _ = s.greeting.Append(b, v)
		}
	case wire.Publish:
		m, err := wire.ParsePublish(p, v)
		if err != nil {
			panic(err)
		}
		s.published <- m
		switch {
		case m.QoS == 1 && s.acks(1):
			return ack(wire.Puback, m.ID)
		case m.QoS == 0 && s.reply != nil:
			b, _ = s.reply.Append(nil, v)
		case m.QoS == 2 && !s.deaf:
			return ack(wire.Pubrec, m.ID)
		}
	case wire.Pubrel:
		m, err := wire.ParseAck(p, v)
		if err != nil {
			panic(err)
		}
		s.released <- m.ID
		if s.acks(2) {
			return ack(wire.Pubcomp, m.ID)
		}
	case wire.Pingreq:
		return []byte{byte(wire.Pingresp) << 4, 0}
	}
	return b
}

// await receives from c, or fails the test.
func await[T any](t *testing.T, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(20 * time.Second):
		require.FailNow(t, "nothing came")
	}
	return v
}

// identity returns a server's TLS configuration and a client's, for these names.
func identity(t *testing.T, names ...string) (serving, trusting *tls.Config) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     names,
		IPAddresses:  []net.IP{net.IPv4(127, 0, 0, 1)},
		NotAfter:     time.Now().Add(time.Hour),
		IsCA:         true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	roots.AddCert(cert)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots}
}

func parse(t *testing.T, s string) *url.URL {
	u, err := url.Parse(s)
	require.NoError(t, err)
	return u
}

// spy is a scheme that passes connections, and notes them.
type spy struct {
	name  string
	calls chan string
	conns chan net.Conn
	err   error
}

func newSpy(name string) *spy {
	return &spy{name: name, calls: make(chan string, 16), conns: make(chan net.Conn, 16)}
}

func (s *spy) Conn(_ context.Context, conn net.Conn) (net.Conn, error) {
	s.calls <- s.name
	s.conns <- conn
	return conn, s.err
}

// closeNoter notes that it was closed.
type closeNoter struct {
	net.Conn
	closed int
}

func (c *closeNoter) Close() error { c.closed++; return nil }

var errTest = errors.New("no")

// vault is an AtRest: a payload under it is XORed, together with the properties, and
// has a MAC over everything that a scheme could think of.
type vault struct {
	spy
	key     byte
	covered string // prefix of the topics that have a key

	mu    sync.Mutex
	calls []string
}

func newVault() *vault {
	return &vault{spy: *newSpy("vault"), key: 0x5A, covered: "home/"}
}

func (v *vault) note(what string, session string, version wire.Version, out bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.calls = append(v.calls, fmt.Sprintf("%s %s v%d out=%t", what, session, version, out))
}

func (v *vault) noted() []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.calls
}

func (v *vault) mac(session string, version wire.Version, m *wire.PublishPacket, out bool, sealed []byte) []byte {
	h := hmac.New(sha256.New, []byte{v.key})
	fmt.Fprintf(h, "%q %d %t %q %d %t %d %t %q", session, version, out, m.Topic, m.QoS, m.Retain, m.ID, m.Dup, sealed)
	return h.Sum(nil)
}

func (v *vault) xor(b []byte) []byte {
	b = bytes.Clone(b)
	for i := range b {
		b[i] ^= v.key
	}
	return b
}

// tooLarge is a payload that a vault refuses to freeze.
var tooLarge = []byte("too large to freeze")

func (v *vault) Freeze(session string, version wire.Version, p wire.Packet, out bool) (wire.Packet, error) {
	v.note("freeze", session, version, out)
	m, err := wire.ParsePublish(p, version)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(string(m.Topic), v.covered) {
		return p, nil
	}
	if bytes.Equal(m.Payload, tooLarge) {
		return nil, errTest
	}
	sealed := v.xor(append(append([]byte{byte(len(m.Properties))}, m.Properties...), m.Payload...))
	m.Payload = append(v.mac(session, version, &m, out, sealed), sealed...)
	m.Properties = nil
	return m.Append(nil, version)
}

func (v *vault) Thaw(session string, version wire.Version, p wire.Packet, out bool) (wire.Packet, error) {
	v.note("thaw", session, version, out)
	m, err := wire.ParsePublish(p, version)
	if err != nil {
		return nil, err
	}
	if !strings.HasPrefix(string(m.Topic), v.covered) {
		return p, nil
	}
	if len(m.Payload) < sha256.Size+1 {
		return nil, io.ErrUnexpectedEOF
	}
	sealed := m.Payload[sha256.Size:]
	if !hmac.Equal(m.Payload[:sha256.Size], v.mac(session, version, &m, out, sealed)) {
		return nil, errTest
	}
	plain := v.xor(sealed)
	n := int(plain[0])
	if n > 0 {
		m.Properties = plain[1 : 1+n]
	}
	m.Payload = plain[1+n:]
	return m.Append(nil, version)
}

// files returns the contents of the files in dir whose names match.
func files(t *testing.T, dir, pattern string) map[string][]byte {
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	found := map[string][]byte{}
	for _, name := range names {
		b, err := os.ReadFile(name)
		require.NoError(t, err)
		found[name] = b
	}
	return found
}

// awaitFiles waits until n files in dir match.
func awaitFiles(t *testing.T, dir, pattern string, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		names, _ := filepath.Glob(filepath.Join(dir, pattern))
		return len(names) == n
	}, 20*time.Second, time.Millisecond)
}
