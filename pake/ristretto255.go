package pake

import (
	"crypto/sha512"
	"slices"

	circl "github.com/cloudflare/circl/group"
)

// ristrettoField is RFC 9496, section 4.4: l = 2^252 + 2774...8493.
var ristrettoField = newField([]byte{
	0x10, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	0x14, 0xde, 0xf9, 0xde, 0xa2, 0xf7, 0x9c, 0xd6,
	0x58, 0x12, 0x63, 0x1a, 0x5c, 0xf5, 0xd3, 0xed,
})

type ristretto255 struct{}

func (ristretto255) id() Group       { return Ristretto255 }
func (ristretto255) order() *field   { return ristrettoField }
func (ristretto255) elementLen() int { return 32 }

func (ristretto255) base(k *scalar) element {
	s := circlScalar(k)
	defer s.SetUint64(0)
	return &ristrettoElement{circl.Ristretto255.NewElement().MulGen(s)}
}

func (g ristretto255) decode(octets []byte) (element, error) {
	if len(octets) != g.elementLen() {
		return nil, errElement
	}
	e := &ristrettoElement{circl.Ristretto255.NewElement()}
	if err := e.e.UnmarshalBinary(octets); err != nil || e.isIdentity() {
		return nil, errElement
	}
	return e, nil
}

func (ristretto255) challenge(octets []byte) scalar {
	digest := sha512.Sum512(octets)
	return ristrettoField.reduce(digest[:])
}

type ristrettoElement struct{ e circl.Element }

func (e *ristrettoElement) exp(k *scalar) element {
	s := circlScalar(k)
	defer s.SetUint64(0)
	return &ristrettoElement{circl.Ristretto255.NewElement().Mul(e.e, s)}
}

func (e *ristrettoElement) mul(f element) element {
	return &ristrettoElement{circl.Ristretto255.NewElement().Add(e.e, f.(*ristrettoElement).e)}
}

func (e *ristrettoElement) isIdentity() bool { return e.e.IsIdentity() }
func (e *ristrettoElement) wipe()            { e.e.Set(circl.Ristretto255.Identity()) }

func (e *ristrettoElement) appendTo(b []byte) []byte {
	octets, err := e.e.MarshalBinary()
	if err != nil {
		panic("pake: internal error: " + err.Error())
	}
	return append(b, octets...)
}

// circlScalar converts to circl's little-endian form.
func circlScalar(k *scalar) circl.Scalar {
	little := *k
	defer clear(little[:])
	slices.Reverse(little[:])
	s := circl.Ristretto255.NewScalar()
	if err := s.UnmarshalBinary(little[:]); err != nil {
		panic("pake: internal error: " + err.Error())
	}
	return s
}
