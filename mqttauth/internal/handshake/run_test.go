package handshake

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/internal/codec"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/pake"
)

func TestRunGivesBothTheSameKeys(t *testing.T) {
	f := newFixture(t)
	r := f.run(t, testConfig())
	require.Equal(t, testWelcome, r.told)
	require.Equal(t, testUser, r.authority.User)
	require.Equal(t, testClient, r.authority.ClientID)
	require.Equal(t, r.client.Binding(), r.authority.Binding())

	a, err := r.client.ExportKeyingMaterial("label", []byte("context"), 32)
	require.NoError(t, err)
	b, err := r.authority.ExportKeyingMaterial("label", []byte("context"), 32)
	require.NoError(t, err)
	require.Equal(t, a, b)

	pa, err := r.client.TicketPassword("device-1")
	require.NoError(t, err)
	pb, err := r.authority.TicketPassword("device-1")
	require.NoError(t, err)
	require.Equal(t, pa, pb)
}

func TestExporterSeparates(t *testing.T) {
	r := newFixture(t).run(t, testConfig())
	seen := map[string]bool{}
	for _, e := range []struct {
		label, context string
		length         int
	}{{"a", "", 32}, {"b", "", 32}, {"a", "b", 32}, {"ab", "", 32}, {"a", "", 33}} {
		out, err := r.client.ExportKeyingMaterial(e.label, []byte(e.context), e.length)
		require.NoError(t, err)
		require.Len(t, out, e.length)
		require.False(t, seen[string(out[:32])], "%v", e)
		seen[string(out[:32])] = true
	}
	without, err := r.client.ExportKeyingMaterial("a", nil, 32)
	require.NoError(t, err)
	require.True(t, seen[string(without)], "no context and an empty one are the same")
	for _, bad := range []struct {
		label  string
		length int
	}{{"", 32}, {"a", 0}, {"a", -1}, {"a", maxExport + 1}, {strings.Repeat("a", 65536), 32}} {
		_, err := r.client.ExportKeyingMaterial(bad.label, nil, bad.length)
		require.Error(t, err)
	}
}

func TestWrongPasswordEndsSilently(t *testing.T) {
	f := newFixture(t)
	for name, change := range map[string]func(*ClientConfig){
		"wrong password": func(c *ClientConfig) { c.Password = []byte("wrong") },
		"unknown user":   func(c *ClientConfig) { c.User = "mallory" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			change(&cfg)
			hello, c, err := Start(cfg)
			require.NoError(t, err)
			answer, err := f.Receive(testSource, hello)
			require.NoError(t, err)
			proof, err := c.Challenge(answer.Frame)
			require.NoError(t, err)
			answer, err = f.Receive(testSource, proof)
			require.ErrorIs(t, err, pake.ErrProof)
			require.Nil(t, answer.Frame)
			require.Nil(t, answer.Session)
			_, err = f.Receive(testSource, proof)
			require.ErrorIs(t, err, ErrNoRun, "the run is over")
		})
	}
}

// TestUnknownUserLooksLikeAKnownOne compares all that a stranger can see of the two.
func TestUnknownUserLooksLikeAKnownOne(t *testing.T) {
	f := newFixture(t)
	challenge := func(user string) frame.ChallengeFrame {
		cfg := testConfig()
		cfg.User, cfg.Password = user, []byte("a guess")
		hello, _, err := Start(cfg)
		require.NoError(t, err)
		answer, err := f.Receive(testSource, hello)
		require.NoError(t, err)
		c, err := frame.ParseChallenge(answer.Frame)
		require.NoError(t, err)
		return c
	}
	known, unknown, same := challenge(testUser), challenge("nobody"), challenge("nobody")
	require.Equal(t, known.Stretch[:10], unknown.Stretch[:10], "costs")
	require.NotEqual(t, known.Stretch[10:], unknown.Stretch[10:], "salts")
	require.Equal(t, unknown.Stretch, same.Stretch, "the same salt each time")
	require.Len(t, unknown.Element, len(known.Element))
}

