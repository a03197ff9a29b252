package message

import "golang.org/x/crypto/cryptobyte"

// ServerKeyExchange is that of ECDHE_PSK (RFC 5489 section 2): a hint and a public key on a named curve, without a
// signature.
type ServerKeyExchange struct {
	Hint  []byte
	Share KeyShare
}

// Encode returns the message.
func (m *ServerKeyExchange) Encode() ([]byte, error) {
	return frame(TypeServerKeyExchange, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.Hint) })
		b.AddUint8(namedCurve)
		b.AddUint16(m.Share.Group)
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.Share.Key) })
	})
}

// ParseServerKeyExchange decodes a message.
func ParseServerKeyExchange(raw []byte) (*ServerKeyExchange, error) {
	s, err := body(raw, TypeServerKeyExchange)
	if err != nil {
		return nil, err
	}
	m := new(ServerKeyExchange)
	var hint, point cryptobyte.String
	var curve uint8
	if !s.ReadUint16LengthPrefixed(&hint) || !s.ReadUint8(&curve) {
		return nil, syntax("ServerKeyExchange")
	}
	if curve != namedCurve {
		return nil, value("not a named curve")
	}
	if !s.ReadUint16(&m.Share.Group) || !s.ReadUint8LengthPrefixed(&point) || point.Empty() || !s.Empty() {
		return nil, syntax("ServerKeyExchange")
	}
	m.Hint, m.Share.Key = hint, point
	return m, nil
}

// ClientKeyExchange is that of ECDHE_PSK (RFC 5489 section 2).
type ClientKeyExchange struct {
	Identity []byte
	Key      []byte
}

// Encode returns the message.
func (m *ClientKeyExchange) Encode() ([]byte, error) {
	return frame(TypeClientKeyExchange, func(b *cryptobyte.Builder) {
		b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.Identity) })
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(m.Key) })
	})
}

// ParseClientKeyExchange decodes a message.
func ParseClientKeyExchange(raw []byte) (*ClientKeyExchange, error) {
	s, err := body(raw, TypeClientKeyExchange)
	if err != nil {
		return nil, err
	}
	var identity, point cryptobyte.String
	if !s.ReadUint16LengthPrefixed(&identity) || !s.ReadUint8LengthPrefixed(&point) || point.Empty() || !s.Empty() {
		return nil, syntax("ClientKeyExchange")
	}
	return &ClientKeyExchange{Identity: identity, Key: point}, nil
}

// EncodeServerHelloDone returns that message, which is empty.
func EncodeServerHelloDone() []byte { return []byte{byte(TypeServerHelloDone), 0, 0, 0} }

// ParseEmpty checks a message without a body: ServerHelloDone, HelloRequest.
func ParseEmpty(raw []byte, t Type) error {
	s, err := body(raw, t)
	if err != nil {
		return err
	}
	if !s.Empty() {
		return syntax("a message that is to be empty")
	}
	return nil
}

// EncodeFinished returns a Finished with the given verify_data.
func EncodeFinished(verify []byte) []byte {
	return append([]byte{byte(TypeFinished), 0, 0, byte(len(verify))}, verify...)
}

// ParseFinished returns the verify_data, which has n octets.
func ParseFinished(raw []byte, n int) ([]byte, error) {
	s, err := body(raw, TypeFinished)
	if err != nil {
		return nil, err
	}
	if len(s) != n {
		return nil, syntax("Finished")
	}
	return s, nil
}

// EncodeKeyUpdate returns a KeyUpdate (RFC 8446 section 4.6.3).
func EncodeKeyUpdate(request bool) []byte {
	m := []byte{byte(TypeKeyUpdate), 0, 0, 1, 0}
	if request {
		m[4] = 1
	}
	return m
}

// ParseKeyUpdate tells whether the peer asks for an update of the other direction.
func ParseKeyUpdate(raw []byte) (requested bool, err error) {
	s, err := body(raw, TypeKeyUpdate)
	if err != nil {
		return false, err
	}
	if len(s) != 1 {
		return false, syntax("KeyUpdate")
	}
	if s[0] > 1 {
		return false, value("request_update")
	}
	return s[0] == 1, nil
}

// Hash returns the message that stands for the first ClientHello once a HelloRetryRequest was sent (RFC 8446 section
// 4.4.1).
func Hash(digest []byte) []byte {
	return append([]byte{byte(TypeMessageHash), 0, 0, byte(len(digest))}, digest...)
}
