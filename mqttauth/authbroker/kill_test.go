package authbroker

import (
	"bufio"
	"context"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth/internal/handshake"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
	"github.com/mqttsec/mqttsec/mqttauth/internal/token"
	"github.com/mqttsec/mqttsec/pake"
)

// The environment of a test that is to run as an authority and die.
const (
	victimDir  = "AUTHBROKER_VICTIM_DIR"  // its store, and the accounts at its broker
	victimDies = "AUTHBROKER_VICTIM_DIES" // before which step
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(victimDir); dir != "" {
		if err := victim(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// fate kills the process, with no chance to clean up, at its nth step.
type fate struct{ left int }

func (f *fate) live() {
	if f.left--; f.left == 0 {
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = self.Kill()
		}
		select {} // until it takes effect
	}
}

// mortal is a backend in which every write, and the beginning and end of every transaction, is a step.
type mortal struct {
	backend
	*fate
}

func (m mortal) update(f func(tx) error) error {
	m.live()
	err := m.backend.update(func(t tx) error {
		err := f(mortalTx{t, m.fate})
		m.live()
		return err
	})
	m.live()
	return err
}

type mortalTx struct {
	tx
	*fate
}

func (t mortalTx) put(bucket, key string, value []byte) error {
	t.live()
	return t.tx.put(bucket, key, value)
}

func (t mortalTx) remove(bucket, key string) error {
	t.live()
	return t.tx.remove(bucket, key)
}

// directory is a broker whose accounts are files, each of which is made and removed in two steps.
type directory struct {
	path string
	*fate
}

func (d directory) Provision(_ context.Context, a Account) error {
	for _, part := range []string{".role", ".client"} {
		d.live()
		if err := os.WriteFile(filepath.Join(d.path, a.Username+part), nil, 0o600); err != nil {
			return err
		}
		d.live()
	}
	return nil
}

func (d directory) Remove(_ context.Context, username string) error {
	for _, part := range []string{".client", ".role"} {
		d.live()
		if err := os.Remove(filepath.Join(d.path, username+part)); err != nil && !os.IsNotExist(err) {
			return err
		}
		d.live()
	}
	return nil
}

func (d directory) Accounts(context.Context) (names []string, err error) {
	files, err := os.ReadDir(d.path)
	for _, file := range files {
		names = append(names, strings.TrimSuffix(strings.TrimSuffix(file.Name(), ".role"), ".client"))
	}
	return names, err
}

// subject is an authority over a directory, at which calls are made without a broker in between.
type subject struct {
	*Authority
	store *Store
	path  string
	now   *manual
}

// manual is a clock that stands.
type manual struct{ at time.Time }

func (m *manual) Now() time.Time { return m.at }
func (m *manual) AfterFunc(time.Duration, func()) (stop func() bool) {
	return func() bool { return true }
}

const victimServer = "broker.test"

func newSubject(dir string, f *fate) (*subject, error) {
	file, err := openBolt(filepath.Join(dir, "db"), time.Second)
	if err != nil {
		return nil, err
	}
	store, err := newStore(mortal{file, f})
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "accounts")
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	budget, err := pake.NewBudget(pake.BudgetConfig{Free: 1000, FreePerUser: 1000, FreePerSource: 1000})
	if err != nil {
		return nil, err
	}
	s := &subject{store: store, path: path, now: &manual{time.Now()}}
	s.Authority, err = NewAuthority(AuthorityConfig{
		Server: victimServer, Store: store, Stretch: pake.Stretch{Skip: true}, Budget: budget, Clock: s.now,
		Provisioner: directory{path, f}, Client: autopaho.ClientConfig{ServerUrls: []*url.URL{{Scheme: "mqtt", Host: "nowhere"}}},
	})
	return s, err
}

// login runs a handshake with the authority.
func (s *subject) login(user, clientID string) (*handshake.Session, error) {
	hello, run, err := handshake.Start(handshake.ClientConfig{
		User: user, Server: victimServer, ClientID: clientID, Password: []byte("the password of " + user), Stretch: pake.Stretch{Skip: true},
	})
	if err != nil {
		return nil, err
	}
	answer, err := s.authority.Receive("here", hello)
	if err != nil {
		return nil, err
	}
	proof, err := run.Challenge(answer.Frame)
	if err != nil {
		return nil, err
	}
	answer, err = s.authority.Receive("here", proof)
	return answer.Session, err
}

// do carries out an operation, which must come to this.
func (s *subject) do(session *handshake.Session, o operation.Operation) (operation.Result, error) {
	result := s.carryOut(context.Background(), session, &o)
	for _, v := range result.Tokens {
		if v.Code != operation.Done {
			return result, fmt.Errorf("operation %d: %w", o.Kind, v.Code)
		}
	}
	if result.Code != operation.Done {
		return result, fmt.Errorf("operation %d: %w", o.Kind, result.Code)
	}
	return result, nil
}

func present(session *handshake.Session, tokens ...token.Token) operation.Operation {
	o := operation.Operation{Kind: operation.Present}
	for _, t := range tokens {
		o.Tokens = append(o.Tokens, t.Present(session.Binding()))
	}
	return o
}

func text(v interface{ MarshalText() ([]byte, error) }) string {
	b, err := v.MarshalText()
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// victim is an authority that does one thing after the other and says what it begins and has acknowledged, until it
// dies.
func victim(dir string) error {
	dies, err := strconv.Atoi(os.Getenv(victimDies))
	if err != nil {
		return err
	}
	s, err := newSubject(dir, &fate{dies})
	if err != nil {
		return err
	}
	say := func(words ...any) { fmt.Println(words...) }
	for _, user := range []string{"alice", "bob"} {
		v, err := pake.NewVerifier(pake.Config{Stretch: pake.Stretch{Skip: true}}, user, victimServer, []byte("the password of "+user))
		if err != nil {
			return err
		}
		if err := s.store.SetUser(user, v); err != nil {
			return err
		}
		say("enrolled", user)
	}
	owner, err := token.GenerateOwner("plant/#")
	if err != nil {
		return err
	}
	roots, err := owner.Roots()
	if err != nil {
		return err
	}
	alice, err := s.login("alice", "a")
	if err != nil {
		return err
	}
	if _, err := s.do(alice, operation.Operation{Kind: operation.Claim, Filter: "plant/#", Epoch: 1, Roots: roots, Lifetime: time.Hour}); err != nil {
		return err
	}
	say("claimed", text(owner))
	bob, err := s.login("bob", "b")
	if err != nil {
		return err
	}
	var tokens []token.Token
	for i := range 3 {
		t, err := owner.Issue(token.Terms{Kind: token.Auth2, Filter: "plant/" + strconv.Itoa(i), Expires: s.now.at.Add(time.Hour), Once: i == 1})
		if err != nil {
			return err
		}
		if _, err := s.do(bob, present(bob, t)); err != nil {
			return err
		}
		say("granted", text(t))
		tokens = append(tokens, t)
	}
	ticket, err := s.do(bob, operation.Operation{Kind: operation.Ticket})
	if err != nil {
		return err
	}
	say("issued", ticket.Username)
	say("ending", ticket.Username)
	say("revoking", text(tokens[0]))
	if _, err := s.do(alice, operation.Operation{Kind: operation.Revoke, Filter: "plant/#", Token: tokens[0].ID()}); err != nil {
		return err
	}
	say("revoked", text(tokens[0]))
	say("ended", ticket.Username)
	if ticket, err = s.do(bob, operation.Operation{Kind: operation.Ticket}); err != nil {
		return err
	}
	say("issued", ticket.Username)
	say("releasing")
	say("ending", ticket.Username)
	if _, err := s.do(alice, operation.Operation{Kind: operation.Release, Filter: "plant/#"}); err != nil {
		return err
	}
	say("released")
	say("done")
	return s.store.Close()
}

// TestKilledAuthorityForgetsNothing kills the authority before each of its steps, once, and looks at what it left
// behind: what was acknowledged is there, what was taken back stays so, and every account at the broker is known and
// goes when its time is over.
func TestKilledAuthorityForgetsNothing(t *testing.T) {
	root := t.TempDir()
	for dies := 1; ; dies++ {
		dir := filepath.Join(root, strconv.Itoa(dies))
		require.NoError(t, os.Mkdir(dir, 0o700))
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), victimDir+"="+dir, victimDies+"="+strconv.Itoa(dies))
		out, err := cmd.Output()
		said := bufio.NewScanner(strings.NewReader(string(out)))
		facts := map[string][]string{}
		for said.Scan() {
			word, rest, _ := strings.Cut(said.Text(), " ")
			facts[word] = append(facts[word], rest)
		}
		require.Empty(t, facts["error"])
		inspect(t, dir, facts)
		if facts["done"] != nil {
			require.NoError(t, err)
			require.Greater(t, dies, 40, "the victim has lived through fewer moments than it has steps")
			return
		}
		require.Error(t, err, "the victim ended in another way")
	}
}

