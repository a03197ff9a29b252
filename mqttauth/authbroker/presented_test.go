package authbroker_test

import (
	"context"
	"io"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// owned has alice claim plant/#.
func (w *world) owned(ctx context.Context, t *testing.T, v wire.Version) (mqttauth.OwnerToken, *mqttauth.Client) {
	t.Helper()
	alice, r := w.loginAs(t, "alice", v)
	go func() { _, _ = io.Copy(io.Discard, r) }()
	owner, err := mqttauth.NewOwnerToken("plant/#")
	require.NoError(t, err)
	_, err = alice.Claim(ctx, owner, time.Hour)
	require.NoError(t, err)
	return owner, alice
}

// TestRevokedAsItIsPresented: the owner takes a token back when the store has just been asked what its holder was
// granted, and the holder's connection is not yet among those that live by the claim. It ends all the same.
func TestRevokedAsItIsPresented(t *testing.T) {
	t.Parallel()
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			store, err := authbroker.NewSlowStore()
			require.NoError(t, err)
			enrol(t, store.Store, "alice", "bob")
			w := newWorld(t, func(c *authbroker.Config) { c.Store = store.Store })
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			owner, alice := w.owned(ctx, t, v)
			token, err := owner.Auth2("plant/1", time.Now().Add(time.Hour))
			require.NoError(t, err)

			bob, r := w.loginAs(t, "bob", v)
			next := make(chan wire.Packet)
			go func() { // the client hears that the token was accepted while somebody reads
				p, _ := wire.Read(r, wire.MaxPacket)
				next <- p
			}()
			store.BehindTheNextLook(func() {
				if err := alice.Revoke(ctx, "plant/#", token.ID()); err != nil {
					t.Error(err)
				}
			})
			require.NoError(t, bob.Present(ctx, token))
			r.send((&wire.SubscribePacket{ID: 1, Subscriptions: []wire.Subscription{{Filter: []byte("plant/1")}}}).Append(nil, v))
			suback, err := wire.ParseSuback(<-next, v)
			require.NoError(t, err)
			require.GreaterOrEqual(t, suback.Codes[0], byte(wire.V3SubscriptionFailure))
		})
	}
}

// watched is a clock that can be put forward, whose timers never fire, and that tells when one is set.
type watched struct {
	ahead atomic.Int64
	set   func()
}

func (c *watched) Now() time.Time { return time.Now().Add(time.Duration(c.ahead.Load())) }

func (c *watched) AfterFunc(time.Duration, func()) func() bool {
	if c.ahead.Load() > 0 {
		c.set()
	}
	return func() bool { return true }
}

// TestGrantIsGoneBeforeItsTimeIs: a packet of one direction finds that a token has expired, and one of the other, which
// need not look any more then, does not go by it either.
func TestGrantIsGoneBeforeItsTimeIs(t *testing.T) {
	t.Parallel()
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			clock, found := new(watched), make(chan []bool, 16)
			w := newWorld(t, func(c *authbroker.Config) { c.Clock = clock })
			clock.set = func() { found <- w.listener.MayReceive("bob", "plant/1") }
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			owner, _ := w.owned(ctx, t, v)
			var tokens []mqttauth.Token
			for topic, life := range map[string]time.Duration{"plant/1": 10 * time.Minute, "plant/2": 30 * time.Minute} {
				token, err := owner.Auth2(topic, time.Now().Add(life))
				require.NoError(t, err)
				tokens = append(tokens, token)
			}
			_, r := w.loginAs(t, "bob", v, tokens...)
			require.Equal(t, []bool{true}, w.listener.MayReceive("bob", "plant/1"))
			clock.ahead.Store(int64(20 * time.Minute))
			require.Less(t, r.subscribed("plant/2"), byte(wire.V3SubscriptionFailure))
			require.Equal(t, []bool{false}, <-found)
		})
	}
}
