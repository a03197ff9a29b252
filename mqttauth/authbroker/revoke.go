package authbroker

import (
	"errors"

	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// ErrRevoked is the end of a connection whose user an administrator has cut off.
var ErrRevoked = guard.ErrRevoked

// Revocation names what an administrator takes back. The fields are not to be empty all together.
type Revocation struct {
	// User ends the connections of a user, and forgets what her clients were granted. To keep her out, or when she has
	// a new password, change the store first ([Store.RemoveUser], [Store.SetUser]).
	User string
	// Claim ends a claim, whoever owns it, with every token made from it.
	Claim string
}

// Revoke takes something back, in the store and on every connection, also of other processes that share
// the store. It returns how many of its own connections it ended, or had to look at their grants anew. What tokens
// grant is better taken back by their owner, who has the means to name one.
func (l *Listener) Revoke(r Revocation) (affected int, err error) {
	if r == (Revocation{}) {
		return 0, errors.New("authbroker: a revocation of nothing")
	}
	if r.User != "" {
		before := map[*connection]bool{}
		for _, f := range l.live.all(userName(r.User)) {
			if session := f.through(); session != nil && !session.Over() {
				before[f] = true
			}
		}
		affected = len(before) // follow may be the one that ends them, as soon as the store knows
		err = l.store.end(r.User)
		for _, f := range l.live.all(userName(r.User)) {
			if f.end(wire.NotAuthorized, ErrRevoked) && !before[f] {
				affected++
			}
		}
	}
	if r.Claim != "" {
		if _, failed := l.store.RemoveClaim(r.Claim); failed != nil {
			return affected, errors.Join(err, failed)
		}
		for _, f := range l.live.all(claimName(r.Claim)) {
			f.refresh()
			affected++
		}
	}
	l.logger.Info("revoked", "user", r.User, "claim", r.Claim, "connections", affected)
	return affected, err
}
