package pake

import (
	"errors"
	"fmt"
	"maps"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// brokenStore fails from its nth update on.
type brokenStore struct {
	GuessStore
	left int
}

var errDisk = errors.New("disk full")

func (s *brokenStore) Update(keys []GuessKey, change func([]Guesses)) error {
	if s.left--; s.left < 0 {
		return errDisk
	}
	return s.GuessStore.Update(keys, change)
}

// TestStoreThatFails: what cannot be counted is not answered.
func TestStoreThatFails(t *testing.T) {
	for works := range 2 {
		cfg := quick(P256)
		v := enrol(t, cfg)
		cfg.Source = "192.0.2.1"
		cfg.Budget = newBudget(t, BudgetConfig{Store: &brokenStore{newMemoryStore(8, 15*time.Minute), works}})
		r := run{client: cfg, server: cfg, verifier: v}
		require.ErrorIs(t, r.login(), errDisk)
		require.Nil(t, r.serverKey)
		require.Nil(t, r.msg4)
	}
}

// idleStore changes nothing and reports no error.
type idleStore struct{ records int }

func (s idleStore) Update(_ []GuessKey, change func([]Guesses)) error {
	if s.records > 0 {
		change(make([]Guesses, s.records))
	}
	return nil
}

// TestStoreThatDoesNothing: what was not counted is not answered, either.
func TestStoreThatDoesNothing(t *testing.T) {
	for records := range 3 {
		guess, err := newBudget(t, BudgetConfig{Store: idleStore{records}}).Spend("alice", "home")
		require.EqualError(t, err, "pake: guess budget: the store did not change the records")
		require.Nil(t, guess)
	}
}

// repeatingStore runs each change twice, as a store may that lost a race.
type repeatingStore struct{ GuessStore }

func (s repeatingStore) Update(keys []GuessKey, change func([]Guesses)) error {
	change(make([]Guesses, len(keys)))
	return s.GuessStore.Update(keys, change)
}

func TestStoreThatRepeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{Free: 2, Store: repeatingStore{newMemoryStore(64, 15*time.Minute)}})
		for range 10 {
			succeed(t, b, "alice", "home")
		}
		require.Zero(t, spend(t, b, "alice", "home"))
		require.Zero(t, spend(t, b, "alice", "home"))
		require.NotZero(t, spend(t, b, "alice", "home"))
	})
}

// TestMemoryStoreIsBounded, and strangers do not push known sources out of it.
func TestMemoryStoreIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemoryStore(64, 15*time.Minute)
		b := newBudget(t, BudgetConfig{Store: store, FreePerUser: 1, RefuseNewSources: true})
		for i := range 10 {
			succeed(t, b, fmt.Sprint("user ", i), "home")
		}
		for i := range 1000 {
			b.Spend(fmt.Sprint("user ", i), fmt.Sprint("stranger ", i))
			require.LessOrEqual(t, len(store.records), 64)
			require.Equal(t, len(store.records), store.known.Len()+store.others.Len())
		}
		for i := range 10 {
			spend(t, b, fmt.Sprint("user ", i), "stranger")
			require.Zero(t, spend(t, b, fmt.Sprint("user ", i), "home"))
		}
		// A full store still takes in sources that are new to it.
		for i := range 100 {
			succeed(t, b, fmt.Sprint("new user ", i), fmt.Sprint("home ", i))
			require.LessOrEqual(t, store.known.Len(), 32)
		}
	})
}

// TestFloodDoesNotPushOutAUserUnderAttack: who filled the store with attempts at
// other names, from as many sources as he likes, would start afresh with alice.
func TestFloodDoesNotPushOutAUserUnderAttack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemoryStore(256, 15*time.Minute)
		b := newBudget(t, BudgetConfig{Store: store, RefuseNewSources: true})
		guesses := 0
		for i := range 20_000 {
			if spend(t, b, "alice", fmt.Sprint("stranger ", i)) == 0 {
				guesses++
			}
			for j := range 5 {
				b.Spend(fmt.Sprint("user ", i, j), fmt.Sprint("stranger ", i, j))
			}
		}
		require.Equal(t, 20, guesses)
		require.LessOrEqual(t, len(store.records), 256)
	})
}

