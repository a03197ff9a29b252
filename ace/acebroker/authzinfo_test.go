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
		r := s.dial()
		r.send(connectV5("c", true, nil))
		code, _ := r.connack()
		require.Zero(t, code)
		s.broker()
		r.send(publishV5("authz-info", qos, 7, string(token)))
		got := r.receive()
		r.conn.Close()
		return got
	}
	require.Equal(t, []byte{0x40, 2, 0, 7}, upload(1, c.token()))
	require.Equal(t, []byte{0x40, 3, 0, 7, 0x99}, upload(1, []byte("not a token")))
	require.Equal(t, []byte{0x50, 3, 0, 7, 0x99}, upload(2, []byte("eyJ.eyJ.x")))
	require.Equal(t, []byte{0x40, 3, 0, 7, 0x87}, upload(1, c.token(func(s *claims.Set) { s.Expires = base })))
	require.Equal(t, []byte{0xE0, 1, 0x87}, upload(0, c.token(func(s *claims.Set) { s.Expires = base })))
	require.Equal(t, []byte{0xE0, 1, 0x99}, upload(0, []byte("x")))

	// The stored token is for the client that came with it, if it has the key (M-9).
	r := s.dial()
	r.send(connectV5("c", true, nil, method("ace")))
	r.send(answer(c.key, r.nonce()))
	r.accepted()
	r.conn.Close()
	for _, key := range []rawKey{s.hmacClient().key, s.edClient().key} {
		r = s.dial()
		r.send(connectV5("c", true, nil, method("ace")))
		r.send(answer(key, r.nonce()))
		r.refused(0x87)
	}
	r = s.dial()
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
		r := s.dial()
		r.send(connectV5("c", true, nil))
		r.connack()
		r.send(publishV5("authz-info", 1, 7, string(token)))
		require.Equal(t, []byte{0x40, 2, 0, 7}, r.receive())
		r.conn.Close()
	}
	r := s.dial()
	r.send(connectV5("c", true, nil, method("ace")))
	r.send(answer(c.key, r.nonce()))
	r.accepted()
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

// TestAuthzInfoFlood: one address gets so many tokens looked at and no more, and what is stored is bounded
// (attacks.md 14).
func TestAuthzInfoFlood(t *testing.T) {
	s := newStage(t, func(cfg *Config) { cfg.AuthzInfo, cfg.StoredTokenLimit, cfg.CachedTokens = true, 3, 3 })
	r := s.dial()
	r.send(connectV5("c", true, nil))
	r.connack()
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
