package aif

import (
	"fmt"

	"github.com/fxamacker/cbor/v2"
)

// entryCBOR is an entry in the array form of CBOR.
type entryCBOR struct {
	_           struct{} `cbor:",toarray"`
	Filter      string
	Permissions []string
}

// The modes are made once; making one fails on options that contradict each other only.
var (
	encodeMode = must(cbor.CoreDetEncOptions().EncMode())
	decodeMode = must(cbor.DecOptions{
		MaxArrayElements: max(MaxEntries, 16),
		MaxMapPairs:      16,
		MaxNestedLevels:  4,
		TagsMd:           cbor.TagsForbidden,
		UTF8:             cbor.UTF8RejectInvalid,
	}.DecMode())
)

func must[T any](mode T, err error) T {
	if err != nil {
		panic(err)
	}
	return mode
}

// EncodeCBOR returns the array in CBOR. A CWT's claim, and "scope" in a request, hold it in a byte string.
func (s Scope) EncodeCBOR() ([]byte, error) {
	if err := s.Validate(); err != nil {
		return nil, err
	}
	entries := make([]entryCBOR, len(s))
	for i, e := range s {
		entries[i] = entryCBOR{Filter: e.Filter, Permissions: e.permissions()}
	}
	b, err := encodeMode.Marshal(entries)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrScope, err)
	}
	if len(b) > MaxSize {
		return nil, errTooLong
	}
	return b, nil
}

// DecodeCBOR is the inverse of [Scope.EncodeCBOR].
func DecodeCBOR(b []byte) (Scope, error) {
	if len(b) > MaxSize {
		return nil, errTooLong
	}
	const array = 4 // the major type; null would decode as an empty array
	if len(b) == 0 || b[0]>>5 != array {
		return nil, errNotArray
	}
	var raw []cbor.RawMessage
	if err := decodeMode.Unmarshal(b, &raw); err != nil {
		return nil, errNotArray
	}
	scope := make(Scope, len(raw))
	for i, raw := range raw {
		if err := scope[i].fromCBOR(raw); err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrScope, i, err)
		}
	}
	return scope, nil
}

func (e *Entry) fromCBOR(raw cbor.RawMessage) error {
	var pair []cbor.RawMessage
	if err := decodeMode.Unmarshal(raw, &pair); err != nil || len(pair) != 2 {
		return errShape
	}
	var filter *string
	var permissions []*string
	if decodeMode.Unmarshal(pair[0], &filter) != nil || decodeMode.Unmarshal(pair[1], &permissions) != nil || filter == nil {
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

// DecodeClaim reads the scope out of the encoded value of a CWT's claim: a byte string that holds the array, or,
// because RFC 9200 can be read that way, the array itself.
func DecodeClaim(raw []byte) (Scope, error) {
	if len(raw) > MaxSize+9 {
		return nil, errTooLong
	}
	const bytes, array = 2, 4
	if len(raw) == 0 {
		return nil, errNotByteText
	}
	switch raw[0] >> 5 {
	case array:
		return DecodeCBOR(raw)
	case bytes:
		var inner []byte
		if err := decodeMode.Unmarshal(raw, &inner); err != nil {
			return nil, errNotByteText
		}
		return DecodeCBOR(inner)
	}
	return nil, errNotByteText
}
