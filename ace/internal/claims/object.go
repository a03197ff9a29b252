package claims

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"unicode/utf8"
)

// An Object is a JSON object whose members have not been looked at yet.
type Object map[string]json.RawMessage

var errNotObject = fmt.Errorf("%w: not a JSON object", ErrMalformed)

// ParseObject reads a JSON object and nothing behind it. Two members of one name are an error: two readers might take
// one each.
func ParseObject(b []byte) (Object, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	if !json.Valid(b) {
		return nil, errNotObject
	}
	b = bytes.TrimLeft(b, space)
	if b[0] != '{' {
		return nil, errNotObject
	}
	o := make(Object, 12) // as many as a token has
	for b = bytes.TrimLeft(b[1:], space); b[0] != '}'; b = bytes.TrimLeft(b, space+",") {
		end := valueEnd(b)
		name, ok := unescaped(b[:end])
		if !ok {
			if err := json.Unmarshal(b[:end], &name); err != nil {
				return nil, errNotObject
			}
		}
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("%w: %.20q stands there twice", ErrMalformed, name)
		}
		b = bytes.TrimLeft(b[end:], space+":")
		end = valueEnd(b)
		o[name], b = b[:end:end], b[end:]
	}
	return o, nil
}

// space is JSON's (RFC 8259, section 2).
const space = " \t\r\n"

// valueEnd returns where the JSON value at the start of b ends. It is known to be JSON, with something behind it.
func valueEnd(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
			if depth == 0 {
				return i + 1
			}
		case '{', '[':
			depth++
		case '}', ']':
			if depth == 0 { // of what a number or a word stands in
				return i
			}
			if depth--; depth == 0 {
				return i + 1
			}
		case ',', ' ', '\t', '\r', '\n':
			if depth == 0 {
				return i
			}
		}
	}
	return len(b)
}

// Text returns the member of that name, "" if there is none. Another type than a string is an error, null too.
func (o Object) Text(name string) (string, error) {
	raw, ok := o[name]
	if !ok {
		return "", nil
	}
	if plain, ok := unescaped(raw); ok {
		return plain, nil
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", fmt.Errorf("%w: %q is not a string", ErrMalformed, name)
	}
	return *text, nil
}

// unescaped returns the text of a JSON string without escapes, as nearly all are. The value is known to be JSON.
func unescaped(raw json.RawMessage) (text string, ok bool) {
	if len(raw) < 2 || raw[0] != '"' || bytes.IndexByte(raw, '\\') >= 0 {
		return "", false
	}
	return string(raw[1 : len(raw)-1]), true
}

// Bytes returns the member of that name, a string in base64url.
func (o Object) Bytes(name string) ([]byte, error) {
	text, err := o.Text(name)
	if err != nil || text == "" {
		return nil, err
	}
	b, err := DecodeText(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %q is not base64url", ErrMalformed, name)
	}
	return b, nil
}

// number returns the member of that name; ok is false if there is none.
func (o Object) number(name string) (n float64, ok bool, err error) {
	raw, ok := o[name]
	if !ok {
		return 0, false, nil
	}
	if c := raw[0]; c == '-' || '0' <= c && c <= '9' { // a JSON value that begins so is a number
		n, err = strconv.ParseFloat(string(raw), 64)
		if err == nil {
			return n, true, nil
		}
	}
	return 0, false, fmt.Errorf("%w: %q is not a number", ErrMalformed, name)
}

var encoding = base64.RawURLEncoding.Strict()

// EncodeText is base64url without padding, which JSON holds bytes in.
func EncodeText(b []byte) string { return encoding.EncodeToString(b) }

// DecodeText is the strict reverse of EncodeText: no padding, no line breaks, no stray bits.
func DecodeText(text string) ([]byte, error) {
	for _, c := range []byte(text) {
		if c == '\r' || c == '\n' { // which the decoder would pass over
			return nil, base64.CorruptInputError(0)
		}
	}
	return encoding.DecodeString(text)
}