// inspect compares what a dead authority left behind with what it had said.
func inspect(t *testing.T, dir string, facts map[string][]string) {
	t.Helper()
	s, err := newSubject(dir, new(fate))
	require.NoError(t, err)
	defer func() { require.NoError(t, s.store.Close()) }()
	for _, user := range facts["enrolled"] {
		_, err := s.login(user, "again")
		require.NoError(t, err, "a user is lost")
	}
	accounts, err := s.cfg.Provisioner.Accounts(t.Context())
	require.NoError(t, err)
	known, err := s.issued(func(*issued) bool { return true })
	require.NoError(t, err)
	for _, account := range accounts {
		require.Contains(t, names(known), account, "an account that nobody would remove")
	}
	for _, account := range facts["issued"] {
		if !contains(facts["ending"], account) {
			require.Contains(t, accounts, account, "an account is lost")
		}
	}
	for _, account := range facts["ended"] {
		require.NotContains(t, accounts, account, "an account has outlived what it was made for")
	}
	if facts["claimed"] != nil && facts["releasing"] == nil {
		inspectTokens(t, s, facts)
	}
	if facts["released"] != nil {
		claims, err := s.store.Claims()
		require.NoError(t, err)
		require.Empty(t, claims)
	}
	require.NoError(t, s.reconcile(t.Context()), "as an authority does that starts")
	s.now.at = s.now.at.Add(2 * time.Hour)
	require.NoError(t, s.reconcile(t.Context()))
	accounts, err = s.cfg.Provisioner.Accounts(t.Context())
	require.NoError(t, err)
	require.Empty(t, accounts)
}

