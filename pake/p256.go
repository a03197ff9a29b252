package pake

import (
	"crypto/sha256"

	"filippo.io/nistec"
)

// p256Field is SEC 2, section 2.4.2: the order n of secp256r1.
var p256Field = newField([]byte{
	0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x00,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xbc, 0xe6, 0xfa, 0xad, 0xa7, 0x17, 0x9e, 0x84,
	0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
})

type p256 struct{}

func (p256) id() Group       { return P256 }
func (p256) order() *field   { return p256Field }
func (p256) elementLen() int { return 65 }

func (p256) base(k *scalar) element {
	e := new(p256Element)
	_, err := e.p.ScalarBaseMult(k[:])
	mustMultiply(err)
	return e
}

// decode accepts the uncompressed form of SEC 1, section 2.3.4, alone; its
// length excludes the point at infinity.
func (g p256) decode(octets []byte) (element, error) {
	if len(octets) != g.elementLen() || octets[0] != 4 {
		return nil, errElement
	}
	e := new(p256Element)
	if _, err := e.p.SetBytes(octets); err != nil {
		return nil, errElement
	}
	return e, nil
}

func (p256) challenge(octets []byte) scalar {
	digest := sha256.Sum256(octets)
	return p256Field.reduce(digest[:])
}

type p256Element struct{ p nistec.P256Point }

func (e *p256Element) exp(k *scalar) element {
	power := new(p256Element)
	_, err := power.p.ScalarMult(&e.p, k[:])
	mustMultiply(err)
	return power
}

func (e *p256Element) mul(f element) element {
	product := new(p256Element)
	product.p.Add(&e.p, &f.(*p256Element).p)
	return product
}

func (e *p256Element) isIdentity() bool         { return e.p.IsInfinity() == 1 }
func (e *p256Element) appendTo(b []byte) []byte { return append(b, e.p.Bytes()...) }
func (e *p256Element) wipe()                    { e.p.Set(nistec.NewP256Point()) }

// mustMultiply takes the error of nistec's multiplications, which is about the
// length of the scalar, a constant here.
func mustMultiply(err error) {
	if err != nil {
		panic("pake: internal error: " + err.Error())
	}
}
