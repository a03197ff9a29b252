package acebroker

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/aif"
)

// TestAuthzInfo is Z-1 to Z-6.
func TestAuthzInfo(t *testing.T) {
	s := newStage(t, func(cfg *Config) { cfg.AuthzInfo, cfg.StoredTokens = true, true })
	c := s.hmacClient()
	upload := func(qos byte, token []byte) []byte {
		r := s.tokenless("c")
		r.send(publishV5("authz-info", qos, 7, string(token)))
		got := r.receive()
		s.leave(r)
		return got
	}
	require.Equal(t, []byte{0x40, 2, 0, 7}, upload(1, c.token()))
	require.Equal(t, []byte{0x40, 3, 0, 7, 0x99}, upload(1, []byte("not a token")))
	require.Equal(t, []byte{0x50, 3, 0, 7, 0x99}, upload(2, []byte("eyJ.eyJ.x")))
	require.Equal(t, []byte{0x40, 3, 0, 7, 0x87}, upload(1, c.token(func(s *claims.Set) { s.Expires = base })))
	require.Equal(t, []byte{0xE0, 1, 0x87}, upload(0, c.token(func(s *claims.Set) { s.Expires = base })))
	require.Equal(t, []byte{0xE0, 1, 0x99}, upload(0, []byte("x")))

	// The stored token is for the client that came with it, if it has the key (M-9).
	s.stored("c", c.key)
	for _, key := range []rawKey{s.hmacClient().key, s.edClient().key} {
		r := s.dial()
		r.send(connectV5("c", true, nil, method("ace")))
		r.send(answer(key, r.nonce()))
		r.refused(0x87)
	}
	r := s.dial()
	r.send(connectV5("another", true, nil, method("ace")))
	r.refused(0x87)
	s.clock.Advance(time.Hour)
	r = s.dial()
	r.send(connectV5("c", true, nil, method("ace")))
	r.refused(0x87)
	require.EqualValues(t, 1, s.listener.Counters().Uploaded)
	require.EqualValues(t, 5, s.listener.Counters().UploadRefused)
}

// TestAuthzInfoSquatter: a stranger with a valid token of its own cannot keep a client from its stored one.
func TestAuthzInfoSquatter(t *testing.T) {
	s := newStage(t, func(cfg *Config) { cfg.AuthzInfo, cfg.StoredTokens = true, true })
	c, mallory := s.hmacClient(), s.hmacClient()
	for _, token := range [][]byte{mallory.token(), c.token()} {
		r := s.tokenless("c")
		r.send(publishV5("authz-info", 1, 7, string(token)))
		require.Equal(t, []byte{0x40, 2, 0, 7}, r.receive())
		s.leave(r)
	}
	s.stored("c", c.key)
}

// TestAuthzInfoUpdates is Z-6: a newer token with the same key updates a live connection; an older one, or another
// client's, does not.
func TestAuthzInfoUpdates(t *testing.T) {
	s := newStage(t, func(cfg *Config) { cfg.AuthzInfo = true })
	c := s.hmacClient()
	r, _ := c.connected("c")
	put := func(want byte, change ...func(*claims.Set)) {
		t.Helper()
		up := s.dial()
		up.send(connectV5("", true, nil))
		up.connack()
		up.send(publishV5("authz-info", 1, 7, string(c.token(change...))))
		got := up.receive()
		if want == 0 {
			require.Equal(t, []byte{0x40, 2, 0, 7}, got)
		} else {
			require.Equal(t, []byte{0x40, 3, 0, 7, want}, got)
		}
		up.conn.Close()
	}
	b := func(s *claims.Set) { s.Scope = aif.Scope{{Filter: "b", Publish: true}, {Filter: "s", Subscribe: true}} }
	may := func(topic string, want bool) {
		t.Helper()
		r.send(publishV5(topic, 1, 1, ""))
		if want {
			require.Equal(t, []byte{0x40, 2, 0, 1}, r.receive(), topic)
		} else {
			require.Equal(t, []byte{0x40, 3, 0, 1, 0x87}, r.receive(), topic)
		}
	}
	put(0, b, func(s *claims.Set) { s.Subject = "bob" }) // another identity with the same key
	may("b", false)
	newer := func(s *claims.Set) { s.IssuedAt = s.IssuedAt.Add(time.Second) }
	put(0, b, newer, later1h)
	may("b", true)
	may("a/b", false)
	put(0x87, later1h) // older: no way back
	may("b", true)
	s.clock.Advance(time.Hour)
	may("b", true)
}

