package ace

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/ace/aceserver"
	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestBrokerRestart: clients come back by themselves, with the token that they have; the Authorization Server is not
// asked again.
func TestBrokerRestart(t *testing.T) {
	for _, version := range []int{3, 5} {
		w := newWorld(t, settings{})
		id := newClientID()
		auth := authenticator(t, ace.Config{Source: w.source(id, "jwt", "EdDSA")})
		app, events := w.connected(version, auth, options{id: id, tls: w.tls(0)})
		asked := w.as.requests.Load()
		w.shutdown()
		next(t, events.lost, "the end of the connection")
		w.listen(w.address)
		next(t, events.up, "another connection")
		require.NoError(t, app.subscribe("site/"+id+"/x", 1))
		require.NoError(t, app.publish("site/"+id+"/x", 1, false, "back"))
		require.Equal(t, "site/"+id+"/x back", next(t, events.messages, "a message"))
		require.Equal(t, asked, w.as.requests.Load())
	}
}

func down(rw http.ResponseWriter, _ *http.Request) bool {
	http.Error(rw, "down", http.StatusServiceUnavailable)
	return false
}

// TestASDown: what says everything itself is good as long as it is valid; a reference is good as long as the last
// answer counts, and then refused, and ends the connection that lives by it.
func TestASDown(t *testing.T) {
	w := newWorld(t, settings{})
	self, reference, unknown := newClientID(), newClientID(), newClientID()
	selfAuth := authenticator(t, ace.Config{Source: w.static(self, "cwt", "HS256")})
	referenceAuth := authenticator(t, ace.Config{Source: w.static(reference, "ref", "HS256")})
	unknownAuth := authenticator(t, ace.Config{Source: w.static(unknown, "ref", "HS256")})
	_, events := w.connected(5, referenceAuth, options{id: reference, tls: w.tls(0), once: true})

	w.as.instead(down)
	app, _ := w.connected(5, selfAuth, options{id: self, tls: w.tls(0), once: true})
	w.connected(5, referenceAuth, options{id: reference + "-again", tls: w.tls(0), once: true})
	_, refused := dialV5(w, unknownAuth, options{id: unknown, tls: w.tls(0), once: true})
	require.Error(t, next(t, refused.refused, "a refusal"))
	_, _, err := dialV3(w, unknownAuth, options{id: unknown, tls: w.tls(0), once: true})
	require.Error(t, err)

	w.clock.Advance(acebroker.DefaultCacheFor)
	require.ErrorContains(t, next(t, events.lost, "the end of the connection"), "0x87")
	_, refused = dialV5(w, referenceAuth, options{id: reference, tls: w.tls(0), once: true})
	require.Error(t, next(t, refused.refused, "a refusal"))
	require.NoError(t, app.publish("site/"+self+"/x", 1, false, "still here"))
	require.NotZero(t, w.listener.Counters().Unreachable)

	w.as.instead(nil)
	w.connected(5, referenceAuth, options{id: reference, tls: w.tls(0), once: true})
}

// TestASSlow: who waits for it delays nobody else, and is let in when it answers.
func TestASSlow(t *testing.T) {
	w := newWorld(t, settings{})
	slow, quick := newClientID(), newClientID()
	slowAuth := authenticator(t, ace.Config{Source: w.static(slow, "ref", "EdDSA")})
	quickAuth := authenticator(t, ace.Config{Source: w.static(quick, "jwt", "EdDSA")})
	asked, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	w.as.instead(func(http.ResponseWriter, *http.Request) bool {
		once.Do(func() { close(asked) })
		<-answer
		return true
	})
	_, events := dialV5(w, slowAuth, options{id: slow, tls: w.tls(0), once: true})
	<-asked
	app, _ := w.connected(5, quickAuth, options{id: quick, tls: w.tls(0), once: true})
	require.NoError(t, app.publish("site/"+quick+"/x", 1, false, "not delayed"))
	require.Empty(t, events.up)
	close(answer)
	next(t, events.up, "the connection")
}

// TestASTooSlow: whom it keeps waiting beyond the time limit is refused, not let in.
func TestASTooSlow(t *testing.T) {
	w := newWorld(t, settings{broker: func(cfg *acebroker.Config) { cfg.Timeout = 300 * time.Millisecond }})
	id := newClientID()
	auth := authenticator(t, ace.Config{Source: w.static(id, "ref", "EdDSA")})
	answer := make(chan struct{})
	w.as.instead(func(http.ResponseWriter, *http.Request) bool { <-answer; return true })
	_, events := dialV5(w, auth, options{id: id, tls: w.tls(0), once: true})
	require.Error(t, next(t, events.refused, "a refusal"))
	close(answer)
	require.Zero(t, w.listener.Counters().Admitted)
}

