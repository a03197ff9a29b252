package authbroker_test

import (
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

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
			alice, read := w.loginAs(t, "alice", v)
			go func() { _, _ = io.Copy(io.Discard, read) }()
			owner, err := mqttauth.NewOwnerToken("plant/#")
			require.NoError(t, err)
			_, err = alice.Claim(ctx, owner, time.Hour)
			require.NoError(t, err)
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
