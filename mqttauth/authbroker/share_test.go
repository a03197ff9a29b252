package authbroker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/brokers/ports"
	"github.com/mqttsec/mqttsec/mqttauth/internal/operation"
	"github.com/mqttsec/mqttsec/pake"
)

// A store that processes share: nothing is lost of what they change at once, strangers get nothing, a peer cannot
// exhaust the other side's memory, cannot enrol users, and gets no more guesses than one process would. What gateways
// make of it is tested with examples/gateway.

const sharePatience = time.Minute

// sharing is a store and whom its server trusts.
type sharing struct {
	store     *Store
	authority *ca.Authority
	server    *httptest.Server
}

// quietly serves a handler over TLS with client certificates, on a port that is nobody else's while the test runs.
func quietly(t testing.TB, h http.Handler, authority *ca.Authority) *httptest.Server {
	t.Helper()
	config, err := authority.ServerConfig()
	require.NoError(t, err)
	config.ClientAuth, config.ClientCAs = tls.RequireAndVerifyClientCert, authority.Pool()
	var held ports.Set
	t.Cleanup(func() { require.NoError(t, held.Close()) })
	address, err := held.Take()
	require.NoError(t, err)
	listener, err := net.Listen("tcp", address)
	require.NoError(t, err)
	server := &httptest.Server{Listener: listener, Config: &http.Server{Handler: h}}
	server.TLS, server.EnableHTTP2 = config, true
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

func share(t testing.TB, s *Store) *sharing {
	t.Helper()
	authority, err := ca.New()
	require.NoError(t, err)
	return &sharing{s, authority, quietly(t, s.Handler(), authority)}
}

func certified(t testing.TB, by, trusts *ca.Authority) *tls.Config {
	t.Helper()
	config := trusts.ClientConfig()
	if by != nil {
		certificate, err := by.Issue(ca.Subject{Name: "gateway", Client: true})
		require.NoError(t, err)
		config.Certificates = []tls.Certificate{certificate}
	}
	return config
}

func reach(t testing.TB, url string, authority *ca.Authority) (*Store, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), sharePatience)
	defer cancel()
	store, err := RemoteStore(ctx, RemoteConfig{URL: url, TLS: certified(t, authority, authority)})
	if err == nil {
		err = store.Available()
	}
	return store, err
}

// join returns another process's view of the store.
func (s *sharing) join(t testing.TB) *Store {
	t.Helper()
	joined, err := reach(t, s.server.URL, s.authority)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, joined.Close()) })
	return joined
}

// onShared runs a test with a store in memory and one on disk, shared.
func onShared(t *testing.T, f func(t *testing.T, s *sharing)) {
	onBothStores(t, func(t *testing.T, s *Store) { f(t, share(t, s)) })
}

// TestSharedUpdates: of many writers in many processes each change counts once, whatever it hangs on.
func TestSharedUpdates(t *testing.T) {
	onShared(t, func(t *testing.T, s *sharing) {
		const processes, writers, rounds = 3, 4, 10
		stores := []*Store{s.store}
		for range processes - 1 {
			stores = append(stores, s.join(t))
		}
		var writing sync.WaitGroup
		failures := make(chan error, processes*writers*rounds)
		for p, store := range stores {
			for w := range writers {
				writing.Go(func() {
					for round := range rounds {
						failures <- store.update(func(t tx) error {
							if err := increment(t); err != nil {
								return err
							}
							n := 0 // of what has the prefix, which others add to
							err := t.each(bucketUsed, "all/", func(string, []byte) error { n++; return nil })
							return errors.Join(err, t.put(bucketUsed, fmt.Sprintf("all/%d/%d/%d", p, w, round), []byte{byte(n)}))
						})
					}
				})
			}
		}
		writing.Wait()
		for range processes * writers * rounds {
			require.NoError(t, <-failures)
		}
		for _, store := range stores {
			seen := map[byte]bool{}
			require.NoError(t, store.view(func(tx tx) error {
				require.Equal(t, uint32(processes*writers*rounds), binary.BigEndian.Uint32(tx.get(bucketMeta, endedPrefix+"n")))
				clear(seen)
				return tx.each(bucketUsed, "all/", func(_ string, n []byte) error { seen[n[0]] = true; return nil })
			}))
			require.Len(t, seen, processes*writers*rounds, "each saw all before it")
		}
	})
}

