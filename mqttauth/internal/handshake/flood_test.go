package handshake

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/pake"
)

// The floods here are of hellos. Covered: the bound on runs, the share of one source, the one live run of a Client
// Identifier, the time of a run, and the true user among all that. Not covered: floods of connections, which a
// listener bounds.

func (f *fixture) hello(t testing.TB, source, user, client string) (*Client, Answer, error) {
	t.Helper()
	cfg := testConfig()
	cfg.User, cfg.ClientID = user, client
	hello, c, err := Start(cfg)
	require.NoError(t, err)
	answer, err := f.Receive(source, hello)
	return c, answer, err
}

func TestRunsAreBounded(t *testing.T) {
	const limit = 16
	f := newFixture(t, func(c *AuthorityConfig) { c.MaxRuns = limit })
	for i := range 3 * limit {
		_, _, err := f.hello(t, fmt.Sprintf("192.0.2.%d", i), testUser, testClient)
		require.NoError(t, err)
	}
	require.Equal(t, limit, f.Sweep())
	require.LessOrEqual(t, len(f.order), 2*limit)
	f.clock.Advance(RunTimeout)
	require.Zero(t, f.Sweep())
	require.Empty(t, f.live)
	require.Empty(t, f.order)
}

// TestRunsThatMadeRoomAreForgotten, and their secrets are overwritten at once.
func TestRunsThatMadeRoomAreForgotten(t *testing.T) {
	const limit = 4
	f := newFixture(t, func(c *AuthorityConfig) { c.MaxRuns = limit })
	for range 10 * limit {
		_, _, err := f.hello(t, testSource, testUser, testClient)
		require.NoError(t, err)
		require.Len(t, f.runs, 1)
		require.LessOrEqual(t, len(f.order), 2*limit)
	}
	gone := f.order[len(f.order)-2]
	require.True(t, gone.gone)
	_, _, err := gone.server.Finish(make([]byte, 34))
	require.ErrorIs(t, err, pake.ErrState)
}

// refunds is a budget's store that calls f when a proof was right, while it is still being checked.
type refunds struct {
	updates int
	f       func()
}

func (s *refunds) Update(keys []pake.GuessKey, change func([]pake.Guesses)) error {
	if s.updates++; s.updates == 2 {
		s.f()
	}
	change(make([]pake.Guesses, len(keys)))
	return nil
}

// TestWhileAProofIsChecked it may come again, which has no answer yet, and its run may end, which admits nobody.
func TestWhileAProofIsChecked(t *testing.T) {
	for _, late := range []bool{false, true} {
		store := new(refunds)
		budget, err := pake.NewBudget(pake.BudgetConfig{Store: store})
		require.NoError(t, err)
		f := newFixture(t, func(c *AuthorityConfig) { c.Budget = budget })
		c, answer, err := f.hello(t, testSource, testUser, testClient)
		require.NoError(t, err)
		proof, err := c.Challenge(answer.Frame)
		require.NoError(t, err)
		store.f = func() {
			again, err := f.Receive(testSource, proof)
			require.NoError(t, err)
			require.Equal(t, Answer{Repeated: true}, again)
			if late {
				f.clock.Advance(RunTimeout)
				require.Zero(t, f.Sweep())
			}
		}
		answer, err = f.Receive(testSource, proof)
		require.Equal(t, 2, store.updates)
		if late {
			require.ErrorIs(t, err, ErrNoRun)
			require.Nil(t, answer.Session)
		} else {
			require.NoError(t, err)
			require.NotNil(t, answer.Session)
		}
	}
}

func TestOneSourceFillsItsShareAlone(t *testing.T) {
	const limit = 16
	f := newFixture(t, func(c *AuthorityConfig) { c.MaxRuns = limit })
	c, answer, err := f.hello(t, "192.0.2.1", testUser, testClient)
	require.NoError(t, err)
	for i := range 10 * limit {
		_, _, err := f.hello(t, "198.51.100.1", "mallory", fmt.Sprintf("m%d", i))
		require.NoError(t, err)
	}
	require.Equal(t, limit/4+1, f.Sweep())
	proof, err := c.Challenge(answer.Frame)
	require.NoError(t, err)
	answer, err = f.Receive("192.0.2.1", proof)
	require.NoError(t, err)
	require.NotNil(t, answer.Session)
}

func TestOneLiveRunForAClientAtASource(t *testing.T) {
	f := newFixture(t)
	old, first, err := f.hello(t, testSource, testUser, testClient)
	require.NoError(t, err)
	_, _, err = f.hello(t, "198.51.100.1", testUser, testClient)
	require.NoError(t, err)
	require.Equal(t, 2, f.Sweep(), "another source has its own")
	_, _, err = f.hello(t, testSource, testUser, testClient)
	require.NoError(t, err)
	require.Equal(t, 2, f.Sweep())
	proof, err := old.Challenge(first.Frame)
	require.NoError(t, err)
	_, err = f.Receive(testSource, proof)
	require.ErrorIs(t, err, ErrNoRun)
}

