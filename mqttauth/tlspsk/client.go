package tlspsk

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"hash"
	"slices"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// clientHandshake is the client's side of one handshake.
type clientHandshake struct {
	*Conn
	config     *Config // with the identity and the key
	hello      *message.ClientHello
	group      Group
	private    *ecdh.PrivateKey  // for group
	secrets    *schedule.Secrets // of TLS 1.3
	transcript hash.Hash
}

func (c *Conn) clientHandshake(ctx context.Context) (*ConnectionState, error) {
	config, err := c.config.resolve(ctx)
	if err != nil {
		return nil, err
	}
	h := &clientHandshake{Conn: c, config: config, transcript: sha256.New()}
	if err := h.makeHello(); err != nil {
		return nil, internal(err)
	}
	if config.allows(TLS13) {
		h.secrets = schedule.Early(config.Key)
		defer h.secrets.Wipe()
	}
	if err := h.sendHello(); err != nil {
		return nil, err
	}
	server, raw, err := h.readServerHello()
	if err != nil {
		return nil, err
	}
	if server.SupportedVersion == 0 {
		return h.finish12(server, raw)
	}
	if err := h.check13(server); err != nil {
		return nil, err
	}
	if server.IsRetry() {
		suite := server.Suite
		if err := h.retry(server, raw); err != nil {
			return nil, err
		}
		if server, raw, err = h.readServerHello(); err != nil {
			return nil, err
		}
		if err := h.check13(server); err != nil {
			return nil, err
		}
		if server.IsRetry() {
			return nil, refuse(alertUnexpectedMessage, "a second HelloRetryRequest")
		}
		if server.Suite != suite {
			return nil, refuse(alertIllegalParameter, "another cipher suite than in HelloRetryRequest")
		}
	}
	return h.finish13(server, raw)
}

// makeHello makes the first ClientHello.
func (h *clientHandshake) makeHello() error {
	c := h.config
	h.group = c.usableGroups()[0]
	var err error
	if h.private, err = h.group.curve().GenerateKey(rand.Reader); err != nil {
		return err
	}
	m := &message.ClientHello{
		Version:      message.VersionTLS12,
		Compressions: []byte{0},
		ServerName:   c.serverName(),
		Groups:       numbers(c.usableGroups()),
		Protocols:    c.protocols(),
	}
	if _, err := rand.Read(m.Random[:]); err != nil {
		return err
	}
	if c.allows(TLS13) {
		m.Suites = numbers(c.suitesFor(TLS13))
		m.Versions = []uint16{message.VersionTLS13}
		m.PSKModes = []byte{message.PSKWithDHE}
		m.KeyShares = []message.KeyShare{share(h.group, h.private)}
		m.Identities = [][]byte{[]byte(c.Identity)}
	}
	if c.allows(TLS12) {
		m.Suites = append(m.Suites, numbers(c.suitesFor(TLS12))...)
		m.ExtendedMasterSecret = true
		m.SecureRenegotiation = true
		m.PointFormats = []byte{0}
		if m.Versions != nil {
			m.Versions = append(m.Versions, message.VersionTLS12)
		}
	}
	h.hello = m
	return nil
}

// sendHello sends the hello, with its binder if it has an identity, and adds it to the transcript.
func (h *clientHandshake) sendHello() error {
	raw, err := h.hello.Encode()
	if err != nil {
		return internal(err)
	}
	rest := raw[len(raw)-h.hello.BindersLen():]
	h.transcript.Write(raw[:len(raw)-len(rest)])
	if len(rest) > 0 {
		message.SetBinder(raw, h.secrets.Binder(h.transcript.Sum(nil)))
	}
	h.transcript.Write(rest)
	if err := h.sendMessages(raw); err != nil {
		return err
	}
	return h.endFlight()
}

