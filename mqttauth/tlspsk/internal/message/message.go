// Package message encodes and decodes the handshake messages of TLS 1.3 (RFC 8446 section 4) and of TLS 1.2 with
// ECDHE-PSK (RFC 5246 section 7.4, RFC 5489), as far as a peer without certificates needs them.
//
// The decoders judge form alone: lengths, duplicates, and values that a standard fixes whatever the negotiation. What a
// message may say at its place in a handshake is decided by the caller. Slices in a decoded message point into its
// input.
package message

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// Type is the first octet of a handshake message (HandshakeType, RFC 8446 section 4).
type Type uint8

// The types that either version of the protocol has a use for here.
const (
	TypeHelloRequest        Type = 0
	TypeClientHello         Type = 1
	TypeServerHello         Type = 2
	TypeNewSessionTicket    Type = 4
	TypeEncryptedExtensions Type = 8
	TypeServerKeyExchange   Type = 12
	TypeServerHelloDone     Type = 14
	TypeClientKeyExchange   Type = 16
	TypeFinished            Type = 20
	TypeKeyUpdate           Type = 24
	TypeMessageHash         Type = 254
)

// Extension types (RFC 8446 section 4.2 and the IANA registry).
const (
	ExtServerName           uint16 = 0
	ExtSupportedGroups      uint16 = 10
	ExtPointFormats         uint16 = 11
	ExtSignatureAlgorithms  uint16 = 13
	ExtALPN                 uint16 = 16
	ExtPadding              uint16 = 21
	ExtExtendedMasterSecret uint16 = 23
	ExtPreSharedKey         uint16 = 41
	ExtEarlyData            uint16 = 42
	ExtSupportedVersions    uint16 = 43
	ExtCookie               uint16 = 44
	ExtPSKModes             uint16 = 45
	ExtKeyShare             uint16 = 51
	ExtRenegotiationInfo    uint16 = 0xff01
)

// Values of single fields.
const (
	VersionSSL30 uint16 = 0x0300
	VersionTLS12 uint16 = 0x0303
	VersionTLS13 uint16 = 0x0304

	PSKWithDHE byte = 1 // psk_dhe_ke, RFC 8446 section 4.2.9

	SuiteRenegotiation uint16 = 0x00ff // TLS_EMPTY_RENEGOTIATION_INFO_SCSV, RFC 5746
	SuiteFallback      uint16 = 0x5600 // TLS_FALLBACK_SCSV, RFC 7507

	namedCurve byte = 3 // ECCurveType, RFC 8422 section 5.4

	uncompressed byte = 0 // ECPointFormat, RFC 8422 section 5.1.2
)

// HeaderLen is the length of what stands before every message: its type and 24 bits of length.
const HeaderLen = 4

// HashLen is the length of the only hash of all suites here, SHA-256.
const HashLen = 32

// RandomLen is the length of a hello's random.
const RandomLen = 32

// maxSessionID is the length of the longest legacy_session_id.
const maxSessionID = 32

// What the decoders return. ErrSyntax calls for the alert decode_error, ErrValue for illegal_parameter.
var (
	ErrSyntax = errors.New("message does not parse")
	ErrValue  = errors.New("message has a value that is never right")
)

func syntax(what string) error { return fmt.Errorf("%w: %s", ErrSyntax, what) }

func value(what string) error { return fmt.Errorf("%w: %s", ErrValue, what) }

// Header returns the type and the length of the body of the message that starts with b, which has at least HeaderLen
// octets.
func Header(b []byte) (Type, int) { return Type(b[0]), int(b[1])<<16 | int(b[2])<<8 | int(b[3]) }

// body returns what follows the header of a whole message of the given type.
func body(raw []byte, want Type) (cryptobyte.String, error) {
	if len(raw) < HeaderLen {
		return nil, syntax("no header")
	}
	if t, n := Header(raw); t != want || n != len(raw)-HeaderLen {
		return nil, syntax("header")
	}
	return cryptobyte.String(raw[HeaderLen:]), nil
}

