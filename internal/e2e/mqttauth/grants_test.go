package mqttauth

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

func TestClaims(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		w := newWorld(t, func(c *authbroker.Config) { c.MaxClaims = 3 })
		claim := func(c *mqttauth.Client, filter string) error {
			owner, err := mqttauth.NewOwnerToken(filter)
			require.NoError(t, err)
			_, err = c.Claim(ctx(t), owner, time.Hour)
			return err
		}
		owner, alice := w.owned(t, lib, "alice", "plant/+/t")
		_, eve := w.connect(t, lib, "eve", settings{})
		for _, filter := range []string{"plant/+/t", "plant/#", "plant/1/t", "plant/1/+"} {
			require.ErrorIs(t, claim(eve, filter), mqttauth.ErrTaken, filter)
		}
		for _, filter := range []string{"#", "+/1/t", "+", "$SYS/#", "$x", "$CONTROL/#", "mqttauth/#", "mqttauth/auth", "mqttauth/c/device", "mqttauth/+/+"} {
			require.ErrorIs(t, claim(eve, filter), mqttauth.ErrForbidden, filter)
		}
		require.NoError(t, claim(eve, "plant/1/u"))
		require.NoError(t, claim(eve, "a"))
		require.NoError(t, claim(eve, "b"))
		require.ErrorIs(t, claim(eve, "c"), mqttauth.ErrLimit)
		require.ErrorIs(t, claim(alice, "plant/+/t"), mqttauth.ErrSuperseded, "with another secret: a new epoch is the way")
		_, err := alice.Claim(ctx(t), owner, time.Hour)
		require.NoError(t, err, "renewed")
		require.ErrorIs(t, eve.Release(ctx(t), "plant/+/t"), mqttauth.ErrUnclaimed)
		next, err := owner.Next()
		require.NoError(t, err)
		_, err = eve.NewEpoch(ctx(t), next)
		require.ErrorIs(t, err, mqttauth.ErrUnclaimed)
		require.ErrorIs(t, eve.Revoke(ctx(t), "plant/+/t", mqttauth.TokenID{}), mqttauth.ErrUnclaimed)
		require.NoError(t, alice.Release(ctx(t), "plant/+/t"))
		require.NoError(t, eve.Release(ctx(t), "b"))
		require.NoError(t, claim(eve, "plant/1/t"), "free again")
	})
}

// TestAdministratorPolicy: wildcards in the first level and $ topics are the administrator's to give.
func TestAdministratorPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *authbroker.Config) {
		c.MayClaim = func(user, filter string) bool { return user == "alice" && (filter == "#" || filter == "$SYS/#") }
	})
	owner, _ := w.owned(t, connectV5, "alice", "#")
	_, eve := w.connect(t, connectV5, "eve", settings{}, issue(t, owner, mqttauth.Auth2, "#", time.Hour))
	other, err := mqttauth.NewOwnerToken("mine/#")
	require.NoError(t, err)
	_, err = eve.Claim(ctx(t), other, time.Hour)
	require.ErrorIs(t, err, mqttauth.ErrForbidden)
	w.owned(t, connectV5, "alice", "$SYS/#")
}

func TestTokenExpires(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		w := newWorld(t, nil)
		owner, _ := w.owned(t, lib, "alice", "plant/#")
		var brief mqttauth.Token
		var reader peer
		inTime(t, func(life time.Duration) bool {
			brief = issue(t, owner, mqttauth.Auth2, "plant/#", life)
			reader, _ = w.connect(t, lib, "bob", settings{}, brief)
			err := reader.subscribe("plant/1")
			require.True(t, err == nil || !time.Now().Before(brief.Expires().Add(-time.Second)), "refused before the end: %v", err)
			return err == nil
		})
		loses(t, reader)
		late, c := w.connect(t, lib, "bob", settings{}, brief)
		require.Error(t, late.subscribe("plant/1"))
		require.ErrorIs(t, c.Present(ctx(t), brief), mqttauth.ErrExpired)
	})
}

