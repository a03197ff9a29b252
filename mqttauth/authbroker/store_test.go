package authbroker

import (
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
	"github.com/mqttsec/mqttsec/pake"
)

// onBothStores runs a test in memory and on disk.
func onBothStores(t *testing.T, f func(t *testing.T, s *Store)) {
	t.Run("memory", func(t *testing.T) { f(t, MemoryStore()) })
	t.Run("file", func(t *testing.T) {
		s, err := OpenStore(filepath.Join(t.TempDir(), "db"))
		require.NoError(t, err)
		t.Cleanup(func() { s.Close() })
		f(t, s)
	})
}

func verifier(t *testing.T, user string) *pake.Verifier {
	t.Helper()
	v, err := pake.NewVerifier(pake.Config{Stretch: pake.Stretch{Skip: true}}, user, victimServer, []byte("secret of "+user))
	require.NoError(t, err)
	return v
}

func TestStoreUsers(t *testing.T) {
	onBothStores(t, func(t *testing.T, s *Store) {
		none, err := s.Verifier("alice")
		require.NoError(t, err)
		require.Nil(t, none)
		v := verifier(t, "alice")
		require.NoError(t, s.SetUser("alice", v))
		line, err := verifier(t, "bob").MarshalText()
		require.NoError(t, err)
		require.NoError(t, s.SetUserText("bob", string(line)+" bob's comment"))
		got, err := s.Verifier("alice")
		require.NoError(t, err)
		require.Equal(t, text(v), text(got))
		names, err := s.Users()
		require.NoError(t, err)
		require.Equal(t, []string{"alice", "bob"}, names)
		existed, err := s.RemoveUser("alice")
		require.NoError(t, err)
		require.True(t, existed)
		existed, err = s.RemoveUser("alice")
		require.NoError(t, err)
		require.False(t, existed)
		require.Error(t, s.SetUser("", v))
		require.Error(t, s.SetUser("a\x00b", v))
		require.Error(t, s.SetUser("x", nil))
		require.Error(t, s.SetUser("x", &pake.Verifier{}))
		require.Error(t, s.SetUserText("x", "not a verifier"))
	})
}

// TestFailedUpdateChangesNothing: a transaction is whole or not made.
func TestFailedUpdateChangesNothing(t *testing.T) {
	onBothStores(t, func(t *testing.T, s *Store) {
		require.NoError(t, s.SetUser("alice", verifier(t, "alice")))
		failure := errors.New("failure")
		err := s.update(func(t tx) error {
			return errors.Join(t.remove(bucketUsers, "alice"), t.put(bucketUsers, "bob", []byte("x")), t.put(bucketUsers, "bob", []byte("y")), failure)
		})
		require.ErrorIs(t, err, failure)
		names, err := s.Users()
		require.NoError(t, err)
		require.Equal(t, []string{"alice"}, names)
	})
}

func TestOpenStoreRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	s, err := OpenStore(path)
	require.NoError(t, err)
	secret := s.decoys.Load()
	_, err = WaitStore(path, time.Millisecond)
	require.ErrorIs(t, err, ErrLocked)
	waited := make(chan error, 1)
	go func() {
		next, err := WaitStore(path, time.Minute)
		if err == nil {
			err = next.Close()
		}
		waited <- err
	}()
	require.NoError(t, s.Close())
	require.NoError(t, <-waited, "a standby gets the store when the first is gone")
	require.NoError(t, os.Chmod(path, 0o644))
	_, err = OpenStore(path)
	require.ErrorContains(t, err, "read by others")
	require.NoError(t, os.Chmod(path, 0o600))
	s, err = OpenStore(path)
	require.NoError(t, err)
	require.Equal(t, secret, s.decoys.Load(), "the users who do not exist stay the same")
	require.NoError(t, s.Close())
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("no database", 1000)), 0o600))
	_, err = OpenStore(path)
	require.Error(t, err)
}

// TestDamagedRecordsFailClosed: what cannot be read grants nothing.
func TestDamagedRecordsFailClosed(t *testing.T) {
	s := MemoryStore()
	r := newRegistrar(s)
	require.NoError(t, s.update(func(t tx) error {
		return errors.Join(t.put(bucketClaims, "a", []byte{9}), t.put(bucketGrants, grantsKey("u", "c"), []byte{recordVersion, 0}))
	}))
	_, _, err := r.granted("u", "c")
	require.Error(t, err)
	_, _, err = r.carryOut(holder{user: "u"}, &operation.Operation{Kind: operation.Claim, Filter: "b", Epoch: 1, Lifetime: time.Hour})
	require.Error(t, err)
	require.Error(t, r.sweep())
}

func newRegistrar(s *Store) *registrar {
	c := core{server: "s", store: s}
	if err := c.check(); err != nil {
		panic(err)
	}
	c.limits.claims = 1 << 20
	return c.registrar()
}

