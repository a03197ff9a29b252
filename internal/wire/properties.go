package wire

import (
	"encoding/binary"
	"iter"
	"slices"
)

var (
	errProperty         = malformed("unknown property or property that does not fit")
	errPropertyPlace    = malformed("property that the packet type does not have")
	errPropertyRepeated = malformed("repeated property")
)

// Properties are the properties of an MQTT v5 packet as encoded, without the length
// before them (MQTT5 2.2.2); nil is none. The methods read them in place. On bytes
// that do not pass Validate they see what precedes the first fault.
//
// The Append methods return ps with one property more and work as the builtin append
// does: they may or may not write to ps's array. A property that has no encoding (a
// string beyond 65,535 bytes, a number too large for its type) leaves a mark instead,
// which Validate and the Append methods of all packets refuse with [ErrTooLarge]; an
// identifier of another type than the method writes is refused as malformed.
type Properties []byte

// next splits the first property off ps. ok is false at the end and at a fault.
func (ps Properties) next() (id PropertyID, value []byte, rest Properties, ok bool) {
	if len(ps) == 0 {
		return 0, nil, ps, false
	}
	id = PropertyID(ps[0])
	size := valueSize(id.rule().kind, ps[1:])
	if size <= 0 || size > len(ps)-1 {
		return id, nil, ps, false
	}
	return id, ps[1 : 1+size : 1+size], ps[1+size:], true
}

// valueSize returns the size of the value of kind k at the start of b, which may be
// beyond the end of b, or a number below 1 if that cannot be told.
func valueSize(k kind, b []byte) int {
	switch k {
	case kindByte, kindTwo, kindFour:
		return int(k)
	case kindVarint:
		_, size := Varint(b)
		return size
	case kindString, kindBinary:
		return fieldSize(b)
	case kindPair:
		name := fieldSize(b)
		if name == 0 || name > len(b) {
			return 0
		}
		value := fieldSize(b[name:])
		if value == 0 {
			return 0
		}
		return name + value
	}
	return 0
}

// fieldSize returns the size of the string at the start of b with its length, 0 if
// b does not hold the length.
func fieldSize(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	return 2 + int(binary.BigEndian.Uint16(b))
}

// Validate checks what holds wherever properties stand: known identifiers, values
// that have their type and fit, and no property twice unless some packet may have it
// twice (User Property, Subscription Identifier). Values are not judged.
func (ps Properties) Validate() error { return ps.validate(anyPlace) }

// ValidateIn checks like Validate, and that a packet of type t may have each of the
// properties (MQTT5 table 2-4); only in a PUBLISH may Subscription Identifier repeat.
func (ps Properties) ValidateIn(t Type) error { return ps.validate(1 << t) }

func (ps Properties) validate(where place) error {
	var seen propertySet
	for len(ps) > 0 {
		id, _, rest, ok := ps.next()
		switch {
		case !ok && id == overlong:
			return errOverlong
		case !ok:
			return errProperty
		case id.rule().where&where == 0:
			return errPropertyPlace
		case !seen.add(id) && !id.repeats(where):
			return errPropertyRepeated
		}
		ps = rest
	}
	return nil
}

// All yields each property's identifier and its value as encoded, in order. The
// values alias ps.
func (ps Properties) All() iter.Seq2[PropertyID, []byte] {
	return func(yield func(PropertyID, []byte) bool) {
		for {
			id, value, rest, ok := ps.next()
			if !ok || !yield(id, value) {
				return
			}
			ps = rest
		}
	}
}

// Find returns the value, as encoded, of the first property id. It aliases ps.
func (ps Properties) Find(id PropertyID) (value []byte, ok bool) {
	for {
		got, value, rest, ok := ps.next()
		if !ok {
			return nil, false
		}
		if got == id {
			return value, true
		}
		ps = rest
	}
}

// Uint returns the number that the first property id holds; false if there is none
// or its type is not a number.
func (ps Properties) Uint(id PropertyID) (uint32, bool) {
	value, ok := ps.Find(id)
	if !ok {
		return 0, false
	}
	switch id.rule().kind {
	case kindByte:
		return uint32(value[0]), true
	case kindTwo:
		return uint32(binary.BigEndian.Uint16(value)), true
	case kindFour:
		return binary.BigEndian.Uint32(value), true
	case kindVarint:
		v, _ := Varint(value)
		return v, true
	}
	return 0, false
}

// Bytes returns the contents of the first property id, a string or binary data,
// without the length before them. They alias ps. It returns false if there is none
// or its type is another.
func (ps Properties) Bytes(id PropertyID) ([]byte, bool) {
	value, ok := ps.Find(id)
	if !ok {
		return nil, false
	}
	switch id.rule().kind {
	case kindString, kindBinary:
		return value[2:], true
	}
	return nil, false
}

// Pairs yields the name and value of each User Property, in order.
func (ps Properties) Pairs() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for id, raw := range ps.All() {
			if id != UserProperty {
				continue
			}
			name := fieldSize(raw)
			if !yield(string(raw[2:name]), string(raw[name+2:])) {
				return
			}
		}
	}
}

// Without returns the properties without any id: a new slice if there was one, ps
// itself if not.
func (ps Properties) Without(id PropertyID) Properties {
	if _, ok := ps.Find(id); !ok {
		return ps
	}
	kept := make(Properties, 0, len(ps))
	for {
		got, _, rest, ok := ps.next()
		if !ok {
			// A fault stays where it is, for Validate to find.
			return slices.Clip(append(kept, ps...))
		}
		if got != id {
			kept = append(kept, ps[:len(ps)-len(rest)]...)
		}
		ps = rest
	}
}
