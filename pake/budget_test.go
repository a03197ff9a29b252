package pake

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func newBudget(t testing.TB, cfg BudgetConfig) *Budget {
	t.Helper()
	b, err := NewBudget(cfg)
	require.NoError(t, err)
	return b
}

// spend returns how long the attempt has to wait, 0 if it was counted.
func spend(t testing.TB, b *Budget, user, source string) time.Duration {
	t.Helper()
	_, err := b.Spend(user, source)
	if err == nil {
		return 0
	}
	var backoff *BackoffError
	require.ErrorAs(t, err, &backoff)
	require.Positive(t, backoff.RetryAfter)
	return backoff.RetryAfter
}

func succeed(t testing.TB, b *Budget, user, source string) {
	t.Helper()
	guess, err := b.Spend(user, source)
	require.NoError(t, err)
	require.NoError(t, guess.Refund())
}

func TestBackoffDoubles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{})
		for range 5 {
			require.Zero(t, spend(t, b, "alice", "192.0.2.1"))
		}
		for wait := time.Second; wait < 15*time.Minute; wait *= 2 {
			require.Equal(t, wait, spend(t, b, "alice", "192.0.2.1"))
			time.Sleep(wait - time.Nanosecond)
			require.EqualValues(t, 1, spend(t, b, "alice", "192.0.2.1"), "a refused attempt does not lengthen the wait")
			time.Sleep(time.Nanosecond)
			require.Zero(t, spend(t, b, "alice", "192.0.2.1"))
		}
		require.Equal(t, 15*time.Minute, spend(t, b, "alice", "192.0.2.1"))
		time.Sleep(24 * time.Hour)
		for range 5 {
			require.Zero(t, spend(t, b, "alice", "192.0.2.1"), "a quiet day forgets")
		}
		require.NotZero(t, spend(t, b, "alice", "192.0.2.1"))
	})
}

// TestStrangersDoNotLockTheUserOut: any number of strangers, at any rate, on
// any number of addresses, and a user who has logged in before gets in at once.
func TestStrangersDoNotLockTheUserOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{})
		succeed(t, b, "alice", "home")
		for i := range 10_000 {
			b.Spend("alice", fmt.Sprint("stranger ", i%997))
			if i%100 == 0 {
				succeed(t, b, "alice", "home")
			}
			time.Sleep(time.Second)
		}
		require.Zero(t, spend(t, b, "alice", "home"))
	})
}

// TestUserAtANewSource gets in at once, too. If she mistypes there while she is
// under attack, she waits with the strangers.
func TestUserAtANewSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{})
		for i := range 10_000 {
			b.Spend("alice", fmt.Sprint("stranger ", i%997))
		}
		succeed(t, b, "alice", "on the road")
		spend(t, b, "alice", "on the road")
		succeed(t, b, "alice", "on the road")

		require.Zero(t, spend(t, b, "alice", "office"))
		require.NotZero(t, spend(t, b, "alice", "office"))
	})
}

// TestRefuseNewSources: with it she waits the first time, no longer than
// MaxBackoff once the strangers pause.
func TestRefuseNewSources(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{RefuseNewSources: true})
		for i := range 10_000 {
			b.Spend("alice", fmt.Sprint("stranger ", i))
		}
		wait := spend(t, b, "alice", "on the road")
		require.LessOrEqual(t, wait, 15*time.Minute)
		time.Sleep(wait)
		succeed(t, b, "alice", "on the road")
		for i := range 1000 {
			b.Spend("alice", fmt.Sprint("stranger ", i))
		}
		succeed(t, b, "alice", "on the road")
	})
}

// TestGuessesPerUserAreBounded: a month of attack from many sources, while the
// user logs in all the time.
func TestGuessesPerUserAreBounded(t *testing.T) {
	const month, sources = 30 * 24 * time.Hour, 20
	together := int(month/(15*time.Minute)) + 40
	for _, test := range []struct {
		refuse bool
		most   int
	}{
		{true, together},
		{false, together + 31*sources},
	} {
		synctest.Test(t, func(t *testing.T) {
			b := newBudget(t, BudgetConfig{RefuseNewSources: test.refuse})
			guesses := 0
			succeed(t, b, "alice", "home")
			for start := time.Now(); time.Since(start) < month; time.Sleep(5 * time.Minute) {
				for source := range sources {
					if spend(t, b, "alice", fmt.Sprint("stranger ", source)) == 0 {
						guesses++
					}
				}
				succeed(t, b, "alice", "home")
			}
			require.Less(t, guesses, test.most)
			require.Greater(t, guesses, 1000, "the attack took place")
		})
	}
}

