package pake

import (
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"math"
)

// The octet that comes first in everything hashed, RFC 6628, section 2.2.
const (
	tagRegistration = 0x00 // w'
	tagChallenge    = 0x01 // r
	tagUserProof    = 0x02 // V_U
	tagServerProof  = 0x03 // V_S
	tagKey          = 0x04 // SK
	tagHedge        = 0x05 // y'
)

// transcript is what both sides hash: tag | U | S | context | X | Y | K. It
// grows as the run learns the elements; the tag is written by each hash.
type transcript struct {
	octets []byte
	names  int // U and S are octets[1:names]
}

// newTranscript prefixes each string with its length in two octets; without
// that, as in the RFC, "ab"|"c" and "a"|"bc" would be one pair of identities.
func newTranscript(user, server string, context []byte, elementLen int) (transcript, error) {
	if user == "" || server == "" {
		return transcript{}, errors.New("pake: an empty identity")
	}
	if max(len(user), len(server), len(context)) > math.MaxUint16 {
		return transcript{}, errors.New("pake: an identity or context is longer than 65535 octets")
	}
	size := 1 + 2 + len(user) + 2 + len(server) + 2 + len(context) + 3*elementLen
	b := append(make([]byte, 0, size), 0)
	b = appendPrefixed(b, user)
	b = appendPrefixed(b, server)
	names := len(b)
	return transcript{octets: appendPrefixed(b, context), names: names}, nil
}

func appendPrefixed[S string | []byte](b []byte, s S) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

// add appends an element and returns its octets.
func (t *transcript) add(e element) []byte {
	before := len(t.octets)
	t.octets = e.appendTo(t.octets)
	return t.octets[before:]
}

// addReceived appends an element as the peer encoded it, which is the only way
// there is.
func (t *transcript) addReceived(octets []byte) {
	t.octets = append(t.octets, octets...)
}

// exponent returns w' for a stretched password. The context has no part in
// it: a verifier serves runs in every context.
func (t *transcript) exponent(f *field, stretched []byte) scalar {
	octets := make([]byte, 0, t.names+len(stretched))
	octets = append(octets, t.octets[:t.names]...)
	octets = append(octets, stretched...)
	defer clear(octets)
	octets[0] = tagRegistration
	digest := sha512.Sum512(octets)
	defer clear(digest[:])
	return f.reduce(digest[:])
}

// challenge returns r; the transcript ends with X.
func (t *transcript) challenge(g group) scalar {
	t.octets[0] = tagChallenge
	return g.challenge(t.octets)
}

func (t *transcript) digest(tag byte) [sha256.Size]byte {
	t.octets[0] = tag
	return sha256.Sum256(t.octets)
}

// userProof returns V_U. The user's proof goes first, so nothing has to be
// verified for it.
func (t *transcript) userProof() [sha256.Size]byte {
	return t.digest(tagUserProof)
}

// verified is a transcript whose peer has shown that it knows K. Only it has
// a key, and only it has the server's proof: a V_S that left before V_U was
// checked would let anybody test passwords offline.
type verified struct{ t *transcript }

// verifyUser compares V_U in constant time.
func (t *transcript) verifyUser(proof []byte) (verified, error) {
	return t.verify(tagUserProof, proof)
}

// verifyServer compares V_S in constant time.
func (t *transcript) verifyServer(proof []byte) (verified, error) {
	return t.verify(tagServerProof, proof)
}

func (t *transcript) verify(tag byte, proof []byte) (verified, error) {
	want := t.digest(tag)
	if subtle.ConstantTimeCompare(want[:], proof) != 1 {
		return verified{}, ErrProof
	}
	return verified{t}, nil
}

// serverProof returns V_S.
func (v verified) serverProof() [sha256.Size]byte { return v.t.digest(tagServerProof) }

// key returns SK.
func (v verified) key() []byte {
	sk := v.t.digest(tagKey)
	return sk[:]
}

func (t *transcript) wipe() {
	clear(t.octets[:cap(t.octets)])
	t.octets = nil
}
