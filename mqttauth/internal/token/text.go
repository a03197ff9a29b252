package token

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
)

// The binary form of a token and of an owner's secret:
//
//	version 1 | 1 | kind | v16 claim | v16 filter | u32 epoch | u64 until | flags | serial 8 | secret 32 | K 32
//	version 1 | 2 | v16 claim | v16 filter | u32 epoch | P 32 | S 32 | K 32
//
// The text form is "MQTTAUTH:" and the base32 (RFC 4648, without padding) of the binary form and four octets of
// checksum, the start of SHA-256("mqttauth v1 text" | binary form): upper-case letters, digits and a colon, which is
// what the alphanumeric mode of QR codes has. Reading it, case does not matter.
const (
	binaryVersion = 1
	binaryToken   = 1
	binaryOwner   = 2

	textPrefix   = "MQTTAUTH:"
	textSumLabel = "mqttauth v1 text"
	textSumSize  = 4
	// maxBinary is more than either form can have.
	maxBinary = 2*MaxFilter + 256
)

var textEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// MarshalBinary returns the token with its secrets. Guard it as such.
func (t Token) MarshalBinary() ([]byte, error) {
	if t.IsZero() {
		return nil, fmt.Errorf("%w: the zero Token", ErrInvalid)
	}
	k, err := node(t.key, t.terms.filter)
	if err != nil {
		return nil, err
	}
	b := []byte{binaryVersion, binaryToken, byte(t.kind)}
	b = codec.AppendV16(b, t.claim)
	b = codec.AppendV16(b, t.terms.filter)
	b = binary.BigEndian.AppendUint32(b, t.epoch)
	b = appendTerms(b, &t.terms)
	secret := t.secret()
	b = append(b, secret[:]...)
	return append(b, k[:]...), nil
}

// UnmarshalBinary reads what MarshalBinary wrote and nothing else.
func (t *Token) UnmarshalBinary(b []byte) error {
	r := reader(b, binaryToken)
	kind, claim := Kind(r.Uint8()), string(r.V16())
	read := terms{filter: string(r.V16())}
	epoch := r.Uint32()
	readTerms(r, &read)
	var secret, k key.Node
	r.Fill(secret[:])
	r.Fill(k[:])
	if err := r.End(); err != nil {
		return err
	}
	if _, err := treeOf(kind); err != nil {
		return err
	}
	if err := read.check(); err != nil {
		return err
	}
	if err := checkPair(claim, read.filter); err != nil {
		return err
	}
	payloads, err := key.New(read.filter, k[:])
	if err != nil {
		return err
	}
	*t = newToken(kind, read, epoch, claim, secret, payloads)
	return nil
}

// MarshalBinary returns the owner with its secrets. Guard it as such.
func (o Owner) MarshalBinary() ([]byte, error) {
	if o.IsZero() {
		return nil, fmt.Errorf("%w: the zero Owner", ErrInvalid)
	}
	b := []byte{binaryVersion, binaryOwner}
	b = codec.AppendV16(b, o.claim)
	b = codec.AppendV16(b, o.filter)
	b = binary.BigEndian.AppendUint32(b, o.epoch)
	for i := range o.trees {
		n, err := node(o.trees[i], o.filter)
		if err != nil {
			return nil, err
		}
		b = append(b, n[:]...)
	}
	return b, nil
}

// UnmarshalBinary reads what MarshalBinary wrote and nothing else.
func (o *Owner) UnmarshalBinary(b []byte) error {
	r := reader(b, binaryOwner)
	read := Owner{claim: string(r.V16()), filter: string(r.V16()), epoch: r.Uint32()}
	var roots [3]key.Node
	for i := range roots {
		r.Fill(roots[i][:])
	}
	if err := r.End(); err != nil {
		return err
	}
	if err := checkPair(read.claim, read.filter); err != nil {
		return err
	}
	for i := range roots {
		var err error
		if read.trees[i], err = key.New(read.filter, roots[i][:]); err != nil {
			return err
		}
	}
	*o = read
	return nil
}

func reader(b []byte, kind byte) *codec.Reader {
	r := codec.NewReader(b)
	if version := r.Uint8(); version != binaryVersion {
		r.Fail(codec.Malformed("version %d", version))
	}
	if got := r.Uint8(); got != kind {
		r.Fail(codec.Malformed("kind %d where %d should be", got, kind))
	}
	return r
}

// checkPair checks the filters of a claim and of what was made under it.
func checkPair(claim, filter string) error {
	for _, f := range []string{claim, filter} {
		if err := checkFilter(f); err != nil {
			return err
		}
	}
	if !topic.Contains(claim, filter) || !narrows(claim, filter) {
		return fmt.Errorf("%w: %q under %q", ErrFilter, filter, claim)
	}
	return nil
}

// MarshalText returns the token, secrets included, as one word of upper-case letters and digits behind "MQTTAUTH:".
func (t Token) MarshalText() ([]byte, error) { return marshalText(t.MarshalBinary()) }

// UnmarshalText reads what MarshalText wrote, in upper or lower case and with white space around it. Every other
// deviation is an ErrText.
func (t *Token) UnmarshalText(text []byte) error {
	b, err := unmarshalText(text)
	if err == nil && t.UnmarshalBinary(b) != nil {
		err = ErrText
	}
	return err
}

// MarshalText returns the owner's secret as Token.MarshalText does.
func (o Owner) MarshalText() ([]byte, error) { return marshalText(o.MarshalBinary()) }

// UnmarshalText reads what MarshalText wrote, as Token.UnmarshalText does.
func (o *Owner) UnmarshalText(text []byte) error {
	b, err := unmarshalText(text)
	if err == nil && o.UnmarshalBinary(b) != nil {
		err = ErrText
	}
	return err
}

func marshalText(b []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	return textEncoding.AppendEncode([]byte(textPrefix), append(b, textSum(b)...)), nil
}

func unmarshalText(text []byte) ([]byte, error) {
	s := strings.TrimSpace(string(text))
	upper := strings.ToUpper(s)
	body, ok := strings.CutPrefix(upper, textPrefix)
	if !ok || len(upper) != len(s) || len(body) > textEncoding.EncodedLen(maxBinary) {
		return nil, ErrText
	}
	// The decoder skips newlines and ignores spare bits: encoding again does not.
	b, err := textEncoding.DecodeString(body)
	if err != nil || textEncoding.EncodeToString(b) != body || len(b) < textSumSize {
		return nil, ErrText // err would quote the secret
	}
	b, sum := b[:len(b)-textSumSize], b[len(b)-textSumSize:]
	if subtle.ConstantTimeCompare(textSum(b), sum) != 1 {
		return nil, fmt.Errorf("%w: the checksum is wrong: mistyped or cut off", ErrText)
	}
	return b, nil
}

func textSum(b []byte) []byte {
	h := sha256.New()
	io.WriteString(h, textSumLabel)
	h.Write(b)
	return h.Sum(nil)[:textSumSize]
}

// Checked returns the token's binary form and the checksum of its text form: what a reader of radio tags or cameras
// hands on without a change, or not at all.
func (t Token) Checked() ([]byte, error) {
	b, err := t.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return append(b, textSum(b)...), nil
}

// FromChecked reads what Checked wrote. Every deviation is an ErrText.
func FromChecked(b []byte) (t Token, err error) {
	if len(b) < textSumSize {
		return Token{}, ErrText
	}
	body, sum := b[:len(b)-textSumSize], b[len(b)-textSumSize:]
	if subtle.ConstantTimeCompare(textSum(body), sum) != 1 || t.UnmarshalBinary(body) != nil {
		return Token{}, ErrText
	}
	return t, nil
}
