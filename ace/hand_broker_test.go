package ace

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
)

// handBroker is a broker of the tests' own, on real TLS over TCP: a script for each connection, which reads and writes
// packets byte by byte. But for the certificates it shares no code with the module.
type handBroker struct {
	ln     net.Listener
	client *tls.Config // for clients
	cert   tls.Certificate
	all    sync.WaitGroup

	mu    sync.Mutex
	conns []net.Conn
}

// newHandBroker serves every connection with script. versions are tls.VersionTLS12 or 13, any if there are none.
func newHandBroker(t *testing.T, script func(*peer), versions ...uint16) *handBroker {
	t.Helper()
	authority, err := ca.New()
	require.NoError(t, err)
	config, err := authority.ServerConfig()
	require.NoError(t, err)
	b := &handBroker{client: authority.ClientConfig(), cert: config.Certificates[0]}
	if len(versions) > 0 {
		config.MinVersion, config.MaxVersion = slices.Min(versions), slices.Max(versions)
	}
	b.ln, err = net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b.all.Go(func() {
		for {
			conn, err := b.ln.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.conns = append(b.conns, conn)
			b.mu.Unlock()
			b.all.Go(func() { b.serve(tls.Server(conn, config), script) })
		}
	})
	t.Cleanup(b.stop)
	return b
}

func (b *handBroker) serve(conn *tls.Conn, script func(*peer)) {
	defer conn.Close()
	defer func() {
		if r := recover(); r != nil && r != errGone {
			panic(r)
		}
	}()
	if conn.Handshake() == nil {
		script(&peer{Conn: conn})
	}
}

func (b *handBroker) stop() {
	b.ln.Close()
	b.mu.Lock()
	for _, conn := range b.conns {
		conn.Close()
	}
	b.mu.Unlock()
	b.all.Wait()
}

func (b *handBroker) url(scheme string) *url.URL {
	return &url.URL{Scheme: scheme, Host: b.ln.Addr().String()}
}

// dial connects with TLS, handshake done.
func (b *handBroker) dial(t *testing.T, edit ...func(*tls.Config)) *tls.Conn {
	t.Helper()
	config := b.client.Clone()
	config.ServerName = "localhost"
	for _, f := range edit {
		f(config)
	}
	conn, err := tls.Dial("tcp", b.ln.Addr().String(), config)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.HandshakeContext(t.Context()))
	return conn
}

// peer is the broker's end of a connection. When the client is gone, the script ends.
type peer struct {
	*tls.Conn
	v5 bool // as CONNECT said
}

var errGone = errors.New("the client is gone")

// packet reads one.
func (p *peer) packet() []byte {
	b, err := readPacket(p.Conn)
	if err != nil {
		panic(errGone)
	}
	if b[0] == 0x10 {
		p.v5 = b[headerSize(b)+6] == 5
	}
	return b
}

func readPacket(r io.Reader) ([]byte, error) {
	b := make([]byte, 1, 64)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, err
	}
	length, shift := 0, 0
	for more := true; more; shift += 7 {
		b = append(b, 0)
		if _, err := io.ReadFull(r, b[len(b)-1:]); err != nil {
			return nil, err
		}
		last := b[len(b)-1]
		length |= int(last&0x7f) << shift
		more = last&0x80 != 0
	}
	body := make([]byte, length)
	_, err := io.ReadFull(r, body)
	return append(b, body...), err
}

func (p *peer) send(b ...byte) {
	if _, err := p.Write(b); err != nil {
		panic(errGone)
	}
}

// export is the exporter's 32 bytes at the broker's end.
func (p *peer) export() []byte {
	state := p.ConnectionState()
	b, err := state.ExportKeyingMaterial("EXPORTER-ACE-MQTT-Sign-Challenge", []byte{}, 32)
	if err != nil {
		panic(err)
	}
	return b
}

// drain reads until the client goes.
func (p *peer) drain() { _, _ = io.Copy(io.Discard, p.Conn) }

// mqtt serves a client after CONNECT as far as the tests need: it acknowledges, answers PINGREQ and gives each packet
// that it read to see, which may answer in its place by returning true.
func (p *peer) mqtt(see func(packet []byte) bool) {
	for {
		b := p.packet()
		if see != nil && see(b) {
			continue
		}
		switch b[0] >> 4 {
		case 3: // PUBLISH
			if b[0]>>1&3 == 1 {
				rest := b[headerSize(b):]
				n := int(binary.BigEndian.Uint16(rest))
				p.send(0x40, 2, rest[2+n], rest[3+n])
			}
		case 8: // SUBSCRIBE of one filter
			rest := b[headerSize(b):]
			if p.v5 {
				p.send(0x90, 4, rest[0], rest[1], 0, 1)
			} else {
				p.send(0x90, 3, rest[0], rest[1], 1)
			}
		case 12:
			p.send(0xd0, 0)
		case 14:
			return
		}
	}
}

func headerSize(b []byte) int {
	n := 1
	for b[n]&0x80 != 0 {
		n++
	}
	return n + 1
}

func newFakeClock() *layertest.Clock { return layertest.NewClock(time.Unix(1_700_000_000, 0)) }

// refToken is the token of the vectors, for an hour of the clock.
func refToken(now time.Time, key ProofKey) Token {
	return Token{Raw: []byte("ref-token-0001"), Key: key, Obtained: now, Expires: now.Add(time.Hour)}
}

// authenticator is one with a single token and the given edits.
func authenticator(t *testing.T, token Token, edit ...func(*Config)) *Authenticator {
	t.Helper()
	cfg := Config{Source: Static(token)}
	for _, f := range edit {
		f(&cfg)
	}
	a, err := New(cfg)
	require.NoError(t, err)
	return a
}

// connected puts a over a connection to the broker.
func connected(t *testing.T, a *Authenticator, b *handBroker, edit ...func(*tls.Config)) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := a.Conn(ctx, b.dial(t, edit...))
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return conn
}

// plainListener accepts connections without TLS and says nothing on them.
func plainListener(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln
}
