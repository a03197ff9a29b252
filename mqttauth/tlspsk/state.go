package tlspsk

import (
	"crypto/sha256"
	"crypto/subtle"
	"slices"
	"sync"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/record"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// ConnectionState is what the two sides have agreed on.
type ConnectionState struct {
	// HandshakeComplete tells whether the rest means anything.
	HandshakeComplete bool
	// Version is that of the protocol.
	Version Version
	// CipherSuite protects the connection.
	CipherSuite CipherSuite
	// Group is where the ephemeral keys come from.
	Group Group
	// Identity is the client's, which the server knows to be true.
	Identity string
	// NegotiatedProtocol is what ALPN came to, or empty.
	NegotiatedProtocol string
	// ServerName is what the client sent as SNI, or empty.
	ServerName string
}

// ConnectionState returns what was agreed on, or the zero value before the end of the handshake.
func (c *Conn) ConnectionState() ConnectionState {
	if s := c.state.Load(); s != nil {
		return *s
	}
	return ConnectionState{}
}

// PSKIdentity is the client's identity, or empty before the end of the handshake. Layers above that know nothing of
// this package find it by that method.
func (c *Conn) PSKIdentity() string { return c.ConnectionState().Identity }

// HasKey tells a server whether the client has proved this very key: Config.Keys may know another one for the identity
// by the end of the handshake. It is false before that end, and at a client.
func (c *Conn) HasKey(key []byte) bool {
	hash := sha256.Sum256(key)
	return c.state.Load() != nil && subtle.ConstantTimeCompare(hash[:], c.key[:]) == 1
}

// ExportKeyingMaterial derives length octets, at most 8160, that only the two ends of this connection can know, for a
// label and a context that say what for (RFC 8446 section 7.5, RFC 5705). With TLS 1.2, which is told apart there, no
// context (nil) and an empty one give different results. It fails before the handshake is complete and after Close.
func (c *Conn) ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error) {
	if c.state.Load() == nil {
		return nil, ErrIncomplete // a server has the secret before the client has proved anything
	}
	return c.exporter.export(label, context, length)
}

// exporter keeps what keying material is exported from.
type exporter struct {
	sync.Mutex
	version                    Version
	secret                     []byte
	clientRandom, serverRandom []byte // of TLS 1.2
}

func (e *exporter) export(label string, context []byte, length int) ([]byte, error) {
	e.Lock()
	defer e.Unlock()
	switch {
	case e.secret == nil:
		return nil, ErrIncomplete
	case e.version == TLS13:
		return schedule.Export(e.secret, label, context, length)
	}
	return schedule.Export12(e.secret, label, context, e.clientRandom, e.serverRandom, length)
}

func (e *exporter) set(version Version, secret, clientRandom, serverRandom []byte) {
	e.Lock()
	defer e.Unlock()
	e.version, e.secret = version, secret
	e.clientRandom, e.serverRandom = slices.Clone(clientRandom), slices.Clone(serverRandom)
}

func (e *exporter) wipe() {
	e.Lock()
	defer e.Unlock()
	clear(e.secret)
	e.secret = nil
}

// cipher13 is the protection under a traffic secret of TLS 1.3.
func cipher13(suite CipherSuite, secret []byte) (*record.Cipher, error) {
	key, iv := schedule.Traffic(secret, suite.aead().KeyLen())
	defer clear(key)
	defer clear(iv)
	return record.New13(suite.aead(), key, iv)
}

// setKeys13 goes on to other keys, and forgets the last.
func (in *inbound) setKeys13(cipher *record.Cipher, secret []byte) {
	in.cipher.Wipe()
	clear(in.secret)
	in.cipher, in.secret, in.opened = cipher, secret, false
}

func (out *outbound) setKeys13(cipher *record.Cipher, secret []byte) {
	out.cipher.Wipe()
	clear(out.secret)
	out.cipher, out.secret = cipher, secret
}
