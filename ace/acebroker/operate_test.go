package acebroker

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/guard"
	"github.com/mqttsec/mqttsec/internal/layer/layertest"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestRevoke by each name that a token has: the connection ends with the reason, and the token is of no use any more.
func TestRevoke(t *testing.T) {
	for name, of := range map[string]func(c *client, token []byte) Revocation{
		"hash": func(_ *client, token []byte) Revocation {
			h := sha256.Sum256(token)
			return Revocation{TokenHash: h[:]}
		},
		"id":      func(*client, []byte) Revocation { return Revocation{ID: "the token"} },
		"subject": func(*client, []byte) Revocation { return Revocation{Subject: "alice"} },
		"key":     func(c *client, _ []byte) Revocation { return Revocation{Key: c.key.ed.Public()} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil)
			c, bob := s.edClient(), s.edClient()
			bob.set.Subject = "bob"
			set := c.set
			set.ID = "the token"
			token := s.as.sign(jsonOf(t, set), EdDSA, nil)
			connect := func() *raw {
				r := s.dial()
				r.send(connectV5("c", true, nil, method("ace"), data(authData(token, c.key.prove(r.exported())))))
				return r
			}
			r := connect()
			r.accepted()
			b := s.broker()
			other, _ := bob.connected("d")
			ended, err := s.listener.Revoke(of(c, token), base.Add(2*time.Hour))
			require.NoError(t, err)
			require.Equal(t, 1, ended)
			r.disconnected(0x87)
			require.ErrorIs(t, b.ended(t), guard.ErrRevoked)
			connect().refused(0x87)
			other.send(publishV5("a/b", 1, 1, ""))
			require.Equal(t, []byte{0x40, 2, 0, 1}, other.receive())
		})
	}
	l := newStage(t, nil).listener
	_, err := l.Revoke(Revocation{}, time.Time{})
	require.Error(t, err)
	_, err = l.Revoke(Revocation{TokenHash: []byte("short")}, time.Time{})
	require.Error(t, err)
	_, err = l.Revoke(Revocation{Key: "no key"}, time.Time{})
	require.Error(t, err)
}

// TestRevocationsBounded: what is over makes room; what is not is not forgotten.
func TestRevocationsBounded(t *testing.T) {
	var r revocations
	for i := range maxRevocations {
		require.NoError(t, r.add(fmt.Sprint(i), base.Add(time.Hour), base))
	}
	require.ErrorIs(t, r.add("one more", time.Time{}, base), ErrTooManyRevocations)
	require.NoError(t, r.add("1", time.Time{}, base))
	require.NoError(t, r.add("1", base, base), "for ever stays for ever")
	require.NoError(t, r.add("one more", base.Add(2*time.Hour), base.Add(time.Hour)))
	require.Len(t, r.until, 2)
}

// TestReload: keys, audience and public topics change under live connections.
func TestReload(t *testing.T) {
	s := newStage(t, nil)
	c := s.edClient()
	r, _ := c.connected("c")
	_, err := s.listener.Revoke(Revocation{ID: "gone"}, time.Time{})
	require.NoError(t, err)
	next := newAS(t, "next")
	cfg := configFor(next, nil)
	cfg.Public = Scope{{Filter: "public", Publish: true}}
	require.ErrorContains(t, s.listener.Reload(cfg), "where TLS ends")
	cfg.BehindTLSProxy, cfg.TLS = false, &tls.Config{}
	require.ErrorContains(t, s.listener.Reload(cfg), "certificate")
	certificate, _ := newCertificate(t)
	cfg.TLS.Certificates = []tls.Certificate{certificate}
	require.NoError(t, s.listener.Reload(cfg))
	r.send(publishV5("a/b", 1, 1, ""))
	require.Equal(t, []byte{0x40, 2, 0, 1}, r.receive())
	r.send(publishV5("public", 1, 2, ""))
	require.Equal(t, []byte{0x40, 2, 0, 2}, r.receive())
	stale := s.dial()
	c.connect(stale, "d", nil)
	stale.refused(0x87)
	s.as = next
	young := s.edClient()
	young.connected("e")
	refused := s.dial()
	young.set.ID = "gone"
	refused.send(connectV5("e", true, nil, method("ace"), data(authData(next.sign(jsonOf(t, young.set), EdDSA, nil), young.key.prove(refused.exported())))))
	refused.refused(0x87)
}

// TestShutdown: v5 clients hear that the server shuts down.
func TestShutdown(t *testing.T) {
	s := newStage(t, nil)
	r, _ := s.edClient().connected("c")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	done := make(chan error)
	go func() { done <- s.listener.Shutdown(ctx) }()
	r.disconnected(0x8B)
	require.NoError(t, <-done)
	require.Empty(t, s.listener.live.byKey)
	require.Zero(t, s.listener.Counters().Active)
}

