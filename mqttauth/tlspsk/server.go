package tlspsk

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/message"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk/internal/schedule"
)

// serverHandshake is the server's side of one handshake.
type serverHandshake struct {
	*Conn
	hello      *message.ClientHello
	raw        []byte // of hello
	suite      CipherSuite
	group      Group
	protocol   string
	private    *ecdh.PrivateKey
	secrets    *schedule.Secrets // of TLS 1.3
	transcript hash.Hash
}

func (c *Conn) serverHandshake() (*ConnectionState, error) {
	if err := c.config.checkServer(); err != nil {
		return nil, err
	}
	h := &serverHandshake{Conn: c, transcript: sha256.New()}
	if err := h.readHello(); err != nil {
		return nil, err
	}
	version, err := h.chooseVersion()
	if err != nil {
		return nil, err
	}
	c.in.version = version
	if err := h.chooseProtocol(); err != nil {
		return nil, err
	}
	if version == TLS13 {
		return h.serve13()
	}
	return h.serve12()
}

func (h *serverHandshake) readHello() error {
	raw, err := h.readMessage()
	if err != nil {
		return err
	}
	if t, _ := message.Header(raw); t != message.TypeClientHello {
		return unexpected(raw, "ClientHello")
	}
	m, err := message.ParseClientHello(raw)
	if err != nil {
		return malformed(err)
	}
	h.hello, h.raw = m, raw
	return nil
}

// chooseVersion takes the highest that both know (RFC 8446 section 4.2.1, appendix D.2).
func (h *serverHandshake) chooseVersion() (Version, error) {
	offered := h.hello.Versions
	if h.hello.Version <= message.VersionSSL30 {
		return 0, refuse(alertProtocolVersion, "the client speaks SSL 3.0") // appendix D.5
	}
	if !h.hello.Extensions.Has(message.ExtSupportedVersions) && h.hello.Version >= message.VersionTLS12 {
		offered = []uint16{message.VersionTLS12}
	}
	for _, v := range []Version{TLS13, TLS12} {
		if !h.config.allows(v) || !slices.Contains(offered, uint16(v)) {
			continue
		}
		if v == TLS12 && h.config.allows(TLS13) && slices.Contains(h.hello.Suites, message.SuiteFallback) {
			return 0, refuse(alertInappropriateFallback, "the client has fallen back to TLS 1.2")
		}
		return v, nil
	}
	return 0, refuse(alertProtocolVersion, "the client offers no version that is known and allowed here")
}

// chooseProtocol takes the first of ours that the client offers (RFC 7301 section 3.2).
func (h *serverHandshake) chooseProtocol() error {
	ours := h.config.protocols()
	if len(ours) == 0 || len(h.hello.Protocols) == 0 {
		return nil
	}
	for _, name := range ours {
		if slices.Contains(h.hello.Protocols, name) {
			h.protocol = name
			return nil
		}
	}
	return refuse(alertNoApplicationProtocol, "the client offers no application protocol that is known here")
}

// chooseSuite takes the first of the client's that we have: whichever end is the weaker one orders by what it can
// compute.
func (h *serverHandshake) chooseSuite(v Version) error {
	suite, ok := firstCommon(h.hello.Suites, h.config.suitesFor(v))
	if !ok {
		return refuse(alertHandshakeFailure, "no cipher suite in common")
	}
	h.suite = suite
	return nil
}

// lookUp returns the key of an identity. Without one it returns a key that nobody has, so that the handshake goes on to
// fail as it does with a wrong key, and the reason for ourselves.
func (h *serverHandshake) lookUp(identity string) (key []byte, reason error) {
	decoy := make([]byte, sha256.Size)
	if _, err := rand.Read(decoy); err != nil {
		return nil, internal(err)
	}
	if identity == h.config.Identity {
		return decoy, fmt.Errorf("%w: %w: it is our own", ErrAuthentication, ErrUnknownIdentity)
	}
	key = h.config.Keys(identity)
	if key == nil {
		return decoy, fmt.Errorf("%w: %w", ErrAuthentication, ErrUnknownIdentity)
	}
	if err := CheckKey(key); err != nil {
		return decoy, fmt.Errorf("%w: %w: %w", ErrAuthentication, ErrUnknownIdentity, err)
	}
	return key, nil
}

// because adds the reason of lookUp, which the peer must not see, to an error that ends the handshake.
func because(reason, err error) error {
	var f *fault
	if reason != nil && errors.As(err, &f) {
		return &fault{f.alert, reason}
	}
	return err
}

func (h *serverHandshake) state(v Version, identity string) *ConnectionState {
	return &ConnectionState{HandshakeComplete: true, Version: v, CipherSuite: h.suite, Group: h.group, Identity: identity,
		NegotiatedProtocol: h.protocol, ServerName: h.hello.ServerName}
}

// sameHello tells whether the second ClientHello is the first with another key share (RFC 8446 section 4.1.2).
func sameHello(first, second *message.ClientHello) bool {
	if first.Version != second.Version || first.Random != second.Random || !bytes.Equal(first.SessionID, second.SessionID) ||
		!slices.Equal(first.Suites, second.Suites) || !bytes.Equal(first.Compressions, second.Compressions) {
		return false
	}
	return slices.EqualFunc(fixed(first.Extensions), fixed(second.Extensions), func(a, b message.Extension) bool {
		return a.Type == b.Type && bytes.Equal(a.Data, b.Data)
	})
}

// fixed leaves out the extensions that a second hello may change.
func fixed(es message.Extensions) message.Extensions {
	return slices.DeleteFunc(slices.Clone(es), func(e message.Extension) bool {
		switch e.Type {
		case message.ExtKeyShare, message.ExtEarlyData, message.ExtCookie, message.ExtPreSharedKey, message.ExtPadding:
			return true
		}
		return false
	})
}