func (h *clientHandshake) readServerHello() (*message.ServerHello, []byte, error) {
	raw, err := h.readMessage()
	if err != nil {
		return nil, nil, err
	}
	if t, _ := message.Header(raw); t != message.TypeServerHello {
		return nil, nil, unexpected(raw, "ServerHello")
	}
	m, err := message.ParseServerHello(raw)
	if err != nil {
		return nil, nil, malformed(err)
	}
	if m.IsRetry() && m.SupportedVersion == 0 {
		return nil, nil, refuse(alertMissingExtension, "a HelloRetryRequest without a version")
	}
	if m.Version != message.VersionTLS12 {
		return nil, nil, refuse(alertProtocolVersion, "the server chose version 0x%04x", m.Version)
	}
	if m.Compression != 0 {
		return nil, nil, refuse(alertIllegalParameter, "the server chose compression")
	}
	return m, raw, nil
}

// check13 judges what ServerHello and HelloRetryRequest have in common (RFC 8446 sections 4.1.3 and 4.1.4).
func (h *clientHandshake) check13(m *message.ServerHello) error {
	switch {
	case Version(m.SupportedVersion) != TLS13 || !h.config.allows(TLS13):
		return refuse(alertIllegalParameter, "the server chose a version that was not offered")
	case !bytes.Equal(m.SessionID, h.hello.SessionID):
		return refuse(alertIllegalParameter, "the server did not echo the session id")
	case !slices.Contains(h.config.suitesFor(TLS13), CipherSuite(m.Suite)):
		return refuse(alertIllegalParameter, "the server chose a cipher suite that was not offered")
	}
	h.in.version = TLS13
	may := []uint16{message.ExtSupportedVersions, message.ExtKeyShare, message.ExtPreSharedKey}
	if m.IsRetry() {
		may = []uint16{message.ExtSupportedVersions, message.ExtKeyShare, message.ExtCookie}
	}
	return h.checkExtensions(m.Extensions, may)
}

// checkExtensions refuses extensions that the hello did not ask for, and those in a message of a kind that they are not
// for (RFC 8446 section 4.2). A cookie needs no asking.
func (h *clientHandshake) checkExtensions(es message.Extensions, may []uint16) error {
	for _, e := range es {
		if e.Type != message.ExtCookie && !h.asked(e.Type) {
			return refuse(alertUnsupportedExtension, "extension %d, which was not asked for", e.Type)
		}
		if !slices.Contains(may, e.Type) {
			return refuse(alertIllegalParameter, "extension %d in a message that it is not for", e.Type)
		}
	}
	return nil
}

// asked tells whether the hello had an extension of that type.
func (h *clientHandshake) asked(t uint16) bool {
	m := h.hello
	switch t {
	case message.ExtServerName:
		return m.ServerName != ""
	case message.ExtSupportedGroups:
		return true
	case message.ExtALPN:
		return len(m.Protocols) > 0
	case message.ExtPointFormats, message.ExtExtendedMasterSecret, message.ExtRenegotiationInfo:
		return m.ExtendedMasterSecret
	case message.ExtSupportedVersions, message.ExtPSKModes, message.ExtKeyShare, message.ExtPreSharedKey:
		return len(m.Versions) > 0
	case message.ExtCookie:
		return len(m.Cookie) > 0
	}
	return false
}

// retry answers a HelloRetryRequest (RFC 8446 section 4.1.4).
func (h *clientHandshake) retry(m *message.ServerHello, raw []byte) error {
	if m.RetryGroup == 0 && len(m.Cookie) == 0 {
		return refuse(alertIllegalParameter, "a HelloRetryRequest that changes nothing")
	}
	first := h.transcript.Sum(nil)
	h.transcript.Reset()
	h.transcript.Write(message.Hash(first))
	h.transcript.Write(raw)
	h.hello.Cookie = m.Cookie
	if m.RetryGroup != 0 {
		g := Group(m.RetryGroup)
		if g == h.group || !slices.Contains(h.config.usableGroups(), g) {
			return refuse(alertIllegalParameter, "a HelloRetryRequest for %v", g)
		}
		private, err := g.curve().GenerateKey(rand.Reader)
		if err != nil {
			return internal(err)
		}
		h.group, h.private = g, private
		h.hello.KeyShares = []message.KeyShare{share(g, private)}
	}
	return h.sendHello()
}

// protocol judges the server's choice in ALPN.
func (h *clientHandshake) protocol(chosen string) error {
	if chosen != "" && !slices.Contains(h.hello.Protocols, chosen) {
		return refuse(alertIllegalParameter, "the server chose the application protocol %q, which was not offered", chosen)
	}
	return nil
}
