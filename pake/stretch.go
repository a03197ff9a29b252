package pake

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/secure/precis"
)

// Stretch is the cost of one password guess: the Argon2id parameters of
// RFC 9106. The zero value stands for the default, 2 passes over 19 MiB in one
// lane.
type Stretch struct {
	Time    uint32 // passes over the memory, at least 1
	Memory  uint32 // KiB, at least 1024 (1 MiB) and 8 for each lane
	Threads uint8  // lanes, at least 1; computed in parallel

	// Skip turns stretching off, for secrets with at least 128 bits of
	// entropy alone: who steals a verifier of a password that a person chose
	// has the password soon after. All other fields must be zero.
	Skip bool
}

const (
	saltLen      = 16
	stretchedLen = 32
	minMemory    = 1024 // KiB; less is most likely a figure in MiB

	algorithmNone     = 0
	algorithmArgon2id = 1 // version 0x13
)

var (
	defaultStretch    = Stretch{Time: 2, Memory: 19 * 1024, Threads: 1}
	defaultMaxStretch = Stretch{Time: 8, Memory: 64 * 1024, Threads: 4}
)

func (s Stretch) withDefault() Stretch {
	if s == (Stretch{}) {
		return defaultStretch
	}
	return s
}

func (s Stretch) validate() error {
	if s.Skip {
		if s != (Stretch{Skip: true}) {
			return errors.New("pake: stretching is both skipped and configured")
		}
		return nil
	}
	if s.Time < 1 || s.Threads < 1 || s.Memory < minMemory || s.Memory < 8*uint32(s.Threads) {
		return fmt.Errorf("pake: Argon2id with %d passes, %d KiB, %d lanes: need at least 1 of each, %d KiB, 8 KiB for each lane",
			s.Time, s.Memory, s.Threads, minMemory)
	}
	return nil
}

// within reports whether a client with this floor and ceiling serves s.
func (s Stretch) within(floor, ceiling Stretch) bool {
	if s.Skip || floor.Skip {
		return s == floor
	}
	return s.Time >= floor.Time && s.Time <= ceiling.Time &&
		s.Memory >= floor.Memory && s.Memory <= ceiling.Memory &&
		s.Threads >= floor.Threads && s.Threads <= ceiling.Threads
}

// recipe is a Stretch with the user's salt: what a verifier keeps and message
// 2 carries.
type recipe struct {
	Stretch
	salt [saltLen]byte
}

const recipeLen = 1 + 4 + 4 + 1 + saltLen

func (r recipe) appendTo(b []byte) []byte {
	algorithm := byte(algorithmArgon2id)
	if r.Skip {
		algorithm = algorithmNone
	}
	b = append(b, algorithm)
	b = binary.BigEndian.AppendUint32(b, r.Time)
	b = binary.BigEndian.AppendUint32(b, r.Memory)
	b = append(b, r.Threads)
	return append(b, r.salt[:]...)
}

// parseRecipe reads recipeLen octets. Whether the costs are acceptable is for
// the caller to say.
func parseRecipe(b []byte) (recipe, error) {
	r := recipe{
		Stretch: Stretch{
			Time:    binary.BigEndian.Uint32(b[1:]),
			Memory:  binary.BigEndian.Uint32(b[5:]),
			Threads: b[9],
		},
		salt: [saltLen]byte(b[10:]),
	}
	switch b[0] {
	case algorithmArgon2id:
	case algorithmNone:
		r.Skip = true
	default:
		return recipe{}, fmt.Errorf("%w: unknown stretching algorithm %d", ErrMessage, b[0])
	}
	if err := r.validate(); err != nil || r.Skip && r.salt != [saltLen]byte{} {
		return recipe{}, fmt.Errorf("%w: impossible stretching parameters", ErrMessage)
	}
	return r, nil
}

// stretch returns a secret that the caller wipes; it takes as long as the
// costs say.
func (r recipe) stretch(prepared []byte) []byte {
	if r.Skip {
		return append([]byte(nil), prepared...)
	}
	return argon2.IDKey(prepared, r.salt[:], r.Time, r.Memory, r.Threads, stretchedLen)
}

// prepare returns the password as an OpaqueString (RFC 8265, section 4), a
// copy that the caller wipes.
func prepare(password []byte) ([]byte, error) {
	if !utf8.Valid(password) { // precis would let it pass
		return nil, errors.New("pake: password: not UTF-8")
	}
	prepared, err := precis.OpaqueString.Bytes(password)
	if err != nil {
		return nil, fmt.Errorf("pake: password: %w", err)
	}
	return prepared, nil
}

// exponent returns w' for a prepared password.
func (r recipe) exponent(t *transcript, g group, prepared []byte) scalar {
	secret := r.stretch(prepared)
	defer clear(secret)
	return t.exponent(g.order(), secret)
}