// TestAuthzInfoUpdatesByReference: a connection that was updated by a reference token lives by that one: it ends when
// the Authorization Server says that it is not active any more.
func TestAuthzInfoUpdatesByReference(t *testing.T) {
	site := newWebsite(t)
	s := newStage(t, func(cfg *Config) {
		cfg.AuthzInfo = true
		cfg.Issuers[0].Introspection = &Introspection{URL: site.URL, ClientID: "b", ClientSecret: "s", TLS: site.trust()}
	})
	c := s.hmacClient()
	r, _ := c.connected("c")
	i := &introspector{t: t, token: "ref", answer: claims.Introspection{Active: true, Set: c.set}}
	i.answer.IssuedAt = i.answer.IssuedAt.Add(time.Second)
	later1h(&i.answer.Set)
	site.serve(i.ServeHTTP)
	up := s.dial()
	up.send(connectV5("", true, nil))
	up.connack()
	up.send(publishV5("authz-info", 1, 7, "ref"))
	require.Equal(t, []byte{0x40, 2, 0, 7}, up.receive())
	s.clock.Advance(DefaultCacheFor)
	require.EqualValues(t, 2, site.asked.Load())
	revoked := *i
	revoked.answer.Active = false
	site.serve(revoked.ServeHTTP)
	s.clock.Advance(DefaultCacheFor)
	r.disconnected(0x87)
}

// TestAuthzInfoFlood: one address gets so many tokens looked at and no more, and what is stored is bounded
// (attacks.md 14).
func TestAuthzInfoFlood(t *testing.T) {
	s := newStage(t, func(cfg *Config) { cfg.AuthzInfo, cfg.StoredTokenLimit, cfg.CachedTokens = true, 3, 3 })
	r := s.tokenless("c")
	for i := range 100 {
		r.send(publishV5("authz-info", 1, 7, fmt.Sprint("rubbish ", i)))
		got := r.receive()
		if i < limitBurst {
			require.Equal(t, []byte{0x40, 3, 0, 7, 0x99}, got)
		} else {
			require.Equal(t, []byte{0x40, 3, 0, 7, 0x97}, got)
		}
	}
	for range 20 {
		s.clock.Advance(limitInterval)
		c := s.edClient()
		r.send(publishV5("authz-info", 1, 7, string(c.token())))
		require.Equal(t, []byte{0x40, 2, 0, 7}, r.receive())
	}
	require.LessOrEqual(t, len(s.listener.store.keys.items), 3)
	require.LessOrEqual(t, len(s.listener.store.clients.items), 3)
}

// TestStoredReferenceToken: a token that only the Authorization Server can judge lets nobody in on the strength of an
// answer that is over, be it stored (M-9) or the name of a pre-shared key (T-2).
func TestStoredReferenceToken(t *testing.T) {
	for _, now := range []string{"active", "revoked", "unreachable", "another client's", "for another key"} {
		t.Run(now, func(t *testing.T) {
			site := newWebsite(t)
			psk := new(PSK)
			s := newStage(t, func(cfg *Config) {
				cfg.AuthzInfo, cfg.StoredTokens, cfg.PSK = true, true, psk
				cfg.Issuers[0].Introspection = &Introspection{URL: site.URL, ClientID: "b", ClientSecret: "s", TLS: site.trust()}
			})
			c := s.hmacClient()
			c.set.Confirmation.ID = "kid"
			i := &introspector{t: t, token: "ref", answer: claims.Introspection{Active: true, Set: c.set}}
			site.serve(i.ServeHTTP)
			r := s.tokenless("c")
			r.send(publishV5("authz-info", 1, 7, "ref"))
			require.Equal(t, []byte{0x40, 2, 0, 7}, r.receive())
			s.leave(r)
			identity := "\xA1\x08\xA1\x01\xA2\x01\x04\x02\x43kid"
			require.NotNil(t, psk.Key(identity))
			require.EqualValues(t, 1, site.asked.Load())

			s.clock.Advance(DefaultCacheFor)
			changed := *i
			switch now {
			case "revoked":
				changed.answer.Active = false
				site.serve(changed.ServeHTTP)
			case "another client's":
				changed.answer.Subject = "mallory"
				site.serve(changed.ServeHTTP)
			case "for another key":
				changed.answer.Confirmation.Key = s.hmacClient().set.Confirmation.Key
				site.serve(changed.ServeHTTP)
			case "unreachable":
				site.serve(fail)
			}
			r = s.dial()
			r.send(connectV5("c", true, nil, method("ace")))
			if now == "active" {
				require.NotNil(t, psk.Key(identity))
				r.send(answer(c.key, r.nonce()))
				r.accepted()
				require.EqualValues(t, 2, site.asked.Load())
				return
			}
			require.Nil(t, psk.Key(identity))
			want := byte(0x87)
			if now == "unreachable" {
				want = 0x88
			}
			r.refused(want)
		})
	}
}