// TestStolenVerifierIsNoPassword: who has all the authority has still cannot log in as the user.
func TestStolenVerifierIsNoPassword(t *testing.T) {
	f := newFixture(t)
	stolen, err := f.verifier.MarshalBinary()
	require.NoError(t, err)
	for _, password := range [][]byte{[]byte(fmt.Sprintf("%x", stolen)), []byte(fmt.Sprintf("%x", stolen[29:]))} {
		cfg := testConfig()
		cfg.Password = password
		hello, c, err := Start(cfg)
		require.NoError(t, err)
		answer, err := f.Receive(testSource, hello)
		require.NoError(t, err)
		proof, err := c.Challenge(answer.Frame)
		require.NoError(t, err)
		_, err = f.Receive(testSource, proof)
		require.ErrorIs(t, err, pake.ErrProof)
	}
}

// TestAuthorityWithoutTheVerifierIsFoundOut: it answers everything and yet proves nothing.
func TestAuthorityWithoutTheVerifierIsFoundOut(t *testing.T) {
	rogue := newFixture(t, func(c *AuthorityConfig) {
		c.Verifier = func(string) (*pake.Verifier, error) {
			return pake.NewVerifier(pake.Config{Stretch: quick}, testUser, testServer, []byte("a guess"))
		}
	})
	hello, c, err := Start(testConfig())
	require.NoError(t, err)
	answer, err := rogue.Receive(testSource, hello)
	require.NoError(t, err)
	proof, err := c.Challenge(answer.Frame)
	require.NoError(t, err)
	_, err = rogue.Receive(testSource, proof)
	require.ErrorIs(t, err, pake.ErrProof, "it learns that its guess was wrong")
	forged := frame.WelcomeFrame{Session: c.Session(), Sealed: make([]byte, 36)}
	b, err := forged.Append(nil)
	require.NoError(t, err)
	_, _, err = c.Welcome(b)
	require.ErrorIs(t, err, pake.ErrProof)
}

// TestNothingIsTrustedBeforeTheWelcome: the welcome is no use without the run, and the run is over after a wrong one.
func TestWelcomeOutOfOrder(t *testing.T) {
	f := newFixture(t)
	good := f.run(t, testConfig())
	_, c, err := Start(testConfig())
	require.NoError(t, err)
	_, _, err = c.Welcome(good.welcome)
	require.ErrorIs(t, err, ErrSession)
	own := bytes.Clone(good.welcome)
	id := c.Session()
	copy(own[2:], id[:])
	_, _, err = c.Welcome(own)
	require.ErrorIs(t, err, ErrState)
}

// TestEveryBitOfARunCounts flips each bit of each frame under way: no run ends with keys on both sides, and a client
// never accepts a welcome that its own frames and the authority's did not lead to.
func TestEveryBitOfARunCounts(t *testing.T) {
	f := newFixture(t)
	flip := func(b []byte, bit int) []byte {
		b = bytes.Clone(b)
		b[bit/8] ^= 1 << (bit % 8)
		return b
	}
	sample := f.run(t, testConfig())
	// A field each, and every bit of what is short.
	for step, length := range []int{len(sample.hello), len(sample.challenge), len(sample.proof), len(sample.welcome)} {
		for bit := 0; bit < 8*length; bit += 11 {
			err := func() error {
				hello, c, err := Start(testConfig())
				if err != nil {
					return err
				}
				frames := func(n int, b []byte) []byte {
					if n == step {
						return flip(b, bit)
					}
					return b
				}
				answer, err := f.Receive(testSource, frames(0, hello))
				if err != nil {
					return err
				}
				proof, err := c.Challenge(frames(1, answer.Frame))
				if err != nil {
					return err
				}
				answer, err = f.Receive(testSource, frames(2, proof))
				if err != nil {
					return err
				}
				welcome, err := answer.Session.Welcome(testWelcome)
				if err != nil {
					return err
				}
				_, _, err = c.Welcome(frames(3, welcome))
				return err
			}()
			require.Error(t, err, "frame %d, bit %d", step+1, bit)
		}
	}
}

