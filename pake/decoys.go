package pake

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
)

// Decoys hides from clients which users exist. A run with a decoy takes as long
// as one with a verifier, its messages have the same lengths and look the same,
// and it ends as with a wrong password, whatever the client proves.
//
// That holds as far as the verifiers of a server are alike: all of one Group
// and Stretch, those of the Config given here. A user whose verifier is
// different shows that she exists. So does a change: who asks before and after
// an enrolment or a change of password sees another salt.
type Decoys struct {
	secret []byte
	decoy  Verifier // of all users but for the salt
}

const minDecoySecret = 32

// NewDecoys takes the Group and Stretch of the server's verifiers and a secret
// of at least 32 random octets. The secret is as lasting as the verifiers: with
// another one the salts of decoys change, and those of users do not.
func NewDecoys(cfg Config, secret []byte) (*Decoys, error) {
	g, cfg, err := cfg.resolve()
	if err != nil {
		return nil, err
	}
	if len(secret) < minDecoySecret {
		return nil, errors.New("pake: the secret of Decoys is shorter than 32 octets")
	}
	// One W serves for all: it leaves the server only as (X · W^r)^y with a
	// fresh y, which is a random element whatever W is.
	mac := hmac.New(sha512.New, secret)
	mac.Write([]byte("mqttsec pake decoy element"))
	w := g.order().reduce(mac.Sum(nil))
	defer clear(w[:])
	if w.isZero() {
		return nil, errDegenerate
	}
	return &Decoys{
		secret: append([]byte(nil), secret...),
		decoy:  Verifier{group: g, recipe: recipe{Stretch: cfg.Stretch}, w: g.base(&w), decoy: true},
	}, nil
}

// Verifier returns stored if the server has a verifier for user, and otherwise,
// for a nil stored, a decoy that has the same salt each time. Call it in both
// cases, so that both do the same work. User and server are those of the run.
func (d *Decoys) Verifier(user, server string, stored *Verifier) *Verifier {
	decoy := d.decoy
	if !decoy.recipe.Skip {
		mac := hmac.New(sha256.New, d.secret)
		mac.Write([]byte("mqttsec pake decoy salt"))
		mac.Write(appendPrefixed(nil, user))
		mac.Write(appendPrefixed(nil, server))
		decoy.recipe.salt = [saltLen]byte(mac.Sum(nil))
	}
	if stored != nil {
		return stored
	}
	return &decoy
}