// TestRefusedAttemptsStoreNothing: a flood leaves no records behind.
func TestRefusedAttemptsStoreNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemoryStore(1<<16, 15*time.Minute)
		b := newBudget(t, BudgetConfig{Store: store})
		for i := range 10_000 {
			b.Spend(fmt.Sprint("user ", i), "stranger")
		}
		require.Len(t, store.records, 50+50+1)
	})
}

// TestRefusedAttemptsPushOutNothing: who must wait, and would have no record yet, gets none in a full store either.
func TestRefusedAttemptsPushOutNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit = 12
		store := newMemoryStore(limit, 15*time.Minute)
		b := newBudget(t, BudgetConfig{Store: store, FreePerUser: 1})
		for i := range limit {
			spend(t, b, "alice", fmt.Sprint("stranger ", i))
		}
		require.Equal(t, store.others.limit, store.others.Len(), "it is full")
		before := maps.Clone(store.records)
		for i := range limit {
			require.NotZero(t, spend(t, b, "alice", fmt.Sprint("new stranger ", i)))
		}
		require.Equal(t, before, store.records)
	})
}

// TestMissingRecordHasAnAttempt: whose record may have gone has one attempt less that is free, for as long as that
// attempt would be remembered.
func TestMissingRecordHasAnAttempt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{Store: newMemoryStore(60, 15*time.Minute), Free: 2})
		for i := range 12 {
			spend(t, b, fmt.Sprint("user ", i), fmt.Sprint("stranger ", i))
		}
		require.Zero(t, spend(t, b, "alice", "stranger"))
		require.NotZero(t, spend(t, b, "alice", "stranger"))
		time.Sleep(newAfter)
		require.Zero(t, spend(t, b, "bob", "another"))
		require.Zero(t, spend(t, b, "bob", "another"))
		require.NotZero(t, spend(t, b, "bob", "another"))
	})
}

// forgetfulStore drops each record at the moment it may.
type forgetfulStore struct{ *memoryStore }

func (s forgetfulStore) Update(keys []GuessKey, change func([]Guesses)) error {
	for _, key := range keys {
		e, ok := s.records[key]
		if ok && !time.Now().Before(e.guesses.Expires) {
			s.put(key, Guesses{}) // as good as none
		}
	}
	return s.memoryStore.Update(keys, change)
}

// TestForgetfulStore: a record that expired makes no difference, so a known
// source stays known and a new one is not new again too soon.
func TestForgetfulStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := BudgetConfig{FreePerUser: 1, MaxBackoff: time.Minute}
		cfg.Store = forgetfulStore{newMemoryStore(64, 15*time.Minute)}
		b := newBudget(t, cfg)
		succeed(t, b, "alice", "home")
		require.Zero(t, spend(t, b, "alice", "stranger"))
		time.Sleep(newAfter - time.Second)
		require.Zero(t, spend(t, b, "alice", "another stranger"))
		require.NotZero(t, spend(t, b, "alice", "stranger"), "not new within a day")
		time.Sleep(time.Second)
		spend(t, b, "alice", "yet another")
		require.Zero(t, spend(t, b, "alice", "stranger"), "new again")

		time.Sleep(knownFor - newAfter - time.Second)
		for i := range 100 {
			spend(t, b, "alice", "stranger")
			spend(t, b, fmt.Sprint("user ", i), "home")
		}
		require.Zero(t, spend(t, b, "alice", "home"), "known for 30 days")
	})
}

// TestMoreSourcesThanTheStoreHolds: from more sources than there is room for, a user's password is guessed at once from
// each that there is room for, and from then on as often as all strangers may. Her own sources log in meanwhile, and
// the next day new ones do.
func TestMoreSourcesThanTheStoreHolds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const limit, sources, rounds = 400, 1000, 6
		b := newBudget(t, BudgetConfig{Store: newMemoryStore(limit, 15*time.Minute)})
		succeed(t, b, "alice", "home")
		guesses := 0
		for range rounds {
			for i := range sources {
				if spend(t, b, "alice", fmt.Sprint("stranger ", i)) == 0 {
					guesses++
				}
			}
			time.Sleep(100 * time.Millisecond)
			succeed(t, b, "alice", "home")
		}
		require.Less(t, guesses, limit/2+20)
		for i := range sources {
			require.Zero(t, spend(t, b, fmt.Sprint("user ", i), fmt.Sprint("home ", i)), "users that nobody attacks")
		}
		time.Sleep(newAfter)
		require.Zero(t, spend(t, b, "alice", "a new place"))
	})
}