// inspectTokens presents the tokens again, as bob and as somebody else.
func inspectTokens(t *testing.T, s *subject, facts map[string][]string) {
	t.Helper()
	verdict := func(user, clientID, text string) operation.Code {
		var presented token.Token
		require.NoError(t, presented.UnmarshalText([]byte(text)))
		session, err := s.login(user, clientID)
		require.NoError(t, err)
		o := present(session, presented)
		result := s.carryOut(t.Context(), session, &o)
		require.Equal(t, operation.Done, result.Code)
		return result.Tokens[0].Code
	}
	grants, _, err := s.registrar.granted("bob", "b")
	require.NoError(t, err)
	held := map[token.ID]bool{}
	for _, g := range grants {
		held[g.id] = true
	}
	for i, text := range facts["granted"] {
		var given token.Token
		require.NoError(t, given.UnmarshalText([]byte(text)))
		switch {
		case contains(facts["revoked"], text):
			require.False(t, held[given.ID()], "a revocation is lost")
			require.Equal(t, operation.Revoked, verdict("bob", "b", text))
		case !contains(facts["revoking"], text):
			require.True(t, held[given.ID()], "a grant is lost")
			require.Equal(t, operation.Done, verdict("bob", "other", text))
			if i == 1 {
				require.Equal(t, operation.Used, verdict("alice", "a", text), "a single-use token can be used twice")
			}
		}
	}
}

func names(accounts []namedAccount) (all []string) {
	for _, account := range accounts {
		all = append(all, account.username)
	}
	return all
}

func contains(all []string, one string) bool {
	for _, other := range all {
		if other == one {
			return true
		}
	}
	return false
}
