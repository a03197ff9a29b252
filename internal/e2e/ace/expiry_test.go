package ace

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// direct is an application that talks to the broker itself, past the broker half: for what others say, whatever the
// tokens are.
func (w *world) direct() application {
	w.t.Helper()
	unguarded := *w
	unguarded.address = w.broker.URL(brokers.TLS).Host
	trusting := w.authority.ClientConfig()
	trusting.RootCAs = w.broker.RootCAs()
	app, _ := unguarded.connected(5, nil, options{id: "direct-" + newClientID(), tls: trusting})
	return app
}

// TestExpiryUnderASubscriberAndAPublisher: both are cut off when their tokens expire, at that moment and with the
// reason, and nothing is forwarded afterwards.
func TestExpiryUnderASubscriberAndAPublisher(t *testing.T) {
	for _, version := range []int{3, 5} {
		w := newWorld(t, settings{lifetime: 10 * time.Minute})
		direct := w.direct()
		type part struct {
			id     string
			app    application
			events *events
		}
		var parts []part
		for _, format := range formats {
			id := newClientID()
			auth := authenticator(t, ace.Config{Source: w.static(id, format, "EdDSA")})
			app, events := w.connected(version, auth, options{id: id, tls: w.tls(0), once: true})
			require.NoError(t, app.subscribe("site/"+id+"/#", 1))
			require.NoError(t, direct.publish("site/"+id+"/before", 1, false, "x"))
			require.Equal(t, "site/"+id+"/before x", next(t, events.messages, "a message"))
			parts = append(parts, part{id, app, events})
		}
		w.clock.Advance(2 * time.Hour) // the server's clock has gone on meanwhile: the tokens began later than this one's
		for _, p := range parts {
			err := next(t, p.events.lost, "the end of the connection")
			if version == 5 {
				require.ErrorContains(t, err, "0x87")
			}
			require.NoError(t, direct.publish("site/"+p.id+"/after", 1, false, "x"))
			require.NoError(t, direct.publish("site/"+p.id+"/after", 1, false, "x"))
		}
		for _, p := range parts {
			require.Empty(t, p.events.messages)
		}
		counters := w.listener.Counters()
		require.EqualValues(t, 3, counters.Delivered)
		require.Eventually(t, func() bool { return w.listener.Counters().Active == 0 }, patience, time.Millisecond)
		require.NotZero(t, counters.Expired)
		require.Contains(t, w.log.String(), "permission expired")
	}
}

// TestExpiryByTheRealClock: the same without a fake one, with a token of a second, or of as many as this machine needs
// to connect within its lifetime.
func TestExpiryByTheRealClock(t *testing.T) {
	for lifetime := time.Second; !expiresByTheRealClock(t, lifetime); lifetime *= 2 {
		require.Less(t, lifetime, patience)
	}
}

// expiresByTheRealClock reports whether the client was connected in time.
func expiresByTheRealClock(t *testing.T, lifetime time.Duration) bool {
	w := newWorld(t, settings{lifetime: lifetime, broker: func(cfg *acebroker.Config) { cfg.Clock = nil }})
	id := newClientID()
	token := w.static(id, "jwt", "HS256")
	expires := token.Expires.Add(-time.Second)   // the token says it in whole seconds
	token.Expires = token.Expires.Add(time.Hour) // as the client believes, which would end the connection itself
	_, events := dialV5(w, authenticator(t, ace.Config{Source: token}), options{id: id, tls: w.tls(0), once: true})
	select {
	case <-events.up:
	case err := <-events.refused:
		require.False(t, time.Now().Before(expires), "refused before the end: %v", err)
		return false
	case <-time.After(patience):
		t.Fatal("neither connected nor refused")
	}
	require.ErrorContains(t, next(t, events.lost, "the end of the connection"), "0x87")
	// It is counted once the client has been told.
	require.Eventually(t, func() bool { return w.listener.Counters().Expired == 1 }, patience, time.Millisecond)
	return true
}

