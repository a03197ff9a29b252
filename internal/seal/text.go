package seal

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// The text form of a key is
//
//	mqttsec: base32( 0x01 ‖ secret[32] ‖ filter ‖ checksum[4] )
//
// with RFC 4648's base32 alphabet and no padding. Case does not matter and all
// characters are in the alphanumeric mode of QR codes, where an upper-cased key
// is a quarter smaller than base64 would be; it is one word to select, needs no
// quotes in any config file, and leaves no readable filter to be edited by hand,
// which would give a key that opens nothing. The checksum is there for mistakes,
// not attackers: the start of SHA-256("mqttsec v1 key" ‖ all before it).
const (
	textPrefix    = "mqttsec:"
	textVersion   = 1
	textSumLabel  = "mqttsec v1 key"
	textSumLen    = 4
	textOverhead  = 1 + SecretSize + textSumLen
	maxTextLength = len(textPrefix) + (textOverhead+65535)*8/5 + 1
)

var textEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// MarshalText returns the key, secret included, as text of letters and digits
// behind "mqttsec:", fit for config files, environment variables and QR codes
// (in upper case it fits their alphanumeric mode). Guard it as the secret it is.
func (k Key) MarshalText() ([]byte, error) {
	if k.secret == nil {
		return nil, fmt.Errorf("%w: the zero Key", ErrInvalidKey)
	}
	b := make([]byte, 0, textOverhead+len(k.filter))
	b = append(b, textVersion)
	b = append(b, k.secret()[:]...)
	b = append(b, k.filter...)
	b = append(b, textSum(b)...)
	return textEncoding.AppendEncode([]byte(textPrefix), b), nil
}

// UnmarshalText reads what MarshalText wrote, in upper or lower case and with
// white space around it. Every other deviation is an error, ErrInvalidKey.
func (k *Key) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	if len(s) < len(textPrefix) || !strings.EqualFold(s[:len(textPrefix)], textPrefix) {
		return fmt.Errorf("%w: the text does not begin with %q", ErrInvalidKey, textPrefix)
	}
	if len(s) > maxTextLength {
		return fmt.Errorf("%w: the text is too long", ErrInvalidKey)
	}
	// The decoder skips newlines and ignores spare bits: encoding again does not. Letters
	// beyond ASCII that have one of base32 as their upper case are not its own.
	upper := strings.ToUpper(s[len(textPrefix):])
	b, err := textEncoding.DecodeString(upper)
	if err != nil || textEncoding.EncodeToString(b) != upper || len(upper) != len(s)-len(textPrefix) {
		return fmt.Errorf("%w: the text is not base32", ErrInvalidKey) // err would quote the secret
	}
	if len(b) < textOverhead {
		return fmt.Errorf("%w: the text is too short", ErrInvalidKey)
	}
	b, sum := b[:len(b)-textSumLen], b[len(b)-textSumLen:]
	if subtle.ConstantTimeCompare(textSum(b), sum) != 1 {
		return fmt.Errorf("%w: the text's checksum is wrong: mistyped or cut off", ErrInvalidKey)
	}
	if b[0] != textVersion {
		return fmt.Errorf("%w: the text is of version %d", ErrInvalidKey, b[0])
	}
	key, err := NewKey(string(b[1+SecretSize:]), b[1:1+SecretSize])
	if err != nil {
		return err
	}
	*k = key
	return nil
}

func textSum(b []byte) []byte {
	h := sha256.New()
	io.WriteString(h, textSumLabel)
	h.Write(b)
	return h.Sum(nil)[:textSumLen]
}

// String names the key by its filter and does not show the secret.
func (k Key) String() string {
	if k.secret == nil {
		return "mqttsec.Key(none)"
	}
	return fmt.Sprintf("mqttsec.Key(%q, secret hidden)", k.filter)
}

// GoString is String.
func (k Key) GoString() string { return k.String() }

// Format writes String whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, k.String()) }

// LogValue is String, for slog.
func (k Key) LogValue() slog.Value { return slog.StringValue(k.String()) }