// TestReloadKeepsUploads: what was uploaded before Reload counts afterwards if the new configuration would take it, and
// else does not, nor does it stand in the way of what is uploaded then.
func TestReloadKeepsUploads(t *testing.T) {
	psk := new(PSK)
	var cfg Config
	s := newStage(t, func(c *Config) {
		c.AuthzInfo, c.StoredTokens, c.PSK = true, true, psk
		cfg = *c
	})
	c := s.hmacClient()
	c.set.Confirmation.ID = "kid"
	const identity = "\xA1\x08\xA1\x01\xA2\x01\x04\x02\x43kid"
	upload := func(token []byte) {
		t.Helper()
		r := s.tokenless("c")
		r.send(publishV5("authz-info", 1, 7, string(token)))
		require.Equal(t, []byte{0x40, 2, 0, 7}, r.receive())
		s.leave(r)
	}
	upload(c.token(func(s *claims.Set) { s.IssuedAt = base.Add(time.Second) }))
	require.NoError(t, s.listener.Reload(cfg))
	require.NotNil(t, psk.Key(identity))
	s.stored("c", c.key)

	for range storedPerClient - 1 {
		upload(s.hmacClient().token())
	}
	cfg.Audience = []string{"another"}
	require.NoError(t, s.listener.Reload(cfg))
	require.Nil(t, psk.Key(identity))
	r := s.dial()
	r.send(connectV5("c", true, nil, method("ace")))
	r.refused(0x87)
	young := s.hmacClient()
	young.set.Confirmation.ID, young.set.Audience, c.set.Audience = "kid", cfg.Audience, cfg.Audience
	upload(young.token())
	require.Equal(t, young.key.secret, psk.Key(identity), "the name is not that of a token which counts no more")
	upload(c.token(func(s *claims.Set) { s.IssuedAt = base }))
	for _, key := range []rawKey{c.key, young.key} {
		s.stored("c", key)
	}
}

// TestReloadKeepsUploadsFromStrangers: after Reload, too, a stranger can neither roll back the rights of a client with
// an older token of its own, nor take its place at its Client Identifier or the name of its key; and what nobody can be
// asked about makes way for nothing.
func TestReloadKeepsUploadsFromStrangers(t *testing.T) {
	site := newWebsite(t)
	psk := new(PSK)
	var cfg Config
	s := newStage(t, func(c *Config) {
		c.AuthzInfo, c.StoredTokens, c.PSK = true, true, psk
		c.Issuers[0].Introspection = &Introspection{URL: site.URL, ClientID: "b", ClientSecret: "s", TLS: site.trust()}
		cfg = *c
	})
	upload := func(id string, token []byte, want ...byte) {
		t.Helper()
		r := s.tokenless(id)
		r.send(publishV5("authz-info", 1, 7, string(token)))
		require.Equal(t, append([]byte{0x40, byte(2 + len(want)), 0, 7}, want...), r.receive())
		s.leave(r)
	}
	const identity = "\xA1\x08\xA1\x01\xA2\x01\x04\x02\x43kid"
	c, mallory := s.hmacClient(), s.hmacClient()
	c.set.Confirmation.ID, mallory.set.Confirmation.ID, mallory.set.Subject = "kid", "kid", "mallory"
	newer := func(s *claims.Set) { s.IssuedAt = base.Add(time.Second) }
	unnamed := func(s *claims.Set) { s.Confirmation.ID = "" }

	upload("c", c.token(newer))
	for _, attack := range []func(){
		func() { upload("another", c.token(unnamed), 0x87) }, // older: no way back
		func() { upload("c", mallory.token(unnamed)) },
		func() { upload("another", mallory.token()) },
		func() { upload("c", mallory.token()) },
	} {
		require.NoError(t, s.listener.Reload(cfg))
		attack()
		require.Equal(t, c.key.secret, psk.Key(identity))
		s.stored("c", c.key)
	}

	i := &introspector{t: t, token: "ref", answer: claims.Introspection{Active: true, Set: c.set}}
	i.answer.IssuedAt = base.Add(2 * time.Second)
	site.serve(i.ServeHTTP)
	upload("c", []byte("ref"))
	require.NoError(t, s.listener.Reload(cfg))
	site.serve(fail)
	upload("c", c.token(newer), 0x87)
	site.serve(i.ServeHTTP)
	require.Equal(t, c.key.secret, psk.Key(identity))
	upload("c", c.token(newer), 0x87)
}