// TestRevocationWhileConnected: an operator's word ends the connection, and the client does not come back with that
// token.
func TestRevocationWhileConnected(t *testing.T) {
	for _, version := range []int{3, 5} {
		w := newWorld(t, settings{})
		id := newClientID()
		auth := authenticator(t, ace.Config{Source: w.static(id, "cwt", "ES256")})
		_, events := w.connected(version, auth, options{id: id, tls: w.tls(0)})
		ended, err := w.listener.Revoke(acebroker.Revocation{Subject: id}, time.Time{})
		require.NoError(t, err)
		require.Equal(t, 1, ended)
		next(t, events.lost, "the end of the connection")
		if version == 5 {
			var refused *ace.NotAuthorizedError
			require.ErrorAs(t, next(t, events.refused, "a refusal"), &refused)
			require.Equal(t, byte(0x87), refused.Code)
		}
		require.EqualValues(t, 1, w.listener.Counters().Admitted)
	}
}

// TestWillIsPublishedAfterExpiry is E-4: what was authorized at CONNECT is done, although the token has expired
// meanwhile.
func TestWillIsPublishedAfterExpiry(t *testing.T) {
	for _, version := range []int{3, 5} {
		w := newWorld(t, settings{lifetime: 10 * time.Minute})
		id := newClientID()
		unguarded := *w
		unguarded.address = w.broker.URL(brokers.TLS).Host
		trusting := w.authority.ClientConfig()
		trusting.RootCAs = w.broker.RootCAs()
		watcher, seen := unguarded.connected(5, nil, options{id: "watcher", tls: trusting})
		require.NoError(t, watcher.subscribe("site/"+id+"/will", 1))
		auth := authenticator(t, ace.Config{Source: w.static(id, "jwt", "EdDSA")})
		_, events := w.connected(version, auth, options{id: id, tls: w.tls(0), once: true, will: "site/" + id + "/will"})
		w.clock.Advance(time.Hour)
		next(t, events.lost, "the end of the connection")
		require.Equal(t, "site/"+id+"/will gone", next(t, seen.messages, "the Will"))
	}
}

// TestRetainedOfAnExpiredPublisher is E-3: on 3.1.1 the broker half withholds a retained message whose publisher's
// token has expired; on v5 it has told the broker when to forget it.
func TestRetainedOfAnExpiredPublisher(t *testing.T) {
	const lifetime = 10 * time.Minute // six times that for reference tokens
	w := newWorld(t, settings{lifetime: lifetime, scope: ace.Scope{{Filter: "board/#", Publish: true, Subscribe: true}}})
	for version, topic := range map[int]string{3: "board/3", 5: "board/5"} {
		id := newClientID()
		auth := authenticator(t, ace.Config{Source: w.static(id, "jwt", "EdDSA")})
		app, _ := w.connected(version, auth, options{id: id, tls: w.tls(0), once: true})
		require.NoError(t, app.publish(topic, 1, true, "x"))
	}
	kept := w.broker.Server.Topics.Retained.GetAll()
	require.LessOrEqual(t, kept["board/5"].Properties.MessageExpiryInterval, uint32((lifetime+patience)/time.Second)) // as late as it began
	require.NotZero(t, kept["board/5"].Properties.MessageExpiryInterval)

	see := func() (seen []string) {
		id := newClientID()
		auth := authenticator(t, ace.Config{Source: w.static(id, "ref", "EdDSA")})
		app, events := w.connected(5, auth, options{id: id, tls: w.tls(0), once: true})
		require.NoError(t, app.subscribe("board/3", 1))
		require.NoError(t, app.publish("board/3", 1, false, "end"))
		for m := ""; m != "board/3 end"; seen = append(seen, m) {
			m = next(t, events.messages, "a message")
		}
		return seen
	}
	require.Equal(t, []string{"board/3 x", "board/3 end"}, see())
	w.clock.Advance(2 * lifetime) // the tokens began later than this clock
	require.Equal(t, []string{"board/3 end"}, see())
	require.EqualValues(t, 1, w.listener.Counters().RetainedWithheld)
}