// TestGuessesPerSourceAreBounded: one source that tries one password with every
// user.
func TestGuessesPerSourceAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{})
		guesses := 0
		for i := range 10_000 {
			if spend(t, b, fmt.Sprint("user ", i), "stranger") == 0 {
				guesses++
			}
		}
		require.Equal(t, 50, guesses)
		require.Zero(t, spend(t, b, "user 1", "elsewhere"))
	})
}

// TestKnownSourceIsForgotten after 30 days without a login.
func TestKnownSourceIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{FreePerUser: 1, RefuseNewSources: true})
		succeed(t, b, "alice", "home")
		time.Sleep(knownFor - time.Hour)
		spend(t, b, "alice", "stranger")
		require.Zero(t, spend(t, b, "alice", "home"))
		time.Sleep(time.Hour)
		spend(t, b, "alice", "stranger")
		require.NotZero(t, spend(t, b, "alice", "home"))
	})
}

// TestLoginDoesNotPayForStrangers: a success gives back one attempt, its own.
func TestLoginDoesNotPayForStrangers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{})
		for range 4 {
			spend(t, b, "alice", "shared address")
		}
		for range 100 {
			succeed(t, b, "alice", "shared address")
		}
		spend(t, b, "alice", "shared address")
		require.NotZero(t, spend(t, b, "alice", "shared address"))
	})
}

// TestLoginLeavesNoWait: who mistyped often waits before she gets in, not after,
// when her connection breaks and she logs in again.
func TestLoginLeavesNoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{})
		for range 10 {
			time.Sleep(spend(t, b, "alice", "home"))
			spend(t, b, "alice", "home")
		}
		require.NotZero(t, spend(t, b, "alice", "home"))
		time.Sleep(15 * time.Minute)
		for range 100 {
			succeed(t, b, "alice", "home")
		}
		spend(t, b, "alice", "home")
		require.NotZero(t, spend(t, b, "alice", "home"), "the failures stay counted")
	})
}

// TestRefundKeepsTheWaitsOfOthers: a run that is open while another one fails
// takes back its own attempt alone.
func TestRefundKeepsTheWaitsOfOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{Free: 1})
		guess, err := b.Spend("alice", "shared address")
		require.NoError(t, err)
		time.Sleep(time.Second)
		require.Zero(t, spend(t, b, "alice", "shared address"))
		require.NoError(t, guess.Refund())
		require.Equal(t, 2*time.Second, spend(t, b, "alice", "shared address"))
	})
	synctest.Test(t, func(t *testing.T) { // what strangers wait for at any source
		b := newBudget(t, BudgetConfig{FreePerUser: 2})
		require.Zero(t, spend(t, b, "alice", "a stranger"))
		require.Zero(t, spend(t, b, "alice", "a stranger"))
		require.NotZero(t, spend(t, b, "alice", "a stranger"))
		succeed(t, b, "alice", "on the road")
		require.NotZero(t, spend(t, b, "alice", "a stranger"))
	})
}

// TestLoginsPayForNoGuesses: as many guesses on an address that the user shares
// as if she did not log in whenever she can.
func TestLoginsPayForNoGuesses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const days = 10
		b := newBudget(t, BudgetConfig{})
		guesses := 0
		for start := time.Now(); time.Since(start) < days*24*time.Hour; time.Sleep(30 * time.Second) {
			if guess, err := b.Spend("alice", "shared address"); err == nil {
				require.NoError(t, guess.Refund())
			}
			if spend(t, b, "alice", "shared address") == 0 {
				guesses++
			}
		}
		require.Less(t, guesses, days*24*4+20)
		require.Greater(t, guesses, days*24*4-20, "the attack took place")
	})
}

func TestRefundCountsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBudget(t, BudgetConfig{Free: 2})
		spend(t, b, "alice", "home")
		guess, err := b.Spend("alice", "home")
		require.NoError(t, err)
		for range 10 {
			require.NoError(t, guess.Refund())
		}
		require.Zero(t, spend(t, b, "alice", "home"))
		require.NotZero(t, spend(t, b, "alice", "home"))
		require.NoError(t, (*Guess)(nil).Refund())
	})
}

// TestParallelAttemptsAreAllCounted: opening many runs before any of them
// fails gains nothing.
func TestParallelAttemptsAreAllCounted(t *testing.T) {
	b := newBudget(t, BudgetConfig{})
	var counted atomic.Int64
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			if _, err := b.Spend("alice", "stranger"); err == nil {
				counted.Add(1)
			}
		})
	}
	group.Wait()
	require.EqualValues(t, 5, counted.Load())
}

