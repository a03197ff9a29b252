package attacks

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/pop"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

// TestImpersonation tries to be a client that is connected: with its token and another key, by proof and by challenge,
// with its Client Identifier and a token of one's own, with a token for another broker, with no token at all. Every
// attempt is refused, and the client notices none.
func TestImpersonation(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		victim, thief := newClientID(), newClientID()
		token, own := p.world.token(t, victim, site.Broker), p.world.token(t, thief, site.Broker)
		c := l.must(t, p, bearing(t, token), options{id: victim, url: p.url(site.Tokens)})
		require.NoError(t, c.subscribe("site/"+victim+"/x", 1))

		with := func(raw []byte, key ace.ProofKey) ace.Token { return ace.Token{Raw: raw, Key: key} }
		guessed, err := ace.Secret(random(32))
		require.NoError(t, err)
		changed := bytes.Clone(token.Raw)
		changed[len(changed)-8] ^= 1
		for _, v := range versions {
			for name, attempt := range map[string]ace.Token{
				"the thief's key": with(token.Raw, own.Key), "a guessed key": with(token.Raw, guessed),
				"the victim's key, the thief's token": with(own.Raw, token.Key), "a changed token": with(changed, token.Key),
				"another broker's token": p.world.token(t, victim, site.Elsewhere),
			} {
				r := p.dial(t, v)
				require.Equal(t, r.refused(), r.connect(victim, attempt), name)
				require.Nil(t, r.receive(), name)
			}
			r := p.dial(t, v)
			require.NotZero(t, r.connect(victim, own), "a Client Identifier that somebody has")
			r = p.dial(t, v)
			r.send(connectPacket(t, v, victim, token.Raw, random(32)))
			require.Equal(t, r.refused(), r.connack(), "a random proof")
		}
		r := p.dial(t, wire.V5)
		r.send(connectPacket(t, wire.V5, victim, token.Raw, nil))
		require.NotNil(t, r.receive(), "a challenge")
		r.write(challengeReply(t, own.Key, random(8)))
		require.Equal(t, wire.NotAuthorized, r.connack())

		p.inject(t, "site/"+victim+"/x", "still there")
		require.Equal(t, "site/"+victim+"/x still there", next(t, c.messages, "the message"))
		require.NoError(t, c.publish("site/"+victim+"/x", 1, false, "and speaks"))
		require.Empty(t, c.lost)
	})
}

// TestForgedAuthentication: neither a user name nor a bridge's protocol level nor another method lets anybody in
// without a token; and who is let in for "authz-info" alone can do nothing else.
func TestForgedAuthentication(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		observer := p.observe(t, "site/forged/#")
		for _, v := range versions {
			for name, edit := range map[string]func(*wire.ConnectPacket){
				"no token": func(m *wire.ConnectPacket) { m.Properties, m.HasUsername, m.HasPassword = nil, false, false },
				"a user name": func(m *wire.ConnectPacket) {
					m.Properties, m.HasUsername, m.Username, m.HasPassword = nil, true, []byte("root"), false
				},
				"a bridge": func(m *wire.ConnectPacket) { m.Bridge = true },
				"another method": func(m *wire.ConnectPacket) {
					m.Properties = m.Properties.Without(wire.AuthenticationMethod).AppendBytes(wire.AuthenticationMethod, []byte("ACE"))
				},
			} {
				if name == "another method" && v == wire.V311 || name == "a bridge" && v == wire.V5 {
					continue // there is no such thing
				}
				r := p.dial(t, v)
				r.send(connectPacket(t, v, newName("nobody"), []byte("eyJhbGciOiJub25lIn0.e30."), random(32), edit))
				if code := r.connack(); code != 0 {
					continue
				}
				require.Equal(t, "no token", name, "%v", v) // for authz-info
				r.write(&wire.PublishPacket{QoS: 0, Topic: []byte("site/forged/x"), Payload: []byte("forged")})
				r.ends(wire.NotAuthorized)
			}
		}
		p.inject(t, "site/forged/last", "last")
		require.Equal(t, "site/forged/last last", next(t, observer.messages, "the last message"))
	})
}

// TestKeysOfOthers: an identity goes with its own key only, and says so by the same alert whether there is one or not.
func TestKeysOfOthers(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		one, two := p.world.site.PSK("device-1"), p.world.site.PSK("device-2")
		alerts := map[tlspsk.Version]map[string]bool{}
		for _, v := range []tlspsk.Version{tlspsk.TLS12, tlspsk.TLS13} {
			alerts[v] = map[string]bool{}
			for _, cfg := range []tlspsk.Config{
				{Identity: one.Identity, Key: two.Key}, {Identity: two.Identity, Key: one.Key},
				{Identity: "device-3", Key: one.Key}, {Identity: one.Identity, Key: random(32)},
			} {
				cfg.MinVersion, cfg.MaxVersion = v, v
				conn, err := tlspsk.Dial(patient(t), "tcp", p.addresses[site.PSK], &cfg)
				if err == nil {
					err = conn.HandshakeContext(patient(t))
				}
				require.Error(t, err)
				alerts[v][err.Error()] = true
			}
			require.Len(t, alerts[v], 1, "%v", alerts[v])
		}
	})
}

// random is n bytes that nobody knows.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// challengeReply answers a challenge.
func challengeReply(t testing.TB, key ace.ProofKey, nonce []byte) *wire.ReasonPacket {
	t.Helper()
	broker, err := pop.ParseNonce(nonce)
	require.NoError(t, err)
	own := pop.NewNonce()
	proof, err := key.Prove(pop.ChallengeInput(broker, own))
	require.NoError(t, err)
	ps := wire.Properties(nil).AppendBytes(wire.AuthenticationMethod, []byte(pop.Method)).
		AppendBytes(wire.AuthenticationData, pop.Reply{Nonce: own, Proof: proof}.Append(nil))
	return &wire.ReasonPacket{Type: wire.Auth, Reason: wire.ContinueAuthentication, Properties: ps}
}

// serve is a server in the attacker's hands.
func serve(t testing.TB, f func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_ = conn.SetDeadline(time.Now().Add(patience))
			f(conn)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-ended
	})
	return l.Addr().String()
}

func serveTLS(t testing.TB, cfg *tls.Config, f func(net.Conn)) (address string) {
	t.Helper()
	return serve(t, func(conn net.Conn) { f(tls.Server(conn, cfg)) })
}

// listenTLS has a certificate that clients trust.
func listenTLS(t testing.TB, w *world, f func(net.Conn)) (address string) {
	t.Helper()
	cfg, err := w.site.Authority.ServerConfig()
	require.NoError(t, err)
	return serveTLS(t, cfg, f)
}

// falseCertificates are one of an authority that nobody trusts, and one for another name.
func falseCertificates(t testing.TB, w *world) (stranger, elsewhere *tls.Config) {
	t.Helper()
	authority, err := ca.New()
	require.NoError(t, err)
	stranger, err = authority.ServerConfig()
	require.NoError(t, err)
	elsewhere, err = w.site.Authority.ServerConfig("elsewhere.example")
	require.NoError(t, err)
	return stranger, elsewhere
}

// pskServer speaks TLS with a key that the client does not have.
func pskServer(conn net.Conn, cfg tlspsk.Config) net.Conn {
	key := cfg.Key
	server := tlspsk.Server(conn, &tlspsk.Config{Keys: func(string) []byte { return key }})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_ = server.HandshakeContext(ctx) // fails, as do the reads that come after it
	return server
}
