package acebroker

import (
	"bytes"
	"context"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// FuzzHandshake feeds whatever a stranger may send to a broker half that is behind a proxy: nothing of it may come
// through as a CONNECT with a user, crash, or be answered by anything but CONNACK, AUTH and DISCONNECT.
func FuzzHandshake(f *testing.F) {
	a := newAS(f, "as")
	key := newAS(f, "").ed
	s := &stage{t: f, as: a}
	c := s.edClient()
	c.key = rawKey{ed: key}
	f.Add(connectV5("c", true, nil, method("ace"), data(authData(c.token(), make([]byte, 64)))))
	f.Add(append(connectV5("c", true, nil, method("ace"), data(authData(c.token(), nil))), answer(c.key, make([]byte, 8))...))
	f.Add(connectV5("c", true, &will{topic: "a"}, method("ace")))
	f.Add(connectV3("c", append([]byte("ace"), c.token()...), make([]byte, 64)))
	f.Add(append(connectV3("c", nil, nil), publishV5("authz-info", 1, 1, "x")...))
	f.Add(append(connectV5("c", true, nil), auth(0x19, authData(c.token(), nil))...))
	f.Add([]byte{0x10, 0xFF, 0xFF, 0xFF, 0x7F})

	idle, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(f, err)
	cfg := configFor(a, layertest.NewClock(base))
	cfg.AuthzInfo, cfg.StoredTokens, cfg.Hint = true, true, &Hint{AS: "https://as/token"}
	l, err := NewListener(idle, cfg)
	require.NoError(f, err)
	f.Cleanup(func() { l.Close() })
	f.Fuzz(func(t *testing.T, sent []byte) {
		conn := &stranger{says: bytes.NewReader(sent)}
		filter, err := l.filter(context.Background(), conn)
		require.NoError(t, err)
		guarded := layer.New(conn, filter)
		if p, err := wire.Read(guarded, 1<<20); err == nil {
			m, err := wire.ParseConnect(p)
			require.NoError(t, err)
			require.False(t, m.HasUsername || m.HasPassword)
		}
		_, _ = io.Copy(io.Discard, guarded)
		guarded.Close()
		for heard := conn.all(); len(heard) > 0; {
			n, err := wire.Scan(heard, wire.MaxPacket)
			require.NoError(t, err)
			require.LessOrEqual(t, n, len(heard))
			heard = heard[n:]
		}
	})
}

// stranger is a connection with a client that has said all it has to say.
type stranger struct {
	net.Conn
	says *bytes.Reader

	mu    sync.Mutex
	heard []byte
}

func (c *stranger) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.heard = append(c.heard, p...)
	return len(p), nil
}

func (c *stranger) all() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}

func (c *stranger) Read(p []byte) (int, error)       { return c.says.Read(p) }
func (c *stranger) Close() error                     { return nil }
func (c *stranger) LocalAddr() net.Addr              { return &net.TCPAddr{} }
func (c *stranger) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (c *stranger) SetDeadline(time.Time) error      { return nil }
func (c *stranger) SetReadDeadline(time.Time) error  { return nil }
func (c *stranger) SetWriteDeadline(time.Time) error { return nil }
func (c *stranger) ReadAfterTimeout() bool           { return true }