// TestClaimsAgainstBruteForce makes random claims by two users, and compares who is refused with an enumeration of all
// the names that filters match.
func TestClaimsAgainstBruteForce(t *testing.T) {
	levels := []string{"a", "b", "+", ""}
	var names []string
	for _, x := range []string{"a", "b", "c", ""} {
		for _, y := range []string{"/a", "/b", "/c", "/", "none"} {
			for _, z := range []string{"/a", "/b", "/c", "/", "none"} {
				names = append(names, strings.TrimSuffix(strings.Replace(x+y+z, "none", "", 2), "none"))
			}
		}
	}
	matched := func(filter string) map[string]bool {
		m := map[string]bool{}
		for _, name := range names {
			if topic.ValidName(name) && topic.Match(filter, name) {
				m[name] = true
			}
		}
		return m
	}
	random := rand.New(rand.NewSource(1))
	for range 200 {
		s := MemoryStore()
		r := newRegistrar(s)
		taken := map[string]map[string]bool{"u": {}, "v": {}}
		for range 12 {
			parts := []string{[]string{"a", "b"}[random.Intn(2)]}
			for range random.Intn(2) {
				parts = append(parts, levels[random.Intn(len(levels))])
			}
			if random.Intn(3) == 0 {
				parts = append(parts, "#")
			}
			filter := strings.Join(parts, "/")
			user, other := "u", "v"
			if random.Intn(2) == 0 {
				user, other = other, user
			}
			overlaps := false
			for name := range matched(filter) {
				overlaps = overlaps || taken[other][name]
			}
			result, _, err := r.carryOut(holder{user: user}, &operation.Operation{Kind: operation.Claim, Filter: filter, Epoch: 1, Lifetime: time.Hour})
			require.NoError(t, err)
			require.Equal(t, overlaps, result.Code == operation.Taken, "%s claims %q", user, filter)
			if result.Code == operation.Done {
				for name := range matched(filter) {
					taken[user][name] = true
				}
			}
		}
	}
}

// TestExpiredClaimIsFree: anybody may claim what nobody holds any more, and old tokens are worth nothing then; its
// owner who comes back with the same secret finds her revocations.
func TestExpiredClaimIsFree(t *testing.T) {
	onBothStores(t, func(t *testing.T, s *Store) {
		now := time.Now().Truncate(time.Second)
		r := newRegistrar(s)
		r.now = func() time.Time { return now }
		owner, err := token.GenerateOwner("plant/#")
		require.NoError(t, err)
		roots, err := owner.Roots()
		require.NoError(t, err)
		alice, bob := holder{user: "alice", clientID: "a"}, holder{user: "bob", clientID: "b"}
		do := func(h holder, o operation.Operation) operation.Result {
			result, _, err := r.carryOut(h, &o)
			require.NoError(t, err)
			return result
		}
		claim := operation.Operation{Kind: operation.Claim, Filter: "plant/#", Epoch: 1, Roots: roots, Lifetime: time.Hour}
		require.Equal(t, operation.Done, do(alice, claim).Code)
		given, err := owner.Issue(token.Terms{Kind: token.Auth2, Filter: "plant/1", Expires: now.Add(24 * time.Hour)})
		require.NoError(t, err)
		revoked, err := owner.Issue(token.Terms{Kind: token.Auth2, Filter: "plant/2", Expires: now.Add(24 * time.Hour)})
		require.NoError(t, err)
		show := operation.Operation{Kind: operation.Present, Tokens: []token.Presentation{given.Present(bob.binding), revoked.Present(bob.binding)}}
		result := do(bob, show)
		require.Equal(t, now.Add(time.Hour), result.Tokens[0].Until, "no longer than the claim")
		require.Equal(t, operation.Done, do(alice, operation.Operation{Kind: operation.Revoke, Filter: "plant/#", Token: revoked.ID()}).Code)
		grants, until, err := r.granted("bob", "b")
		require.NoError(t, err)
		require.Len(t, grants, 1)
		require.Equal(t, now.Add(time.Hour).Unix(), until.Unix())

		now = now.Add(time.Hour)
		grants, _, err = r.granted("bob", "b")
		require.NoError(t, err)
		require.Empty(t, grants)
		require.Equal(t, operation.Expired, do(bob, show).Tokens[0].Code)
		require.NoError(t, r.sweep())
		require.Equal(t, operation.Done, do(alice, claim).Code, "she comes back")
		result = do(bob, show)
		require.Equal(t, operation.Done, result.Tokens[0].Code)
		require.Equal(t, operation.Revoked, result.Tokens[1].Code)

		now = now.Add(time.Hour)
		other, err := token.GenerateOwner("plant/#")
		require.NoError(t, err)
		theirs, err := other.Roots()
		require.NoError(t, err)
		taken := claim
		taken.Roots = theirs
		require.Equal(t, operation.Done, do(holder{user: "eve"}, taken).Code)
		require.Equal(t, operation.Invalid, do(bob, show).Tokens[0].Code)
		grants, _, err = r.granted("bob", "b")
		require.NoError(t, err)
		require.Empty(t, grants, "what was granted under the claim before")
		require.Equal(t, operation.Taken, do(alice, claim).Code)
		now = now.Add(48 * time.Hour)
		require.NoError(t, r.sweep())
	})
}

