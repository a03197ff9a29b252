package acebroker

import (
	"crypto/sha256"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/guard"
)

// TestExpiry: a subscriber and a publisher hear why at the moment of expiry, and the broker's Read says it, too
// (attacks.md 12).
func TestExpiry(t *testing.T) {
	s := newStage(t, nil)
	c := s.edClient()
	r, b := c.connected("c")
	v3 := s.dial()
	v3.send(connectV3("d", append([]byte("ace"), c.token()...), c.key.prove(v3.exported())))
	require.Equal(t, []byte{0x20, 2, 0, 0}, v3.receive())
	b3 := s.broker()
	s.clock.Advance(time.Hour - time.Second)
	r.send(publishV5("a/b", 1, 1, ""))
	require.Equal(t, []byte{0x40, 2, 0, 1}, r.receive())
	s.clock.Advance(time.Second)
	r.disconnected(0x87)
	v3.over()
	require.ErrorIs(t, b3.ended(t), guard.ErrExpired)
	_, err := b.Write(publishV5("a/b", 0, 0, "late"))
	require.Error(t, err)
	r = s.dial()
	c.connect(r, "c", nil)
	r.refused(0x87)
}

// reauthenticate brings a new token; the broker's challenge is answered with the key.
func reauthenticate(r *raw, c *client, key rawKey, change ...func(*claims.Set)) {
	r.t.Helper()
	r.send(auth(0x19, authData(c.token(change...), nil)))
	r.send(answer(key, r.nonce()))
}

func reauthenticated(r *raw) {
	r.t.Helper()
	require.Equal(r.t, packet(0xF0, append([]byte{0}, properties(method("ace"))...)), r.receive())
}

func later1h(s *claims.Set) { s.Expires = s.Expires.Add(time.Hour) }

// TestReauthentication is: rights and time change in one step, on the same connection, also with another
// key.
func TestReauthentication(t *testing.T) {
	s := newStage(t, nil)
	c := s.edClient()
	r, _ := c.connected("c")
	reauthenticate(r, c, c.key, later1h, func(s *claims.Set) { s.Scope = aif.Scope{{Filter: "b", Publish: true}} })
	reauthenticated(r)
	r.send(publishV5("a/b", 1, 1, ""))
	require.Equal(t, []byte{0x40, 3, 0, 1, 0x87}, r.receive())
	r.send(publishV5("b", 1, 2, ""))
	require.Equal(t, []byte{0x40, 2, 0, 2}, r.receive())
	other := s.hmacClient()
	s.clock.Advance(time.Hour)
	other.set.IssuedAt = base.Add(time.Hour)
	reauthenticate(r, other, other.key, later1h)
	reauthenticated(r)
	r.send(publishV5("a/b", 1, 3, ""))
	require.Equal(t, []byte{0x40, 2, 0, 3}, r.receive())
	require.EqualValues(t, 2, s.listener.Counters().Reauthenticated)
	s.listener.live.mu.Lock()
	lives := len(s.listener.live.byKey)
	s.listener.live.mu.Unlock()
	require.Equal(t, 1, lives, "an upload for the key that it had is none for this connection")
	s.clock.Advance(time.Hour)
	r.disconnected(0x87)
}

// TestReauthenticationRefused: DISCONNECT 0x87, whatever is wrong; the exporter's proof is not for this.
func TestReauthenticationRefused(t *testing.T) {
	s := newStage(t, nil)
	c, stranger := s.edClient(), s.hmacClient()
	for name, attempt := range map[string]func(r *raw){
		"no token":       func(r *raw) { r.send(auth(0x19, nil)) },
		"no valid token": func(r *raw) { r.send(auth(0x19, authData([]byte("x"), nil))) },
		"half a length":  func(r *raw) { r.send(auth(0x19, []byte{0})) },
		"half an answer": func(r *raw) {
			r.send(auth(0x19, authData(c.token(), nil)))
			r.nonce()
			r.send(auth(0x18, make([]byte, 8)))
		},
		"revoked meanwhile": func(r *raw) {
			token := c.token()
			r.send(auth(0x19, authData(token, nil)))
			nonce := r.nonce()
			hash := sha256.Sum256(token)
			ended, err := s.listener.Revoke(Revocation{TokenHash: hash[:]}, time.Time{})
			require.NoError(t, err)
			require.Zero(t, ended, "it does not live by that one yet")
			r.send(answer(c.key, nonce))
		},
		"exporter": func(r *raw) { r.send(auth(0x19, authData(c.token(), c.key.prove(r.exported())))) },
		"another method": func(r *raw) {
			r.send(packet(0xF0, append([]byte{0x19}, properties(method("x"), data(authData(c.token(), nil)))...)))
		},
		"another key": func(r *raw) { reauthenticate(r, c, stranger.key) },
		"another subject": func(r *raw) {
			r.send(auth(0x19, authData(c.token(func(s *claims.Set) { s.Subject = "mallory" }), nil)))
		},
		"expired":      func(r *raw) { r.send(auth(0x19, authData(c.token(func(s *claims.Set) { s.Expires = base }), nil))) },
		"no challenge": func(r *raw) { r.send(answer(c.key, make([]byte, 8))) },
		"success":      func(r *raw) { r.send(auth(0, nil)) },
		"two at once": func(r *raw) {
			r.send(auth(0x19, authData(c.token(), nil)))
			r.nonce()
			r.send(auth(0x19, authData(c.token(), nil)))
		},
		"no answer": func(r *raw) {
			r.send(auth(0x19, authData(c.token(), nil)))
			r.nonce()
			s.clock.Advance(DefaultTimeout)
		},
		"subscription that is not covered": func(r *raw) {
			r.send(subscribeV5(1, "s"))
			r.receive()
			reauthenticate(r, c, c.key, func(s *claims.Set) { s.Scope = s.Scope[:1] })
		},
	} {
		r, _ := c.connected("c")
		attempt(r)
		got := r.receive()
		require.Equal(t, []byte{0xE0, 1, 0x87}, got, name)
		r.over()
	}
	// It is counted once the client has been told.
	require.Eventually(t, func() bool { return s.listener.Counters().ReauthRefused == 15 }, time.Minute, time.Millisecond)

	// A client that came by User Name has not named the method, and cannot begin with it now (MQTT5 4.12.1).
	r := s.dial()
	head := append(field([]byte("MQTT")), 5, 2|64|128, 0, 60, 0)
	name := append([]byte("ace"), c.token()...)
	payload := append(append(field([]byte("d")), field(name)...), field(c.key.prove(r.exported()))...)
	r.send(packet(0x10, append(head, payload...)))
	code, props := r.connack()
	require.Zero(t, code)
	require.Empty(t, props)
	r.send(auth(0x19, authData(c.token(), nil)))
	r.disconnected(0x87)
}