// TestReloadKeepsStoredFromInsiders: nor can a client that connects with a token of its own under another's Client
// Identifier make the other's stored tokens go, by a Reload before it or while it proves its key.
func TestReloadKeepsStoredFromInsiders(t *testing.T) {
	site := newWebsite(t)
	var cfg Config
	s := newStage(t, func(c *Config) {
		c.StoredTokens = true
		c.Issuers[0].Introspection = &Introspection{URL: site.URL, ClientID: "b", ClientSecret: "s", TLS: site.trust()}
		cfg = *c
	})
	victim, insider, second := s.hmacClient(), s.hmacClient(), s.hmacClient()
	insider.set.Subject, second.set.Subject = "insider", "second"
	reload := func() { require.NoError(t, s.listener.Reload(cfg)) }
	enter := func(c *client, token []byte, before, meanwhile func()) {
		t.Helper()
		before()
		r := s.dial()
		r.send(connectV5("c", true, nil, method("ace"), data(authData(token, nil))))
		nonce := r.nonce()
		meanwhile()
		r.send(answer(c.key, nonce))
		r.accepted()
		s.leave(r)
		s.broker()
	}
	stored := func(c *client) { t.Helper(); s.stored("c", c.key) }
	still := func() {}
	enter(victim, victim.token(), still, still)
	enter(insider, insider.token(), reload, still)
	stored(victim)
	enter(insider, insider.token(), still, reload)
	stored(victim)
	stored(insider)
	enter(second, second.token(), still, func() { reload(); stored(victim) }) // what is stored is newer than its own
	stored(victim)

	// Nor does who renews its token there with one of another key.
	renewed := s.hmacClient()
	renewed.set.Subject = insider.set.Subject
	r := s.dial()
	r.send(connectV5("c", true, nil, method("ace"), data(authData(insider.token(), nil))))
	r.send(answer(insider.key, r.nonce()))
	r.accepted()
	s.broker()
	reload()
	reauthenticate(r, renewed, renewed.key)
	reauthenticated(r)
	s.leave(r)
	stored(victim)

	// Of a reference the server must be asked. While it cannot be, its place is kept.
	i := &introspector{t: t, token: "ref", answer: claims.Introspection{Active: true, Set: victim.set}}
	site.serve(i.ServeHTTP)
	enter(victim, []byte("ref"), still, still)
	another := s.hmacClient()
	enter(another, another.token(), func() { reload(); site.serve(fail) }, still)
	site.serve(i.ServeHTTP)
	stored(victim)
}

// TestNothingIsStoredUnasked: without Config.StoredTokens no token is kept, for a later configuration neither.
func TestNothingIsStoredUnasked(t *testing.T) {
	var cfg Config
	s := newStage(t, func(c *Config) { cfg = *c })
	c := s.hmacClient()
	r := s.dial()
	r.send(connectV5("c", true, nil, method("ace"), data(authData(c.token(), nil))))
	r.send(answer(c.key, r.nonce()))
	r.accepted()
	s.leave(r)
	cfg.StoredTokens = true
	require.NoError(t, s.listener.Reload(cfg))
	r = s.dial()
	r.send(connectV5("c", true, nil, method("ace")))
	r.refused(0x87)
}
