package pake

import "fmt"

// Group names the prime-order group of a verifier and of every run with it.
// The number is the one on the wire.
type Group uint8

const (
	// P256 is NIST P-256 with SHA-256, the group RFC 6628 takes from IKEv2
	// (number 19, a 256-bit random ECP group). It is the default.
	P256 Group = 1
	// Ristretto255 is the group of RFC 9496 with SHA-256 for proofs and
	// keys, SHA-512 for exponents.
	Ristretto255 Group = 2
)

// String returns the group's usual name.
func (g Group) String() string {
	switch g {
	case P256:
		return "P-256"
	case Ristretto255:
		return "ristretto255"
	}
	return fmt.Sprintf("Group(%d)", uint8(g))
}

// A group is the arithmetic AugPAKE asks for, written multiplicatively as in
// the RFC.
type group interface {
	id() Group
	// order is arithmetic on exponents.
	order() *field
	// elementLen is the length of an encoded element.
	elementLen() int
	// base returns g^k.
	base(k *scalar) element
	// decode reads an element, and refuses the identity and every encoding
	// but the one canonical one.
	decode(octets []byte) (element, error)
	// challenge is H' where it makes r.
	challenge(octets []byte) scalar
}

// An element is immutable until it is wiped. Operands are of one group; the
// exported functions see to that.
type element interface {
	exp(k *scalar) element
	mul(e element) element
	isIdentity() bool
	appendTo(b []byte) []byte
	wipe()
}

// arithmetic returns the implementation of g.
func (g Group) arithmetic() (group, error) {
	switch g {
	case P256:
		return p256{}, nil
	case Ristretto255:
		return ristretto255{}, nil
	}
	return nil, fmt.Errorf("unknown group %d", uint8(g))
}