// frame encodes a message whose body f writes.
func frame(t Type, f func(b *cryptobyte.Builder)) ([]byte, error) {
	b := cryptobyte.NewBuilder(make([]byte, 0, 320))
	b.AddUint8(uint8(t))
	b.AddUint24LengthPrefixed(f)
	return b.Bytes()
}

// Extension is one extension as it stands in a message.
type Extension struct {
	Type uint16
	Data []byte
}

// Extensions are those of one message, in its order.
type Extensions []Extension

// Has tells whether an extension is there.
func (es Extensions) Has(t uint16) bool {
	for _, e := range es {
		if e.Type == t {
			return true
		}
	}
	return false
}

// parseExtensions reads the rest of s, which is a list of extensions or, in the hellos of TLS 1.2, nothing.
func parseExtensions(s *cryptobyte.String) (Extensions, error) {
	if s.Empty() {
		return nil, nil
	}
	var list cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&list) || !s.Empty() {
		return nil, syntax("extensions")
	}
	// The types seen so far: a bit for each of the registered small ones, which keeps a hostile list from costing its
	// square.
	var small [2]uint64
	large := 0
	var es Extensions
	for !list.Empty() {
		var e Extension
		var data cryptobyte.String
		if !list.ReadUint16(&e.Type) || !list.ReadUint16LengthPrefixed(&data) {
			return nil, syntax("extension")
		}
		if e.Type < 128 {
			bit := uint64(1) << (e.Type % 64)
			if small[e.Type/64]&bit != 0 {
				return nil, value("an extension appears twice")
			}
			small[e.Type/64] |= bit
		} else {
			if large++; large > maxUnknownExtensions {
				return nil, value("too many unknown extensions")
			}
			if es.Has(e.Type) {
				return nil, value("an extension appears twice")
			}
		}
		e.Data = data
		es = append(es, e)
	}
	return es, nil
}

// maxUnknownExtensions bounds the extensions with types above 127. Those that are sent to be ignored (RFC 8701) are one
// or two.
const maxUnknownExtensions = 32

// addExtension appends one extension whose data f writes.
func addExtension(b *cryptobyte.Builder, t uint16, f func(b *cryptobyte.Builder)) {
	b.AddUint16(t)
	b.AddUint16LengthPrefixed(f)
}

func nothing(*cryptobyte.Builder) {}

// KeyShare is a public key for a group (KeyShareEntry, RFC 8446 section 4.2.8).
type KeyShare struct {
	Group uint16
	Key   []byte
}

func readKeyShare(s *cryptobyte.String, k *KeyShare) bool {
	var key cryptobyte.String
	if !s.ReadUint16(&k.Group) || !s.ReadUint16LengthPrefixed(&key) || key.Empty() {
		return false
	}
	k.Key = key
	return true
}

func (k KeyShare) add(b *cryptobyte.Builder) {
	b.AddUint16(k.Group)
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(k.Key) })
}

// readUint16s reads the rest of s, at least one number.
func readUint16s(s cryptobyte.String) ([]uint16, bool) {
	if s.Empty() || len(s)%2 != 0 {
		return nil, false
	}
	list := make([]uint16, 0, len(s)/2)
	for !s.Empty() {
		var v uint16
		s.ReadUint16(&v)
		list = append(list, v)
	}
	return list, true
}

func addUint16s(b *cryptobyte.Builder, list []uint16) {
	for _, v := range list {
		b.AddUint16(v)
	}
}

// readProtocols reads an ALPN list (RFC 7301 section 3.1).
func readProtocols(data cryptobyte.String) ([]string, bool) {
	var list cryptobyte.String
	if !data.ReadUint16LengthPrefixed(&list) || !data.Empty() || list.Empty() {
		return nil, false
	}
	var names []string
	for !list.Empty() {
		var name cryptobyte.String
		if !list.ReadUint8LengthPrefixed(&name) || name.Empty() {
			return nil, false
		}
		names = append(names, string(name))
	}
	return names, true
}

func addProtocols(b *cryptobyte.Builder, names []string) {
	addExtension(b, ExtALPN, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) {
			for _, name := range names {
				b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(name)) })
			}
		})
	})
}
