package aif

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"
)

var textEncoding = base64.RawURLEncoding.Strict()

// Encode returns the scope as OAuth's "scope" has it: base64url, without padding, of the JSON array.
func (s Scope) Encode() (string, error) {
	b, err := s.MarshalJSON()
	if err != nil {
		return "", err
	}
	return textEncoding.EncodeToString(b), nil
}

// Decode is the inverse of [Scope.Encode].
func Decode(text string) (Scope, error) {
	if len(text) > textEncoding.EncodedLen(MaxSize) {
		return nil, errTooLong
	}
	b, err := textEncoding.DecodeString(text)
	if err != nil || strings.ContainsAny(text, "\r\n") { // which the decoder passes over
		return nil, errNotBase64
	}
	var s Scope
	if err := s.UnmarshalJSON(b); err != nil {
		return nil, err
	}
	return s, nil
}

// MarshalJSON returns the array, without white space.
func (s Scope) MarshalJSON() ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	entries := make([][2]any, len(s)) // not nil, which would be null
	for i, e := range s {
		entries[i] = [2]any{e.Filter, e.permissions()}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(entries); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrScope, err)
	}
	if b.Len() > MaxSize {
		return nil, errTooLong
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// UnmarshalJSON reads the array. On an error the scope is unchanged.
func (s *Scope) UnmarshalJSON(b []byte) error {
	switch {
	case len(b) > MaxSize:
		return errTooLong
	case !utf8.Valid(b) || loneSurrogate(b): // which package json would replace
		return errNotText
	}
	var entries []json.RawMessage
	if err := json.Unmarshal(b, &entries); err != nil || entries == nil {
		return errNotArray
	}
	if len(entries) > MaxEntries {
		return errTooMany
	}
	scope := make(Scope, len(entries))
	for i, raw := range entries {
		if err := scope[i].fromJSON(raw); err != nil {
			return fmt.Errorf("%w: entry %d: %w", ErrScope, i, err)
		}
	}
	*s = scope
	return nil
}

func (e *Entry) fromJSON(raw json.RawMessage) error {
	var pair []json.RawMessage
	if err := json.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
		return errShape
	}
	var filter *string // tells null from ""
	var permissions []*string
	if json.Unmarshal(pair[0], &filter) != nil || json.Unmarshal(pair[1], &permissions) != nil || filter == nil {
		return errShape
	}
	names := make([]string, len(permissions))
	for i, p := range permissions {
		if p == nil {
			return errShape
		}
		names[i] = *p
	}
	e.Filter = *filter
	return e.permit(names)
}

// loneSurrogate reports whether a \u escape in b is half of a UTF-16 pair, whose other half is not there.
func loneSurrogate(b []byte) bool {
	for {
		i := bytes.IndexByte(b, '\\')
		if i < 0 || i+1 >= len(b) {
			return false
		}
		if b[i+1] != 'u' {
			b = b[i+2:]
			continue
		}
		unit, ok := codeUnit(b[i:])
		b = b[min(i+6, len(b)):]
		switch {
		case !ok || unit < 0xD800 || unit > 0xDFFF:
		case unit >= 0xDC00:
			return true
		default:
			if low, ok := codeUnit(b); !ok || low < 0xDC00 || low > 0xDFFF {
				return true
			}
			b = b[6:]
		}
	}
}

// codeUnit reads the \u escape at the start of b.
func codeUnit(b []byte) (unit uint16, ok bool) {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return 0, false
	}
	for _, c := range b[2:6] {
		var digit byte
		switch {
		case c >= '0' && c <= '9':
			digit = c - '0'
		case c|0x20 >= 'a' && c|0x20 <= 'f':
			digit = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		unit = unit<<4 | uint16(digit)
	}
	return unit, true
}
