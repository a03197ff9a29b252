package pop

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// maxField is the length of the longest string or binary data of MQTT, in bytes.
const maxField = 65535

// Exporter is a connection that can derive keying material: a tls.ConnectionState, say.
type Exporter interface {
	ExportKeyingMaterial(label string, context []byte, length int) ([]byte, error)
}

// ExporterInput returns the bytes that a proof in the exporter form is over (RFC 9431, 2.2.4.2.1). The context is
// present and empty, which in TLS 1.2 differs from none (RFC 5705, 4).
func ExporterInput(e Exporter) ([]byte, error) {
	input, err := e.ExportKeyingMaterial(ExporterLabel, []byte{}, ExporterSize)
	if err != nil {
		return nil, fmt.Errorf("pop: TLS exporter: %w", err)
	}
	if len(input) != ExporterSize {
		return nil, fmt.Errorf("pop: TLS exporter: %d bytes instead of %d", len(input), ExporterSize)
	}
	return input, nil
}

// Nonce is the broker's part of a challenge, or the client's.
type Nonce [NonceSize]byte

// NewNonce returns a random one.
func NewNonce() Nonce {
	var n Nonce
	rand.Read(n[:]) // never fails
	return n
}

// ChallengeInput returns the bytes that a proof in the challenge form is over (RFC 9431, 2.2.4.2.2).
func ChallengeInput(broker, client Nonce) []byte { return append(broker[:], client[:]...) }

// AuthData is the Authentication Data of CONNECT, and of the AUTH that re-authenticates (RFC 9431, 2.2.4.2).
type AuthData struct {
	// Token is the access token; nil in a CONNECT that only asks where to get one.
	Token []byte
	// Proof is over the TLS exporter's bytes; nil in the challenge form.
	Proof []byte
}

// Append appends the encoded form to dst: nothing without a token, else its length in two bytes, the most
// significant first as everywhere in MQTT, the token, and the proof if there is one. All of it must fit into
// the 65,535 bytes of Authentication Data.
func (a AuthData) Append(dst []byte) ([]byte, error) {
	if err := a.check(); err != nil {
		return dst, err
	}
	if len(a.Token) == 0 {
		return dst, nil
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(a.Token)))
	dst = append(dst, a.Token...)
	return append(dst, a.Proof...), nil
}

func (a AuthData) check() error {
	switch {
	case 2+len(a.Token)+len(a.Proof) > maxField:
		return fmt.Errorf("%w: a token of %d bytes does not fit", ErrMalformed, len(a.Token))
	case len(a.Token) == 0 && len(a.Proof) > 0:
		return fmt.Errorf("%w: a proof without a token", ErrMalformed)
	}
	switch len(a.Proof) {
	case 0, macSize, signatureSize:
		return nil
	}
	return fmt.Errorf("%w: a proof of %d bytes", ErrMalformed, len(a.Proof))
}

// ParseAuthData takes Authentication Data apart. Empty data is the zero AuthData. Token and Proof alias b.
func ParseAuthData(b []byte) (AuthData, error) {
	if len(b) == 0 {
		return AuthData{}, nil
	}
	if len(b) < 2 {
		return AuthData{}, fmt.Errorf("%w: shorter than a length", ErrMalformed)
	}
	n, rest := int(binary.BigEndian.Uint16(b)), b[2:]
	if n == 0 || n > len(rest) {
		return AuthData{}, fmt.Errorf("%w: the length of the token does not fit", ErrMalformed)
	}
	a := AuthData{Token: rest[:n:n]}
	if n < len(rest) {
		a.Proof = rest[n:]
	}
	if err := a.check(); err != nil {
		return AuthData{}, err
	}
	return a, nil
}

// ParseNonce returns the broker's nonce out of the Authentication Data of its AUTH: eight bytes, no more and no less.
func ParseNonce(b []byte) (Nonce, error) {
	if len(b) != NonceSize {
		return Nonce{}, fmt.Errorf("%w: a nonce of %d bytes, not %d", ErrMalformed, len(b), NonceSize)
	}
	return Nonce(b), nil
}

// Reply is the Authentication Data of the AUTH that answers a challenge.
type Reply struct {
	// Nonce is the client's own.
	Nonce Nonce
	// Proof is over [ChallengeInput].
	Proof []byte
}

// Append appends the encoded form to dst: nonce and proof.
func (r Reply) Append(dst []byte) []byte { return append(append(dst, r.Nonce[:]...), r.Proof...) }

// ParseReply takes a reply apart. Proof aliases b.
func ParseReply(b []byte) (Reply, error) {
	switch len(b) {
	case NonceSize + macSize, NonceSize + signatureSize:
		return Reply{Nonce(b[:NonceSize]), b[NonceSize:]}, nil
	}
	return Reply{}, fmt.Errorf("%w: a reply of %d bytes", ErrMalformed, len(b))
}

var userEncoding = base64.RawURLEncoding.Strict()

// Username returns the MQTT 3.1.1 User Name that carries a token (RFC 9431, 6.1): "ace" and the token in
// base64url, also if that is what a JWT consists of already.
func Username(token []byte) (string, error) {
	if len(token) == 0 {
		return "", fmt.Errorf("%w: no token", ErrMalformed)
	}
	if len(Method)+userEncoding.EncodedLen(len(token)) > maxField {
		return "", fmt.Errorf("%w: a token of %d bytes does not fit into a User Name", ErrMalformed, len(token))
	}
	return Method + userEncoding.EncodeToString(token), nil
}

// IsUsername reports whether a User Name claims to carry a token. Any that begins with "ace" does.
func IsUsername(name []byte) bool { return bytes.HasPrefix(name, []byte(Method)) }

// ParseUsername returns the token in a User Name. A JWT that stands there as it is, which its dots tell, is
// taken too: the RFC can be read that way.
func ParseUsername(name []byte) ([]byte, error) {
	if !IsUsername(name) {
		return nil, fmt.Errorf("%w: the User Name does not begin with %q", ErrMalformed, Method)
	}
	text := name[len(Method):]
	switch {
	case len(text) == 0:
		return nil, fmt.Errorf("%w: no token in the User Name", ErrMalformed)
	case bytes.IndexByte(text, '.') >= 0:
		return bytes.Clone(text), nil
	case bytes.ContainsAny(text, "\r\n"): // which the decoder passes over
		return nil, fmt.Errorf("%w: the User Name is not base64url", ErrMalformed)
	}
	token, err := userEncoding.AppendDecode(nil, text)
	if err != nil {
		return nil, fmt.Errorf("%w: the User Name is not base64url", ErrMalformed)
	}
	return token, nil
}
