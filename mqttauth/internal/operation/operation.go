// Package operation is what requests ask of an authority and what it answers: the plaintext of sealed requests and
// responses.
//
//	1 claim    v16 filter, u32 epoch, P 32, S 32, u32 lifetime   result: u64 until
//	2 release  v16 filter                                        result: nothing
//	3 epoch    v16 filter, u32 epoch, P 32, S 32                 result: u64 until
//	4 present  count, presentations                              result: for each: code, u64 until
//	5 revoke   v16 filter, token id 16                           result: nothing
//	6 ticket   nothing                                           result: v16 user name, u64 until
//
//	presentation  kind, v16 claim, v16 filter, u32 epoch, u64 until, flags, serial 8, proof 32
//
// An operation begins with its number, a result with a [Code], which stands alone unless it is Done. Times are Unix
// seconds.
package operation

import (
	"encoding/binary"
	"math"
	"time"

	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

// Kind is the number of an operation.
type Kind byte

// The operations.
const (
	Claim   Kind = 1
	Release Kind = 2
	Epoch   Kind = 3
	Present Kind = 4
	Revoke  Kind = 5
	Ticket  Kind = 6
)

// MaxPresented is how many tokens one operation can present.
const MaxPresented = 16

// Operation is one of the six; the fields that its kind does not have are zero.
type Operation struct {
	Kind     Kind
	Filter   string        // Claim, Release, Epoch, Revoke
	Epoch    uint32        // Claim, Epoch
	Roots    token.Roots   // Claim, Epoch: what the authority checks tokens with
	Lifetime time.Duration // Claim: whole seconds, at least one
	Token    token.ID      // Revoke
	Tokens   []token.Presentation
}

// Encode returns the operation's octets.
func (o *Operation) Encode() ([]byte, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	b := []byte{byte(o.Kind)}
	switch o.Kind {
	case Claim, Epoch:
		b = codec.AppendV16(b, o.Filter)
		b = binary.BigEndian.AppendUint32(b, o.Epoch)
		b = o.Roots.Append(b)
		if o.Kind == Claim {
			b = binary.BigEndian.AppendUint32(b, uint32(o.Lifetime/time.Second))
		}
	case Release:
		b = codec.AppendV16(b, o.Filter)
	case Present:
		b = append(b, byte(len(o.Tokens)))
		for i := range o.Tokens {
			b = o.Tokens[i].Append(b)
		}
	case Revoke:
		b = codec.AppendV16(b, o.Filter)
		b = append(b, o.Token[:]...)
	}
	return b, nil
}

func (o *Operation) check() error {
	switch o.Kind {
	case Claim, Release, Epoch, Revoke:
		if !plainFilter(o.Filter) {
			return codec.Malformed("topic filter %.80q", o.Filter)
		}
		if o.Kind == Claim && (o.Lifetime < time.Second || o.Lifetime/time.Second > math.MaxUint32) {
			return codec.Malformed("a lifetime of %v", o.Lifetime)
		}
	case Present:
		if len(o.Tokens) < 1 || len(o.Tokens) > MaxPresented {
			return codec.Malformed("%d tokens presented", len(o.Tokens))
		}
	case Ticket:
	default:
		return codec.Malformed("operation %d", o.Kind)
	}
	return nil
}

// plainFilter tells whether a claim can be for this filter.
func plainFilter(filter string) bool {
	return len(filter) <= token.MaxFilter && topic.ValidFilter(filter) && topic.Unshare(filter) == filter
}

// Parse reads an operation.
func Parse(b []byte) (Operation, error) {
	r := codec.NewReader(b)
	o := Operation{Kind: Kind(r.Uint8())}
	switch o.Kind {
	case Claim, Epoch:
		o.Filter, o.Epoch, o.Roots = string(r.V16()), r.Uint32(), token.ReadRoots(r)
		if o.Kind == Claim {
			o.Lifetime = time.Duration(r.Uint32()) * time.Second
		}
	case Release:
		o.Filter = string(r.V16())
	case Present:
		for range min(int(r.Uint8()), MaxPresented+1) {
			o.Tokens = append(o.Tokens, token.ReadPresentation(r))
		}
	case Revoke:
		o.Filter = string(r.V16())
		r.Fill(o.Token[:])
	}
	if err := r.End(); err != nil {
		return Operation{}, err
	}
	if err := o.check(); err != nil {
		return Operation{}, err
	}
	return o, nil
}
