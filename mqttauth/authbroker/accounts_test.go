package authbroker

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
)

// watched is a broker that shows the accounts made at it.
type watched struct {
	directory
	made []Account
}

func (w *watched) Provision(ctx context.Context, a Account) error {
	w.made = append(w.made, a)
	return w.directory.Provision(ctx, a)
}

func watchedSubject(t *testing.T, users ...string) (*subject, *watched) {
	t.Helper()
	s, err := newSubject(t.TempDir(), new(fate))
	require.NoError(t, err)
	t.Cleanup(func() { s.store.Close() })
	broker := &watched{directory: s.cfg.Provisioner.(directory)}
	s.cfg.Provisioner = broker
	for _, user := range users {
		enrolFor(t, s.store, user, "the password of "+user)
	}
	return s, broker
}

func (s *subject) session(t *testing.T, user, clientID string) *handshake.Session {
	t.Helper()
	session, err := s.login(user, clientID)
	require.NoError(t, err)
	return session
}

// TestAccountIsWhatWasGranted: an account may do what the tokens say that its client presented, each in its direction,
// and what is everybody's, and no more.
func TestAccountIsWhatWasGranted(t *testing.T) {
	s, broker := watchedSubject(t, "alice", "bob")
	s.cfg.Public = []Rule{{Filter: "read/#", Subscribe: true}, {Filter: "write/#", Publish: true}}
	alice, bob, other := s.session(t, "alice", "a"), s.session(t, "bob", "b"), s.session(t, "bob", "another")
	owner, claim := owned(t, "plant/#")
	_, err := s.do(alice, claim)
	require.NoError(t, err)
	writes, err := owner.Auth1("plant/1", s.now.at.Add(time.Hour))
	require.NoError(t, err)
	reads, err := owner.Auth2("plant/2", s.now.at.Add(time.Hour))
	require.NoError(t, err)
	for _, given := range []operation.Operation{present(bob, writes), present(bob, reads)} {
		_, err = s.do(bob, given)
		require.NoError(t, err)
	}
	for _, session := range []*handshake.Session{bob, other} {
		_, err = s.do(session, operation.Operation{Kind: operation.Ticket})
		require.NoError(t, err)
	}
	require.Len(t, broker.made, 2)
	made := broker.made[0]
	require.Equal(t, "b", made.ClientID)
	require.Equal(t, []string{"write/#", "plant/1"}, made.Publish)
	require.Equal(t, []string{"read/#", "plant/2"}, made.Subscribe)
	require.False(t, made.Expires.After(s.now.at.Add(time.Hour)))
	made = broker.made[1]
	require.Equal(t, "another", made.ClientID)
	require.Equal(t, []string{"write/#"}, made.Publish, "tokens are of the client that presented them")
	require.Equal(t, []string{"read/#"}, made.Subscribe)
}

// TestAccountsMakeRoom: a client that asks again and again keeps its last accounts, and takes none from others.
func TestAccountsMakeRoom(t *testing.T) {
	s, _ := watchedSubject(t, "alice", "bob")
	of := func(user, clientID string) int {
		all, err := s.issued(func(i *issued) bool { return i.user == user && i.clientID == clientID })
		require.NoError(t, err)
		return len(all)
	}
	clients := map[[2]string]*handshake.Session{}
	for _, c := range [][2]string{{"alice", "b"}, {"bob", "a"}, {"bob", "b"}} {
		clients[c] = s.session(t, c[0], c[1])
		_, err := s.do(clients[c], operation.Operation{Kind: operation.Ticket})
		require.NoError(t, err)
	}
	for range 2 * accountsEach {
		s.now.at = s.now.at.Add(time.Second)
		_, err := s.do(clients[[2]string{"bob", "b"}], operation.Operation{Kind: operation.Ticket})
		require.NoError(t, err)
	}
	require.Equal(t, accountsEach, of("bob", "b"))
	require.Equal(t, 1, of("bob", "a"))
	require.Equal(t, 1, of("alice", "b"))
}

// TestStrangersAreThoseOfTheAuthority: of the accounts at a broker it removes those that it may have made itself and
// does not know, and neither those in use nor anybody else's.
func TestStrangersAreThoseOfTheAuthority(t *testing.T) {
	s, broker := watchedSubject(t, "bob")
	_, err := s.do(s.session(t, "bob", "b"), operation.Operation{Kind: operation.Ticket})
	require.NoError(t, err)
	for _, name := range []string{"operator", AccountPrefix + "unknown"} {
		require.NoError(t, os.WriteFile(filepath.Join(broker.path, name+".role"), nil, 0o600))
	}
	require.NoError(t, s.reconcile(t.Context()))
	left, err := broker.Accounts(t.Context())
	require.NoError(t, err)
	require.Contains(t, left, "operator")
	require.Contains(t, left, broker.made[0].Username)
	require.NotContains(t, left, AccountPrefix+"unknown")
}

