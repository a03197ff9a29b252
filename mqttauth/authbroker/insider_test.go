package authbroker

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
	"github.com/mqttsec/mqttsec/pake"
)

// The attacker of these tests has an account. They cover what she leaves behind in the store, what she keeps when she
// is removed, and claims that come and go; not what she can do to other clients' connections, for which see package
// internal/e2e/mqttauth.

func owned(t *testing.T, filter string) (token.Owner, operation.Operation) {
	t.Helper()
	owner, err := token.GenerateOwner(filter)
	require.NoError(t, err)
	return owner, claimOf(t, owner, time.Hour)
}

func claimOf(t *testing.T, owner token.Owner, life time.Duration) operation.Operation {
	t.Helper()
	roots, err := owner.Roots()
	require.NoError(t, err)
	return operation.Operation{Kind: operation.Claim, Filter: owner.Claim(), Epoch: owner.Epoch(), Roots: roots, Lifetime: life}
}

func count(t *testing.T, s *Store, bucket string) (n int) {
	t.Helper()
	require.NoError(t, s.view(func(t tx) error {
		n = 0
		return t.each(bucket, "", func(string, []byte) error { n++; return nil })
	}))
	return n
}

func enrolFor(t *testing.T, s *Store, user, password string) {
	t.Helper()
	v, err := pake.NewVerifier(pake.Config{Stretch: pake.Stretch{Skip: true}}, user, victimServer, []byte(password))
	require.NoError(t, err)
	require.NoError(t, s.SetUser(user, v))
}

// TestRemovedUserHasNothingLeft: a session that was established before its user was removed, or got another password,
// makes no claim, has no token accepted and gets no ticket.
func TestRemovedUserHasNothingLeft(t *testing.T) {
	ends := map[string]func(*Store){
		"removed":          func(s *Store) { _, err := s.RemoveUser("eve"); require.NoError(t, err) },
		"another password": func(s *Store) { enrolFor(t, s, "eve", "another") },
		"enrolled again": func(s *Store) {
			_, err := s.RemoveUser("eve")
			require.NoError(t, err)
			enrolFor(t, s, "eve", "another")
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			s, err := newSubject(t.TempDir(), new(fate))
			require.NoError(t, err)
			defer s.store.Close()
			enrolFor(t, s.store, "alice", "the password of alice")
			enrolFor(t, s.store, "eve", "the password of eve")
			alice, err := s.login("alice", "a")
			require.NoError(t, err)
			eve, err := s.login("eve", "e")
			require.NoError(t, err)
			owner, claim := owned(t, "plant/#")
			_, err = s.do(alice, claim)
			require.NoError(t, err)
			given, err := owner.Auth1("plant/1", s.now.at.Add(time.Hour))
			require.NoError(t, err)
			_, err = s.do(eve, present(eve, given))
			require.NoError(t, err)
			_, err = s.do(eve, operation.Operation{Kind: operation.Ticket})
			require.NoError(t, err)
			theirs, claims := owned(t, "eve/#")
			_, err = s.do(eve, claims)
			require.NoError(t, err)

			end(s.store)
			_, err = s.Authority.Revoke(t.Context(), Revocation{User: "eve"})
			require.NoError(t, err)
			_, other := owned(t, "more/#")
			next, err := theirs.Next()
			require.NoError(t, err)
			epoch := claimOf(t, next, 0)
			epoch.Kind = operation.Epoch
			for _, o := range []operation.Operation{
				other, present(eve, given), {Kind: operation.Ticket}, epoch, {Kind: operation.Release, Filter: "eve/#"},
			} {
				_, err := s.do(eve, o)
				require.ErrorIs(t, err, operation.Forbidden, "operation %d", o.Kind)
			}
			accounts, err := s.issued(func(i *issued) bool { return i.user == "eve" })
			require.NoError(t, err)
			require.Empty(t, accounts)
			grants, _, err := s.registrar.granted("eve", "e")
			require.NoError(t, err)
			require.Empty(t, grants)
		})
	}
}

