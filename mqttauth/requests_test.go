package mqttauth

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

// TestOwnerAndHolder: an owner claims and makes tokens offline; a holder's wallet presents itself after every
// handshake, before the application sees CONNACK; then epochs, revocation and release end what they should.
func TestOwnerAndHolder(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, connect connector) {
		h := newHalf(t, misdeeds{})
		ctx := testContext(t)
		owner := newClient(t)
		_, err := connect(t, owner, h.url(), uniqueID())
		require.NoError(t, err)
		o, err := NewOwnerToken("site/#")
		require.NoError(t, err)
		until, err := owner.Claim(ctx, o, time.Hour)
		require.NoError(t, err)
		require.WithinDuration(t, time.Now().Add(time.Hour), until, time.Minute)

		expires := time.Now().Add(time.Hour)
		auth1, err := o.Auth1("site/7/#", expires)
		require.NoError(t, err)
		auth2, err := o.Auth2("site/7/#", expires)
		require.NoError(t, err)
		wallet := NewWallet(auth1, auth2)
		var mu sync.Mutex
		refusals := map[TokenID]error{}
		bob := newClient(t, func(c *Config) {
			c.User, c.Wallet = "bob", wallet
			c.Refused = func(t Token, err error) {
				mu.Lock()
				defer mu.Unlock()
				refusals[t.ID()] = err
			}
		})
		_, err = connect(t, bob, h.url(), uniqueID())
		require.NoError(t, err)
		require.Equal(t, []string{"Auth1 site/7/#", "Auth2 site/7/#"}, h.grants())
		require.Empty(t, refusals)

		_, err = bob.Claim(ctx, o, time.Hour)
		require.ErrorIs(t, err, ErrTaken)
		var refusal *RefusedError
		require.ErrorAs(t, err, &refusal)
		require.Equal(t, "claim", refusal.Request)
		require.ErrorIs(t, bob.Revoke(ctx, "site/#", auth1.ID()), ErrUnclaimed)

		later, err := o.Auth2("site/8", expires)
		require.NoError(t, err)
		require.NoError(t, bob.Present(ctx, later))
		tokens, err := wallet.Tokens()
		require.NoError(t, err)
		require.Len(t, tokens, 3, "what is accepted later goes into the wallet")

		require.NoError(t, owner.Revoke(ctx, "site/#", later.ID()))
		require.ErrorIs(t, bob.Present(ctx, later), ErrRevoked)
		next, err := o.Next()
		require.NoError(t, err)
		_, err = owner.NewEpoch(ctx, next)
		require.NoError(t, err)
		require.ErrorIs(t, bob.Present(ctx, auth1), ErrSuperseded)
		require.NoError(t, owner.Release(ctx, "site/#"))
		require.ErrorIs(t, bob.Present(ctx, auth1), ErrUnclaimed)
	})
}

// TestTokensThatAreRefusedDoNotKeepTheClientOut, and those that have expired leave the wallet.
func TestTokensThatAreRefusedDoNotKeepTheClientOut(t *testing.T) {
	onBoth(t, func(t *testing.T, connect connector) {
		h := newHalf(t, misdeeds{})
		owner := newClient(t)
		_, err := connect(t, owner, h.url(), uniqueID())
		require.NoError(t, err)
		o, err := NewOwnerToken("site/#")
		require.NoError(t, err)
		_, err = owner.Claim(testContext(t), o, time.Hour)
		require.NoError(t, err)
		other, err := NewOwnerToken("site/#")
		require.NoError(t, err)
		forged, err := other.Auth1("site/7", time.Now().Add(time.Hour))
		require.NoError(t, err)
		expired, err := o.Auth1("site/7", time.Now().Add(-time.Second))
		require.NoError(t, err)
		good, err := o.Auth1("site/7", time.Now().Add(time.Hour))
		require.NoError(t, err)
		wallet := NewWallet(forged, expired, good)
		refusals := make(chan error, 3)
		bob := newClient(t, func(c *Config) {
			c.User, c.Wallet = "bob", wallet
			c.Refused = func(_ Token, err error) { refusals <- err }
		})
		_, err = connect(t, bob, h.url(), uniqueID())
		require.NoError(t, err)
		require.ErrorIs(t, <-refusals, ErrInvalid)
		require.ErrorIs(t, <-refusals, ErrExpired)
		require.Equal(t, []string{"Auth1 site/7"}, h.grants())
		tokens, err := wallet.Tokens()
		require.NoError(t, err)
		require.Len(t, tokens, 2)

		h.mu.Lock()
		h.claims["site/#"].until = time.Now()
		h.mu.Unlock()
		_, err = connect(t, bob, h.url(), uniqueID())
		require.NoError(t, err)
		require.ErrorIs(t, <-refusals, ErrInvalid)
		require.ErrorIs(t, <-refusals, ErrExpired, "the claim has")
		tokens, err = wallet.Tokens()
		require.NoError(t, err)
		require.Len(t, tokens, 2, "its owner may claim again")
	})
}