func TestChallengeFromAnotherServer(t *testing.T) {
	f := newFixture(t)
	hello, c, err := Start(testConfig())
	require.NoError(t, err)
	answer, err := f.Receive(testSource, hello)
	require.NoError(t, err)
	ch, err := frame.ParseChallenge(answer.Frame)
	require.NoError(t, err)
	ch.Server = "broker.evil"
	b, err := ch.Append(nil)
	require.NoError(t, err)
	_, err = c.Challenge(b)
	require.ErrorIs(t, err, ErrServerName)
	_, err = c.Challenge(answer.Frame)
	require.ErrorIs(t, err, ErrState)
}

// TestGroupDowngrade: the man in the middle strikes the preferred group off the hello. Both still have a group in
// common, but not the context.
func TestGroupDowngrade(t *testing.T) {
	f := newFixture(t)
	cfg := testConfig()
	cfg.Groups = []pake.Group{pake.Ristretto255, pake.P256}
	hello, c, err := Start(cfg)
	require.NoError(t, err)
	h, err := frame.ParseHello(hello)
	require.NoError(t, err)
	h.Groups, h.Elements = h.Groups[1:], h.Elements[1:]
	b, err := h.Append(nil)
	require.NoError(t, err)
	answer, err := f.Receive(testSource, b)
	require.NoError(t, err)
	proof, err := c.Challenge(answer.Frame)
	require.NoError(t, err)
	_, err = f.Receive(testSource, proof)
	require.ErrorIs(t, err, pake.ErrProof)
}

func TestEitherOfTwoGroupsServes(t *testing.T) {
	cfg := testConfig()
	cfg.Groups = []pake.Group{pake.Ristretto255, pake.P256}
	newFixture(t).run(t, cfg) // the verifier is of the second
	v, err := pake.NewVerifier(pake.Config{Group: pake.Ristretto255, Stretch: quick}, testUser, testServer, testPassword)
	require.NoError(t, err)
	f := newFixture(t, func(c *AuthorityConfig) {
		c.Verifier = func(string) (*pake.Verifier, error) { return v, nil }
	})
	f.run(t, cfg)
	hello, _, err := Start(testConfig()) // offers P-256 alone
	require.NoError(t, err)
	_, err = f.Receive(testSource, hello)
	require.ErrorIs(t, err, ErrGroup)
}

func TestStretchingBelowTheFloorIsRefused(t *testing.T) {
	f := newFixture(t)
	cfg := testConfig()
	cfg.Stretch = pake.Stretch{Time: 2, Memory: 1024, Threads: 1}
	hello, c, err := Start(cfg)
	require.NoError(t, err)
	answer, err := f.Receive(testSource, hello)
	require.NoError(t, err)
	_, err = c.Challenge(answer.Frame)
	require.ErrorIs(t, err, pake.ErrStretch)
}

// TestSplicing: frames of one run do not serve in another, whichever direction they go.
func TestSplicing(t *testing.T) {
	f := newFixture(t)
	one := f.run(t, testConfig())
	hello, c, err := Start(testConfig())
	require.NoError(t, err)
	answer, err := f.Receive(testSource, hello)
	require.NoError(t, err)
	_, err = c.Challenge(one.challenge)
	require.ErrorIs(t, err, ErrSession)
	id := c.Session()
	spliced := bytes.Clone(one.proof)
	copy(spliced[2:], id[:])
	_, err = f.Receive(testSource, spliced)
	require.ErrorIs(t, err, pake.ErrProof)
	_, err = c.Challenge(answer.Frame)
	require.NoError(t, err, "the client is none the worse")
}

func TestFramesOfOtherTypesAreNoRun(t *testing.T) {
	f := newFixture(t)
	r := f.run(t, testConfig())
	for _, b := range [][]byte{r.challenge, r.welcome} {
		_, err := f.Receive(testSource, b)
		require.ErrorIs(t, err, ErrState)
	}
	_, c, err := Start(testConfig())
	require.NoError(t, err)
	for _, b := range [][]byte{r.hello, r.proof, r.welcome, nil, {1}} {
		_, err := c.Challenge(b)
		require.ErrorIs(t, err, codec.ErrMalformed)
	}
}

