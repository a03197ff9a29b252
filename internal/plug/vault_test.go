package plug

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

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
	}, time.Minute, time.Millisecond)
}
