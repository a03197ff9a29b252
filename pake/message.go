package pake

import (
	"crypto/sha256"
	"fmt"
)

// Everything this package encodes begins with a version and a kind, so that
// no message is taken for another, for one sent back, or for a verifier.
// Every length is fixed by the kind and the group.
const (
	version = 1

	kindHello     = 1 // group, X
	kindChallenge = 2 // group, stretching, Y
	kindProof     = 3 // V_U
	kindWelcome   = 4 // V_S
	kindVerifier  = 5 // group, stretching, W

	headerLen = 2
	groupLen  = 1
)

// checkHeader compares the version and the kind.
func checkHeader(b []byte, kind byte) error {
	if len(b) < headerLen {
		return fmt.Errorf("%w: %d octets", ErrMessage, len(b))
	}
	if b[0] != version || b[1] != kind {
		return fmt.Errorf("%w: version %d kind %d, want %d and %d",
			ErrMessage, b[0], b[1], version, kind)
	}
	return nil
}

// openGroup returns the group that b names and what follows, which is extra
// octets and an element.
func openGroup(b []byte, kind byte, extra int) (group, []byte, error) {
	if err := checkHeader(b, kind); err != nil {
		return nil, nil, err
	}
	b = b[headerLen:]
	if len(b) < groupLen {
		return nil, nil, fmt.Errorf("%w: no group", ErrMessage)
	}
	g, err := Group(b[0]).arithmetic()
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", ErrMessage, err)
	}
	b = b[groupLen:]
	if len(b) != extra+g.elementLen() {
		return nil, nil, fmt.Errorf("%w: %d octets after the group", ErrMessage, len(b))
	}
	return g, b, nil
}

func encodeHello(g group, X []byte) []byte {
	b := make([]byte, 0, headerLen+groupLen+len(X))
	b = append(b, version, kindHello, byte(g.id()))
	return append(b, X...)
}

// decodeHello returns X and its octets, and refuses every group but want.
func decodeHello(b []byte, want group) (element, []byte, error) {
	g, body, err := openGroup(b, kindHello, 0)
	if err != nil {
		return nil, nil, err
	}
	if g != want {
		return nil, nil, wrongGroup(g, want)
	}
	X, err := g.decode(body)
	return X, body, err
}

func wrongGroup(got, want group) error {
	return fmt.Errorf("%w: group %v, want %v", ErrMessage, got.id(), want.id())
}

// encodeStretched joins an element with the group and the stretching that
// belong to it: Y in message 2, W in a verifier.
func encodeStretched(kind byte, g group, r recipe, element []byte) []byte {
	b := make([]byte, 0, headerLen+groupLen+recipeLen+len(element))
	b = append(b, version, kind, byte(g.id()))
	return append(r.appendTo(b), element...)
}

// stretched is what decodeStretched reads.
type stretched struct {
	group   group
	recipe  recipe
	element element
	octets  []byte // of element, within the input
}

func decodeStretched(b []byte, kind byte) (stretched, error) {
	g, body, err := openGroup(b, kind, recipeLen)
	if err != nil {
		return stretched{}, err
	}
	r, err := parseRecipe(body[:recipeLen])
	if err != nil {
		return stretched{}, err
	}
	e, err := g.decode(body[recipeLen:])
	if err != nil {
		return stretched{}, err
	}
	return stretched{group: g, recipe: r, element: e, octets: body[recipeLen:]}, nil
}

func encodeProof(kind byte, proof [sha256.Size]byte) []byte {
	b := make([]byte, 0, headerLen+len(proof))
	return append(append(b, version, kind), proof[:]...)
}

func decodeProof(b []byte, kind byte) ([]byte, error) {
	if err := checkHeader(b, kind); err != nil {
		return nil, err
	}
	if b = b[headerLen:]; len(b) != sha256.Size {
		return nil, fmt.Errorf("%w: a proof of %d octets", ErrMessage, len(b))
	}
	return b, nil
}
