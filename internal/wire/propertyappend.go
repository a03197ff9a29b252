package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

var errOverlong = fmt.Errorf("%w: property value beyond its type", ErrTooLarge)

// AppendUint appends property id with the number v, in the property's own type: a
// byte, a two-byte, four-byte or variable byte integer.
func (ps Properties) AppendUint(id PropertyID, v uint32) Properties {
	switch k := id.rule().kind; {
	case k == kindByte && v <= math.MaxUint8:
		return append(ps, byte(id), byte(v))
	case k == kindTwo && v <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(ps, byte(id)), uint16(v))
	case k == kindFour:
		return binary.BigEndian.AppendUint32(append(ps, byte(id)), v)
	case k == kindVarint && v <= maxRemaining:
		return AppendVarint(append(ps, byte(id)), int(v))
	case k == kindByte, k == kindTwo, k == kindVarint:
		return append(ps, byte(overlong))
	}
	return append(ps, notAProperty)
}

// AppendBytes appends property id, a string or binary data, with the contents b.
func (ps Properties) AppendBytes(id PropertyID, b []byte) Properties {
	switch k := id.rule().kind; {
	case k != kindString && k != kindBinary:
		return append(ps, notAProperty)
	case len(b) > maxField:
		return append(ps, byte(overlong))
	}
	return appendField(append(ps, byte(id)), b)
}

// AppendPair appends a User Property.
func (ps Properties) AppendPair(name, value string) Properties {
	if len(name) > maxField || len(value) > maxField {
		return append(ps, byte(overlong))
	}
	ps = binary.BigEndian.AppendUint16(append(ps, byte(UserProperty)), uint16(len(name)))
	ps = append(ps, name...)
	ps = binary.BigEndian.AppendUint16(ps, uint16(len(value)))
	return append(ps, value...)
}

// notAProperty marks a property that was appended with the wrong method.
const notAProperty = 0xFF

// encodedSize returns the size of ps with the length before them.
func (ps Properties) encodedSize() int { return VarintSize(len(ps)) + len(ps) }

// check is what an Append method asks of the properties that it writes.
func (ps Properties) check(where place) error {
	if len(ps) == 0 {
		return nil
	}
	if len(ps) > maxRemaining {
		return errRemaining
	}
	return ps.validate(where)
}

// append appends ps behind their length.
func (ps Properties) append(dst []byte) []byte {
	return append(AppendVarint(dst, len(ps)), ps...)
}
