package pake

import "crypto/sha512"

// The three computations of RFC 6628, section 2.2, that involve a secret.
// Everything random comes in as an argument.

// hedge returns y' = H'(0x05 | y), the RFC's option: a weak source of
// randomness then shows no structure in Y.
func hedge(g group, y *scalar) scalar {
	var octets [1 + len(y)]byte
	defer clear(octets[:])
	octets[0] = tagHedge
	copy(octets[1:], y[:])
	digest := sha512.Sum512(octets[:])
	defer clear(digest[:])
	return g.order().reduce(digest[:])
}

// serve adds Y = (X · W^r)^y and K = g^y to a transcript that ends with X, and
// returns the octets of Y.
func serve(g group, t *transcript, X, W element, y *scalar) ([]byte, error) {
	r := t.challenge(g)
	blinded := X.mul(W.exp(&r))
	if r.isZero() || y.isZero() || blinded.isIdentity() {
		return nil, errDegenerate
	}
	Y := t.add(blinded.exp(y))
	K := g.base(y)
	defer K.wipe()
	t.add(K)
	return Y, nil
}

// join adds Y, whose encoding is octets, and K = Y^(1/(x + w'·r)) to a
// transcript that ends with X.
func join(g group, t *transcript, Y element, octets []byte, x, w *scalar) error {
	r := t.challenge(g)
	sum := g.order().mulAdd(w, &r, x)
	defer clear(sum[:])
	if r.isZero() || w.isZero() || sum.isZero() {
		return errDegenerate
	}
	z := g.order().invert(&sum)
	defer clear(z[:])
	K := Y.exp(&z)
	defer K.wipe()
	t.addReceived(octets)
	t.add(K)
	return nil
}
