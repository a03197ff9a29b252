package acebroker

import (
	"bytes"
	"crypto/tls"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/aif"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestExporterProof is M-1 (a), M-3, M-5 and M-8, over TLS 1.3 and 1.2, with both kinds of key; and the broker sees a
// plain CONNECT.
func TestExporterProof(t *testing.T) {
	s := newStage(t, nil)
	for _, version := range []func(*tls.Config){func(*tls.Config) {}, tls12} {
		for _, c := range []*client{s.hmacClient(), s.edClient()} {
			r := s.dial(version)
			require.Equal(t, "mqtt", r.conn.ConnectionState().NegotiatedProtocol)
			c.connect(r, "c1", &will{topic: "a/will"})
			r.accepted()
			b := s.broker()
			<-b.packets
			s.mu.Lock()
			got := s.connects[len(s.connects)-1]
			s.mu.Unlock()
			require.Equal(t, "alice", string(got.Username))
			require.False(t, got.HasPassword)
			require.Empty(t, got.Properties)
			require.Equal(t, "c1", string(got.ClientID))
			require.Equal(t, "a/will", string(got.Will.Topic))
			r.send(publishV5("a/b", 1, 7, "x"))
			require.Equal(t, []byte{0x40, 2, 0, 7}, r.receive())
			r.send(publishV5("b", 1, 8, "x"))
			require.Equal(t, []byte{0x40, 3, 0, 8, 0x87}, r.receive())
		}
	}
	require.NotContains(t, s.log.String(), "eyJ", "no token in the log")
}

// TestChallengeProof is M-1 (b), M-2 and M-4: figures 4 to 6 of RFC 9431.
func TestChallengeProof(t *testing.T) {
	s := newStage(t, nil)
	nonces := map[string]bool{}
	for range 2 {
		for _, c := range []*client{s.hmacClient(), s.edClient()} {
			r := s.dial()
			r.send(connectV5("c1", true, nil, method("ace"), data(authData(c.token(), nil))))
			nonce := r.nonce()
			require.False(t, nonces[string(nonce)])
			nonces[string(nonce)] = true
			r.send(answer(c.key, nonce))
			r.accepted()
			s.broker()
		}
	}
	require.EqualValues(t, 4, s.listener.Counters().Challenges)
}

// TestUserName is V-1 to V-3: figure 10, and a JWT that stands there as it is.
func TestUserName(t *testing.T) {
	s := newStage(t, nil)
	for _, c := range []*client{s.hmacClient(), s.edClient()} {
		for _, rawJWT := range []bool{false, true} {
			r := s.dial(tls12)
			name := []byte("ace" + base64.RawURLEncoding.EncodeToString(c.token()))
			if rawJWT {
				name = append([]byte("ace"), c.token()...)
			}
			r.send(connectV3("c1", name, c.key.prove(r.exported())))
			require.Equal(t, []byte{0x20, 2, 0, 0}, r.receive())
			<-s.broker().packets
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range s.connects {
		require.Equal(t, wire.V311, m.Version)
		require.Equal(t, "alice", string(m.Username))
		require.False(t, m.HasPassword)
	}
}

// TestConnectRefused: each way to be refused, on v5 with the code, and never a CONNECT at the broker.
func TestConnectRefused(t *testing.T) {
	s := newStage(t, nil)
	c := s.edClient()
	stranger := s.edClient()
	another := s.dial().exported()
	for name, connect := range map[string]struct {
		code byte
		make func(r *raw) []byte
	}{
		"no token":          {0x87, func(*raw) []byte { return connectV5("c", true, nil) }},
		"another method":    {0x8C, func(*raw) []byte { return connectV5("c", true, nil, method("SCRAM-SHA-1")) }},
		"the method's case": {0x8C, func(*raw) []byte { return connectV5("c", true, nil, method("ACE")) }},
		"no data":           {0x87, func(*raw) []byte { return connectV5("c", true, nil, method("ace")) }},
		"empty data":        {0x87, func(*raw) []byte { return connectV5("c", true, nil, method("ace"), data(nil)) }},
		"one byte":          {0x87, func(*raw) []byte { return connectV5("c", true, nil, method("ace"), data([]byte{0})) }},
		"empty token":       {0x87, func(*raw) []byte { return connectV5("c", true, nil, method("ace"), data([]byte{0, 0})) }},
		"length that lies":  {0x87, func(*raw) []byte { return connectV5("c", true, nil, method("ace"), data([]byte{0xFF, 0xFF, 1})) }},
		"proof of 31 bytes": {0x87, func(r *raw) []byte {
			return connectV5("c", true, nil, method("ace"), data(authData(c.token(), make([]byte, 31))))
		}},
		"proof of 65 bytes": {0x87, func(r *raw) []byte {
			return connectV5("c", true, nil, method("ace"), data(authData(c.token(), make([]byte, 65))))
		}},
		"a MAC for a key pair": {0x87, func(r *raw) []byte {
			return connectV5("c", true, nil, method("ace"), data(authData(c.token(), make([]byte, 32))))
		}},
		"no valid token": {0x87, func(r *raw) []byte {
			return connectV5("c", true, nil, method("ace"), data(authData([]byte("x"), make([]byte, 32))))
		}},
		"an expired token": {0x87, func(r *raw) []byte {
			return connectV5("c", true, nil, method("ace"), data(authData(c.token(func(s *claims.Set) { s.Expires = base }), c.key.prove(r.exported()))))
		}},
		"another key": {0x87, func(r *raw) []byte {
			return connectV5("c", true, nil, method("ace"), data(authData(c.token(), stranger.key.prove(r.exported()))))
		}},
		"another session's exporter": {0x87, func(r *raw) []byte {
			return connectV5("c", true, nil, method("ace"), data(authData(c.token(), c.key.prove(another))))
		}},
		"a user name beside": {0x87, func(r *raw) []byte {
			p := connectV5("c", true, nil, method("ace"), data(authData(c.token(), c.key.prove(r.exported()))))
			m, err := wire.ParseConnect(p)
			require.NoError(t, err)
			m.HasUsername, m.Username = true, []byte("alice")
			p, err = m.Append(nil)
			require.NoError(t, err)
			return p
		}},
		"a Will that is not permitted": {0x87, func(r *raw) []byte {
			return connectV5("c", true, &will{topic: "s"}, method("ace"), data(authData(c.token(), c.key.prove(r.exported()))))
		}},
		"authz-info as Will": {0x87, func(r *raw) []byte {
			all := func(s *claims.Set) { s.Scope = aif.Scope{{Filter: "#", Publish: true}} }
			return connectV5("c", true, &will{topic: "authz-info"}, method("ace"), data(authData(c.token(all), c.key.prove(r.exported()))))
		}},
	} {
		r := s.dial()
		r.send(connect.make(r))
		code, props := r.connack()
		require.Equal(t, connect.code, code, name)
		require.Empty(t, props, "no hint is configured")
		r.over()
	}
	exporter := func(r *raw) []byte { return c.key.prove(r.exported()) }
	token := base64.RawURLEncoding.EncodeToString(c.token())
	for name, connect := range map[string]func(r *raw) []byte{
		"no user name":      func(*raw) []byte { return connectV3("c", nil, nil) },
		"a plain user name": func(*raw) []byte { return connectV3("c", []byte("alice"), []byte("secret")) },
		"no password":       func(*raw) []byte { return connectV3("c", []byte("ace"+token), nil) },
		"empty password":    func(*raw) []byte { return connectV3("c", []byte("ace"+token), []byte{}) },
		"no token":          func(r *raw) []byte { return connectV3("c", []byte("ace"), exporter(r)) },
		"padded token":      func(r *raw) []byte { return connectV3("c", []byte("ace"+token+"=="), exporter(r)) },
		"another key":       func(r *raw) []byte { return connectV3("c", []byte("ace"+token), stranger.key.prove(r.exported())) },
		"another session":   func(r *raw) []byte { return connectV3("c", []byte("ace"+token), c.key.prove(another)) },
	} {
		r := s.dial()
		r.send(connect(r))
		require.Equal(t, []byte{0x20, 2, 0, 5}, r.receive(), name)
		r.over()
	}
	r := s.dial()
	r.send(packet(0x10, append(append(field([]byte("MQIsdp")), 3, 2, 0, 60), field([]byte("c"))...)))
	require.Equal(t, []byte{0x20, 2, 0, 1}, r.receive(), "MQTT 3.1")
	s.nobody()
	require.NotContains(t, s.log.String(), token)
}

// TestExporterOfAResumedSession is M-6: refused on v5 and 3.1.1, where only the challenge is left, and that only on
// v5 (attacks.md 4, 15).
func TestExporterOfAResumedSession(t *testing.T) {
	s := newStage(t, nil)
	c := s.edClient()
	for _, version := range []func(*tls.Config){func(*tls.Config) {}, tls12} {
		cache := tls.NewLRUClientSessionCache(1)
		resuming := func(cfg *tls.Config) { cfg.ClientSessionCache = cache }
		resumed := func() *raw {
			r := s.dial(version, resuming)
			require.True(t, r.conn.ConnectionState().DidResume)
			return r
		}
		r := s.dial(version, resuming)
		require.False(t, r.conn.ConnectionState().DidResume)
		c.connect(r, "c", nil)
		r.accepted() // after which the client has a ticket
		s.broker()

		r = resumed()
		c.connect(r, "c", nil)
		r.refused(0x87)
		r = s.dial(version, resuming)
		if !r.conn.ConnectionState().DidResume { // tickets are for one use in TLS 1.3
			c.connect(r, "c", nil)
			r.accepted()
			s.broker()
			r = resumed()
		}
		r.send(connectV5("c", true, nil, method("ace"), data(authData(c.token(), nil))))
		r.send(answer(c.key, r.nonce()))
		r.accepted()
		s.broker()
	}
	require.Contains(t, s.log.String(), "resumed TLS session")
}

// TestChallengeRefused: a wrong answer, a replayed one, one to another challenge, and everything that is not an
// answer (M-2, M-4).
func TestChallengeRefused(t *testing.T) {
	s := newStage(t, nil)
	c, stranger := s.hmacClient(), s.hmacClient()
	token := c.token()
	var replayed []byte
	begin := func() (*raw, []byte) {
		r := s.dial()
		r.send(connectV5("c", true, nil, method("ace"), data(authData(token, nil))))
		return r, r.nonce()
	}
	r, nonce := begin()
	replayed = answer(c.key, nonce)
	r.send(replayed)
	r.accepted()
	s.broker()
	s.mu.Lock()
	s.connects = nil
	s.mu.Unlock()

	withMethod := func(reason byte, name string, b []byte) []byte {
		return packet(0xF0, append([]byte{reason}, properties(method(name), data(b))...))
	}
	for name, reply := range map[string]func(nonce []byte) []byte{
		"replayed":        func([]byte) []byte { return replayed },
		"another key":     func(n []byte) []byte { return answer(stranger.key, n) },
		"another nonce":   func([]byte) []byte { return answer(c.key, make([]byte, 8)) },
		"the exporter":    func([]byte) []byte { return auth(0x18, append(make([]byte, 8), c.key.prove(r.exported())...)) },
		"without a nonce": func(n []byte) []byte { return auth(0x18, c.key.prove(n)) },
		"empty":           func([]byte) []byte { return auth(0x18, nil) },
		"too long":        func([]byte) []byte { return auth(0x18, make([]byte, 100)) },
		"another reason":  func(n []byte) []byte { p := answer(c.key, n); p[2] = 0x19; return p },
		"another method":  func(n []byte) []byte { return withMethod(0x18, "ACE", answer(c.key, n)[14:]) },
		"no method": func(n []byte) []byte {
			return packet(0xF0, append([]byte{0x18}, properties(data(answer(c.key, n)[14:]))...))
		},
		"a second token":     func([]byte) []byte { return auth(0x18, authData(token, nil)) },
		"the broker's nonce": func(n []byte) []byte { return auth(0x18, append(bytes.Clone(n), c.key.prove(n)...)) },
	} {
		r, nonce := begin()
		r.send(reply(nonce))
		code, _ := r.connack()
		require.Equal(t, byte(0x87), code, name)
		r.over()
	}
	for name, p := range map[string][]byte{
		"PUBLISH": publishV5("a/b", 0, 0, "x"), "SUBSCRIBE": subscribeV5(1, "a/b"), "PINGREQ": {0xC0, 0}, "DISCONNECT": {0xE0, 0},
	} {
		r, _ := begin()
		r.send(p)
		code, _ := r.connack()
		require.Equal(t, byte(0x82), code, name)
		r.over()
	}
	r, nonce = begin()
	again := connectV5("c", true, nil, method("ace"), data(authData(token, nil)))
	r.send(append(again, answer(c.key, nonce)...))
	r.over()
	s.nobody()
}

// TestBytewise: whatever the pieces a client's bytes come in, and whatever comes with them, the exchange is the same
// (attacks.md 13).
func TestBytewise(t *testing.T) {
	s := newStage(t, nil)
	c := s.edClient()
	r := s.dial()
	for _, b := range connectV5("c", true, nil, method("ace"), data(authData(c.token(), nil))) {
		r.send([]byte{b})
	}
	nonce := r.nonce()
	all := append(answer(c.key, nonce), subscribeV5(1, "a/b", "b")...)
	all = append(all, publishV5("a/b", 1, 2, "x")...)
	r.send(all) // before CONNACK, as MQTT5 3.1.4 allows
	r.accepted()
	require.Equal(t, []byte{0x90, 5, 0, 1, 0, 0, 0x87}, r.receive())
	require.Equal(t, []byte{0x40, 2, 0, 2}, r.receive())
}

// TestHint is M-10 and M-11: where to get a token, with a nonce, and only where it fits.
func TestHint(t *testing.T) {
	s := newStage(t, func(cfg *Config) {
		cfg.CNonce = time.Minute
		cfg.Hint = &Hint{AS: "https://as.example.com/token", Audience: "broker", KeyID: "\x01k", Scope: Scope{{Filter: "a", Publish: true}}}
	})
	r := s.dial()
	r.send(connectV5("c", true, nil, method("ace")))
	props := r.refused(0x87)
	name := append([]byte{0x26}, field([]byte("ace_as_hint"))...)
	require.Equal(t, name, props[:len(name)])
	var hint map[string]string
	require.NoError(t, json.Unmarshal(props[len(name)+2:], &hint))
	require.Len(t, hint["cnonce"], 32)
	nonce, err := base64.RawURLEncoding.DecodeString(hint["cnonce"])
	require.NoError(t, err)
	delete(hint, "cnonce")
	require.Equal(t, map[string]string{"AS": "https://as.example.com/token", "audience": "broker", "kid": "AWs", "scope": "W1siYSIsWyJwdWIiXV1d"}, hint)

	c := s.edClient()
	r = s.dial()
	c.connect(r, "c", nil)
	r.refused(0x87)
	r = s.dial()
	c.connect(r, "c", nil, func(s *claims.Set) { s.CNonce = nonce })
	r.accepted()

	size := len(packet(0x20, append([]byte{0, 0x87}, properties(props)...)))
	for limit, hinted := range map[uint32]bool{uint32(size): true, uint32(size) - 1: false, 10: false} {
		maximum := []byte{0x27, 0, 0, byte(limit >> 8), byte(limit)}
		r = s.dial()
		r.send(connectV5("c", true, nil, method("ace"), maximum))
		require.Equal(t, hinted, len(r.refused(0x87)) > 0, "%d", limit)
	}
	r = s.dial()
	r.send(connectV5("c", true, nil, method("another")))
	require.Empty(t, r.refused(0x8C))
	r = s.dial()
	r.send(connectV3("c", nil, nil))
	require.Equal(t, []byte{0x20, 2, 0, 5}, r.receive())
}

// TestPublicOnly is TLS:Anon,MQTT:None of RFC 9431, section 2.2.1: public topics and nothing else, no user name to
// the broker.
func TestPublicOnly(t *testing.T) {
	s := newStage(t, func(cfg *Config) { cfg.Public = Scope{{Filter: "public/#", Publish: true, Subscribe: true}} })
	r := s.dial()
	r.send(connectV5("c", false, nil, []byte{0x11, 0, 0, 1, 0}))
	code, props := r.connack()
	require.Zero(t, code)
	require.Equal(t, []byte{0x11, 0, 0, 0, 0}, props, "no session stays behind")
	s.broker()
	require.True(t, s.connects[0].CleanStart)
	require.False(t, s.connects[0].HasUsername)
	r.send(subscribeV5(1, "public/a", "a/b", "#"))
	require.Equal(t, []byte{0x90, 6, 0, 1, 0, 0, 0x87, 0x87}, r.receive())
	r.send(publishV5("authz-info", 1, 2, "x"))
	require.Equal(t, []byte{0x40, 3, 0, 2, 0x87}, r.receive(), "it is not configured")
	r.send(auth(0x19, authData(s.edClient().token(), nil)))
	r.disconnected(0x87)
	r = s.dial()
	r.send(connectV3("c", nil, nil))
	require.Equal(t, []byte{0x20, 2, 0, 0}, r.receive())
	require.EqualValues(t, 2, s.listener.Counters().Anonymous)
}

// TestClientIdentifierRule: the program's own rule decides first, for clients without a token as well, which could else
// push out others where the rule has to do what memory cannot.
func TestClientIdentifierRule(t *testing.T) {
	s := newStage(t, func(cfg *Config) {
		cfg.Public = Scope{{Filter: "public/#", Subscribe: true}}
		cfg.ClientIdentifier = func(identity, id string) bool { return id == identity || strings.HasPrefix(id, identity+"/") }
		cfg.UserName = func(string) string { return "" }
	})
	c := s.edClient()
	r := s.dial()
	c.connect(r, "bob", nil)
	r.refused(0x85)
	c.connected("alice/1")
	require.False(t, s.connects[0].HasUsername)
	for id, code := range map[string]byte{"alice/1": 0x85, "": 0} {
		r := s.dial()
		r.send(connectV5(id, true, nil))
		got, _ := r.connack()
		require.Equal(t, code, got, id)
	}
}

// TestTakeover: the old connection hears 0x8E; a stranger with a valid token hears 0x85 (attacks.md 6).
func TestTakeover(t *testing.T) {
	s := newStage(t, nil)
	alice, mallory := s.edClient(), s.edClient()
	mallory.set.Subject = "mallory"
	old, _ := alice.connected("c")
	r := s.dial()
	mallory.connect(r, "c", nil)
	r.refused(0x85)
	young, _ := alice.connected("c")
	old.disconnected(0x8E)
	young.send([]byte{0xC0, 0})
	young.send(publishV5("a/b", 1, 1, ""))
	require.Equal(t, []byte{0x40, 2, 0, 1}, young.receive())
}

// TestVectors of the specification, by its own figures.
func TestVectors(t *testing.T) {
	key := rawKey{secret: make([]byte, 32)}
	exported := make([]byte, 32)
	for i := range key.secret {
		key.secret[i], exported[i] = byte(i), 0xa0+byte(i)
	}
	mac := key.prove(exported)
	require.Equal(t, "0c95bd8bdd96004ec3f84f7bcc9526ee33491925dae778d32b6b81a42c38fe93", hex.EncodeToString(mac))
	connect := connectV5("c1", false, nil, method("ace"), data(authData([]byte("ref-token-0001"), mac)))
	require.True(t, strings.HasPrefix(hex.EncodeToString(connect), "104800044d5154540500003c39150003616365160030000e7265662d746f6b656e2d303030310c95"))
	require.Equal(t, "f01318111500036163651600080102030405060708", hex.EncodeToString(auth(0x18, []byte{1, 2, 3, 4, 5, 6, 7, 8})))
}
