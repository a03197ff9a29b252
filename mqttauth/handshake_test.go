package mqttauth

import (
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/pake"
)

type connector = func(testing.TB, wrapper, *url.URL, string) (peer, error)

func newClient(t testing.TB, change ...func(*Config)) *Client {
	t.Helper()
	cfg := testConfig()
	for _, c := range change {
		c(&cfg)
	}
	c, err := New(cfg)
	require.NoError(t, err)
	return c
}

// TestApplicationCodeIsUnchanged: both clients connect, subscribe and publish as without MQTT-Auth, and see nothing
// of it.
func TestApplicationCodeIsUnchanged(t *testing.T) {
	onBoth(t, func(t *testing.T, connect connector) {
		h := newHalf(t, misdeeds{})
		c := newClient(t)
		p, err := connect(t, c, h.url(), uniqueID())
		require.NoError(t, err)
		require.NoError(t, p.subscribe("site/#"))
		require.NoError(t, p.publish("site/7", "21.5"))
		require.Equal(t, "site/7 21.5", next(t, p))
		require.Empty(t, p.received(), "nothing of the handshake reaches the application")
		require.NotContains(t, string(h.recording()), string(testPassword))
	})
}

func TestWrongPassword(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, connect connector) {
		h := newHalf(t, misdeeds{})
		for name, change := range map[string]func(*Config){
			"password": func(c *Config) { c.Password = []byte("wrong") },
			"user":     func(c *Config) { c.User = "nobody" },
		} {
			t.Run(name, func(t *testing.T) {
				_, err := connect(t, newClient(t, change), h.url(), uniqueID())
				require.ErrorIs(t, err, ErrPassword)
			})
		}
	})
}

// TestBrokerThatDoesNotProveItself covers an authority without the verifier, a broker that skips the handshake, one
// that leaves out the welcome, a code or Session Present that the authority did not say, and frames changed on the
// way.
func TestBrokerThatDoesNotProveItself(t *testing.T) {
	t.Parallel()
	flip := func(which frame.Type, at int) func(frame.Type, []byte) []byte {
		return func(t frame.Type, b []byte) []byte {
			if t == which {
				b = append([]byte(nil), b...)
				b[at] ^= 1
			}
			return b
		}
	}
	for name, c := range map[string]struct {
		bad    misdeeds
		want   error
		v5Only bool
	}{
		"no verifier":          {misdeeds{wrongPass: true}, ErrUnproved, false},
		"handshake skipped":    {misdeeds{success: true}, ErrDowngrade, true},
		"welcome left out":     {misdeeds{noWelcome: true}, ErrDowngrade, true},
		"another code":         {misdeeds{otherCode: 0x87}, ErrDowngrade, true},
		"another session":      {misdeeds{otherSession: true}, ErrDowngrade, true},
		"AUTH of another kind": {misdeeds{authReason: wire.ReAuthenticate}, ErrUnproved, true},
		"another method":       {misdeeds{authMethod: method + "2"}, ErrUnproved, true},
		"welcome changed":      {misdeeds{spoil: flip(frame.Welcome, 60)}, ErrUnproved, false},
		"proof of it changed":  {misdeeds{spoil: flip(frame.Welcome, 20)}, ErrUnproved, false},
		"group changed":        {misdeeds{spoil: flip(frame.Challenge, frame.HeaderSize)}, ErrUnproved, false},
		"name changed":         {misdeeds{spoil: flip(frame.Challenge, frame.HeaderSize+4)}, ErrServerName, false},
		"element changed":      {misdeeds{spoil: flip(frame.Challenge, 80)}, ErrUnproved, false},
	} {
		t.Run(name, func(t *testing.T) {
			onBoth(t, func(t *testing.T, connect connector) {
				h := newHalf(t, c.bad)
				if c.v5Only {
					if _, ok := connectIsV5(t); !ok {
						return
					}
				}
				_, err := connect(t, newClient(t), h.url(), uniqueID())
				require.ErrorIs(t, err, c.want)
			})
		})
	}
}

// connectIsV5 tells from the subtest's name which client it is for.
func connectIsV5(t *testing.T) (string, bool) {
	name := t.Name()
	return name, name[len(name)-2:] == "v5"
}

// TestSilence: an authority that does not answer ends in ErrTimeout, and behind the proof in what that most likely
// means.
func TestSilence(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, connect connector) {
		quickly := func(c *Config) { c.Timeout = time.Second }
		_, err := connect(t, newClient(t, quickly), newHalf(t, misdeeds{silent: true}).url(), uniqueID())
		require.ErrorIs(t, err, ErrTimeout)
		require.NotErrorIs(t, err, ErrPassword)
		unanswered(t, func(limit time.Duration) error {
			c := newClient(t, func(c *Config) { c.Timeout = limit })
			_, err := connect(t, c, newHalf(t, misdeeds{silentProof: true}).url(), uniqueID())
			return err
		})
	})
}

// unanswered demands that login ends in ErrTimeout and says that the password is wrong, which it can only when the time
// was long enough to come to the proof.
func unanswered(t *testing.T, login func(limit time.Duration) error) {
	t.Helper()
	for limit := time.Second; ; limit *= 2 {
		err := login(limit)
		require.ErrorIs(t, err, ErrTimeout)
		if errors.Is(err, ErrPassword) {
			return
		}
		require.Less(t, limit, patience, "%v", err)
	}
}

// TestStretchingFloor: an authority cannot make the client pay less than its floor.
func TestStretchingFloor(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, connect connector) {
		dear := func(c *Config) { c.Stretch = pake.Stretch{Time: 2, Memory: 2048, Threads: 1} }
		_, err := connect(t, newClient(t, dear), newHalf(t, misdeeds{}).url(), uniqueID())
		require.ErrorIs(t, err, pake.ErrStretch)
	})
}

func TestClientIDRules(t *testing.T) {
	onBoth(t, func(t *testing.T, connect connector) {
		h := newHalf(t, misdeeds{})
		_, err := connect(t, newClient(t), h.url(), "not/valid")
		require.ErrorIs(t, err, ErrClientID)
		_, err = connect(t, newClient(t, func(c *Config) { c.ClientID = "mine" }), h.url(), "yours")
		require.ErrorIs(t, err, ErrClientID)
	})
}