// TestBehindTLSProxy: without the exporter only the challenge is left; and a listener that expects TLS takes nothing
// else.
func TestBehindTLSProxy(t *testing.T) {
	a := newAS(t, "as")
	for _, behind := range []bool{true, false} {
		inner, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		cfg := configFor(a, layertest.NewClock(base))
		cfg.BehindTLSProxy = behind
		l, err := NewListener(inner, cfg)
		require.NoError(t, err)
		key := newAS(t, "").ed
		verifier, err := pop.PublicKey(key.Public())
		require.NoError(t, err)
		token := a.sign(jsonOf(t, a.claimSet(verifier)), EdDSA, nil)
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		_, err = conn.Write(connectV5("c", true, nil, method("ace"), data(authData(token, nil))))
		require.NoError(t, err)
		p, err := wire.Read(conn, 1000)
		if !behind {
			require.Error(t, err)
		} else {
			require.NoError(t, err)
			_, err = conn.Write(answer(rawKey{ed: key}, p[len(p)-8:]))
			require.NoError(t, err)
			_, err := l.Accept()
			require.NoError(t, err)
			other, err := net.Dial("tcp", l.Addr().String())
			require.NoError(t, err)
			_, err = other.Write(connectV5("d", true, nil, method("ace"), data(authData(token, make([]byte, 64)))))
			require.NoError(t, err)
			p, err := wire.Read(other, 1000)
			require.NoError(t, err)
			require.Equal(t, byte(0x87), p[3])
			other.Close()
		}
		conn.Close()
		require.NoError(t, l.Close())
	}
}

// TestConfigMistakes: each gives one clear sentence.
func TestConfigMistakes(t *testing.T) {
	a := newAS(t, "as")
	for want, change := range map[string]func(*Config){
		"both Config.TLS and":           func(c *Config) { c.TLS = &tls.Config{} },
		"Config.Algorithms is required": func(c *Config) { c.Algorithms = nil },
		`unknown algorithm "none"`:      func(c *Config) { c.Algorithms = []Algorithm{"none"} },
		"Config.Issuers is required":    func(c *Config) { c.Issuers = nil },
		"Config.Audience is required":   func(c *Config) { c.Audience = nil },
		"negative bound":                func(c *Config) { c.CachedTokens = -1 },
		"Config.CNonce without":         func(c *Config) { c.CNonce = 1 },
		"without the URL":               func(c *Config) { c.Hint = &Hint{} },
		"Config.Public":                 func(c *Config) { c.Public = Scope{{Filter: "a#", Publish: true}} },
		"without a certificate":         func(c *Config) { c.BehindTLSProxy, c.TLS = false, &tls.Config{} },
		"neither keys nor":              func(c *Config) { c.Issuers[0].Keys = nil },
		"names are required":            func(c *Config) { c.Issuers = append(c.Issuers, c.Issuers[0]) },
		"no keys":                       func(c *Config) { c.Issuers[0].Keys = StaticKeys{} },
		"does not list":                 func(c *Config) { c.Algorithms = []Algorithm{ES256} },
		`a []uint8 is no key for "EdDSA"`: func(c *Config) {
			c.Issuers[0].Keys = StaticKeys{{ID: "ed", Algorithm: EdDSA, Key: []byte("secret")}}
		},
	} {
		cfg := configFor(a, nil)
		change(&cfg)
		_, err := NewListener(nil, cfg)
		require.ErrorContains(t, err, want)
	}
	require.NotContains(t, fmt.Sprintf("%v %+v %#v", a.keys(), a.keys(), a.keys()[2]), fmt.Sprint(a.secret[:4])[1:])
	issuer := Issuer{Name: "as", Keys: a.keys(), Introspection: &Introspection{URL: "https://as", ClientSecret: "hush-hush"}}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "issuer", issuer)
	require.Contains(t, log.String(), "s256")
	require.NotContains(t, log.String(), base64.StdEncoding.EncodeToString(a.secret))
	require.NotContains(t, log.String(), "hush-hush")
}

// TestReasonsForTheLog: mistakes are told apart where they were made, in the log of the broker.
func TestReasonsForTheLog(t *testing.T) {
	s := newStage(t, nil)
	c := s.edClient()
	for want, change := range map[string]func(*claims.Set){
		"token is for another audience: \\\"[mqtts://elsewhere]\\\"": func(s *claims.Set) { s.Audience = []string{"mqtts://elsewhere"} },
		"token expired: at 2027-01-15T07:00:00Z":                     func(s *claims.Set) { s.Expires = base.Add(-time.Hour) },
		"token not valid yet":                                        func(s *claims.Set) { s.IssuedAt = base.Add(time.Hour) },
	} {
		r := s.dial()
		c.connect(r, "c", nil, change)
		r.refused(0x87)
		require.Contains(t, s.log.String(), want)
	}
}
