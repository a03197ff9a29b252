package acebroker

import (
	"bytes"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace/internal/claims"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// keyed is a connection that was authenticated by a pre-shared key.
type keyed struct {
	net.Conn
	identity string
	key      []byte
}

func (c keyed) PSKIdentity() string { return c.identity }

func (c keyed) HasKey(key []byte) bool { return bytes.Equal(c.key, key) }

// above is a connection on top of one.
type above struct{ net.Conn }

func (a above) NetConn() net.Conn { return a.Conn }

// TestKeyIDChangesHands: a client that draws its handshake out until its token has ended, and another's has the same
// identifier of another key, does not get that one's rights.
func TestKeyIDChangesHands(t *testing.T) {
	psk := new(PSK)
	s := newStage(t, func(c *Config) { c.AuthzInfo, c.StoredTokens, c.PSK = true, true, psk })
	upload := func(name string, life time.Duration) *client {
		c := s.hmacClient()
		c.set.Confirmation.ID, c.set.Subject, c.set.Expires = "kid", name, s.clock.Now().Add(life)
		r := s.tokenless(name)
		r.send(publishV5("authz-info", 1, 7, string(c.token())))
		require.Equal(t, []byte{0x40, 2, 0, 7}, r.receive())
		s.leave(r)
		return c
	}
	const identity = "\xA1\x08\xA1\x01\xA2\x01\x04\x02\x43kid"
	proved := func(conn net.Conn) *access {
		return s.listener.proved(t.Context(), s.listener.current.Load(), conn)
	}
	mallory := upload("mallory", time.Minute)
	conn := keyed{identity: identity, key: psk.Key(identity)}
	require.Equal(t, mallory.key.secret, conn.key)
	require.Equal(t, "mallory", proved(conn).subject)
	require.Equal(t, "mallory", proved(above{conn}).subject)

	s.clock.Advance(2 * time.Minute)
	alice := upload("alice", time.Hour)
	require.Nil(t, proved(conn))
	conn.key = psk.Key(identity)
	require.Equal(t, alice.key.secret, conn.key)
	require.Equal(t, "alice", proved(conn).subject)
	conn.identity = ""
	require.Nil(t, proved(conn))
}

// TestTokenAsKey: the key of a token is one for TLS while the token counts, and only if it is a shared secret (T-2).
func TestTokenAsKey(t *testing.T) {
	psk := new(PSK)
	require.Nil(t, psk.Key("before there is a listener"))
	s := newStage(t, func(c *Config) { c.PSK = psk })
	c := s.hmacClient()
	token := c.token()
	require.Equal(t, c.key.secret, psk.Key(string(token)))
	require.Nil(t, psk.Key(string(s.edClient().token())))
	require.Nil(t, psk.Key(string(c.token(func(s *claims.Set) { s.Expires = base }))))
	require.Nil(t, psk.Key("device-7"))
	_, err := s.listener.Revoke(Revocation{Subject: "alice"}, time.Time{})
	require.NoError(t, err)
	require.Nil(t, psk.Key(string(token)))
}

// TestSharedUploadIsRevoked: what is revoked at the listener that it was uploaded to opens nothing at the other.
func TestSharedUploadIsRevoked(t *testing.T) {
	uploads := newStage(t, func(c *Config) { c.AuthzInfo = true })
	psk := new(PSK)
	newStage(t, func(c *Config) { c.PSK = psk })
	c := uploads.hmacClient()
	c.set.Confirmation.ID = "kid"
	const identity = "\xA1\x08\xA1\x01\xA2\x01\x04\x02\x43kid"
	r := uploads.tokenless("c")
	r.send(publishV5("authz-info", 1, 7, string(c.token())))
	require.Equal(t, []byte{0x40, 2, 0, 7}, r.receive())
	require.Nil(t, psk.Key(identity))
	psk.ShareUploads(uploads.listener)
	require.Equal(t, c.key.secret, psk.Key(identity))
	_, err := uploads.listener.Revoke(Revocation{Subject: "alice"}, time.Time{})
	require.NoError(t, err)
	require.Nil(t, psk.Key(identity))
}

// presharedListener is TLS with pre-shared keys as a listener sees it. proved hears that the handshake is over.
type presharedListener struct {
	net.Listener
	of     keyed
	proved chan struct{}
}

type presharedConn struct {
	keyed
	proved chan struct{}
}

func (l presharedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	l.of.Conn = conn
	return presharedConn{l.of, l.proved}, err
}

func (c presharedConn) HasKey(key []byte) bool { defer close(c.proved); return c.keyed.HasKey(key) }

func (presharedConn) ExportKeyingMaterial(_ string, _ []byte, length int) ([]byte, error) {
	return make([]byte, length), nil
}

// TestTokenEndsBeforeCONNECT: who has proved the key in TLS and then waits gets no more than the token has left.
func TestTokenEndsBeforeCONNECT(t *testing.T) {
	for name, end := range map[string]func(*stage, *Listener){
		"not at all": nil,
		"expired":    func(s *stage, _ *Listener) { s.clock.Advance(time.Hour) },
		"revoked": func(_ *stage, l *Listener) {
			_, err := l.Revoke(Revocation{Subject: "alice"}, time.Time{})
			require.NoError(t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t, nil)
			c := s.hmacClient()
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			cfg := configFor(s.as, s.clock)
			cfg.BehindTLSProxy, cfg.PSK, cfg.Timeout = false, new(PSK), patience
			proved := make(chan struct{})
			l, err := NewListener(presharedListener{inner, keyed{identity: string(c.token()), key: c.key.secret}, proved}, cfg)
			require.NoError(t, err)
			defer l.Close()
			conn, err := net.Dial("tcp", inner.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			<-proved
			if end != nil {
				end(s, l)
			}
			_, err = conn.Write(connectV5("c", true, nil))
			require.NoError(t, err)
			if end == nil {
				_, err = l.Accept()
				require.NoError(t, err)
				return
			}
			require.NoError(t, conn.SetReadDeadline(time.Now().Add(patience)))
			p, err := wire.Read(conn, 1000)
			require.NoError(t, err)
			require.Equal(t, []byte{0x20, 3, 0, 0x87, 0}, []byte(p))
		})
	}
}