// TestInsiderCannotFillTheStore: whatever a user does, again and again, leaves a bounded number of records.
func TestInsiderCannotFillTheStore(t *testing.T) {
	s := MemoryStore()
	r := newRegistrar(s)
	r.limits = limits{tokens: 4, claims: 4, revocations: 4}
	now := time.Now().Truncate(time.Second)
	r.now = func() time.Time { return now }
	eve := holder{user: "eve", clientID: "e"}
	do := func(h holder, o operation.Operation) operation.Result {
		result, _, err := r.carryOut(h, &o)
		require.NoError(t, err)
		return result
	}
	t.Run("claims that end at once", func(t *testing.T) {
		for i := range 40 {
			owner, err := token.GenerateOwner(fmt.Sprintf("eve/%d/#", i))
			require.NoError(t, err)
			require.Equal(t, operation.Done, do(eve, claimOf(t, owner, time.Second)).Code)
			require.Equal(t, operation.Done, do(eve, operation.Operation{Kind: operation.Revoke, Filter: owner.Claim(), Token: token.ID{byte(i)}}).Code)
			now = now.Add(time.Second)
		}
		require.LessOrEqual(t, count(t, s, bucketClaims), 2*r.limits.claims)
		require.LessOrEqual(t, count(t, s, bucketRevoked), 2*r.limits.claims*r.limits.revocations)
	})
	t.Run("single-use tokens of one epoch after the other", func(t *testing.T) {
		owner, claim := owned(t, "once/#")
		require.Equal(t, operation.Done, do(eve, claim).Code)
		for i := range 20 {
			for j := range 6 {
				h := holder{user: "eve", clientID: fmt.Sprintf("e%d-%d", i, j)}
				given, err := owner.Issue(token.Terms{Kind: token.Auth1, Filter: "once/x", Expires: now.Add(1e6 * time.Hour), Once: true})
				require.NoError(t, err)
				code := do(h, operation.Operation{Kind: operation.Present, Tokens: []token.Presentation{given.Present(h.binding)}}).Tokens[0].Code
				require.Equal(t, j >= r.limits.revocations, code == operation.Limit, "%v", code)
			}
			next, err := owner.Next()
			require.NoError(t, err)
			epoch := claimOf(t, next, 0)
			epoch.Kind = operation.Epoch
			require.Equal(t, operation.Done, do(eve, epoch).Code)
			owner = next
		}
		require.Zero(t, count(t, s, bucketUsed), "those of ended epochs are worth nothing")
	})
	t.Run("Client Identifiers", func(t *testing.T) {
		owner, claim := owned(t, "many/#")
		require.Equal(t, operation.Done, do(eve, claim).Code)
		given, err := owner.Auth1("many/x", now.Add(time.Hour))
		require.NoError(t, err)
		for i := range clientsEach + 50 {
			h := holder{user: "eve", clientID: fmt.Sprintf("c%d", i)}
			require.Equal(t, operation.Done, do(h, operation.Operation{Kind: operation.Present, Tokens: []token.Presentation{given.Present(h.binding)}}).Tokens[0].Code)
			grants, _, err := r.granted(h.user, h.clientID)
			require.NoError(t, err)
			require.Len(t, grants, 1, "the newest has what it presented")
		}
		require.LessOrEqual(t, count(t, s, bucketGrants), clientsEach)
	})
}

// TestOnceSurvivesInItsClaim: a single-use token stays its first user's as long as the claim has its epoch.
func TestOnceSurvivesInItsClaim(t *testing.T) {
	onBothStores(t, func(t *testing.T, s *Store) {
		r := newRegistrar(s)
		owner, claim := owned(t, "plant/#")
		do := func(user string, o operation.Operation) operation.Result {
			result, _, err := r.carryOut(holder{user: user, clientID: user}, &o)
			require.NoError(t, err)
			return result
		}
		require.Equal(t, operation.Done, do("alice", claim).Code)
		given, err := owner.Issue(token.Terms{Kind: token.Auth2, Filter: "plant/1", Expires: time.Now().Add(time.Hour), Once: true})
		require.NoError(t, err)
		show := operation.Operation{Kind: operation.Present, Tokens: []token.Presentation{given.Present([32]byte{})}}
		require.Equal(t, operation.Done, do("bob", show).Tokens[0].Code)
		require.NoError(t, r.sweep())
		require.Equal(t, operation.Done, do("alice", claim).Code)
		require.Equal(t, operation.Used, do("eve", show).Tokens[0].Code)
		require.Equal(t, operation.Done, do("bob", show).Tokens[0].Code)
	})
}

