package pake

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

var decoySecret = bytes.Repeat([]byte{7}, 32)

func newDecoys(t testing.TB, cfg Config) *Decoys {
	t.Helper()
	d, err := NewDecoys(cfg, decoySecret)
	require.NoError(t, err)
	return d
}

// TestDecoysLookLikeUsers: the same lengths, the same group and costs, a salt
// that is as stable as a user's and as different from the next, the same error
// in the same place.
func TestDecoysLookLikeUsers(t *testing.T) {
	for _, g := range groups {
		cfg := Config{Group: g, Stretch: Stretch{Time: 1, Memory: 1024, Threads: 1}}
		d := newDecoys(t, cfg)
		v := enrol(t, cfg)
		wrong := func(user string, v *Verifier) run {
			r := run{client: cfg, server: cfg, user: user, verifier: d.Verifier(user, "broker", v), password: []byte("wrong")}
			require.ErrorIs(t, r.login(), ErrProof)
			require.Equal(t, 3, r.reached)
			return r
		}
		known, unknown, again := wrong("alice", v), wrong("mallory", nil), wrong("mallory", nil)
		other := wrong("trent", nil)

		require.Len(t, unknown.msg2, len(known.msg2))
		salt := headerLen + groupLen + recipeLen - saltLen
		require.Equal(t, known.msg2[:salt], unknown.msg2[:salt], "version, kind, group, algorithm, costs")
		saltOf := func(r run) []byte { return r.msg2[salt:][:saltLen] }
		require.Equal(t, saltOf(unknown), saltOf(again))
		require.NotEqual(t, saltOf(unknown), saltOf(known))
		require.NotEqual(t, saltOf(unknown), saltOf(other))
		require.NotEqual(t, unknown.msg2[salt+saltLen:], again.msg2[salt+saltLen:], "Y is fresh")

		restarted := newDecoys(t, cfg).Verifier("mallory", "broker", nil)
		require.Equal(t, saltOf(unknown), restarted.recipe.salt[:])
		elsewhere := d.Verifier("mallory", "broker2", nil)
		require.NotEqual(t, saltOf(unknown), elsewhere.recipe.salt[:])
		shifted := d.Verifier("malloryb", "roker", nil)
		require.NotEqual(t, saltOf(unknown), shifted.recipe.salt[:])
	}
}

func TestDecoysWithoutStretchingHaveNoSalt(t *testing.T) {
	cfg := quick(P256)
	r := run{client: cfg, server: cfg, user: "mallory", verifier: newDecoys(t, cfg).Verifier("mallory", "broker", nil)}
	require.ErrorIs(t, r.login(), ErrProof)
	require.Equal(t, 3, r.reached, "message 2 is well formed")
}

// TestUsersLogInBesideDecoys, also after the caller's secret was overwritten.
func TestUsersLogInBesideDecoys(t *testing.T) {
	for _, g := range groups {
		cfg := Config{Group: g, Stretch: Stretch{Time: 1, Memory: 1024, Threads: 1}}
		secret := bytes.Clone(decoySecret)
		d, err := NewDecoys(cfg, secret)
		require.NoError(t, err)
		clear(secret)
		r := run{client: cfg, server: cfg, verifier: d.Verifier("alice", "broker", enrol(t, cfg))}
		r.mustLogin(t)
		require.Equal(t, newDecoys(t, cfg).Verifier("mallory", "broker", nil).recipe, d.Verifier("mallory", "broker", nil).recipe)
	}
}

// TestNoPasswordFitsADecoy: not even the exponent behind it, which only the
// secret gives away.
func TestNoPasswordFitsADecoy(t *testing.T) {
	for _, g := range groups {
		cfg := quick(g)
		decoy := *enrol(t, cfg)
		decoy.decoy = true
		r := run{client: cfg, server: cfg, verifier: &decoy}
		require.ErrorIs(t, r.login(), ErrProof)
		require.Nil(t, r.msg4)
		require.Nil(t, r.serverKey)
	}
}

// TestDecoysDoTheSameWork: a decoy and a verifier take the same steps, counted
// in what they allocate. (A clock would say the same less reliably.)
func TestDecoysDoTheSameWork(t *testing.T) {
	for _, g := range groups {
		cfg := Config{Group: g, Stretch: Stretch{Time: 1, Memory: 1024, Threads: 1}}
		d := newDecoys(t, cfg)
		stored := enrol(t, cfg)
		work := func(user string, v *Verifier) float64 {
			msg1, _, err := Start(cfg, user, "broker", password)
			require.NoError(t, err)
			wrong := encodeProof(kindProof, [32]byte{})
			return testing.AllocsPerRun(20, func() {
				_, s, err := Respond(cfg, user, "broker", d.Verifier(user, "broker", v), msg1)
				if err != nil {
					panic(err)
				}
				if _, _, err := s.Finish(wrong); err != ErrProof {
					panic(err)
				}
			})
		}
		require.Equal(t, work("alice", stored), work("mally", nil))
	}
}

func TestDecoysAreNotStored(t *testing.T) {
	decoy := newDecoys(t, quick(P256)).Verifier("mallory", "broker", nil)
	_, err := decoy.MarshalBinary()
	require.Error(t, err)
	_, err = decoy.MarshalText()
	require.Error(t, err)
}

func TestNewDecoysValidates(t *testing.T) {
	_, err := NewDecoys(Config{}, decoySecret[:31])
	require.Error(t, err)
	_, err = NewDecoys(Config{Group: 9}, decoySecret)
	require.Error(t, err)
}
