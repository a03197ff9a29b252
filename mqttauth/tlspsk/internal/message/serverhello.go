package message

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// ServerHello is RFC 8446 sections 4.1.3 and 4.1.4 (HelloRetryRequest has the same form), and RFC 5246 section 7.4.1.3.
type ServerHello struct {
	Version     uint16 // legacy_version
	Random      [RandomLen]byte
	SessionID   []byte // legacy_session_id_echo
	Suite       uint16
	Compression byte

	SupportedVersion     uint16 // 0: TLS 1.2
	KeyShare             KeyShare
	RetryGroup           uint16 // of a HelloRetryRequest
	Cookie               []byte
	SelectedPSK          bool
	Identity             uint16 // which, if SelectedPSK
	ExtendedMasterSecret bool
	SecureRenegotiation  bool
	Protocol             string
	PointFormats         []byte

	// Extensions is what was decoded, unknown types included. Encode ignores it.
	Extensions Extensions
}

// retryRandom marks a HelloRetryRequest: the SHA-256 of that word (RFC 8446 section 4.1.3).
var retryRandom = [RandomLen]byte{
	0xCF, 0x21, 0xAD, 0x74, 0xE5, 0x9A, 0x61, 0x11, 0xBE, 0x1D, 0x8C, 0x02, 0x1E, 0x65, 0xB8, 0x91,
	0xC2, 0xA2, 0x11, 0x16, 0x7A, 0xBB, 0x8C, 0x5E, 0x07, 0x9E, 0x09, 0xE2, 0xC8, 0xA8, 0x33, 0x9C,
}

// SetRetry makes the message a HelloRetryRequest.
func (m *ServerHello) SetRetry() { m.Random = retryRandom }

// IsRetry tells whether the message is a HelloRetryRequest.
func (m *ServerHello) IsRetry() bool { return m.Random == retryRandom }

// Encode returns the message. Fields that are empty send no extension.
func (m *ServerHello) Encode() ([]byte, error) {
	return frame(TypeServerHello, func(b *cryptobyte.Builder) {
		b.AddUint16(m.Version)
		b.AddBytes(m.Random[:])
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.SessionID) })
		b.AddUint16(m.Suite)
		b.AddUint8(m.Compression)
		b.AddUint16LengthPrefixed(m.encodeExtensions)
	})
}

func (m *ServerHello) encodeExtensions(b *cryptobyte.Builder) {
	if m.SupportedVersion != 0 {
		addExtension(b, ExtSupportedVersions, func(b *cryptobyte.Builder) { b.AddUint16(m.SupportedVersion) })
	}
	if m.RetryGroup != 0 {
		addExtension(b, ExtKeyShare, func(b *cryptobyte.Builder) { b.AddUint16(m.RetryGroup) })
	}
	if m.KeyShare.Group != 0 {
		addExtension(b, ExtKeyShare, m.KeyShare.add)
	}
	if len(m.Cookie) > 0 {
		addExtension(b, ExtCookie, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.Cookie) })
		})
	}
	if m.SelectedPSK {
		addExtension(b, ExtPreSharedKey, func(b *cryptobyte.Builder) { b.AddUint16(m.Identity) })
	}
	if m.ExtendedMasterSecret {
		addExtension(b, ExtExtendedMasterSecret, nothing)
	}
	if m.SecureRenegotiation {
		addExtension(b, ExtRenegotiationInfo, func(b *cryptobyte.Builder) { b.AddUint8(0) })
	}
	if len(m.PointFormats) > 0 {
		addExtension(b, ExtPointFormats, func(b *cryptobyte.Builder) {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.PointFormats) })
		})
	}
	if m.Protocol != "" {
		addProtocols(b, []string{m.Protocol})
	}
}

