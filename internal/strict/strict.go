// Package strict reads JSON objects where two readers must not understand two things. The names of members are those
// of the standard to the letter, which package json takes in any case, so that "K" would be "k" as well (RFC 7517,
// section 4; RFC 7519, section 10.1.1). A member that stands there twice, bytes behind the end and what is no UTF-8 are
// errors. Members that are not asked for are passed over.
//
// How much is read, callers bound.
package strict

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrMalformed is about bytes that are not what they should be, or a member that is not of its type.
var ErrMalformed = errors.New("ace: malformed")

// Unmarshal is [Parse] and [Object.Into].
func Unmarshal(b []byte, to any) error {
	o, err := Parse(b)
	if err != nil {
		return err
	}
	return o.Into(to)
}

// Into reads the members into the struct that to points to, by the names in its "json" tags. A field that is a struct
// is read so as well, which those behind a pointer or in a slice or map are not; one without a name is passed over.
// What may stand for which type, null too, is as in package json.
func (o Object) Into(to any) error {
	v := reflect.ValueOf(to).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if raw, ok := o[name]; ok && name != "" {
			if err := read(raw, v.Field(i)); err != nil {
				return fmt.Errorf("%w: %q is of another type", ErrMalformed, name) // without err, which may quote a secret
			}
		}
	}
	return nil
}

func read(raw json.RawMessage, field reflect.Value) error {
	if text, ok := unescaped(raw); ok && field.Kind() == reflect.String {
		field.SetString(text)
		return nil
	}
	if field.Kind() == reflect.Struct {
		return Unmarshal(raw, field.Addr().Interface())
	}
	return json.Unmarshal(raw, field.Addr().Interface())
}

// An Object is a JSON object whose members have not been looked at yet.
type Object map[string]json.RawMessage

var errNotObject = fmt.Errorf("%w: not a JSON object", ErrMalformed)

// Parse reads a JSON object and nothing behind it. Two members of one name are an error: two readers might take one
// each.
func Parse(b []byte) (Object, error) {
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

// Number returns the member of that name; ok is false if there is none.
func (o Object) Number(name string) (n float64, ok bool, err error) {
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