func increment(t tx) error {
	n := uint32(0)
	if b := t.get(bucketMeta, endedPrefix+"n"); b != nil {
		n = binary.BigEndian.Uint32(b)
	}
	return t.put(bucketMeta, endedPrefix+"n", binary.BigEndian.AppendUint32(nil, n+1))
}

// TestSharedTransaction: a transaction sees what it has written, nothing of one that fails is kept, and what was read
// is of one moment.
func TestSharedTransaction(t *testing.T) {
	onShared(t, func(t *testing.T, s *sharing) {
		remote := s.join(t)
		keys := func(x tx) (all string) {
			require.NoError(t, x.each(bucketUsed, "x", func(key string, v []byte) error { all += key + string(v); return nil }))
			return all
		}
		require.NoError(t, s.store.update(func(t tx) error {
			return errors.Join(t.put(bucketUsed, "x1", []byte("a")), t.put(bucketUsed, "y", []byte{1}))
		}))
		failure := errors.New("failure")
		for _, verdict := range []error{failure, nil} {
			err := remote.update(func(tx tx) error {
				require.NoError(t, errors.Join(tx.put(bucketUsed, "x2", []byte("b")), tx.put(bucketUsed, "z", nil), tx.put(bucketUsed, "x0", []byte{}), tx.remove(bucketUsed, "x1")))
				require.Equal(t, "x0x2b", keys(tx))
				require.Nil(t, tx.get(bucketUsed, "x1"))
				require.NotNil(t, tx.get(bucketUsed, "x0"))
				require.NotNil(t, tx.get(bucketUsed, "y"))
				return verdict
			})
			require.ErrorIs(t, err, verdict)
			require.NoError(t, s.store.view(func(tx tx) error {
				require.Equal(t, map[bool]string{true: "x1a", false: "x0x2b"}[verdict != nil], keys(tx))
				return nil
			}))
		}
		ran := 0
		require.NoError(t, remote.view(func(x tx) error {
			ran++
			before := x.get(bucketUsed, "x2")
			require.NoError(t, s.store.update(func(t tx) error { return t.put(bucketUsed, "x2", []byte{byte(ran / 2)}) }))
			require.Equal(t, before, x.get(bucketUsed, "x2"), "it stays")
			require.NotNil(t, x.get(bucketUsed, "y"))
			return nil
		}))
		require.Greater(t, ran, 1, "again, since what it saw has changed")
		require.Positive(t, remote.SharingCounters().Conflicts)
		require.Error(t, remote.view(func(t tx) error { return t.put(bucketUsed, "z", nil) }))
	})
}

// TestSharedPages: what does not fit one answer comes in several.
func TestSharedPages(t *testing.T) {
	onShared(t, func(t *testing.T, s *sharing) {
		remote := s.join(t)
		const n = 50
		value := bytes.Repeat([]byte{7}, pageSize/10)
		require.NoError(t, s.store.update(func(t tx) (err error) {
			for i := range n {
				err = errors.Join(err, t.put(bucketUsed, fmt.Sprintf("%03d", i), value))
			}
			return err
		}))
		got := 0
		require.NoError(t, remote.update(func(tx tx) error {
			got = 0
			require.NoError(t, tx.each(bucketUsed, "", func(_ string, v []byte) error { got++; require.Equal(t, value, v); return nil }))
			return tx.put(bucketUsed, "more", nil)
		}))
		require.Equal(t, n, got)
	})
}

// TestSharedClaims: the registrar decides through another process's store as through its own.
func TestSharedClaims(t *testing.T) {
	onShared(t, func(t *testing.T, s *sharing) {
		enrolFor(t, s.store, "alice", "a")
		enrolFor(t, s.store, "bob", "b")
		here, there := newRegistrar(s.store), newRegistrar(s.join(t))
		holder := func(user string) holder {
			h := holder{user: user, clientID: user}
			require.NoError(t, s.store.view(func(tx tx) error { h.verifier = sha256.Sum256(tx.get(bucketUsers, user)); return nil }))
			return h
		}
		alice, bob := holder("alice"), holder("bob")
		_, claim := owned(t, "a/#")
		result, _, err := there.carryOut(alice, &claim)
		require.NoError(t, err)
		require.Equal(t, operation.Done, result.Code)
		_, overlapping := owned(t, "a/b")
		for _, r := range []*registrar{here, there} {
			result, _, err = r.carryOut(bob, &overlapping)
			require.NoError(t, err)
			require.Equal(t, operation.Taken, result.Code)
		}
		_, err = s.store.RemoveUser("alice")
		require.NoError(t, err)
		result, _, err = there.carryOut(bob, &overlapping)
		require.NoError(t, err)
		require.Equal(t, operation.Done, result.Code)
		result, _, err = there.carryOut(alice, &claim)
		require.NoError(t, err)
		require.Equal(t, operation.Forbidden, result.Code)
	})
}

