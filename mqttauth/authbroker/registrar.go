package authbroker

import (
	"cmp"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

// registrar decides about claims and tokens. It keeps nothing but what is in the store, so that a restart changes
// nothing. It is safe for concurrent use.
type registrar struct {
	store    *Store
	mayClaim func(user, filter string) bool
	own      []string // filters of the topics that frames go over
	maxClaim time.Duration
	limits   limits
	now      func() time.Time
}

// limits bound what users can make the store keep.
type limits struct {
	tokens      int // grants of one client
	claims      int // of one user
	revocations int // in one claim
}

// holder is who asks: a client in an authenticated session.
type holder struct {
	user, clientID string
	binding        [32]byte
	verifier       [sha256.Size]byte // digest of what the session began with
}

func holderOf(s *handshake.Session) holder {
	return holder{user: s.User, clientID: s.ClientID, binding: s.Binding(), verifier: s.Verifier}
}

// enrolled refuses a holder who was removed, or has got another password, since the session began.
func (h *holder) enrolled(t tx) error {
	var now [sha256.Size]byte
	if b := t.get(bucketUsers, h.user); b != nil {
		now = sha256.Sum256(b)
	}
	if subtle.ConstantTimeCompare(now[:], h.verifier[:]) != 1 {
		return operation.Forbidden
	}
	return nil
}

// outcome is what an operation has changed besides its result.
type outcome struct {
	claim   string // grants under this claim are to be looked at anew
	granted bool   // the holder has other grants than before
}

// carryOut carries out an operation, other than Ticket, which is not the registrar's.
func (r *registrar) carryOut(h holder, o *operation.Operation) (result operation.Result, out outcome, err error) {
	switch o.Kind {
	case operation.Claim:
		result, err = r.claim(h, o)
	case operation.Epoch:
		out.claim = o.Filter
		result, err = r.epoch(h, o)
	case operation.Release:
		out.claim = o.Filter
		result, err = r.ofOwn(h, o.Filter, func(t tx, _ *claim) error { return removeClaim(t, o.Filter) })
	case operation.Revoke:
		out.claim = o.Filter
		result, err = r.ofOwn(h, o.Filter, func(t tx, _ *claim) error { return r.revoke(t, o.Filter, o.Token) })
	case operation.Present:
		// Also a token that was granted before: its claim may have come back since.
		result.Tokens, err = r.present(h, o.Tokens)
		out.granted = true
	default:
		result.Code = operation.Malformed
	}
	var code operation.Code
	if errors.As(err, &code) {
		result, err = operation.Result{Code: code}, nil
	}
	if err != nil || result.Code != operation.Done {
		out = outcome{}
	}
	return result, out, err
}

// claim gives a filter to the first who asks.
func (r *registrar) claim(h holder, o *operation.Operation) (result operation.Result, err error) {
	if !r.claimable(h.user, o.Filter) {
		return result, operation.Forbidden
	}
	now := r.now()
	made := claim{owner: h.user, epoch: o.Epoch, roots: o.Roots, until: now.Add(min(o.Lifetime, r.maxClaim)).Truncate(time.Second)}
	err = r.store.update(func(t tx) error {
		if err := h.enrolled(t); err != nil {
			return err
		}
		made := made // this may run twice
		var past []ended
		theirs, over := 0, []string(nil)
		err := eachClaim(t, func(filter string, c *claim) error {
			switch {
			case !now.Before(c.until):
				if topic.Overlap(filter, o.Filter) {
					over = append(over, filter)
				} else if c.owner == h.user {
					past = append(past, ended{filter, c.until})
				}
			case c.owner == h.user:
				if filter == o.Filter {
					if c.era() != made.era() {
						return operation.Superseded
					}
					if made.until.Before(c.until) { // claiming again prolongs; Release ends
						made.until = c.until
					}
					return nil
				}
				theirs++
			case topic.Overlap(filter, o.Filter):
				return operation.Taken
			}
			return nil
		})
		if err != nil {
			return err
		}
		if theirs >= r.limits.claims {
			return operation.Limit
		}
		for _, filter := range over {
			// What was revoked in a claim stays so when its owner comes back with the same secret.
			c, err := getClaim(t, filter)
			if err == nil && (c.owner != h.user || c.era() != made.era()) {
				err = removeClaim(t, filter)
			}
			if err != nil {
				return err
			}
		}
		if err := forgetOldest(t, past, r.limits.claims); err != nil {
			return err
		}
		result.Until = made.until
		return t.put(bucketClaims, o.Filter, made.encode())
	})
	return result, err
}

// ended is a claim that is remembered.
type ended struct {
	filter string
	until  time.Time
}

// forgetOldest forgets the claims that ended first, so that no more than limit of one user are remembered.
func forgetOldest(t tx, past []ended, limit int) error {
	if len(past) <= limit {
		return nil
	}
	slices.SortFunc(past, func(a, b ended) int { return cmp.Or(a.until.Compare(b.until), strings.Compare(a.filter, b.filter)) })
	for _, gone := range past[:len(past)-limit] {
		if err := removeClaim(t, gone.filter); err != nil {
			return err
		}
	}
	return nil
}

// claimable asks the administrator. What frames go over is nobody's, and a filter that takes it in along with
// everything else is the administrator's word.
func (r *registrar) claimable(user, filter string) bool {
	broad := filter[0] == '+' || filter[0] == '#'
	for _, own := range r.own {
		if !broad && topic.Overlap(own, filter) {
			return false
		}
	}
	if first, _, _ := strings.Cut(filter, "/"); strings.EqualFold(first, "$share") || strings.EqualFold(first, "$control") {
		return false // no topics of anybody's
	}
	if r.mayClaim == nil {
		return !broad && filter[0] != '$'
	}
	return r.mayClaim(user, filter)
}

// epoch begins a new epoch of a claim: the tokens of the one before end.
func (r *registrar) epoch(h holder, o *operation.Operation) (result operation.Result, err error) {
	return r.ofOwn(h, o.Filter, func(t tx, c *claim) error {
		result.Until = c.until
		switch {
		case o.Epoch == c.epoch && o.Roots == c.roots:
			return nil // done already
		case o.Epoch <= c.epoch, o.Roots == c.roots:
			return operation.Superseded
		}
		c.epoch, c.roots = o.Epoch, o.Roots
		if err := forgetTokens(t, o.Filter); err != nil {
			return err
		}
		return t.put(bucketClaims, o.Filter, c.encode())
	})
}

// ofOwn changes a claim that is the holder's.
func (r *registrar) ofOwn(h holder, filter string, change func(tx, *claim) error) (result operation.Result, err error) {
	now := r.now()
	err = r.store.update(func(t tx) error {
		if err := h.enrolled(t); err != nil {
			return err
		}
		c, err := getClaim(t, filter)
		if err != nil {
			return err
		}
		if c == nil || c.owner != h.user || !now.Before(c.until) {
			return operation.Unclaimed
		}
		result.Until = c.until
		return change(t, c)
	})
	return result, err
}

// revoke notes that a token is worth nothing in this epoch.
func (r *registrar) revoke(t tx, filter string, id token.ID) error {
	key := tokenKey(filter, id)
	if t.get(bucketRevoked, key) != nil {
		return nil
	}
	if err := r.roomFor(t, bucketRevoked, filter); err != nil {
		return err
	}
	return t.put(bucketRevoked, key, encodeTime(r.now()))
}

// roomFor refuses when a claim has as many records of tokens in a bucket as it may have.
func (r *registrar) roomFor(t tx, bucket, filter string) error {
	n := 0
	return t.each(bucket, filter+"\x00", func(string, []byte) error {
		if n++; n >= r.limits.revocations {
			return operation.Limit
		}
		return nil
	})
}

// sweep removes what time has made worthless, so that the store does not grow for ever.
func (r *registrar) sweep() error {
	if r.store.remote != nil {
		return nil // who has it does
	}
	now := r.now()
	return r.store.update(func(t tx) error {
		var over [][2]string
		err := eachClaim(t, func(filter string, c *claim) error {
			if now.Sub(c.until) > claimMemory {
				over = append(over, [2]string{bucketClaims, filter})
			}
			return nil
		})
		if err != nil {
			return err
		}
		err = t.each(bucketUsed, "", func(key string, b []byte) error {
			u, err := decodeUse(b)
			if err != nil {
				return fmt.Errorf("a single-use token: %w", err)
			}
			if !now.Before(u.until) {
				over = append(over, [2]string{bucketUsed, key})
			}
			return nil
		})
		if err != nil {
			return err
		}
		err = t.each(bucketGrants, "", func(key string, b []byte) error {
			grants, err := decodeGrants(b)
			if err != nil {
				return fmt.Errorf("the grants of %.80q: %w", key, err)
			}
			if len(unexpired(grants, now)) == 0 {
				over = append(over, [2]string{bucketGrants, key})
			}
			return nil
		})
		if err != nil {
			return err
		}
		if err := forgetUses(t, func(u *use) bool { return !now.Before(u.until) }); err != nil {
			return err
		}
		for _, gone := range over {
			if gone[0] == bucketClaims {
				err = removeClaim(t, gone[1])
			} else {
				err = t.remove(gone[0], gone[1])
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// claimMemory is for how long a claim that has ended is remembered with its revocations, for an owner who comes back
// with the same secret; anybody else may claim the filter at once, which ends the memory. Of one user as many are
// remembered as she may have.
const claimMemory = 30 * 24 * time.Hour