// ParseServerHello decodes a message.
func ParseServerHello(raw []byte) (*ServerHello, error) {
	s, err := body(raw, TypeServerHello)
	if err != nil {
		return nil, err
	}
	m := new(ServerHello)
	var random []byte
	var session cryptobyte.String
	if !s.ReadUint16(&m.Version) || !s.ReadBytes(&random, RandomLen) ||
		!s.ReadUint8LengthPrefixed(&session) || len(session) > maxSessionID ||
		!s.ReadUint16(&m.Suite) || !s.ReadUint8(&m.Compression) {
		return nil, syntax("ServerHello")
	}
	copy(m.Random[:], random)
	m.SessionID = session
	if m.Extensions, err = parseExtensions(&s); err != nil {
		return nil, err
	}
	for _, e := range m.Extensions {
		if err := m.parseExtension(e.Type, e.Data); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *ServerHello) parseExtension(t uint16, data cryptobyte.String) error {
	var list cryptobyte.String
	ok := true
	switch t {
	case ExtSupportedVersions:
		ok = data.ReadUint16(&m.SupportedVersion) && data.Empty()
		if ok && m.SupportedVersion < VersionTLS13 { // which also keeps 0 for "none"
			return value("supported_versions below TLS 1.3")
		}
	case ExtKeyShare:
		if m.IsRetry() {
			ok = data.ReadUint16(&m.RetryGroup) && data.Empty()
		} else {
			ok = readKeyShare(&data, &m.KeyShare) && data.Empty()
		}
		if ok && m.RetryGroup == 0 && m.KeyShare.Group == 0 {
			return value("key_share for group 0")
		}
	case ExtCookie:
		ok = data.ReadUint16LengthPrefixed(&list) && data.Empty() && !list.Empty()
		m.Cookie = list
	case ExtPreSharedKey:
		m.SelectedPSK = true
		ok = data.ReadUint16(&m.Identity) && data.Empty()
	case ExtExtendedMasterSecret:
		m.ExtendedMasterSecret, ok = true, data.Empty()
	case ExtRenegotiationInfo:
		m.SecureRenegotiation = true
		ok = data.ReadUint8LengthPrefixed(&list) && data.Empty()
		if ok && !list.Empty() {
			return value("renegotiation_info of a first handshake")
		}
	case ExtPointFormats:
		ok = data.ReadUint8LengthPrefixed(&list) && data.Empty() && !list.Empty()
		m.PointFormats = list
		if ok && !slices.Contains(m.PointFormats, uncompressed) {
			return value("ec_point_formats without uncompressed")
		}
	case ExtALPN:
		m.Protocol, ok = readProtocol(data)
	case ExtServerName:
		ok = data.Empty()
	}
	if !ok {
		return syntax("an extension of ServerHello")
	}
	return nil
}

// readProtocol reads the one protocol that a server has chosen.
func readProtocol(data cryptobyte.String) (string, bool) {
	names, ok := readProtocols(data)
	if !ok || len(names) != 1 {
		return "", false
	}
	return names[0], true
}

// EncryptedExtensions is RFC 8446 section 4.3.1.
type EncryptedExtensions struct {
	Protocol string

	// Extensions is what was decoded, unknown types included. Encode ignores it.
	Extensions Extensions
}

// Encode returns the message.
func (m *EncryptedExtensions) Encode() ([]byte, error) {
	return frame(TypeEncryptedExtensions, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			if m.Protocol != "" {
				addProtocols(b, []string{m.Protocol})
			}
		})
	})
}

// ParseEncryptedExtensions decodes a message.
func ParseEncryptedExtensions(raw []byte) (*EncryptedExtensions, error) {
	s, err := body(raw, TypeEncryptedExtensions)
	if err != nil {
		return nil, err
	}
	if s.Empty() {
		return nil, syntax("EncryptedExtensions")
	}
	m := new(EncryptedExtensions)
	if m.Extensions, err = parseExtensions(&s); err != nil {
		return nil, err
	}
	for _, e := range m.Extensions {
		data := cryptobyte.String(e.Data)
		ok := true
		var list cryptobyte.String
		switch e.Type {
		case ExtALPN:
			m.Protocol, ok = readProtocol(data)
		case ExtServerName:
			ok = data.Empty()
		case ExtSupportedGroups:
			if ok = data.ReadUint16LengthPrefixed(&list) && data.Empty(); ok {
				_, ok = readUint16s(list)
			}
		}
		if !ok {
			return nil, syntax("an extension of EncryptedExtensions")
		}
	}
	return m, nil
}