// TestSharedGuesses: several processes allow as many guesses as one.
func TestSharedGuesses(t *testing.T) {
	s := share(t, MemoryStore())
	const free = 7
	var budgets []*pake.Budget
	for _, store := range []*Store{s.store, s.join(t), s.join(t)} {
		b, err := pake.NewBudget(pake.BudgetConfig{Free: free, FreePerUser: 100, FreePerSource: 100, MaxBackoff: time.Hour, Store: store.guesses})
		require.NoError(t, err)
		budgets = append(budgets, b)
	}
	_, err := budgets[1].Spend("bob", "here")
	require.NoError(t, err)
	allowed := make(chan *pake.Guess, 3*free*len(budgets))
	var guessing sync.WaitGroup
	for _, b := range budgets {
		for range 3 * free {
			guessing.Go(func() {
				g, err := b.Spend("alice", "elsewhere")
				var wait *pake.BackoffError
				if err != nil && !errors.As(err, &wait) {
					t.Error(err)
				} else if err == nil {
					allowed <- g
				}
			})
		}
	}
	guessing.Wait()
	// Who comes a second after the last one that was free may try again.
	require.GreaterOrEqual(t, len(allowed), free)
	require.Less(t, len(allowed), 2*free)
	for range len(allowed) {
		require.NoError(t, (<-allowed).Refund())
	}
	s.server.Close()
	_, err = budgets[1].Spend("carol", "here")
	require.ErrorIs(t, err, ErrUnavailable, "no guess that is not counted")
}

// TestStoreGoesAndComesBack: without its process nothing is read or written; with it, everything is as it was, without
// another start.
func TestStoreGoesAndComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	store, err := OpenStore(path)
	require.NoError(t, err)
	enrolFor(t, store, "alice", "a")
	s := share(t, store)
	remote := s.join(t)
	address := s.server.Listener.Addr().String()
	last, err := remote.changes(t.Context(), heard{}, time.Now())
	require.NoError(t, err)
	require.True(t, last.Missed)
	require.NoError(t, remote.Available())

	s.server.CloseClientConnections()
	s.server.Close()
	require.NoError(t, store.Close())
	_, err = remote.Verifier("alice")
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, remote.ForgetGrants("alice"), ErrUnavailable)
	_, err = remote.changes(t.Context(), last, time.Now())
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorIs(t, remote.Available(), ErrUnavailable)
	require.Positive(t, remote.SharingCounters().Failed)

	store, err = OpenStore(path)
	require.NoError(t, err)
	defer store.Close()
	l, err := net.Listen("tcp", address)
	require.NoError(t, err)
	config := s.server.TLS.Clone()
	server := &http.Server{Handler: store.Handler(), TLSConfig: config, ErrorLog: log.New(io.Discard, "", 0)}
	go server.ServeTLS(l, "", "")
	defer server.Close()
	require.Eventually(t, func() bool {
		last, err = remote.changes(t.Context(), last, time.Now())
		return err == nil
	}, sharePatience, time.Millisecond)
	require.True(t, last.Missed, "whatever there was meanwhile")
	require.NoError(t, remote.Available())
	v, err := remote.Verifier("alice")
	require.NoError(t, err)
	require.NotNil(t, v)
}

// TestChangesAreHeard: each change that grants hang on reaches who listens, in order, or the word that some were
// missed.
func TestChangesAreHeard(t *testing.T) {
	s := share(t, MemoryStore())
	remote := s.join(t)
	last, err := remote.changes(t.Context(), heard{}, time.Now())
	require.NoError(t, err)
	require.NoError(t, remote.update(func(t tx) error {
		return errors.Join(t.remove(bucketGrants, "u\x00c"), t.put(bucketUsed, "unheard", nil), t.remove(bucketClaims, "a/#"))
	}))
	enrolFor(t, s.store, "alice", "a")
	var changes []change
	for len(changes) < 3 {
		last, err = remote.changes(t.Context(), last, time.Now())
		require.NoError(t, err)
		require.False(t, last.Missed)
		changes = append(changes, last.Changes...)
	}
	require.ElementsMatch(t, []change{{bucketGrants, []byte("u\x00c")}, {bucketClaims, []byte("a/#")}, {bucketUsers, []byte("alice")}}, changes)
	require.Equal(t, bucketUsers, changes[2].Bucket)
	require.NoError(t, s.store.update(func(t tx) (err error) {
		for i := range hubSize + 1 {
			err = errors.Join(err, t.put(bucketClaims, fmt.Sprint(i), []byte{1}))
		}
		return err
	}))
	last, err = remote.changes(t.Context(), last, time.Now())
	require.NoError(t, err)
	require.True(t, last.Missed)
	require.Empty(t, last.Changes)
}