// TestSweep: what time has made worthless does not stay: uses and grants go with their tokens, and a claim with what
// was revoked in it once its owner has not come back for claimMemory.
func TestSweep(t *testing.T) {
	onBothStores(t, func(t *testing.T, s *Store) {
		now := time.Now().Truncate(time.Second)
		r := newRegistrar(s)
		r.now = func() time.Time { return now }
		alice, bob := holder{user: "alice", clientID: "a"}, holder{user: "bob", clientID: "b"}
		do := func(h holder, o operation.Operation) operation.Result {
			t.Helper()
			result, _, err := r.carryOut(h, &o)
			require.NoError(t, err)
			require.Equal(t, operation.Done, result.Code)
			return result
		}
		owner, claim := owned(t, "plant/#")
		do(alice, claim)
		given, err := owner.Issue(token.Terms{Kind: token.Auth2, Filter: "plant/1", Expires: now.Add(time.Minute), Once: true})
		require.NoError(t, err)
		shown := do(bob, operation.Operation{Kind: operation.Present, Tokens: []token.Presentation{given.Present(bob.binding)}})
		require.Equal(t, operation.Done, shown.Tokens[0].Code)
		do(alice, operation.Operation{Kind: operation.Revoke, Filter: "plant/#", Token: token.ID{7}})
		left := func(want ...int) {
			t.Helper()
			require.NoError(t, r.sweep())
			for i, bucket := range []string{bucketClaims, bucketRevoked, bucketUsed, bucketGrants} {
				require.Equal(t, want[i], count(t, s, bucket), bucket)
			}
		}
		now = now.Add(time.Minute - time.Second)
		left(1, 1, 1, 1)
		now = now.Add(time.Second)
		left(1, 1, 0, 0)
		now = now.Add(time.Hour - time.Minute + claimMemory)
		left(1, 1, 0, 0)
		now = now.Add(time.Second)
		left(0, 0, 0, 0)
	})
}

func FuzzRecords(f *testing.F) {
	c := claim{owner: "alice", epoch: 3, until: time.Unix(1e9, 0)}
	g := []grant{{kind: token.Auth1, claim: "a/#", filter: "a/b", until: time.Unix(1e9, 0)}}
	i := issued{user: "u", clientID: "c", until: time.Unix(1e9, 0), grants: g}
	u := use{"u", time.Unix(1e9, 0)}
	for kind, b := range [][]byte{c.encode(), encodeGrants(g), i.encode(), u.encode(), encodeTime(time.Unix(1e9, 0))} {
		f.Add(byte(kind), b)
		f.Add(byte(kind), b[:len(b)-1])
	}
	f.Fuzz(func(t *testing.T, kind byte, b []byte) {
		switch kind % 5 {
		case 0:
			if c, err := decodeClaim(b); err == nil {
				require.Equal(t, b, c.encode())
			}
		case 1:
			if g, err := decodeGrants(b); err == nil {
				require.Equal(t, b, encodeGrants(g))
			}
		case 2:
			if i, err := decodeIssued(b); err == nil {
				require.Equal(t, b, i.encode())
			}
		case 3:
			if u, err := decodeUse(b); err == nil {
				require.Equal(t, b, u.encode())
			}
		case 4:
			if at, err := decodeTime(b); err == nil {
				require.Equal(t, b, encodeTime(at))
			}
		}
	})
}

// TestRecordsAreMutated: no octet of a record can be changed without the record being another one.
func TestRecordsAreMutated(t *testing.T) {
	i := issued{user: "u", clientID: "c", until: time.Unix(1e9, 0), grants: []grant{{kind: token.Auth2, claim: "a/#", filter: "a/b", until: time.Unix(2e9, 0)}}}
	b := i.encode()
	same, err := decodeIssued(b)
	require.NoError(t, err)
	require.Equal(t, i, same)
	for at := range b {
		changed := append([]byte(nil), b...)
		changed[at] ^= 1
		if other, err := decodeIssued(changed); err == nil {
			require.NotEqual(t, i, other)
		}
		_, err := decodeIssued(b[:at])
		require.Error(t, err)
	}
}