// TestClaimingAgainProlongs: it never shortens, for the connections that live by a claim have been told its end.
func TestClaimingAgainProlongs(t *testing.T) {
	r := newRegistrar(MemoryStore())
	owner, claim := owned(t, "plant/#")
	first, _, err := r.carryOut(holder{user: "alice"}, &claim)
	require.NoError(t, err)
	shorter := claimOf(t, owner, time.Second)
	again, _, err := r.carryOut(holder{user: "alice"}, &shorter)
	require.NoError(t, err)
	require.Equal(t, operation.Done, again.Code)
	require.Equal(t, first.Until.Unix(), again.Until.Unix())
}

// TestPresentedAgainAfterTheClaimCameBack: a token that was granted under a claim that lapsed is known, but the
// connection has to look at its grants all the same.
func TestPresentedAgainAfterTheClaimCameBack(t *testing.T) {
	r := newRegistrar(MemoryStore())
	owner, claim := owned(t, "plant/#")
	alice, bob := holder{user: "alice"}, holder{user: "bob", clientID: "b"}
	_, _, err := r.carryOut(alice, &claim)
	require.NoError(t, err)
	given, err := owner.Auth1("plant/1", time.Now().Add(100*time.Hour))
	require.NoError(t, err)
	show := operation.Operation{Kind: operation.Present, Tokens: []token.Presentation{given.Present(bob.binding)}}
	for range 2 {
		result, out, err := r.carryOut(bob, &show)
		require.NoError(t, err)
		require.Equal(t, operation.Done, result.Tokens[0].Code)
		require.True(t, out.granted)
	}
}

// TestProofAgain: the welcome leaves at QoS 0, and a client that misses it sends its proof again, which has the welcome
// for an answer and is nothing to be ignored.
func TestProofAgain(t *testing.T) {
	s, err := newSubject(t.TempDir(), new(fate))
	require.NoError(t, err)
	defer s.store.Close()
	enrolFor(t, s.store, "alice", "the password of alice")
	hello, run := start(t, "alice", "a", 0)
	s.take(t.Context(), hello)
	answer, err := s.authority.Receive("a", hello) // what was sent to nobody
	require.NoError(t, err)
	proof, err := run.Challenge(answer.Frame)
	require.NoError(t, err)
	for range 3 {
		s.take(t.Context(), proof)
	}
	require.Equal(t, int64(1), s.Counters().Welcomed)
	require.Zero(t, s.Counters().RequestsIgnored)
	require.Zero(t, s.Counters().ProofFailed)
}

// TestRefusedHelloTakesNoRoom: what has no run leaves nothing, so that a flood of it does not push out those who have.
func TestRefusedHelloTakesNoRoom(t *testing.T) {
	s, err := newSubject(t.TempDir(), new(fate))
	require.NoError(t, err)
	defer s.store.Close()
	hello, _ := start(t, "nobody", "n", pake.Ristretto255) // which no verifier here is of
	s.take(t.Context(), hello)
	require.Equal(t, int64(1), s.Counters().Hellos)
	require.Empty(t, s.sources)
}

func start(t *testing.T, user, clientID string, group pake.Group) ([]byte, *handshake.Client) {
	t.Helper()
	cfg := handshake.ClientConfig{
		User: user, Server: victimServer, ClientID: clientID, Password: []byte("the password of " + user), Stretch: pake.Stretch{Skip: true},
	}
	if group != 0 {
		cfg.Groups = []pake.Group{group}
	}
	hello, run, err := handshake.Start(cfg)
	require.NoError(t, err)
	return hello, run
}

