package authbroker_test

import (
	"crypto/tls"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// TestRevokedAtAnotherListener: a user whom an administrator cuts off at one process is cut off at the others, and
// nobody else is, whichever of them has the store. She still has her password, and comes again.
func TestRevokedAtAnotherListener(t *testing.T) {
	t.Parallel()
	authority, err := ca.New()
	require.NoError(t, err)
	secure, err := authority.ServerConfig()
	require.NoError(t, err)
	secure.ClientAuth, secure.ClientCAs = tls.RequireAndVerifyClientCert, authority.Pool()
	server := httptest.NewUnstartedServer(nil)
	server.TLS, server.EnableHTTP2 = secure, true
	t.Cleanup(server.Close)
	has := newWorld(t, func(c *authbroker.Config) { server.Config.Handler = c.Store.Handler() })
	server.StartTLS()
	certificate, err := authority.Issue(ca.Subject{Name: "gateway", Client: true})
	require.NoError(t, err)
	reaches := authority.ClientConfig()
	reaches.Certificates = []tls.Certificate{certificate}
	uses := newWorld(t, func(c *authbroker.Config) {
		require.NoError(t, c.Store.Close())
		c.Store, err = authbroker.RemoteStore(t.Context(), authbroker.RemoteConfig{URL: server.URL, TLS: reaches})
		require.NoError(t, err)
		store := c.Store
		t.Cleanup(func() { store.Close() })
	})
	for name, v := range wires {
		for where, at := range map[string][2]*world{"with the store": {has, uses}, "without": {uses, has}} {
			t.Run(name+", revoked at the one "+where, func(t *testing.T) {
				require.Eventually(t, func() bool { // those of the run before are over, and not counted
					return has.listener.Counters().Active+uses.listener.Counters().Active == 0
				}, time.Minute, time.Millisecond)
				here, there, other := at[0].login(t, "eve", v), at[1].login(t, "eve", v), at[1].login(t, "bob", v)
				n, err := at[0].listener.Revoke(authbroker.Revocation{User: "eve"})
				require.NoError(t, err)
				require.Equal(t, 1, n)
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
