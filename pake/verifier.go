package pake

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"fmt"
)

// Verifier is what a server stores for a user in place of a password: a group,
// stretching costs, a salt and W = g^w'. It is bound to the user and the server
// it was made for, and parameters cannot be changed afterwards.
//
// Keep it as secret as a password hash: who steals it can play this server to
// this user, and can guess the password offline at the price of one stretching
// a guess. It does not allow a login.
//
// A Verifier is immutable and may be used by many runs at once.
type Verifier struct {
	group  group
	recipe recipe
	w      element // W
	decoy  bool    // no proof is ever right for it
}

// NewVerifier enrols: it turns a password into the verifier that server stores
// for user, with a fresh salt, in cfg.Group, at the cost of cfg.Stretch. The
// names are compared octet by octet later on; the password is prepared as an
// OpaqueString (RFC 8265), which refuses an empty one and control characters.
// cfg's other fields play no part.
func NewVerifier(cfg Config, user, server string, password []byte) (*Verifier, error) {
	g, cfg, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	t, err := newTranscript(user, server, nil, g.elementLen())
	if err != nil {
		return nil, err
	}
	prepared, err := prepare(password)
	if err != nil {
		return nil, err
	}
	defer clear(prepared)
	r := recipe{Stretch: cfg.Stretch}
	if !r.Skip {
		if _, err := rand.Read(r.salt[:]); err != nil {
			return nil, fmt.Errorf("pake: %w", err)
		}
	}
	w := r.exponent(&t, g, prepared)
	defer clear(w[:])
	if w.isZero() {
		return nil, errDegenerate
	}
	return &Verifier{group: g, recipe: r, w: g.base(&w)}, nil
}

// Group returns the group of every run with v, and 0 for the zero Verifier.
func (v Verifier) Group() Group {
	if v.group == nil {
		return 0
	}
	return v.group.id()
}

// Stretch returns what a guess at v's password costs.
func (v Verifier) Stretch() Stretch { return v.recipe.Stretch }

// MarshalBinary encodes v in 94 octets (P-256) or 61 (ristretto255): version,
// kind, group, stretching algorithm, its costs, 16 octets of salt, W.
func (v Verifier) MarshalBinary() ([]byte, error) {
	if v.group == nil || v.decoy {
		return nil, fmt.Errorf("%w: not a user's verifier", ErrMessage)
	}
	return encodeStretched(kindVerifier, v.group, v.recipe, v.w.appendTo(nil)), nil
}

// UnmarshalBinary accepts what MarshalBinary returned and nothing else; any
// other input is an ErrMessage.
func (v *Verifier) UnmarshalBinary(b []byte) error {
	s, err := decodeStretched(b, kindVerifier)
	if err != nil {
		return err
	}
	*v = Verifier{group: s.group, recipe: s.recipe, w: s.element}
	return nil
}

// The first word of the text form, as the key type in OpenSSH's files.
func textName(g Group) string {
	if g == Ristretto255 {
		return "augpake-ristretto255"
	}
	return "augpake-p256"
}

// MarshalText encodes v as a line for a file, without the line's end: the word
// augpake-p256 or augpake-ristretto255, a space, the binary form in base64.
func (v Verifier) MarshalText() ([]byte, error) {
	b, err := v.MarshalBinary()
	if err != nil {
		return nil, err
	}
	text := append([]byte(textName(v.Group())), ' ')
	return base64.StdEncoding.AppendEncode(text, b), nil
}

// UnmarshalText reads one line as MarshalText writes it; space around it and a
// comment after it, such as the user's name, are ignored.
func (v *Verifier) UnmarshalText(text []byte) error {
	text = bytes.TrimSpace(text)
	if bytes.ContainsAny(text, "\r\n") {
		return fmt.Errorf("%w: a verifier is one line", ErrMessage)
	}
	name, rest, _ := bytes.Cut(text, []byte(" "))
	encoded, _, _ := bytes.Cut(bytes.TrimLeft(rest, " "), []byte(" "))
	b, err := base64.StdEncoding.Strict().AppendDecode(nil, encoded)
	if err != nil {
		return fmt.Errorf("%w: base64 of a verifier", ErrMessage)
	}
	s, err := decodeStretched(b, kindVerifier)
	if err != nil {
		return err
	}
	if string(name) != textName(s.group.id()) {
		return fmt.Errorf("%w: the line begins with another group's name", ErrMessage)
	}
	*v = Verifier{group: s.group, recipe: s.recipe, w: s.element}
	return nil
}
