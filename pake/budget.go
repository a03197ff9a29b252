package pake

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// Budget limits how many passwords can be tried against a server. It counts
// attempts, before they are answered, and gives back those that succeed:
//
//   - per user and source: some are free, then each must wait twice as long
//     as the one before, up to MaxBackoff;
//   - per source over all users, in the same way;
//   - per user over all sources, in the same way, except that the first
//     attempt of a source in a day need not wait.
//
// The last two are only for sources that the user has not logged in from
// during the last 30 days. So strangers use up what strangers share, and their
// own sources; they keep no user from logging in, neither at a source that is
// known to be hers nor, the first time, at a new one. Who shares a source with
// an attacker (behind one address translator, say) shares its limits.
//
// One counted attempt is forgotten for every MaxBackoff without an attempt. In
// the long run, then, a user's password is guessed at about once in each
// MaxBackoff by all strangers together, as often from each of her known
// sources, and once a day from every other source. A Budget is safe for
// concurrent use.
type Budget struct {
	store      GuessStore
	maxBackoff time.Duration
	refuseNew  bool
	free       [budgetKeys]uint32
}

// BudgetConfig says how many attempts a Budget allows. The zero value is ready
// to use.
type BudgetConfig struct {
	// Free is how many attempts one source has for one user before it must
	// wait: 5 if zero. Runs that have not ended count too, so it bounds
	// how many a device may have open.
	Free int
	// FreePerUser is the same for one user and all new sources: 20 if zero.
	FreePerUser int
	// FreePerSource is the same for one source and all users it is new to:
	// 50 if zero. Many devices behind one address that all log in for the
	// first time at once need more. No figure may be above 100,000.
	FreePerSource int
	// MaxBackoff is the longest wait between two attempts, from one second to
	// one day: 15 minutes if zero. The first wait is one second.
	MaxBackoff time.Duration
	// RefuseNewSources makes the limit per user hold for the first attempt
	// of a source as well. An attacker with very many addresses then gains
	// nothing from them, but can keep a user from logging in at a source that
	// is new to her.
	RefuseNewSources bool
	// Store keeps the counts: in memory, 65536 of them (17 MiB), if nil; when
	// that is full, the count goes that would be forgotten first, and for a day
	// the first attempt of a source that is not known must wait as all others of
	// its user, since it need not be the first. A server
	// that restarts often needs a store that lasts, or attackers gain from
	// each restart.
	Store GuessStore
}

// GuessStore keeps what a Budget has counted.
type GuessStore interface {
	// Update lets change edit the records of keys, in their order, and
	// stores the result, as one atomic step; it may call change again to
	// repeat the step. A record that was never stored is zero, and need not
	// be stored as long as it is; one may be dropped after its Expires, and one
	// that is dropped earlier makes room for guesses. If Update fails, nothing was stored and the attempt is refused.
	Update(keys []GuessKey, change func(records []Guesses)) error
}

// GuessKey names a record: a digest, so that names of any length take the same
// room.
type GuessKey [sha256.Size]byte

// Guesses is one record of a GuessStore. Its fields are to be stored and read
// back, whatever their meaning.
type Guesses struct {
	Count      uint32    // attempts neither given back nor forgotten
	Last       time.Time // of the attempt counted last
	NotBefore  time.Time // of the next attempt
	KnownUntil time.Time // the source has logged in as the user
	Expires    time.Time // afterwards the record makes no difference
}

// BackoffError is what Respond returns when an attempt has to wait. It is the
// same for users who exist and who do not.
type BackoffError struct {
	RetryAfter time.Duration // at least this long
}

// Error says how long to wait, in whole seconds.
func (e *BackoffError) Error() string {
	seconds := (e.RetryAfter + time.Second - 1).Truncate(time.Second)
	return fmt.Sprintf("pake: too many attempts, next one in %v", seconds)
}

const (
	firstBackoff   = time.Second
	defaultBackoff = 15 * time.Minute
	memoryGuesses  = 1 << 16 // records
	knownFor       = 30 * 24 * time.Hour
	newAfter       = 24 * time.Hour
	maxDoublings   = 30 // to 34 years; more attempts are not worth remembering
	maxFree        = 100_000
	longest        = 24 * time.Hour // (maxFree + maxDoublings) * longest is a time.Duration

	keyUserSource = 0
	keyUser       = 1
	keySource     = 2
	budgetKeys    = 3
)

// NewBudget returns a Budget, or an error for a figure out of range.
func NewBudget(cfg BudgetConfig) (*Budget, error) {
	b := &Budget{store: cfg.Store, maxBackoff: cfg.MaxBackoff, refuseNew: cfg.RefuseNewSources}
	for i, free := range [budgetKeys]struct{ configured, byDefault int }{
		keyUserSource: {cfg.Free, 5},
		keyUser:       {cfg.FreePerUser, 20},
		keySource:     {cfg.FreePerSource, 50},
	} {
		if free.configured == 0 {
			free.configured = free.byDefault
		}
		if free.configured < 0 || free.configured > maxFree {
			return nil, fmt.Errorf("pake: BudgetConfig: %d free attempts, want 0 to %d", free.configured, maxFree)
		}
		b.free[i] = uint32(free.configured)
	}
	if b.maxBackoff == 0 {
		b.maxBackoff = defaultBackoff
	}
	if b.maxBackoff < firstBackoff || b.maxBackoff > longest {
		return nil, fmt.Errorf("pake: BudgetConfig.MaxBackoff is %v, want %v to %v", b.maxBackoff, firstBackoff, longest)
	}
	if b.store == nil {
		b.store = newMemoryStore(memoryGuesses, b.maxBackoff)
	}
	return b, nil
}

