package acebroker

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	gocose "github.com/veraison/go-cose"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
	"github.com/mqttsec/mqttsec/internal/pop"
)

// TestTokenWithoutATime: exi counts from when the token is seen first, and a token that nobody remembers is caught by
// its number.
func TestTokenWithoutATime(t *testing.T) {
	a := newAS(t, "as")
	clock := layertest.NewClock(base)
	cfg := configFor(a, clock)
	cfg.CachedTokens = 2
	v := newTestVerifier(t, cfg)
	key := holder(t, pop.EdDSA).Verifier()
	token := func(number uint64) []byte {
		set := a.claimSet(key)
		set.Expires, set.IssuedAt = time.Time{}, time.Time{}
		set.ExpiresIn, set.ID = time.Minute, claims.SequenceID("broker", number)
		return a.sign(jsonOf(t, set), EdDSA, nil)
	}
	got, err := v.verify(context.Background(), token(5))
	require.NoError(t, err)
	require.Equal(t, base.Add(time.Minute), got.expires)
	clock.Advance(59 * time.Second)
	_, err = v.verify(context.Background(), token(5))
	require.NoError(t, err)
	clock.Advance(time.Second)
	_, err = v.verify(context.Background(), token(5))
	require.ErrorIs(t, err, ErrExpired)
	for n := range uint64(4) {
		_, err = v.verify(context.Background(), token(6+n))
		if n < 2 {
			require.NoError(t, err, "makes room for those that are not over")
		} else {
			require.ErrorIs(t, err, ErrExpired, "no room")
		}
	}
	_, err = v.verify(context.Background(), token(5))
	require.ErrorIs(t, err, ErrExpired, "forgotten, but its number is not")
	_, err = v.verify(context.Background(), token(4))
	require.ErrorIs(t, err, ErrExpired)

	clock.Advance(time.Minute)
	_, err = v.verify(context.Background(), token(8))
	require.NoError(t, err)
	for _, number := range []uint64{7, 6, 5, 4} {
		_, err = v.verify(context.Background(), token(number))
		require.ErrorIs(t, err, ErrExpired, "there is room, but %d is over", number)
	}
	_, err = v.verify(context.Background(), token(9))
	require.NoError(t, err)
}

// TestTokenWithoutATimeAndNumber: what is in no series that counts tokens for this broker could begin anew for ever.
func TestTokenWithoutATimeAndNumber(t *testing.T) {
	a := newAS(t, "as")
	v := newTestVerifier(t, configFor(a, layertest.NewClock(base)))
	set := a.claimSet(holder(t, pop.EdDSA).Verifier())
	set.Expires, set.ExpiresIn = time.Time{}, time.Minute
	for _, id := range []string{"", "token-1", claims.SequenceID("braker", 1), claims.SequenceID("", 1)} {
		set.ID = id
		_, err := v.verify(t.Context(), a.sign(jsonOf(t, set), EdDSA, nil))
		require.ErrorIs(t, err, ErrExpired, "%q", id)
	}
	set.ID = claims.SequenceID("mqtts://broker", 0)
	_, err := v.verify(t.Context(), a.sign(jsonOf(t, set), EdDSA, nil))
	require.NoError(t, err, "the second of the broker's names")
}

// TestTokenWithoutATimeInOtherBytes: whoever holds a CWT can write anything into its unprotected header, and gets
// another token that is as valid. It ends when the first one does.
func TestTokenWithoutATimeInOtherBytes(t *testing.T) {
	a := newAS(t, "as")
	clock := layertest.NewClock(base)
	v := newTestVerifier(t, configFor(a, clock))
	set := a.claimSet(holder(t, pop.EdDSA).Verifier())
	set.Expires, set.IssuedAt = time.Time{}, time.Time{}
	set.ExpiresIn, set.ID = time.Minute, claims.SequenceID("broker", 5)
	token := a.sign1(cborOf(t, set), EdDSA)
	_, err := v.verify(context.Background(), token)
	require.NoError(t, err)

	var m gocose.Sign1Message
	require.NoError(t, m.UnmarshalCBOR(token))
	m.Headers.Unprotected[int64(4711)] = "another"
	m.Headers.RawUnprotected = nil
	other, err := m.MarshalCBOR()
	require.NoError(t, err)
	require.NotEqual(t, token, other)
	clock.Advance(59 * time.Second)
	got, err := v.verify(context.Background(), other)
	require.NoError(t, err)
	require.Equal(t, base.Add(time.Minute), got.expires)
	clock.Advance(time.Second)
	m.Headers.Unprotected[int64(4711)] = "a third"
	m.Headers.RawUnprotected = nil
	other, err = m.MarshalCBOR()
	require.NoError(t, err)
	_, err = v.verify(context.Background(), other)
	require.ErrorIs(t, err, ErrExpired)
}
