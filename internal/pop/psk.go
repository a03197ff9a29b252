package pop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/mqttsec/mqttsec/internal/strict"
)

// What a pre-shared key of TLS is called when it is the key of a token that the broker has already: the serialized
// "cnf" with the type of the key and its identifier and nothing else (RFC 9202, section 3.3.2, in CBOR; RFC 9431,
// section 2.2.1, allows JSON).
//
//	{8: {1: {1: 4, 2: h'kid'}}}                    a1 08 a1 01 a2 01 04 02 and kid as a byte string
//	{"cnf":{"jwk":{"kty":"oct","kid":"kid"}}}

var cborIdentity = []byte{0xa1, 0x08, 0xa1, 0x01, 0xa2, 0x01, 0x04, 0x02}

// maxKeyID bounds the identifiers that are understood.
const maxKeyID = 1024

type jsonIdentity struct {
	Cnf struct {
		JWK struct {
			Kty string `json:"kty"`
			Kid string `json:"kid"`
		} `json:"jwk"`
	} `json:"cnf"`
}

// PSKIdentityCBOR names the key with this identifier, of at most 65,535 bytes, in CBOR.
func PSKIdentityCBOR(keyID string) string {
	b := bytes.Clone(cborIdentity)
	switch n := len(keyID); {
	case n < 24:
		b = append(b, 0x40|byte(n))
	case n < 1<<8:
		b = append(b, 0x58, byte(n))
	default:
		b = append(b, 0x59, byte(n>>8), byte(n))
	}
	return string(b) + keyID
}

// PSKIdentityJSON names the key with this identifier in JSON. It fails if that is no text.
func PSKIdentityJSON(keyID string) (string, error) {
	if !utf8.ValidString(keyID) { // which package json would replace: the name would be another key's
		return "", fmt.Errorf("%w: its identifier is no text", ErrKey)
	}
	var id jsonIdentity
	id.Cnf.JWK.Kty, id.Cnf.JWK.Kid = "oct", keyID
	b, err := json.Marshal(id)
	return string(b), err
}

// ParsePSKIdentity returns the identifier of the key that a PSK identity names in one of the two forms, to the letter;
// ok is false for everything else, which may be a token.
func ParsePSKIdentity(identity string) (keyID string, ok bool) {
	if rest, isCBOR := strings.CutPrefix(identity, string(cborIdentity)); isCBOR {
		return parseCBORString(rest)
	}
	if !strings.HasPrefix(identity, "{") || len(identity) > 6*maxKeyID {
		return "", false
	}
	o, err := strict.Parse([]byte(identity))
	for _, name := range []string{"cnf", "jwk"} {
		if err != nil || len(o) != 1 {
			return "", false
		}
		o, err = strict.Parse(o[name])
	}
	if err != nil || len(o) != 2 {
		return "", false
	}
	kty, err := o.Text("kty")
	if err != nil || kty != "oct" {
		return "", false
	}
	keyID, err = o.Text("kid")
	return keyID, err == nil && keyID != "" && len(keyID) <= maxKeyID
}

// parseCBORString reads a byte string in its shortest form, and nothing behind it.
func parseCBORString(b string) (string, bool) {
	if b == "" {
		return "", false
	}
	n, head := int(b[0])-0x40, 1
	switch {
	case b[0] == 0x58 && len(b) > 1:
		n, head = int(b[1]), 2
	case b[0] == 0x59 && len(b) > 2:
		n, head = int(b[1])<<8|int(b[2]), 3
	}
	if n < 1 || n > maxKeyID || len(b) != head+n || head == 1 && n > 23 || head == 2 && n < 24 || head == 3 && n < 256 {
		return "", false
	}
	return b[head:], true
}

// PSK returns a copy of the secret for use as a pre-shared key of TLS, nil if the key is not a shared one.
func (v Verifier) PSK() []byte {
	if !v.Symmetric() {
		return nil
	}
	return bytes.Clone(v.secret.value())
}