func TestBudgetIsSpentBeforeTheAnswer(t *testing.T) {
	budget, err := pake.NewBudget(pake.BudgetConfig{Free: 2})
	require.NoError(t, err)
	f := newFixture(t, func(c *AuthorityConfig) { c.Budget = budget })
	cfg := testConfig()
	for range 2 {
		hello, _, err := Start(cfg)
		require.NoError(t, err)
		_, err = f.Receive(testSource, hello)
		require.NoError(t, err)
	}
	hello, _, err := Start(cfg)
	require.NoError(t, err)
	answer, err := f.Receive(testSource, hello)
	var wait *pake.BackoffError
	require.ErrorAs(t, err, &wait)
	require.Nil(t, answer.Frame)
	_, err = f.Receive("198.51.100.1", hello)
	require.NoError(t, err, "the user gets in from elsewhere")
}

func TestLookupFailureIsNoUnknownUser(t *testing.T) {
	failure := errors.New("disk")
	f := newFixture(t, func(c *AuthorityConfig) {
		c.Verifier = func(string) (*pake.Verifier, error) { return nil, failure }
	})
	hello, _, err := Start(testConfig())
	require.NoError(t, err)
	_, err = f.Receive(testSource, hello)
	require.ErrorIs(t, err, failure)
}

func TestNewAuthorityRefuses(t *testing.T) {
	good := newFixture(t).cfg
	for name, change := range map[string]func(*AuthorityConfig){
		"no name":       func(c *AuthorityConfig) { c.Server = "" },
		"no verifiers":  func(c *AuthorityConfig) { c.Verifier = nil },
		"no decoys":     func(c *AuthorityConfig) { c.Decoys = nil },
		"no budget":     func(c *AuthorityConfig) { c.Budget = nil },
		"negative runs": func(c *AuthorityConfig) { c.MaxRuns = -1 },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := good
			change(&cfg)
			_, err := NewAuthority(cfg)
			require.Error(t, err)
		})
	}
}

func TestStartRefuses(t *testing.T) {
	for name, change := range map[string]func(*ClientConfig){
		"no server":   func(c *ClientConfig) { c.Server = "" },
		"no user":     func(c *ClientConfig) { c.User = "" },
		"no client":   func(c *ClientConfig) { c.ClientID = "" },
		"a bad one":   func(c *ClientConfig) { c.ClientID = "a/b" },
		"no password": func(c *ClientConfig) { c.Password = nil },
		"a group":     func(c *ClientConfig) { c.Groups = []pake.Group{9} },
		"twice":       func(c *ClientConfig) { c.Groups = []pake.Group{1, 1} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig()
			change(&cfg)
			_, _, err := Start(cfg)
			require.Error(t, err)
		})
	}
}

func TestNothingPrintsASecret(t *testing.T) {
	f := newFixture(t)
	r := f.run(t, testConfig())
	_, c, err := Start(testConfig())
	require.NoError(t, err)
	binding := r.client.Binding()
	for _, v := range []any{r.client, r.client.Keys, r.authority, c, f.Authority} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
			out := fmt.Sprintf(verb, v)
			require.NotContains(t, out, string(testPassword))
			require.NotContains(t, out, fmt.Sprintf("%x", testPassword))
			require.NotContains(t, out, fmt.Sprintf("%x", binding[:]))
			require.Less(t, len(out), 80, out)
		}
	}
}

func TestWelcomeKeepsWholeSeconds(t *testing.T) {
	for _, w := range []Welcome{{Lifetime: -time.Second}, {MaxClaim: -1}, {Lifetime: (1 << 32) * time.Second}} {
		_, err := w.encode()
		require.ErrorIs(t, err, codec.ErrMalformed)
	}
	b, err := testWelcome.encode()
	require.NoError(t, err)
	b[12] |= 2
	_, err = decodeWelcome(b)
	require.ErrorIs(t, err, codec.ErrMalformed, "an unknown flag")
}