// Guess is one attempt that was counted. It is given back once at most.
type Guess struct {
	budget *Budget
	keys   []GuessKey // what it was counted against
	at     time.Time
	back   atomic.Bool
}

// Spend counts an attempt at user's password from source, or returns a
// *BackoffError. Respond calls it; call it yourself only for another way to log
// in that shares the budget. Neither string may be empty.
func (b *Budget) Spend(user, source string) (*Guess, error) {
	if user == "" || source == "" {
		return nil, errors.New("pake: a guess budget needs the user and the source")
	}
	keys := []GuessKey{
		keyUserSource: guessKey(keyUserSource, user, source),
		keyUser:       guessKey(keyUser, user, ""),
		keySource:     guessKey(keySource, "", source),
	}
	now := time.Now()
	var wait time.Duration
	err := b.update(keys, func(records []Guesses) {
		here := records[keyUserSource]
		counted := records
		if now.Before(here.KnownUntil) {
			counted = records[:keyUserSource+1]
		}
		isNew := now.Sub(here.Last) >= newAfter && !b.refuseNew
		keys, wait = keys[:len(counted)], 0
		for i := range counted {
			// No later than this, if the clock was set back meanwhile.
			counted[i].NotBefore = earlier(counted[i].NotBefore, now.Add(b.maxBackoff))
			if i != keyUser || !isNew {
				wait = max(wait, counted[i].NotBefore.Sub(now))
			}
		}
		if wait > 0 {
			return
		}
		for i := range counted {
			counted[i].spend(now, b.free[i], b.maxBackoff)
		}
	})
	if err != nil {
		return nil, err
	}
	if wait > 0 {
		return nil, &BackoffError{RetryAfter: wait}
	}
	return &Guess{budget: b, keys: keys, at: now}, nil
}

// update is the store's, and fails for one that lost what it was to change.
func (b *Budget) update(keys []GuessKey, change func(records []Guesses)) error {
	changed := false
	err := b.store.Update(keys, func(records []Guesses) {
		if changed = len(records) == len(keys); changed {
			change(records)
		}
	})
	if err == nil && !changed {
		err = errors.New("the store did not change the records")
	}
	if err != nil {
		return fmt.Errorf("pake: guess budget: %w", err)
	}
	return nil
}

// Refund gives back an attempt that proved to know the password, and remembers
// its source as one of the user's. It does nothing the second time, or for a
// nil Guess.
func (g *Guess) Refund() error {
	if g == nil || g.back.Swap(true) {
		return nil
	}
	now := time.Now()
	return g.budget.update(g.keys, func(records []Guesses) {
		for i := range records {
			// No wait stood in its way, and no attempt came after it: the
			// next one finds what it found. The user's wait may have been
			// there all the same.
			waited := i != keyUser && !records[i].Last.After(g.at)
			records[i].refund(g.budget.free[i], waited)
		}
		known := &records[keyUserSource]
		known.KnownUntil = now.Add(knownFor)
		known.Expires = later(known.Expires, known.KnownUntil)
	})
}

// spend forgets what is old, then counts one attempt.
func (r *Guesses) spend(now time.Time, free uint32, maxBackoff time.Duration) {
	if quiet := now.Sub(r.Last); quiet > 0 {
		r.Count -= uint32(min(int64(quiet/maxBackoff), int64(r.Count)))
	}
	r.Count = min(r.Count+1, free+maxDoublings)
	r.Last = now
	r.NotBefore = time.Time{}
	if r.Count >= free {
		r.NotBefore = now.Add(min(firstBackoff<<(r.Count-free), maxBackoff))
	}
	forgotten := now.Add(max(time.Duration(r.Count)*maxBackoff, newAfter))
	r.Expires = later(r.KnownUntil, forgotten)
}

// refund takes one attempt back, and the wait that it alone imposed. The
// failures of others stay counted, or each login of a user would pay for more
// guesses at her password.
func (r *Guesses) refund(free uint32, waited bool) {
	r.Count -= min(r.Count, 1)
	if r.Count < free || waited {
		r.NotBefore = time.Time{}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// spend counts an attempt if there is a budget.
func (c Config) spend(user string) (*Guess, error) {
	if c.Budget == nil {
		return nil, nil
	}
	return c.Budget.Spend(user, c.Source)
}

// guessKey hashes the kind and both names; the length says where one ends.
func guessKey(kind byte, user, source string) GuessKey {
	b := append([]byte{kind}, user...)
	b = append(b, source...)
	return sha256.Sum256(binary.BigEndian.AppendUint64(b, uint64(len(user))))
}