// asleep is a clock that can be set, and whose timers never fire, as on a machine that sleeps.
type asleep struct{ ahead atomic.Int64 }

func (c *asleep) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (*asleep) AfterFunc(time.Duration, func()) func() bool { return func() bool { return true } }

// TestTokenExpiresThoughNoTimerFires: the clock jumps, and the next packet in either direction is judged by it.
func TestTokenExpiresThoughNoTimerFires(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		clock := new(asleep)
		w := newWorld(t, func(c *authbroker.Config) { c.Clock = clock })
		owner, _ := w.owned(t, lib, "alice", "plant/#")
		reader, _ := w.connect(t, lib, "bob", settings{}, issue(t, owner, mqttauth.Auth2, "plant/#", 10*time.Minute))
		require.NoError(t, reader.subscribe("plant/1"))
		writer, _ := w.connect(t, lib, "eve", settings{}, issue(t, owner, mqttauth.Auth1, "plant/#", 30*time.Minute))
		require.NoError(t, writer.publish("plant/1", 1, "before"))
		receives(t, reader, "plant/1 before")
		clock.ahead.Store(int64(20 * time.Minute))
		require.NoError(t, writer.publish("plant/1", 1, "the reader's is over"))
		loses(t, reader)
		require.Empty(t, reader.received())
		clock.ahead.Store(int64(40 * time.Minute))
		require.Error(t, writer.publish("plant/1", 1, "and the writer's"))
	})
}

func TestOwnerTakesBack(t *testing.T) {
	t.Parallel()
	ways := map[string]func(t *testing.T, alice *mqttauth.Client, owner mqttauth.OwnerToken, token mqttauth.Token) error{
		"revoke": func(t *testing.T, alice *mqttauth.Client, owner mqttauth.OwnerToken, token mqttauth.Token) error {
			return alice.Revoke(ctx(t), owner.Filter(), token.ID())
		},
		"new epoch": func(t *testing.T, alice *mqttauth.Client, owner mqttauth.OwnerToken, _ mqttauth.Token) error {
			next, err := owner.Next()
			require.NoError(t, err)
			_, err = alice.NewEpoch(ctx(t), next)
			return err
		},
		"release": func(t *testing.T, alice *mqttauth.Client, owner mqttauth.OwnerToken, _ mqttauth.Token) error {
			return alice.Release(ctx(t), owner.Filter())
		},
	}
	onBoth(t, func(t *testing.T, lib library) {
		for name, take := range ways {
			t.Run(name, func(t *testing.T) {
				w := newWorld(t, nil)
				owner, alice := w.owned(t, lib, "alice", "plant/#")
				read, write := issue(t, owner, mqttauth.Auth2, "plant/#", time.Hour), issue(t, owner, mqttauth.Auth1, "plant/#", time.Hour)
				reader, _ := w.connect(t, lib, "bob", settings{}, read)
				require.NoError(t, reader.subscribe("plant/1"))
				writer, _ := w.connect(t, lib, "eve", settings{}, write)
				require.NoError(t, writer.publish("plant/1", 1, "before"))
				receives(t, reader, "plant/1 before")
				require.NoError(t, take(t, alice, owner, read))
				loses(t, reader)
				later, _ := w.connect(t, lib, "bob", settings{}, read)
				require.Error(t, later.subscribe("plant/1"))
				if name == "revoke" {
					require.NoError(t, writer.publish("plant/1", 1, "the other token stands"))
					return
				}
				require.Error(t, writer.publish("plant/1", 1, "after"))
			})
		}
	})
}

// TestOnceIsForOneUser: who presents a single-use token first has it, and nobody else, on any of her devices.
func TestOnceIsForOneUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	owner, _ := w.owned(t, connectV3, "alice", "plant/#")
	once, err := owner.Issue(mqttauth.Terms{Kind: mqttauth.Auth2, Filter: "plant/1", Expires: time.Now().Add(time.Hour), Once: true})
	require.NoError(t, err)
	_, bob := w.connect(t, connectV5, "bob", settings{})
	require.NoError(t, bob.Present(ctx(t), once))
	_, bobs := w.connect(t, connectV3, "bob", settings{})
	require.NoError(t, bobs.Present(ctx(t), once))
	_, eve := w.connect(t, connectV5, "eve", settings{})
	require.ErrorIs(t, eve.Present(ctx(t), once), mqttauth.ErrUsed)
}

