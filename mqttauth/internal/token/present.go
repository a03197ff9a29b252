package token

import (
	"crypto/subtle"
	"encoding/binary"
	"time"

	"github.com/mqttsec/mqttsec/internal/key"
	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
)

// ProofSize is the length of the proof of a token in octets.
const ProofSize = 32

// Presentation shows a token to an authority in one session without giving its secret away. It is of no use in another
// session.
type Presentation struct {
	Kind  Kind
	Claim string
	Epoch uint32
	Proof [ProofSize]byte
	terms terms
}

// Filter returns the topics that the token is for.
func (p *Presentation) Filter() string { return p.terms.filter }

// Expires returns when the token ends.
func (p *Presentation) Expires() time.Time { return time.Unix(p.terms.until, 0) }

// Once tells that the token is for the one user who presents it first.
func (p *Presentation) Once() bool { return p.terms.once }

// Present makes the presentation of t in the session with this binding.
func (t Token) Present(binding [32]byte) Presentation {
	return Presentation{Kind: t.kind, Claim: t.claim, Epoch: t.epoch, terms: t.terms, Proof: prove(t.secret(), binding)}
}

func prove(secret key.Node, binding [32]byte) [ProofSize]byte {
	return secret.Leaf("mqttauth v1 present" + string(binding[:]))
}

// Append appends the presentation to dst.
func (p *Presentation) Append(dst []byte) []byte {
	dst = append(dst, byte(p.Kind))
	dst = codec.AppendV16(dst, p.Claim)
	dst = codec.AppendV16(dst, p.terms.filter)
	dst = binary.BigEndian.AppendUint32(dst, p.Epoch)
	dst = appendTerms(dst, &p.terms)
	return append(dst, p.Proof[:]...)
}

// appendTerms appends all but the filter.
func appendTerms(dst []byte, t *terms) []byte {
	dst = binary.BigEndian.AppendUint64(dst, uint64(t.until))
	dst = append(dst, t.flags())
	return append(dst, t.serial[:]...)
}

func readTerms(r *codec.Reader, t *terms) {
	t.until = int64(r.Uint64())
	flags := r.Uint8()
	t.once = flags&flagOnce != 0
	r.Fill(t.serial[:])
	if flags&^flagOnce != 0 {
		r.Fail(codec.Malformed("flags of a token"))
	}
}

// ReadPresentation reads what Append wrote.
func ReadPresentation(r *codec.Reader) (p Presentation) {
	p.Kind, p.Claim, p.terms.filter = Kind(r.Uint8()), string(r.V16()), string(r.V16())
	p.Epoch = r.Uint32()
	readTerms(r, &p.terms)
	r.Fill(p.Proof[:])
	if r.Err() != nil {
		return Presentation{}
	}
	if _, err := treeOf(p.Kind); err != nil {
		r.Fail(err)
	}
	for _, err := range []error{p.terms.check(), checkFilter(p.Claim)} {
		if err != nil {
			r.Fail(codec.Malformed("%v", err))
		}
	}
	return p
}

// Verify checks a presentation against the claim of p.Claim, which the caller has looked up: its roots and its epoch.
// It returns the token's id, by which the caller then looks for a revocation and for who used it. The errors are
// ErrSuperseded, ErrInvalid, and ErrExpired only for a token that is otherwise right.
func (r Roots) Verify(epoch uint32, p *Presentation, binding [32]byte, now time.Time) (ID, error) {
	if !topic.Contains(p.Claim, p.terms.filter) || !narrows(p.Claim, p.terms.filter) {
		return ID{}, ErrInvalid
	}
	if p.Epoch != epoch {
		return ID{}, ErrSuperseded
	}
	root := r.Publish
	if p.Kind == Auth2 {
		root = r.Subscribe
	}
	tree, err := key.New(p.Claim, root[:])
	if err != nil {
		return ID{}, ErrInvalid
	}
	n, err := node(tree, p.terms.filter)
	if err != nil {
		return ID{}, ErrInvalid
	}
	secret := key.Node(n.Leaf(p.terms.label()))
	proof := prove(secret, binding)
	if subtle.ConstantTimeCompare(proof[:], p.Proof[:]) != 1 {
		return ID{}, ErrInvalid
	}
	if !now.Before(p.Expires()) {
		return ID{}, ErrExpired
	}
	return idOf(secret), nil
}

// narrows tells whether a token for filter can be made under claim; see Owner.Delegate.
func narrows(claim, filter string) bool {
	if claim == filter {
		return true
	}
	from, _ := topic.Prefix(claim)
	to, _ := topic.Prefix(filter)
	return to > from
}
