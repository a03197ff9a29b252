package authbroker_test

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// TestRevokedAtAnotherListener: a user whom an administrator cuts off at one process is cut off at the others, and
// nobody else is, whichever of them has the store. She still has her password, and comes again.
func TestRevokedAtAnotherListener(t *testing.T) {
	t.Parallel()
	has, uses := sharing(t, func(store http.Handler) http.Handler { return store })
	for name, v := range wires {
		for where, at := range map[string][2]*world{"with the store": {has, uses}, "without": {uses, has}} {
			t.Run(name+", revoked at the one "+where, func(t *testing.T) {
				require.Eventually(t, func() bool { // those of the run before are over, and not counted
					return has.listener.Counters().Active+uses.listener.Counters().Active == 0
				}, time.Minute, time.Millisecond)
				here, there, other := at[0].login(t, "eve", v), at[1].login(t, "eve", v), at[1].login(t, "bob", v)
				revoked := at[0].listener.Counters().Revoked
				n, err := at[0].listener.Revoke(authbroker.Revocation{User: "eve"})
				require.NoError(t, err)
				require.Equal(t, 1, n)
				require.Eventually(t, func() bool { // who follows the store may have ended it, and be about to count
					return at[0].listener.Counters().Revoked == revoked+1
				}, time.Minute, time.Millisecond)
				for _, r := range []*raw{here, there} {
					for p := r.next(); p != nil; p = r.next() { // DISCONNECT, on v5
					}
				}
				at[1].login(t, "eve", v)
				require.Equal(t, byte(0x80), min(other.subscribed("whatever"), 0x80), "it goes on, and has no token")
			})
		}
	}
}

// TestRevocationHeardBeforeItsAnswer: the one who revokes may hear of it as a change of the store before the store has
// answered; it counts what it ended all the same.
func TestRevocationHeardBeforeItsAnswer(t *testing.T) {
	t.Parallel()
	var user atomic.Pointer[raw]
	_, uses := sharing(t, func(store http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			r.Body = io.NopCloser(bytes.NewReader(body))
			if r.URL.Path != "/v1/commit" || bytes.Contains(body, []byte(`"writes":null`)) || user.Load() == nil {
				store.ServeHTTP(w, r)
				return
			}
			answer := httptest.NewRecorder()
			store.ServeHTTP(answer, r)
			user := user.Load()
			for p := user.next(); p != nil; p = user.next() {
			}
			w.WriteHeader(answer.Code)
			_, _ = w.Write(answer.Body.Bytes())
		})
	})
	for name, v := range wires {
		t.Run(name, func(t *testing.T) {
			user.Store(uses.login(t, "eve", v))
			defer user.Store(nil)
			n, err := uses.listener.Revoke(authbroker.Revocation{User: "eve"})
			require.NoError(t, err)
			require.Equal(t, 1, n)
		})
	}
}

// TestChangesThatWereMissed: who has not heard what changed looks at everybody anew.
func TestChangesThatWereMissed(t *testing.T) {
	t.Parallel()
	var lost atomic.Bool // the next answer about changes
	done := make(chan struct{})
	has, uses := sharing(t, func(store http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			answer := httptest.NewRecorder()
			store.ServeHTTP(answer, r)
			if r.URL.Path == "/v1/changes" && lost.Swap(false) {
				<-done
				_, _ = io.WriteString(w, `{"boot":"another's","at":1,"missed":true}`)
				return
			}
			w.WriteHeader(answer.Code)
			_, _ = w.Write(answer.Body.Bytes())
		})
	})
	eve, bob := uses.login(t, "eve", wire.V5), uses.login(t, "bob", wire.V5)
	lost.Store(true)
	_, err := has.listener.Revoke(authbroker.Revocation{User: "eve"})
	require.NoError(t, err)
	close(done)
	for p := eve.next(); p != nil; p = eve.next() { // DISCONNECT
	}
	require.Equal(t, byte(0x80), min(bob.subscribed("whatever"), 0x80), "it goes on, and has no token")
}

// sharing returns a world that has a store and another that uses it over HTTPS, by way of a handler.
func sharing(t *testing.T, by func(store http.Handler) http.Handler) (has, uses *world) {
	authority, err := ca.New()
	require.NoError(t, err)
	secure, err := authority.ServerConfig()
	require.NoError(t, err)
	secure.ClientAuth, secure.ClientCAs = tls.RequireAndVerifyClientCert, authority.Pool()
	server := httptest.NewUnstartedServer(nil)
	server.TLS, server.EnableHTTP2 = secure, true
	t.Cleanup(server.Close)
	has = newWorld(t, func(c *authbroker.Config) { server.Config.Handler = by(c.Store.Handler()) })
	server.StartTLS()
	certificate, err := authority.Issue(ca.Subject{Name: "gateway", Client: true})
	require.NoError(t, err)
	reaches := authority.ClientConfig()
	reaches.Certificates = []tls.Certificate{certificate}
	uses = newWorld(t, func(c *authbroker.Config) {
		require.NoError(t, c.Store.Close())
		c.Store, err = authbroker.RemoteStore(t.Context(), authbroker.RemoteConfig{URL: server.URL, TLS: reaches})
		require.NoError(t, err)
		store := c.Store
		t.Cleanup(func() { store.Close() })
	})
	return has, uses
}