// TestFilterWithAPattern: "%c/#" overlaps nobody's claim, but an access list can mean more by it.
func TestFilterWithAPattern(t *testing.T) {
	m := new(Mosquitto) // nothing is sent: there is no connection
	for _, filter := range []string{"%c/#", "a/%u", "x%cy"} {
		require.ErrorIs(t, m.Provision(t.Context(), Account{Username: AccountPrefix + "x", Publish: []string{"ok", filter}}), errPattern)
		require.ErrorIs(t, m.Provision(t.Context(), Account{Username: AccountPrefix + "x", Subscribe: []string{filter}}), errPattern)
	}
}

// stubborn is a broker that does not remove accounts as long as it is told so.
type stubborn struct {
	directory
	down *bool
}

func (s stubborn) Remove(ctx context.Context, username string) error {
	if *s.down {
		return errors.New("the broker is away")
	}
	return s.directory.Remove(ctx, username)
}

// TestRevokedWhileTheBrokerIsAway: accounts that could not be removed at a revocation are removed at the next look
// after accounts, however long they have to live, whether an owner revoked a token or an administrator a user.
func TestRevokedWhileTheBrokerIsAway(t *testing.T) {
	for _, who := range []string{"owner", "administrator of a claim", "administrator of a user"} {
		t.Run(who, func(t *testing.T) {
			s, err := newSubject(t.TempDir(), new(fate))
			require.NoError(t, err)
			defer s.store.Close()
			down := false
			s.cfg.Provisioner = stubborn{s.cfg.Provisioner.(directory), &down}
			enrolFor(t, s.store, "alice", "the password of alice")
			enrolFor(t, s.store, "bob", "the password of bob")
			alice, err := s.login("alice", "a")
			require.NoError(t, err)
			bob, err := s.login("bob", "b")
			require.NoError(t, err)
			owner, claim := owned(t, "plant/#")
			_, err = s.do(alice, claim)
			require.NoError(t, err)
			given, err := owner.Auth1("plant/1", s.now.at.Add(time.Hour))
			require.NoError(t, err)
			_, err = s.do(bob, present(bob, given))
			require.NoError(t, err)
			_, err = s.do(bob, operation.Operation{Kind: operation.Ticket})
			require.NoError(t, err)

			down = true
			switch who {
			case "owner":
				_, err = s.do(alice, operation.Operation{Kind: operation.Revoke, Filter: "plant/#", Token: given.ID()})
				require.NoError(t, err)
			case "administrator of a claim":
				_, err = s.Authority.Revoke(t.Context(), Revocation{Claim: "plant/#"})
				require.Error(t, err)
			default:
				_, err = s.Authority.Revoke(t.Context(), Revocation{User: "bob"})
				require.Error(t, err)
			}
			whole := false
			_, err = s.lookNow(t.Context(), &whole)
			require.Error(t, err, "still away: to be tried again")
			down = false
			_, err = s.lookNow(t.Context(), &whole)
			require.NoError(t, err)
			left, err := s.cfg.Provisioner.Accounts(t.Context())
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

// TestOneAccountThatStays does not save those behind it.
func TestOneAccountThatStays(t *testing.T) {
	s, err := newSubject(t.TempDir(), new(fate))
	require.NoError(t, err)
	defer s.store.Close()
	broker := &choosy{directory: s.cfg.Provisioner.(directory)}
	s.cfg.Provisioner = broker
	enrolFor(t, s.store, "bob", "the password of bob")
	for _, id := range []string{"a", "b", "c"} {
		session, err := s.login("bob", id)
		require.NoError(t, err)
		_, err = s.do(session, operation.Operation{Kind: operation.Ticket})
		require.NoError(t, err)
	}
	all, err := broker.Accounts(t.Context())
	require.NoError(t, err)
	broker.stays = all[0]
	_, err = s.Authority.Revoke(t.Context(), Revocation{User: "bob"})
	require.Error(t, err)
	left, err := broker.Accounts(t.Context())
	require.NoError(t, err)
	for _, name := range left {
		require.Equal(t, broker.stays, name)
	}
}

type choosy struct {
	directory
	stays string
}

func (c *choosy) Remove(ctx context.Context, username string) error {
	if username == c.stays {
		return errors.New("no")
	}
	return c.directory.Remove(ctx, username)
}

// TestClaimRules: what is no one's, what is the administrator's word, and what only the owner may do.
func TestClaimRules(t *testing.T) {
	r := newRegistrar(MemoryStore())
	r.limits.claims = 2
	alice, eve := holder{user: "alice", clientID: "a"}, holder{user: "eve", clientID: "e"}
	do := func(h holder, o operation.Operation) operation.Code {
		result, out, err := r.carryOut(h, &o)
		require.NoError(t, err)
		if result.Code != operation.Done {
			require.Zero(t, out, "nobody is to look at anything anew")
		}
		return result.Code
	}
	roots := func(first byte) token.Roots {
		return token.Roots{Publish: [32]byte{first}, Subscribe: [32]byte{first, 1}}
	}
	claim := func(h holder, filter string) operation.Code {
		return do(h, operation.Operation{Kind: operation.Claim, Filter: filter, Epoch: 1, Roots: roots(1), Lifetime: time.Hour})
	}
	for _, filter := range []string{
		"#", "+", "+/a", "$SYS/#", "$CONTROL/#", "mqttauth/auth", "mqttauth/#", "mqttauth/c/+", "mqttauth/c/x", "mqttauth/+",
	} {
		require.Equal(t, operation.Forbidden, claim(alice, filter), filter)
	}
	r.mayClaim = func(string, string) bool { return true }
	for _, filter := range []string{"$CONTROL/dynamic-security/v1", "$control/#", "$share/g", "$SHARE/g/a", "mqttauth/auth", "mqttauth/c/x"} {
		require.Equal(t, operation.Forbidden, claim(alice, filter), "%s, whatever the administrator says", filter)
	}
	require.Equal(t, operation.Done, claim(alice, "$SYS/#"), "if the administrator says so")
	for _, broad := range []string{"#", "+/a"} {
		r := newRegistrar(MemoryStore())
		require.False(t, r.claimable("alice", broad))
		r.mayClaim = func(user, filter string) bool { return user == "alice" && filter == broad }
		require.True(t, r.claimable("alice", broad))
		require.False(t, r.claimable("eve", broad))
	}
	require.Equal(t, operation.Done, claim(alice, "site/#"))
	require.Equal(t, operation.Limit, claim(alice, "other/#"))
	require.Equal(t, operation.Done, claim(alice, "site/#"), "what she has counts no more than once")

	next := operation.Operation{Kind: operation.Epoch, Filter: "site/#", Epoch: 2, Roots: roots(2)}
	for name, o := range map[string]operation.Operation{
		"release": {Kind: operation.Release, Filter: "site/#"}, "revoke": {Kind: operation.Revoke, Filter: "site/#"}, "epoch": next,
	} {
		require.Equal(t, operation.Unclaimed, do(eve, o), "%s by somebody else", name)
	}
	require.Equal(t, operation.Taken, claim(eve, "site/7"))
	require.Equal(t, operation.Done, do(alice, next))
	require.Equal(t, operation.Done, do(alice, next), "the answer was lost, and she asks again")
	other := next
	other.Roots = roots(3)
	require.Equal(t, operation.Superseded, do(alice, other), "the epoch is another secret's")
	other.Epoch, other.Roots = 3, next.Roots
	require.Equal(t, operation.Superseded, do(alice, other), "the secret is another epoch's")
	require.Equal(t, operation.Superseded, claim(alice, "site/#"), "nor do old secrets come back by a claim")

	for _, filter := range []string{"never/#", "site/#"} { // one that nobody claimed, one that has ended
		r.now = func() time.Time { return time.Now().Add(2 * time.Hour) }
		for name, o := range map[string]operation.Operation{
			"release": {Kind: operation.Release}, "revoke": {Kind: operation.Revoke}, "epoch": {Kind: operation.Epoch, Epoch: 9, Roots: roots(9)},
		} {
			o.Filter = filter
			require.Equal(t, operation.Unclaimed, do(alice, o), "%s of %s", name, filter)
		}
	}
	require.Equal(t, operation.Malformed, do(alice, operation.Operation{Kind: 99}))
}
