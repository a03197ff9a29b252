package handshake

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/layer/layertest"
	"github.com/mqttsec/mqttsec/pake"
)

const (
	testServer = "broker.test"
	testUser   = "alice"
	testClient = "sensor-7"
	testSource = "192.0.2.7"
)

var (
	testPassword = []byte("correct horse battery staple")
	// quick is the least that package pake stretches.
	quick = pake.Stretch{Time: 1, Memory: 1024, Threads: 1}
)

func newClock() *layertest.Clock { return layertest.NewClock(time.Unix(1_800_000_000, 0)) }

// fixture is an authority that knows alice.
type fixture struct {
	*Authority
	cfg      AuthorityConfig
	verifier *pake.Verifier
	clock    *layertest.Clock
}

func newFixture(t testing.TB, change ...func(*AuthorityConfig)) *fixture {
	t.Helper()
	f := &fixture{clock: newClock()}
	var err error
	f.verifier, err = pake.NewVerifier(pake.Config{Stretch: quick}, testUser, testServer, testPassword)
	require.NoError(t, err)
	decoys, err := pake.NewDecoys(pake.Config{Stretch: quick}, make([]byte, 32))
	require.NoError(t, err)
	budget, err := pake.NewBudget(pake.BudgetConfig{Free: 1000, FreePerUser: 1000, FreePerSource: 1000})
	require.NoError(t, err)
	f.cfg = AuthorityConfig{
		Server: testServer, Decoys: decoys, Budget: budget, Now: f.clock.Now,
		Verifier: func(user string) (*pake.Verifier, error) {
			if user == testUser {
				return f.verifier, nil
			}
			return nil, nil
		},
	}
	for _, c := range change {
		c(&f.cfg)
	}
	f.Authority, err = NewAuthority(f.cfg)
	require.NoError(t, err)
	return f
}

func testConfig() ClientConfig {
	return ClientConfig{User: testUser, Server: testServer, ClientID: testClient, Password: testPassword, Stretch: quick}
}

// transcript is a run that went well.
type transcript struct {
	hello, challenge, proof, welcome []byte
	client                           *ClientSession
	authority                        *Session
	told                             Welcome
}

var testWelcome = Welcome{
	Lifetime: time.Hour, Time: time.Unix(1_800_000_000, 0), SessionPresent: true, ReturnCode: 0, MaxTokens: 64, MaxClaim: 24 * time.Hour,
}

func (f *fixture) run(t testing.TB, cfg ClientConfig) (r transcript) {
	t.Helper()
	hello, c, err := Start(cfg)
	require.NoError(t, err)
	r.hello = hello
	answer, err := f.Receive(testSource, hello)
	require.NoError(t, err)
	require.NotNil(t, answer.Frame)
	r.challenge = answer.Frame
	r.proof, err = c.Challenge(r.challenge)
	require.NoError(t, err)
	answer, err = f.Receive(testSource, r.proof)
	require.NoError(t, err)
	require.NotNil(t, answer.Session)
	r.authority = answer.Session
	r.welcome, err = r.authority.Welcome(testWelcome)
	require.NoError(t, err)
	r.client, r.told, err = c.Welcome(r.welcome)
	require.NoError(t, err)
	return r
}
