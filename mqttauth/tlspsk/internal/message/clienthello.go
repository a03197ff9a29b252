package message

import (
	"slices"

	"golang.org/x/crypto/cryptobyte"
)

// ClientHello is RFC 8446 section 4.1.2, and RFC 5246 section 7.4.1.2 with the extensions that TLS 1.2 has.
type ClientHello struct {
	Version      uint16 // legacy_version
	Random       [RandomLen]byte
	SessionID    []byte // legacy_session_id
	Suites       []uint16
	Compressions []byte

	ServerName           string
	Groups               []uint16
	PointFormats         []byte
	ExtendedMasterSecret bool
	SecureRenegotiation  bool // the extension, or the suite that stands for it
	Protocols            []string
	Versions             []uint16
	PSKModes             []byte
	KeyShares            []KeyShare
	Cookie               []byte
	Identities           [][]byte
	Binders              [][]byte

	// Extensions is what was decoded, unknown types included. Encode ignores it.
	Extensions Extensions
}

// Encode returns the message. Fields that are empty send no extension. If there are identities, each gets a binder of
// HashLen zeros, to be filled in by SetBinder.
func (m *ClientHello) Encode() ([]byte, error) {
	return frame(TypeClientHello, func(b *cryptobyte.Builder) {
		b.AddUint16(m.Version)
		b.AddBytes(m.Random[:])
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.SessionID) })
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { addUint16s(b, m.Suites) })
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.Compressions) })
		b.AddUint16LengthPrefixed(m.encodeExtensions)
	})
}

func (m *ClientHello) encodeExtensions(b *cryptobyte.Builder) {
	if m.ServerName != "" {
		addExtension(b, ExtServerName, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				b.AddUint8(0) // host_name, RFC 6066 section 3
				b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(m.ServerName)) })
			})
		})
	}
	if len(m.Groups) > 0 {
		addExtension(b, ExtSupportedGroups, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { addUint16s(b, m.Groups) })
		})
	}
	if len(m.PointFormats) > 0 {
		addExtension(b, ExtPointFormats, func(b *cryptobyte.Builder) {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.PointFormats) })
		})
	}
	if m.ExtendedMasterSecret {
		addExtension(b, ExtExtendedMasterSecret, nothing)
	}
	if m.SecureRenegotiation {
		addExtension(b, ExtRenegotiationInfo, func(b *cryptobyte.Builder) { b.AddUint8(0) })
	}
	if len(m.Protocols) > 0 {
		addProtocols(b, m.Protocols)
	}
	if len(m.Versions) > 0 {
		addExtension(b, ExtSupportedVersions, func(b *cryptobyte.Builder) {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { addUint16s(b, m.Versions) })
		})
	}
	if len(m.Cookie) > 0 {
		addExtension(b, ExtCookie, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.Cookie) })
		})
	}
	if len(m.PSKModes) > 0 {
		addExtension(b, ExtPSKModes, func(b *cryptobyte.Builder) {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.PSKModes) })
		})
	}
	if len(m.KeyShares) > 0 {
		addExtension(b, ExtKeyShare, func(b *cryptobyte.Builder) {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
				for _, k := range m.KeyShares {
					k.add(b)
				}
			})
		})
	}
	if len(m.Identities) > 0 {
		addExtension(b, ExtPreSharedKey, m.encodeIdentities) // the last, RFC 8446 section 4.2.11
	}
}

func (m *ClientHello) encodeIdentities(b *cryptobyte.Builder) {
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for _, identity := range m.Identities {
			b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(identity) })
			b.AddUint32(0) // obfuscated_ticket_age of an external PSK
		}
	})
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
		for range m.Identities {
			b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(make([]byte, HashLen)) })
		}
	})
}

// SetBinder writes the binder of the only identity into an encoded message.
func SetBinder(raw, binder []byte) { copy(raw[len(raw)-HashLen:], binder) }

// BindersLen is the length of the list of binders at the end of an encoded message: what a binder is not computed over
// (RFC 8446 section 4.2.11.2).
func (m *ClientHello) BindersLen() int {
	if len(m.Identities) == 0 {
		return 0
	}
	n := 2
	if len(m.Binders) == 0 {
		return n + len(m.Identities)*(1+HashLen)
	}
	for _, b := range m.Binders {
		n += 1 + len(b)
	}
	return n
}