// TestHelloOfAnotherUserEndsNoRun: a stranger at the same address who knows the Client Identifier alone.
func TestHelloOfAnotherUserEndsNoRun(t *testing.T) {
	f := newFixture(t)
	c, answer, err := f.hello(t, testSource, testUser, testClient)
	require.NoError(t, err)
	_, _, err = f.hello(t, testSource, "mallory", testClient)
	require.NoError(t, err)
	proof, err := c.Challenge(answer.Frame)
	require.NoError(t, err)
	answer, err = f.Receive(testSource, proof)
	require.NoError(t, err)
	require.NotNil(t, answer.Session)
}

// TestOneSessionTwiceAtOnce: two hellos that were both answered before either was filed in.
func TestOneSessionTwiceAtOnce(t *testing.T) {
	f := newFixture(t)
	b, _, err := Start(testConfig())
	require.NoError(t, err)
	hello, err := frame.ParseHello(b)
	require.NoError(t, err)
	answered := func(source string, digest byte) *run {
		r, err := f.respond(source, &hello)
		require.NoError(t, err)
		r.hello = [32]byte{digest}
		return r
	}
	first, same, changed, elsewhere := answered(testSource, 1), answered(testSource, 1), answered(testSource, 2), answered("198.51.100.1", 1)
	challenge, repeated, err := f.keep(first)
	require.NoError(t, err)
	require.False(t, repeated)
	again, repeated, err := f.keep(same)
	require.NoError(t, err)
	require.True(t, repeated)
	require.Equal(t, challenge, again)
	for _, r := range []*run{changed, elsewhere} {
		_, _, err = f.keep(r)
		require.ErrorIs(t, err, ErrReplay)
	}
	require.Equal(t, 1, f.Sweep())
}

func TestProofFromAnotherSource(t *testing.T) {
	f := newFixture(t)
	c, answer, err := f.hello(t, testSource, testUser, testClient)
	require.NoError(t, err)
	proof, err := c.Challenge(answer.Frame)
	require.NoError(t, err)
	_, err = f.Receive("198.51.100.1", proof)
	require.ErrorIs(t, err, ErrNoRun)
	answer, err = f.Receive(testSource, proof)
	require.NoError(t, err)
	require.NotNil(t, answer.Session)
}

func TestRunTakesTenSeconds(t *testing.T) {
	for _, late := range []bool{false, true} {
		f := newFixture(t)
		c, answer, err := f.hello(t, testSource, testUser, testClient)
		require.NoError(t, err)
		proof, err := c.Challenge(answer.Frame)
		require.NoError(t, err)
		f.clock.Advance(RunTimeout - time.Second)
		if late {
			f.clock.Advance(time.Second)
		}
		_, err = f.Receive(testSource, proof)
		if late {
			require.ErrorIs(t, err, ErrNoRun)
		} else {
			require.NoError(t, err)
		}
	}
}

// TestRepeatedFramesHaveTheSameAnswer: what is delivered twice counts no guess and changes nothing.
func TestRepeatedFramesHaveTheSameAnswer(t *testing.T) {
	budget, err := pake.NewBudget(pake.BudgetConfig{Free: 1})
	require.NoError(t, err)
	f := newFixture(t, func(c *AuthorityConfig) { c.Budget = budget })
	hello, c, err := Start(testConfig())
	require.NoError(t, err)
	first, err := f.Receive(testSource, hello)
	require.NoError(t, err)
	second, err := f.Receive(testSource, hello)
	require.NoError(t, err)
	require.Equal(t, first.Frame, second.Frame)
	require.False(t, first.Repeated)
	require.True(t, second.Repeated)
	_, err = f.Receive("198.51.100.1", hello)
	require.ErrorIs(t, err, ErrReplay, "from elsewhere it is a replay")

	proof, err := c.Challenge(first.Frame)
	require.NoError(t, err)
	answer, err := f.Receive(testSource, proof)
	require.NoError(t, err)
	session := answer.Session
	answer, err = f.Receive(testSource, proof)
	require.NoError(t, err)
	require.Nil(t, answer.Session, "established once")
	require.Nil(t, answer.Frame, "no welcome yet")
	welcome, err := session.Welcome(testWelcome)
	require.NoError(t, err)
	answer, err = f.Receive(testSource, proof)
	require.NoError(t, err)
	require.Equal(t, welcome, answer.Frame)
	proof[len(proof)-1] ^= 1
	_, err = f.Receive(testSource, proof)
	require.ErrorIs(t, err, ErrReplay)
}

// TestConcurrentRuns is for the race detector.
func TestConcurrentRuns(t *testing.T) {
	f := newFixture(t)
	hello, c, err := Start(testConfig())
	require.NoError(t, err)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			if _, err := f.Receive(testSource, hello); err != nil {
				t.Error(err)
			}
			cfg := testConfig()
			cfg.ClientID = fmt.Sprintf("c%d", i)
			own, _, err := Start(cfg)
			if err != nil {
				t.Error(err)
			}
			if _, err := f.Receive(testSource, own); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	answer, err := f.Receive(testSource, hello)
	require.NoError(t, err)
	proof, err := c.Challenge(answer.Frame)
	require.NoError(t, err)
	established := make(chan *Session, 8)
	for range 8 {
		wg.Go(func() {
			answer, err := f.Receive(testSource, proof)
			if err != nil {
				t.Error(err)
			}
			if answer.Session != nil {
				established <- answer.Session
			}
		})
	}
	wg.Wait()
	require.Len(t, established, 1)
}
