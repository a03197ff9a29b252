package key

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode/utf16"
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
		return nil, fmt.Errorf("%w: the zero Key", ErrInvalid)
	}
	b := make([]byte, 0, textOverhead+len(k.filter))
	b = append(b, textVersion)
	b = append(b, k.secret()[:]...)
	b = append(b, k.filter...)
	b = append(b, textSum(b)...)
	return textEncoding.AppendEncode([]byte(textPrefix), b), nil
}

// UnmarshalText reads what MarshalText wrote, in upper or lower case and with white space around it, also from a file
// that begins with a byte order mark, of UTF-8 or UTF-16 (Windows writes these). Every other deviation is an error,
// ErrInvalid.
func (k *Key) UnmarshalText(text []byte) error {
	s, err := decode(text)
	if err != nil {
		return err
	}
	s = strings.TrimSpace(s)
	if len(s) < len(textPrefix) || !strings.EqualFold(s[:len(textPrefix)], textPrefix) {
		return fmt.Errorf("%w: the text does not begin with %q", ErrInvalid, textPrefix)
	}
	if len(s) > maxTextLength {
		return fmt.Errorf("%w: the text is too long", ErrInvalid)
	}
	// The decoder skips newlines and ignores spare bits: encoding again does not. Letters
	// beyond ASCII that have one of base32 as their upper case are not its own.
	upper := strings.ToUpper(s[len(textPrefix):])
	b, err := textEncoding.DecodeString(upper) // whose error would quote the secret
	if err != nil || textEncoding.EncodeToString(b) != upper || len(upper) != len(s)-len(textPrefix) {
		return fmt.Errorf("%w: the text is not base32", ErrInvalid)
	}
	if len(b) < textOverhead {
		return fmt.Errorf("%w: the text is too short", ErrInvalid)
	}
	b, sum := b[:len(b)-textSumLen], b[len(b)-textSumLen:]
	if subtle.ConstantTimeCompare(textSum(b), sum) != 1 {
		return fmt.Errorf("%w: the text's checksum is wrong: mistyped or cut off", ErrInvalid)
	}
	if b[0] != textVersion {
		return fmt.Errorf("%w: the text is of version %d", ErrInvalid, b[0])
	}
	key, err := New(string(b[1+SecretSize:]), b[1:1+SecretSize])
	if err != nil {
		return err
	}
	*k = key
	return nil
}

// decode returns the characters of a text file.
func decode(text []byte) (string, error) {
	const maxFile = 2*maxTextLength + 4096
	if len(text) > maxFile {
		return "", fmt.Errorf("%w: the text is too long", ErrInvalid)
	}
	order := binary.ByteOrder(binary.LittleEndian)
	switch {
	case bytes.HasPrefix(text, []byte("\xFF\xFE")):
	case bytes.HasPrefix(text, []byte("\xFE\xFF")):
		order = binary.BigEndian
	default:
		text = bytes.TrimPrefix(text, []byte("\xEF\xBB\xBF"))
		if bytes.IndexByte(text, 0) >= 0 {
			return "", fmt.Errorf("%w: the text contains U+0000: its encoding is not UTF-8, or it is binary", ErrInvalid)
		}
		return string(text), nil
	}
	if len(text)%2 != 0 {
		return "", fmt.Errorf("%w: the text is cut off in the middle of a UTF-16 character", ErrInvalid)
	}
	units := make([]uint16, 0, len(text)/2-1)
	for i := 2; i < len(text); i += 2 {
		units = append(units, order.Uint16(text[i:]))
	}
	return string(utf16.Decode(units)), nil
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