// ParseClientHello decodes a message.
func ParseClientHello(raw []byte) (*ClientHello, error) {
	s, err := body(raw, TypeClientHello)
	if err != nil {
		return nil, err
	}
	m := new(ClientHello)
	var random []byte
	var session, suites, compressions cryptobyte.String
	if !s.ReadUint16(&m.Version) || !s.ReadBytes(&random, RandomLen) ||
		!s.ReadUint8LengthPrefixed(&session) || len(session) > maxSessionID ||
		!s.ReadUint16LengthPrefixed(&suites) ||
		!s.ReadUint8LengthPrefixed(&compressions) || compressions.Empty() {
		return nil, syntax("ClientHello")
	}
	copy(m.Random[:], random)
	m.SessionID, m.Compressions = session, compressions
	var ok bool
	if m.Suites, ok = readUint16s(suites); !ok {
		return nil, syntax("cipher_suites")
	}
	m.SecureRenegotiation = slices.Contains(m.Suites, SuiteRenegotiation)
	if m.Extensions, err = parseExtensions(&s); err != nil {
		return nil, err
	}
	for i, e := range m.Extensions {
		if e.Type == ExtPreSharedKey && i != len(m.Extensions)-1 {
			return nil, value("pre_shared_key is not the last extension")
		}
		if err := m.parseExtension(e.Type, e.Data); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *ClientHello) parseExtension(t uint16, data cryptobyte.String) error {
	var list cryptobyte.String
	ok := true
	switch t {
	case ExtServerName:
		return m.parseServerName(data)
	case ExtSupportedGroups:
		ok = data.ReadUint16LengthPrefixed(&list) && data.Empty()
		if ok {
			m.Groups, ok = readUint16s(list)
		}
	case ExtPointFormats:
		ok = data.ReadUint8LengthPrefixed(&list) && data.Empty() && !list.Empty()
		m.PointFormats = list
		if ok && !slices.Contains(m.PointFormats, uncompressed) {
			return value("ec_point_formats without uncompressed")
		}
	case ExtExtendedMasterSecret:
		m.ExtendedMasterSecret, ok = true, data.Empty()
	case ExtRenegotiationInfo:
		m.SecureRenegotiation = true
		ok = data.ReadUint8LengthPrefixed(&list) && data.Empty()
		if ok && !list.Empty() {
			return value("renegotiation_info of a first handshake")
		}
	case ExtALPN:
		m.Protocols, ok = readProtocols(data)
	case ExtSupportedVersions:
		ok = data.ReadUint8LengthPrefixed(&list) && data.Empty()
		if ok {
			m.Versions, ok = readUint16s(list)
		}
	case ExtPSKModes:
		ok = data.ReadUint8LengthPrefixed(&list) && data.Empty() && !list.Empty()
		m.PSKModes = list
	case ExtCookie:
		ok = data.ReadUint16LengthPrefixed(&list) && data.Empty() && !list.Empty()
		m.Cookie = list
	case ExtEarlyData:
		ok = data.Empty()
	case ExtKeyShare:
		return m.parseKeyShares(data)
	case ExtPreSharedKey:
		return m.parseIdentities(data)
	}
	if !ok {
		return syntax("an extension of ClientHello")
	}
	return nil
}

func (m *ClientHello) parseServerName(data cryptobyte.String) error {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() || list.Empty() {
		return syntax("server_name")
	}
	for !list.Empty() {
		var kind uint8
		var name cryptobyte.String
		if !list.ReadUint8(&kind) || !list.ReadUint16LengthPrefixed(&name) || name.Empty() {
			return syntax("server_name")
		}
		if kind != 0 {
			continue
		}
		if m.ServerName != "" {
			return value("two names in server_name")
		}
		m.ServerName = string(name)
	}
	return nil
}

// maxKeyShares and maxIdentities bound the work that a hello can ask for. Clients in use send one to three of each.
const (
	maxKeyShares  = 16
	maxIdentities = 16
)

func (m *ClientHello) parseKeyShares(data cryptobyte.String) error {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() {
		return syntax("key_share")
	}
	for !list.Empty() {
		var k KeyShare
		if !readKeyShare(&list, &k) {
			return syntax("key_share")
		}
		if slices.ContainsFunc(m.KeyShares, func(o KeyShare) bool { return o.Group == k.Group }) {
			return value("two key shares for one group")
		}
		if len(m.KeyShares) == maxKeyShares {
			return value("too many key shares")
		}
		m.KeyShares = append(m.KeyShares, k)
	}
	return nil
}

func (m *ClientHello) parseIdentities(data cryptobyte.String) error {
	var identities, binders cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&identities) || identities.Empty() ||
		!data.ReadUint16LengthPrefixed(&binders) || binders.Empty() || !data.Empty() {
		return syntax("pre_shared_key")
	}
	for !identities.Empty() {
		var identity cryptobyte.String
		var age uint32
		if !identities.ReadUint16LengthPrefixed(&identity) || identity.Empty() || !identities.ReadUint32(&age) {
			return syntax("identity of a pre-shared key")
		}
		if len(m.Identities) == maxIdentities {
			return value("too many identities")
		}
		m.Identities = append(m.Identities, identity)
	}
	for !binders.Empty() {
		var binder cryptobyte.String
		if !binders.ReadUint8LengthPrefixed(&binder) || len(binder) < HashLen {
			return syntax("binder")
		}
		if len(m.Binders) == maxIdentities {
			return value("too many binders")
		}
		m.Binders = append(m.Binders, binder)
	}
	if len(m.Identities) != len(m.Binders) {
		return value("not one binder for each identity")
	}
	return nil
}