// TestJWKSRotation: the Authorization Server signs with a new key; the broker half finds it, and tokens under the old
// one stay good while it is published.
func TestJWKSRotation(t *testing.T) {
	w := newWorld(t, settings{})
	keys := make([]ed25519.PrivateKey, 2)
	for i := range keys {
		_, key, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		keys[i] = key
	}
	secret, hash := aceserver.NewSecret()
	kept := store.NewMemory()
	as := func(signing ...aceserver.SigningKey) http.Handler {
		handler, err := aceserver.New(aceserver.Config{
			Issuer: "https://as.example", Store: kept, Keys: signing,
			Audiences: []aceserver.Audience{{Name: "jwt"}},
			Clients: []aceserver.Client{{
				ID: "c", Credential: aceserver.Credential{Secret: hash}, Keys: []crypto.PublicKey{clientKeys(t).ed.Public()},
			}},
			Policies: []aceserver.Policy{{Client: "c", Audience: "jwt", Scope: ace.Scope{{Filter: "a", Publish: true}}}},
		})
		require.NoError(t, err)
		return handler
	}
	old, young := aceserver.SigningKey{ID: "old", Key: keys[0]}, aceserver.SigningKey{ID: "young", Key: keys[1]}
	var current atomic.Value
	current.Store(as(old))
	site := newServer(t, w.authority, http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		current.Load().(http.Handler).ServeHTTP(rw, r)
	}))
	jwks, err := acebroker.NewJWKS(acebroker.JWKSConfig{URL: site.URL + "/jwks", TLS: w.authority.ClientConfig(), Clock: w.clock})
	require.NoError(t, err)
	cfg := w.config
	cfg.Issuers = []acebroker.Issuer{{Name: "https://as.example", Keys: jwks}}
	require.NoError(t, w.listener.Reload(cfg))

	auth := func() *ace.Authenticator {
		source, err := ace.NewAS(ace.ASConfig{
			Endpoint: site.URL + "/token", ClientID: "c", ClientSecret: secret, TLS: w.authority.ClientConfig(), Audience: "jwt",
			Signer: clientKeys(t).ed,
		})
		require.NoError(t, err)
		token, err := source.Token(patient(t))
		require.NoError(t, err)
		return authenticator(t, ace.Config{Source: ace.Static(token)})
	}
	connects := func(a *ace.Authenticator) bool {
		_, events := dialV5(w, a, options{id: newClientID(), tls: w.tls(0), once: true})
		select {
		case <-events.up:
			return true
		case <-events.refused:
			return false
		case <-time.After(patience):
			t.Fatal("neither connected nor refused")
			return false
		}
	}
	first := auth()
	require.True(t, connects(first))
	current.Store(as(young, old))
	second := auth()
	w.clock.Advance(acebroker.DefaultMinRefresh)
	require.True(t, connects(second))
	require.True(t, connects(first))
	current.Store(as(young))
	require.True(t, connects(second))
}

// TestStampede: as many clients as come at once with one reference token make one request (and the broker half
// survives it). TLS is done before, and so is the broker half's connection to the Authorization Server: on a machine of
// few processors those would be what the clients come one after the other for.
func TestStampede(t *testing.T) {
	const clients = 1000
	w := newWorld(t, settings{broker: func(cfg *acebroker.Config) {
		cfg.MaxPending, cfg.MaxPendingPerSource, cfg.Timeout = clients, clients, long
	}})
	require.NoError(t, connectRaw(w, w.static(newClientID(), "ref", "EdDSA")))
	token := w.static(newClientID(), "ref", "EdDSA")
	before := w.as.requests.Load()
	begin := make(chan struct{})
	var connecting, running sync.WaitGroup
	var admitted atomic.Int64
	var refused atomic.Pointer[error]
	connecting.Add(clients)
	for range clients {
		running.Go(func() {
			conn, err := dialRaw(w)
			connecting.Done()
			if err == nil {
				defer conn.Close()
				<-begin
				err = exchange(w, conn, token, wire.ConnectPacket{Version: wire.V5, CleanStart: true})
			}
			if err == nil {
				admitted.Add(1)
			} else {
				refused.CompareAndSwap(nil, &err)
			}
		})
	}
	connecting.Wait()
	close(begin)
	running.Wait()
	if err := refused.Load(); err != nil {
		t.Errorf("one was refused: %v", *err)
	}
	require.EqualValues(t, clients, admitted.Load())
	require.EqualValues(t, 1, w.as.requests.Load()-before)
}
