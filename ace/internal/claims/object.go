package claims

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"
)

// An Object is a JSON object whose members have not been looked at yet.
type Object map[string]json.RawMessage

// ParseObject reads a JSON object and nothing behind it. Two members of one name are an error: two readers might take
// one each.
func ParseObject(b []byte) (Object, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes", ErrMalformed, len(b))
	}
	if !utf8.Valid(b) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	notObject := fmt.Errorf("%w: not a JSON object", ErrMalformed)
	decoder := json.NewDecoder(bytes.NewReader(b))
	if start, err := decoder.Token(); err != nil || start != json.Delim('{') {
		return nil, notObject
	}
	o := Object{}
	for decoder.More() {
		token, err := decoder.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return nil, notObject
		}
		if _, twice := o[name]; twice {
			return nil, fmt.Errorf("%w: %.20q stands there twice", ErrMalformed, name)
		}
		var value json.RawMessage
		if err := decoder.Decode(&value); err != nil {
			return nil, notObject
		}
		o[name] = value
	}
	if _, err := decoder.Token(); err != nil {
		return nil, notObject
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, fmt.Errorf("%w: something behind the JSON object", ErrMalformed)
	}
	return o, nil
}

// Text returns the member of that name, "" if there is none. Another type than a string is an error, null too.
func (o Object) Text(name string) (string, error) {
	raw, ok := o[name]
	if !ok {
		return "", nil
	}
	var text *string
	if err := json.Unmarshal(raw, &text); err != nil || text == nil {
		return "", fmt.Errorf("%w: %q is not a string", ErrMalformed, name)
	}
	return *text, nil
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
	var number *float64
	if err := json.Unmarshal(raw, &number); err != nil || number == nil {
		return 0, false, fmt.Errorf("%w: %q is not a number", ErrMalformed, name)
	}
	return *number, true, nil
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