// TestManyTokens: more than a request holds, and more than the authority takes.
func TestManyTokens(t *testing.T) {
	h := newHalf(t, misdeeds{})
	h.max = 40
	owner := newClient(t)
	_, err := connectV5(t, owner, h.url(), uniqueID())
	require.NoError(t, err)
	o, err := NewOwnerToken("site/#")
	require.NoError(t, err)
	_, err = owner.Claim(testContext(t), o, time.Hour)
	require.NoError(t, err)
	wallet := NewWallet()
	for i := range 41 { // the first are too long for as many in one request as there are short ones
		filter := "site/7/temperature"
		if i < 20 {
			filter += strings.Repeat("x", 400)
		}
		tok, err := o.Auth1(filter, time.Now().Add(time.Hour))
		require.NoError(t, err)
		require.NoError(t, wallet.Add(tok))
	}
	refusals := make(chan error, 2)
	bob := newClient(t, func(c *Config) {
		c.User, c.Wallet = "bob", wallet
		c.Refused = func(_ Token, err error) { refusals <- err }
	})
	_, err = connectV5(t, bob, h.url(), uniqueID())
	require.NoError(t, err)
	require.Len(t, h.grants(), 40)
	require.ErrorIs(t, <-refusals, ErrLimit)
	require.Empty(t, refusals)
}

// TestRequestIsRepeatedUntilAnswered, and carried out once.
func TestRequestIsRepeatedUntilAnswered(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, connect connector) {
		h := newHalf(t, misdeeds{dropRequests: 2})
		c := newClient(t)
		_, err := connect(t, c, h.url(), uniqueID())
		require.NoError(t, err)
		o, err := NewOwnerToken("site/#")
		require.NoError(t, err)
		_, err = c.Claim(testContext(t), o, time.Hour)
		require.NoError(t, err)
		h.mu.Lock()
		defer h.mu.Unlock()
		require.Equal(t, 1, h.requests)
	})
}

func TestRequestsNeedAConnection(t *testing.T) {
	h := newHalf(t, misdeeds{})
	c := newClient(t)
	o, err := NewOwnerToken("site/#")
	require.NoError(t, err)
	_, err = c.Claim(testContext(t), o, time.Hour)
	require.ErrorIs(t, err, ErrNotConnected)
	twice := newClient(t, func(c *Config) { c.TwoPhase, c.ClientID, c.AllowPlaintext = true, "device", true })
	_, err = twice.Claim(testContext(t), o, time.Hour)
	require.ErrorIs(t, err, ErrNotConnected)
	near, _ := net.Pipe()
	_, err = twice.Conn(t.Context(), near)
	require.ErrorIs(t, err, ErrNotConnected, "without a ticket")
	p, err := connectV3(t, c, h.url(), uniqueID())
	require.NoError(t, err)
	_, err = c.Claim(testContext(t), o, time.Hour)
	require.NoError(t, err)
	require.ErrorContains(t, c.Present(testContext(t), Token{}), "the zero Token")
	p.close()
	require.Eventually(t, func() bool {
		_, err := c.Claim(testContext(t), o, time.Hour)
		return errors.Is(err, ErrNotConnected)
	}, patience, time.Millisecond)
}

func TestRequestRespectsItsContext(t *testing.T) {
	h := newHalf(t, misdeeds{dropRequests: 1 << 30})
	c := newClient(t)
	_, err := connectV5(t, c, h.url(), uniqueID())
	require.NoError(t, err)
	o, err := NewOwnerToken("site/#")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	_, err = c.Claim(ctx, o, time.Hour)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// TestWireHasNoSecret looks for the password and for the secrets of a token and its owner in all that went over the
// wire.
func TestWireHasNoSecret(t *testing.T) {
	onBoth(t, func(t *testing.T, connect connector) {
		h := newHalf(t, misdeeds{})
		o, err := NewOwnerToken("site/#")
		require.NoError(t, err)
		tok, err := o.Auth1("site/7", time.Now().Add(time.Hour))
		require.NoError(t, err)
		c := newClient(t, func(c *Config) { c.Wallet = NewWallet(tok) })
		_, err = connect(t, c, h.url(), uniqueID())
		require.NoError(t, err)
		_, err = c.Claim(testContext(t), o, time.Hour)
		require.NoError(t, err)
		require.NoError(t, c.Present(testContext(t), tok))
		went := string(h.recording())
		require.NotEmpty(t, went)
		require.NotContains(t, went, string(testPassword))
		secrets, err := tok.MarshalBinary()
		require.NoError(t, err)
		owned, err := o.MarshalBinary()
		require.NoError(t, err)
		for _, b := range [][]byte{secrets, owned} {
			for i := len(b) - 32; i > 32; i -= 8 {
				require.NotContains(t, went, string(b[i:i+8]))
			}
		}
	})
}

// TestRefusedForWantOfTokens: a client whose Will needs a token that it has not presented yet is refused, presents it
// all the same, and gets in when it comes again.
func TestRefusedForWantOfTokens(t *testing.T) {
	onBoth(t, func(t *testing.T, connect connector) {
		code := byte(5)
		if _, ok := connectIsV5(t); ok {
			code = 0x87
		}
		h := newHalf(t, misdeeds{refusal: code})
		o := mustOwner(t)
		roots, err := o.Roots()
		require.NoError(t, err)
		h.claims["site/#"] = &claim{owner: testUser, epoch: 1, roots: roots, until: time.Now().Add(time.Hour)}
		tok, err := o.Auth1("site/7", time.Now().Add(time.Hour))
		require.NoError(t, err)
		c := newClient(t, func(c *Config) { c.Wallet = NewWallet(tok) })
		h.misdeeds.refusal++ // for something else
		_, err = connect(t, c, h.url(), uniqueID())
		require.Error(t, err)
		require.Empty(t, h.grants(), "which tokens do not help against")
		h.misdeeds.refusal = code
		id := uniqueID()
		_, err = connect(t, c, h.url(), id)
		require.Error(t, err)
		require.NotErrorIs(t, err, ErrNotConnected, "the refusal is what the application hears")
		require.Equal(t, []string{"Auth1 site/7"}, h.grants())
		_, err = connect(t, c, h.url(), id)
		require.NoError(t, err)
	})
}