// TestBudgetInARun: counted before the answer, kept after a wrong proof and an
// abandoned run, given back after a login; the same for a user who does not
// exist.
func TestBudgetInARun(t *testing.T) {
	for _, exists := range []bool{true, false} {
		t.Run(fmt.Sprint("user exists: ", exists), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cfg := quick(P256)
				v := newDecoys(t, cfg).Verifier("alice", "broker", nil)
				if exists {
					v = enrol(t, cfg)
				}
				limited := cfg
				limited.Budget, limited.Source = newBudget(t, BudgetConfig{Free: 3}), "192.0.2.1"
				attempt := func(password string, tamper func(int, []byte) []byte) error {
					r := run{client: cfg, server: limited, verifier: v, password: []byte(password), tamper: tamper}
					return r.login()
				}
				for range 10 {
					require.ErrorIs(t, attempt("wrong", func(_ int, m []byte) []byte { return m[1:] }), ErrMessage)
					if exists {
						require.NoError(t, attempt(string(password), nil), "neither noise nor a login costs anything")
					}
				}
				require.ErrorIs(t, attempt("wrong", nil), ErrProof)
				require.ErrorIs(t, attempt("wrong", nil), ErrProof)
				msg1, _, err := Start(cfg, "alice", "broker", password)
				require.NoError(t, err)
				_, _, err = Respond(limited, "alice", "broker", v, msg1)
				require.NoError(t, err, "the third, abandoned")

				msg2, server, err := Respond(limited, "alice", "broker", v, msg1)
				var backoff *BackoffError
				require.ErrorAs(t, err, &backoff)
				require.Equal(t, time.Second, backoff.RetryAfter)
				require.EqualError(t, err, "pake: too many attempts, next one in 1s")
				require.Nil(t, msg2)
				require.Nil(t, server)
				time.Sleep(time.Second)
				err = attempt(string(password), nil)
				if exists {
					require.NoError(t, err)
				} else {
					require.ErrorIs(t, err, ErrProof)
				}
			})
		})
	}
}

func TestBudgetNeedsASource(t *testing.T) {
	cfg := quick(P256)
	v := enrol(t, cfg)
	cfg.Budget = newBudget(t, BudgetConfig{})
	r := run{client: cfg, server: cfg, verifier: v}
	require.Error(t, r.login())
	require.Equal(t, 1, r.reached)
}

// TestFloodIsForgotten: a million attempts at a name take no longer to forget
// than fifty.
func TestFloodIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Guesses
		for range 1_000_000 {
			r.spend(time.Now(), 20, 15*time.Minute)
		}
		require.Equal(t, time.Now().Add(15*time.Minute), r.NotBefore)
		time.Sleep(50 * 15 * time.Minute)
		r.spend(time.Now(), 20, 15*time.Minute)
		require.EqualValues(t, 1, r.Count)
	})
}

func TestGuessKeysAreUnambiguous(t *testing.T) {
	require.NotEqual(t, guessKey(keyUserSource, "ab", "c"), guessKey(keyUserSource, "a", "bc"))
	require.NotEqual(t, guessKey(keyUser, "a", ""), guessKey(keySource, "", "a"))
	require.NotEqual(t, guessKey(keyUser, "a", ""), guessKey(keyUserSource, "a", ""))
}

func TestExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var r Guesses
		for range 7 {
			r.spend(time.Now(), 5, time.Minute)
		}
		time.Sleep(time.Until(r.Expires))
		r.spend(time.Now(), 5, time.Minute)
		require.EqualValues(t, 1, r.Count, "dropping the record would have made no difference")
	})
}

// TestClockSetBack: times in the future, from a store that lasts, do not lock
// anybody out for longer than MaxBackoff.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemoryStore(64, 15*time.Minute)
		b := newBudget(t, BudgetConfig{Store: store})
		spend(t, b, "alice", "home")
		for _, e := range store.records {
			g := &e.guesses
			g.Count, g.Last = 100, time.Now().Add(1000*time.Hour)
			g.NotBefore = g.Last.Add(15 * time.Minute)
		}
		require.Equal(t, 15*time.Minute, spend(t, b, "alice", "home"))
		time.Sleep(15 * time.Minute)
		require.Zero(t, spend(t, b, "alice", "home"))
	})
}

func TestNewBudgetValidates(t *testing.T) {
	for _, cfg := range []BudgetConfig{
		{Free: -1}, {FreePerUser: -1}, {FreePerSource: -1}, {FreePerSource: maxFree + 1},
		{MaxBackoff: -1}, {MaxBackoff: time.Second - 1}, {MaxBackoff: 24*time.Hour + 1},
	} {
		_, err := NewBudget(cfg)
		require.Error(t, err)
	}
}