// TestReauthenticationTooOften: a client cannot keep the broker verifying.
func TestReauthenticationTooOften(t *testing.T) {
	s := newStage(t, nil)
	c := s.edClient()
	r, _ := c.connected("c")
	for range limitBurst {
		reauthenticate(r, c, c.key)
		reauthenticated(r)
	}
	s.clock.Advance(limitInterval)
	reauthenticate(r, c, c.key)
	reauthenticated(r)
	r.send(auth(0x19, authData(c.token(), nil)))
	r.disconnected(0x87)
}

// TestReauthenticationWhileMessagesFlow: the old rights apply until success, and nothing waits for the Authorization
// Server.
func TestReauthenticationWhileMessagesFlow(t *testing.T) {
	slow := make(chan struct{})
	s := newStage(t, func(cfg *Config) {
		static := cfg.Issuers[0].Keys.(StaticKeys)
		first := true
		cfg.Issuers[0].Keys = keySet(func(id string, algorithm Algorithm) []Key {
			if !first {
				<-slow
			}
			first = false
			return matching(static, id, algorithm)
		})
	})
	c := s.edClient()
	r, _ := c.connected("c")
	r.send(auth(0x19, authData(c.token(later1h), nil)))
	for id := range uint16(10) {
		r.send(publishV5("a/b", 1, id+1, ""))
		require.Equal(t, []byte{0x40, 2, 0, byte(id + 1)}, r.receive())
	}
	close(slow)
	r.send(answer(c.key, r.nonce()))
	reauthenticated(r)
}

// TestLiveReferenceToken: while a connection lives by a reference token, the Authorization Server is asked again, and
// when it says no or nothing, the connection ends.
func TestLiveReferenceToken(t *testing.T) {
	for _, ending := range []string{"revoked", "unreachable", "another client's", "narrower"} {
		t.Run(ending, func(t *testing.T) {
			site := newWebsite(t)
			s := newStage(t, func(cfg *Config) {
				cfg.Issuers[0].Introspection = &Introspection{URL: site.URL, ClientID: "b", ClientSecret: "s", TLS: site.trust()}
			})
			c := s.hmacClient()
			i := &introspector{t: t, token: "ref", answer: claims.Introspection{Active: true, Set: c.set}}
			site.serve(i.ServeHTTP)
			r := s.dial()
			r.send(connectV5("c", true, nil, method("ace"), data(authData([]byte("ref"), c.key.prove(r.exported())))))
			r.accepted()
			for n := range int64(3) {
				s.clock.Advance(DefaultCacheFor)
				require.EqualValues(t, n+2, site.asked.Load())
			}
			changed := *i
			switch ending {
			case "revoked":
				changed.answer.Active = false
				site.serve(changed.ServeHTTP)
			case "unreachable":
				site.serve(fail)
			case "another client's":
				changed.answer.Subject = "mallory"
				site.serve(changed.ServeHTTP)
			case "narrower":
				changed.answer.Scope = aif.Scope{}
				site.serve(changed.ServeHTTP)
			}
			s.clock.Advance(DefaultCacheFor)
			if ending == "narrower" {
				r.send(publishV5("a/b", 1, 1, ""))
				require.Equal(t, []byte{0x40, 3, 0, 1, 0x87}, r.receive())
				return
			}
			r.disconnected(0x87)
		})
	}
}
