package authbroker

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
)

// present judges the tokens that a holder presents and adds those that are right to what is granted to it. Tokens
// that it was granted before cost no write.
func (r *registrar) present(h holder, tokens []token.Presentation) (verdicts []operation.Verdict, err error) {
	var changes bool
	err = r.store.view(func(t tx) (err error) {
		verdicts, changes, err = r.judge(t, h, tokens, false)
		return err
	})
	if err != nil || !changes {
		return verdicts, err
	}
	err = r.store.update(func(t tx) (err error) {
		verdicts, _, err = r.judge(t, h, tokens, true)
		return err
	})
	return verdicts, err
}

// judge judges presentations in one transaction. It reports whether the store is to change, and with write changes it.
func (r *registrar) judge(t tx, h holder, tokens []token.Presentation, write bool) (verdicts []operation.Verdict, changed bool, err error) {
	if err := h.enrolled(t); err != nil {
		return nil, false, err
	}
	now := r.now()
	before, err := storedGrants(t, h.user, h.clientID)
	if err != nil {
		return nil, false, err
	}
	held := unexpired(before, now)
	for i := range tokens {
		g, until, code, err := r.verify(t, h, &tokens[i], now)
		if err != nil {
			return nil, false, err
		}
		known := slices.ContainsFunc(held, func(other grant) bool { return other.id == g.id && other.era == g.era })
		if code == operation.Done && !known && len(held) >= r.limits.tokens {
			// Those that a claim or a revocation has made worthless make room.
			if held, err = valid(t, held, now, nil); err != nil {
				return nil, false, err
			}
			if len(held) >= r.limits.tokens {
				code = operation.Limit
			}
		}
		used := false
		if code == operation.Done && tokens[i].Once() {
			if used, err = r.markUsed(t, h.user, &g, write); errors.Is(err, operation.Limit) {
				code = operation.Limit
			} else if err != nil {
				return nil, false, err
			}
		}
		if code != operation.Done {
			verdicts = append(verdicts, operation.Verdict{Code: code})
			continue
		}
		verdicts = append(verdicts, operation.Verdict{Until: until})
		changed = changed || used || !known
		if !known {
			held = append(held, g)
		}
	}
	if write && !sameGrants(before, held) {
		if before == nil {
			if err := makeRoom(t, h.user); err != nil {
				return nil, false, err
			}
		}
		err = t.put(bucketGrants, grantsKey(h.user, h.clientID), encodeGrants(held))
	}
	return verdicts, changed, err
}

// verify judges one presentation.
func (r *registrar) verify(t tx, h holder, p *token.Presentation, now time.Time) (g grant, until time.Time, code operation.Code, err error) {
	c, err := getClaim(t, p.Claim)
	if err != nil {
		return g, until, 0, err
	}
	if c == nil {
		return g, until, operation.Unclaimed, nil
	}
	id, err := c.roots.Verify(c.epoch, p, h.binding, now)
	if err != nil {
		return g, until, operation.CodeOf(err), nil
	}
	g = grant{kind: p.Kind, id: id, claim: p.Claim, era: c.era(), filter: p.Filter(), until: p.Expires()}
	switch {
	case !now.Before(c.until):
		return g, until, operation.Expired, nil
	case t.get(bucketRevoked, tokenKey(p.Claim, id)) != nil:
		return g, until, operation.Revoked, nil
	}
	if _, err := guard.NewScope([]guard.Rule{{Filter: g.filter}}); err != nil {
		return g, until, operation.Invalid, nil
	}
	if p.Once() {
		if b := t.get(bucketUsed, tokenKey(p.Claim, id)); b != nil {
			u, err := decodeUse(b)
			if err != nil {
				return g, until, 0, fmt.Errorf("a single-use token: %w", err)
			}
			if u.user != h.user {
				return g, until, operation.Used, nil
			}
		}
	}
	return g, earliest(g.until, c.until), operation.Done, nil
}

// markUsed gives a single-use token to its first user, and reports whether it had to.
func (r *registrar) markUsed(t tx, user string, g *grant, write bool) (bool, error) {
	key := tokenKey(g.claim, g.id)
	if t.get(bucketUsed, key) != nil {
		return false, nil
	}
	if err := r.roomFor(t, bucketUsed, g.claim); err != nil || !write {
		return true, err
	}
	u := use{user: user, until: g.until}
	return true, t.put(bucketUsed, key, u.encode())
}

// clientsEach is for how many Client Identifiers of one user it is remembered what they were granted.
const clientsEach = 1024

// makeRoom forgets what the client was granted whose last grant ends first, of a user with as many as can be.
func makeRoom(t tx, user string) error {
	n := 0
	var first string
	var soonest time.Time
	err := t.each(bucketGrants, user+"\x00", func(key string, b []byte) error {
		grants, err := decodeGrants(b)
		if err != nil {
			return fmt.Errorf("the grants of %.80q: %w", key, err)
		}
		var last time.Time
		for _, g := range grants {
			if g.until.After(last) {
				last = g.until
			}
		}
		if n++; first == "" || last.Before(soonest) {
			first, soonest = key, last
		}
		return nil
	})
	if err != nil || n < clientsEach {
		return err
	}
	return t.remove(bucketGrants, first)
}

func storedGrants(t tx, user, clientID string) ([]grant, error) {
	b := t.get(bucketGrants, grantsKey(user, clientID))
	if b == nil {
		return nil, nil
	}
	grants, err := decodeGrants(b)
	if err != nil {
		return nil, fmt.Errorf("the grants of %.80q: %w", clientID, err)
	}
	return grants, nil
}

func unexpired(grants []grant, now time.Time) []grant {
	return slices.DeleteFunc(slices.Clone(grants), func(g grant) bool { return !now.Before(g.until) })
}

// valid returns the grants that are worth something now. until, if not nil, becomes the first moment at which one of
// them may not be any more.
func valid(t tx, grants []grant, now time.Time, until *time.Time) (kept []grant, err error) {
	for _, g := range grants {
		c, err := getClaim(t, g.claim)
		if err != nil {
			return nil, err
		}
		if c == nil || c.era() != g.era || t.get(bucketRevoked, tokenKey(g.claim, g.id)) != nil {
			continue
		}
		end := earliest(g.until, c.until)
		if !now.Before(end) {
			continue
		}
		if until != nil && (until.IsZero() || end.Before(*until)) {
			*until = end
		}
		kept = append(kept, g)
	}
	return kept, nil
}

// granted returns what a client may do now, and when to ask again at the latest; never if that is zero.
func (r *registrar) granted(user, clientID string) (grants []grant, until time.Time, err error) {
	err = r.store.view(func(t tx) error {
		stored, err := storedGrants(t, user, clientID)
		if err != nil {
			return err
		}
		until = time.Time{}
		grants, err = valid(t, stored, r.now(), &until)
		return err
	})
	return grants, until, err
}

// scope is what grants permit, as the guard wants it.
func scope(grants []grant) (*guard.Scope, error) {
	rules := make([]guard.Rule, len(grants))
	for i, g := range grants {
		rules[i] = guard.Rule{Filter: g.filter, Publish: g.kind == token.Auth1, Subscribe: g.kind == token.Auth2}
	}
	return guard.NewScope(rules)
}
