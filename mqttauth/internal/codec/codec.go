// Package codec reads and writes the fields that the formats of MQTT-Auth are made of: big-endian integers, octets of
// a fixed length, and octets behind a length of one byte (v8) or two (v16). The first failure of a [Reader] sticks,
// so that a format is read field by field and judged once.
package codec

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// ErrMalformed is wrapped by every error about octets that are not of a format.
var ErrMalformed = errors.New("mqttauth: malformed")

// Malformed is an ErrMalformed that says what is.
func Malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{ErrMalformed}, args...)...)
}

// Reader takes octets apart from the front. What it returns aliases its input.
type Reader struct {
	rest []byte
	err  error
}

// NewReader returns a Reader of b.
func NewReader(b []byte) *Reader { return &Reader{rest: b} }

// Fail makes err the Reader's error unless it has one.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.rest = nil
}

// Take returns the next n octets, nil after a failure.
func (r *Reader) Take(n int) []byte {
	if n > len(r.rest) {
		r.Fail(Malformed("%d octets where %d should be", len(r.rest), n))
		return nil
	}
	b := r.rest[:n:n]
	r.rest = r.rest[n:]
	return b
}

// Uint8 returns the next octet.
func (r *Reader) Uint8() byte {
	if b := r.Take(1); b != nil {
		return b[0]
	}
	return 0
}

// Uint16 returns the next two octets.
func (r *Reader) Uint16() uint16 {
	if b := r.Take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

// Uint32 returns the next four octets.
func (r *Reader) Uint32() uint32 {
	if b := r.Take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

// Uint64 returns the next eight octets.
func (r *Reader) Uint64() uint64 {
	if b := r.Take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// Fill copies the next octets into dst.
func (r *Reader) Fill(dst []byte) { copy(dst, r.Take(len(dst))) }

// V8 returns octets behind a length of one byte.
func (r *Reader) V8() []byte { return r.Take(int(r.Uint8())) }

// V16 returns octets behind a length of two bytes.
func (r *Reader) V16() []byte { return r.Take(int(r.Uint16())) }

// Rest returns all that is left.
func (r *Reader) Rest() []byte { return r.Take(len(r.rest)) }

// Err returns the first failure so far.
func (r *Reader) Err() error { return r.err }

// End returns the first failure, or one if octets are left.
func (r *Reader) End() error {
	if r.err == nil && len(r.rest) > 0 {
		r.err = Malformed("%d octets too many", len(r.rest))
	}
	return r.err
}

// AppendV8 appends field, of at most 255 octets, behind its length.
func AppendV8[T string | []byte](dst []byte, field T) []byte {
	return append(append(dst, byte(len(field))), field...)
}

// AppendV16 appends field, of at most 65,535 octets, behind its length.
func AppendV16[T string | []byte](dst []byte, field T) []byte {
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(field))), field...)
}