// TestSessionsBesideEnd: a session takes no request after its time, however often its key is right.
func TestSessionsBesideEnd(t *testing.T) {
	s, _ := watchedSubject(t, "bob")
	session := s.session(t, "bob", "b")
	session.Since = s.now.at
	id := frame.ID{1}
	s.keep(id, session)
	s.now.at = s.now.at.Add(sessionLife - time.Second)
	require.Same(t, session, s.Authority.session(id))
	s.now.at = s.now.at.Add(time.Second)
	require.Nil(t, s.Authority.session(id))
	require.Empty(t, s.sessions)
}

// TestBesideIsBounded: whoever opens runs and sessions makes those go that were there longest, or are over.
func TestBesideIsBounded(t *testing.T) {
	s, _ := watchedSubject(t)
	s.core.maxRuns = 8
	for i := range byte(100) {
		s.now.at = s.now.at.Add(time.Millisecond)
		ours, fresh := s.expect(frame.ID{1, i}, fmt.Sprint(i))
		require.True(t, ours && fresh)
		require.LessOrEqual(t, len(s.sources), 8)
		s.keep(frame.ID{2, i}, &handshake.Session{Since: s.now.at})
		require.LessOrEqual(t, len(s.sessions), 8)
	}
	for i := range byte(8) {
		require.Contains(t, s.sessions, frame.ID{2, 92 + i}, "the last of them")
	}
	ours, fresh := s.expect(frame.ID{1, 99}, "99")
	require.True(t, ours && !fresh, "the same hello again")
	ours, _ = s.expect(frame.ID{1, 99}, "another")
	require.False(t, ours, "a run's answers go to one client")
}

// TestClientIdentifierBeside: a user who may not log in with a Client Identifier gets no run, beside a broker either.
func TestClientIdentifierBeside(t *testing.T) {
	s, _ := watchedSubject(t, "alice")
	s.cfg.ClientIdentifier = func(user, clientID string) bool { return user == clientID }
	for clientID, runs := range map[string]int{"bob": 0, "alice": 1} {
		hello, _ := start(t, "alice", clientID, 0)
		s.take(t.Context(), hello)
		require.Len(t, s.sources, runs)
		require.EqualValues(t, runs, s.Counters().Hellos)
		clear(s.sources)
		s.counters.hellos.Store(0)
	}
}

// TestFramesOfNobody: anybody may publish on the topic. What belongs to no run and no session, or does not open, is
// ignored.
func TestFramesOfNobody(t *testing.T) {
	s, _ := watchedSubject(t, "bob")
	session, id := s.session(t, "bob", "b"), frame.ID{1}
	session.Since = s.now.at
	s.keep(id, session)
	request := func(of frame.ID) []byte {
		b, err := (&frame.SealedFrame{Type: frame.Request, Session: of, Counter: 1, Sealed: make([]byte, 40)}).Append(nil)
		require.NoError(t, err)
		return b
	}
	all := [][]byte{nil, []byte("x"), (&frame.ProofFrame{Session: frame.ID{2}}).Append(nil), request(frame.ID{2}), request(id)}
	for _, b := range all {
		s.take(t.Context(), b)
	}
	require.EqualValues(t, len(all), s.Counters().RequestsIgnored)
	require.Zero(t, s.Counters().Requests)
	require.Empty(t, s.sources)
}

// TestRequestAgain: a request whose response is lost comes again, and is carried out once.
func TestRequestAgain(t *testing.T) {
	s, _ := watchedSubject(t, "alice")
	hello, run := start(t, "alice", "a", 0)
	head, err := frame.Parse(hello)
	require.NoError(t, err)
	answer, err := s.authority.Receive("a", hello)
	require.NoError(t, err)
	proof, err := run.Challenge(answer.Frame)
	require.NoError(t, err)
	answer, err = s.authority.Receive("a", proof)
	require.NoError(t, err)
	s.keep(head.Session, answer.Session)
	welcome, err := answer.Session.Welcome(handshake.Welcome{Time: s.now.at})
	require.NoError(t, err)
	session, _, err := run.Welcome(welcome)
	require.NoError(t, err)
	_, claim := owned(t, "plant/#")
	o, err := claim.Encode()
	require.NoError(t, err)
	_, request, err := session.Request(o)
	require.NoError(t, err)
	for range 3 {
		s.take(t.Context(), request)
	}
	require.EqualValues(t, 1, s.Counters().Requests)
	require.Zero(t, s.Counters().RequestsIgnored)
	require.Equal(t, 1, count(t, s.store, bucketClaims))
}