// TestClientIdentifiersAreBound: a Client Identifier is its user's at every process, until a day after its session.
func TestClientIdentifiersAreBound(t *testing.T) {
	onShared(t, func(t *testing.T, s *sharing) {
		here, there := newRegistrar(s.store), newRegistrar(s.join(t))
		now := time.Now()
		for _, r := range []*registrar{here, there} {
			r.now = func() time.Time { return now }
		}
		require.NoError(t, here.bind("alice", "one", time.Hour))
		require.NoError(t, there.bind("alice", "one", time.Hour))
		require.ErrorIs(t, there.bind("bob", "one", 0), errHeld)
		require.NoError(t, there.bind("bob", "two", -1))
		now = now.Add(24 * time.Hour)
		require.ErrorIs(t, here.bind("bob", "one", 0), errHeld)
		now = now.Add(2 * time.Hour)
		require.NoError(t, here.bind("bob", "one", 0))
		require.ErrorIs(t, there.bind("alice", "one", 0), errHeld)
		now = now.Add(10 * 365 * 24 * time.Hour)
		require.ErrorIs(t, there.bind("alice", "two", 0), errHeld)
		require.NoError(t, here.sweep())
		require.Equal(t, 1, count(t, s.store, bucketClients))
		require.ErrorIs(t, there.bind("alice", "two", 0), errHeld, "of the two it is the other one that is forgotten")
		require.Equal(t, 1, count(t, s.store, bucketOwners))
		_, err := s.store.RemoveUser("bob")
		require.NoError(t, err)
		require.Zero(t, count(t, s.store, bucketClients)+count(t, s.store, bucketOwners))
		require.NoError(t, s.store.update(func(t tx) error {
			return t.put(bucketOwners, "eve", binary.BigEndian.AppendUint32([]byte{recordVersion}, clientsOfOne))
		}))
		require.ErrorIs(t, there.bind("eve", "more", 0), errTooMany)
	})
}

// TestOnlyTheStoreItself: an authority beside a broker does not do its work through somebody else.
func TestOnlyTheStoreItself(t *testing.T) {
	s := share(t, MemoryStore())
	remote := s.join(t)
	_, err := NewAuthority(AuthorityConfig{Server: "s", Store: remote})
	require.ErrorContains(t, err, "needs the store itself")
	answer := httptest.NewRecorder()
	remote.Handler().ServeHTTP(answer, httptest.NewRequest("POST", "/v1/read", strings.NewReader(`{"b":"users","k":"YQ=="}`)))
	require.Equal(t, http.StatusNotFound, answer.Code, "nor is it served on")
	require.Error(t, s.store.SetTLS(certified(t, s.authority, s.authority)), "it is here")
}

// TestSameGuesses: what others have changed of a count, whatever it is, is a conflict.
func TestSameGuesses(t *testing.T) {
	at := time.Now()
	a := pake.Guesses{Count: 1, Last: at, NotBefore: at, KnownUntil: at, Expires: at}
	require.True(t, sameGuesses(a, pake.Guesses{Count: 1, Last: at.UTC(), NotBefore: at.UTC(), KnownUntil: at.UTC(), Expires: at.UTC()}))
	for i, change := range []func(b *pake.Guesses){
		func(b *pake.Guesses) { b.Count++ },
		func(b *pake.Guesses) { b.Last = at.Add(1) }, func(b *pake.Guesses) { b.NotBefore = at.Add(1) },
		func(b *pake.Guesses) { b.KnownUntil = at.Add(1) }, func(b *pake.Guesses) { b.Expires = at.Add(1) },
	} {
		b := a
		change(&b)
		require.False(t, sameGuesses(a, b), i)
	}
}