// TestTokensLater: a token that comes later counts from then on, without a new connection.
func TestTokensLater(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		w := newWorld(t, func(c *authbroker.Config) { c.MaxTokens = 2 })
		owner, _ := w.owned(t, lib, "alice", "plant/#")
		reader, c := w.connect(t, lib, "bob", settings{})
		require.Error(t, reader.subscribe("plant/1"))
		require.NoError(t, c.Present(ctx(t), issue(t, owner, mqttauth.Auth2, "plant/1", time.Hour)))
		require.NoError(t, reader.subscribe("plant/1"))
		require.NoError(t, c.Present(ctx(t), issue(t, owner, mqttauth.Auth2, "plant/2", time.Hour)))
		require.ErrorIs(t, c.Present(ctx(t), issue(t, owner, mqttauth.Auth2, "plant/3", time.Hour)), mqttauth.ErrLimit)
	})
}

// TestSessionAndGrantsSurviveARestart: after the authority came back, a session goes on with what was granted before.
func TestSessionAndGrantsSurviveARestart(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		w := newWorld(t, nil)
		owner, _ := w.owned(t, lib, "alice", "plant/#")
		reader, _ := w.connect(t, lib, "bob", settings{persistent: true, reconnect: true}, issue(t, owner, mqttauth.Auth2, "plant/#", time.Hour))
		require.NoError(t, reader.subscribe("plant/1"))
		require.NoError(t, w.listener.Shutdown(ctx(t)))
		w.listen(t)
		loses(t, reader)
		writer, _ := w.connect(t, lib, "eve", settings{}, issue(t, owner, mqttauth.Auth1, "plant/#", time.Hour))
		require.NoError(t, writer.publish("plant/1", 1, "after the restart"))
		receives(t, reader, "plant/1 after the restart")
	})
}

// TestAdministratorRevokes: a user who is removed is cut off, and so is who lives by her claims.
func TestAdministratorRevokes(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		w := newWorld(t, nil)
		owner, _ := w.owned(t, lib, "alice", "plant/#")
		reader, _ := w.connect(t, lib, "bob", settings{}, issue(t, owner, mqttauth.Auth2, "plant/#", time.Hour))
		require.NoError(t, reader.subscribe("plant/1"))
		_, err := w.listener.Revoke(authbroker.Revocation{})
		require.Error(t, err)
		n, err := w.listener.Revoke(authbroker.Revocation{Claim: "plant/#"})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		loses(t, reader)
		other, _ := w.connect(t, lib, "eve", settings{})
		existed, err := w.store.RemoveUser("eve")
		require.NoError(t, err)
		require.True(t, existed)
		n, err = w.listener.Revoke(authbroker.Revocation{User: "eve"})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		loses(t, other)
		_, err = lib(t, w.client(t, "eve"), w.url, settings{})
		require.ErrorIs(t, err, mqttauth.ErrPassword)
	})
}

// TestReload: new public topics and rules count without anybody being cut off.
func TestReload(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	p, c := w.connect(t, connectV5, "alice", settings{})
	require.Error(t, p.publish("news/1", 1, "x"))
	cfg := w.config
	cfg.Public = []authbroker.Rule{{Filter: "news/#", Publish: true}}
	cfg.MayClaim = func(string, string) bool { return false }
	require.NoError(t, w.listener.Reload(cfg))
	require.NoError(t, p.publish("news/1", 1, "x"))
	require.Equal(t, 1, p.ups())
	cfg.Server = "another"
	require.Error(t, w.listener.Reload(cfg))
	_, _ = w.connect(t, connectV5, "alice", settings{})
	_ = c
}
