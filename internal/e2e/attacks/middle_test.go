package attacks

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestTamperedStream changes the bytes between client and broker: it flips a bit, says something twice, in another
// order, leaves something out, and says something of its own. The connection ends, the broker gets what was sent
// before, and nothing that was changed, and nothing twice.
func TestTamperedStream(t *testing.T) {
	attacks := map[string]func() func(chunk []byte) [][]byte{
		"a bit flipped": func() func([]byte) [][]byte {
			return first(func(c []byte) [][]byte {
				c = bytes.Clone(c)
				c[len(c)/2] ^= 1
				return [][]byte{c}
			})
		},
		"twice":    func() func([]byte) [][]byte { return first(func(c []byte) [][]byte { return [][]byte{c, c} }) },
		"left out": func() func([]byte) [][]byte { return first(func([]byte) [][]byte { return nil }) },
		"swapped": func() func([]byte) [][]byte {
			var held []byte
			return func(c []byte) [][]byte {
				if held == nil {
					held = bytes.Clone(c)
					return nil
				}
				return [][]byte{c, held}
			}
		},
		"something before it": func() func([]byte) [][]byte {
			return first(func(c []byte) [][]byte { return [][]byte{{0x17, 3, 3, 0, 1, 0}, c} })
		},
	}
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		for _, listener := range []string{site.Tokens, site.PSK} {
			for name, tamper := range attacks {
				t.Run(listener+"/"+name, func(t *testing.T) {
					t.Parallel()
					id := newClientID()
					middle := newRelay(t, p.addresses[listener])
					u := p.url(listener)
					u.Host = middle.address()
					s := keyed(t, p.world.site.PSK("device-1"))
					if listener == site.Tokens {
						s = bearing(t, p.world.token(t, id, site.Broker))
					}
					topic := "site/" + id + "/x"
					observer := p.observe(t, topic)
					c := l.must(t, p, s, options{id: id, url: u})
					require.NoError(t, c.publish(topic, 1, false, "genuine"))
					middle.tampering(tamper())
					speakUntilLost(t, c, topic)
					p.inject(t, topic, "last")
					require.Equal(t, topic+" genuine", next(t, observer.messages, "the genuine message"))
					for i := 0; ; i++ { // what came in front of the change is as it should be, in order, without a gap
						got := next(t, observer.messages, "the last message")
						if got == topic+" last" {
							break
						}
						require.Equal(t, fmt.Sprint(topic, " tampered with ", i), got)
					}
				})
			}
		}
	})
}

// first tampers with one chunk and lets the others pass.
func first(tamper func([]byte) [][]byte) func([]byte) [][]byte {
	done := false
	return func(c []byte) [][]byte {
		if done {
			return [][]byte{c}
		}
		done = true
		return tamper(c)
	}
}

// speakUntilLost publishes until the connection has ended.
func speakUntilLost(t *testing.T, c *client, topic string) {
	t.Helper()
	ended := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		for i := 0; ; i++ {
			select {
			case <-ended:
				return
			case <-time.After(time.Millisecond):
				_ = c.publish(topic, 0, false, fmt.Sprint("tampered with ", i)) // how it ends is for lost to tell
			}
		}
	}()
	next(t, c.lost, "the end of the connection")
	close(ended)
	c.close()
	<-stopped
}

// TestStolenConnect lures a client to a broker that is not the one it means, with a certificate that the client
// trusts. That broker shows the client's CONNECT, token and proof and all, to the true broker: it is refused, then and
// later, because the proof is about another TLS connection. The client's own CONNECT is good.
func TestStolenConnect(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		id := newClientID()
		token := p.world.token(t, id, site.Broker)
		stolen := make(chan wire.Packet, 1)
		thief := listenTLS(t, p.world, func(conn net.Conn) {
			if packet, err := wire.Read(conn, wire.MaxPacket); err == nil {
				stolen <- packet
			}
		})
		u := p.url(site.Tokens)
		u.Host = thief
		_, err := l.connect(t, p.world, bearing(t, token), options{id: id, url: u})
		require.Error(t, err)
		connect := next(t, stolen, "CONNECT")
		version := wire.V311
		if l.v5 {
			version = wire.V5
		}
		for range 2 {
			r := p.dial(t, version)
			r.send(connect)
			require.Equal(t, r.refused(), r.connack())
			require.Nil(t, r.receive())
		}
		c := l.must(t, p, bearing(t, token), options{id: id, url: p.url(site.Tokens)})
		require.NoError(t, c.publish("site/"+id+"/x", 1, false, "genuine"))
	})
}

// TestReplayedChallenge records how a v5 client answers a challenge and sends the same again on another connection,
// where the broker asks something else; and answers with a proof of nothing.
func TestReplayedChallenge(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		id := newClientID()
		token := p.world.token(t, id, site.Broker)
		challenged := func() (*raw, []byte) {
			r := p.dial(t, wire.V5)
			r.send(connectPacket(t, wire.V5, id, token.Raw, nil))
			challenge := r.receive()
			require.NotNil(t, challenge)
			m, err := wire.ParseReason(challenge, wire.V5)
			require.NoError(t, err)
			require.Equal(t, wire.Auth, m.Type)
			nonce, _ := m.Properties.Bytes(wire.AuthenticationData)
			return r, bytes.Clone(nonce)
		}
		first, nonce := challenged()
		reply := challengeReply(t, token.Key, nonce)
		first.write(reply)
		require.Equal(t, wire.Success, first.connack())
		second, other := challenged()
		require.NotEqual(t, nonce, other)
		second.write(reply)
		require.Equal(t, wire.NotAuthorized, second.connack())
		require.Nil(t, second.receive())
	})
}

// TestResumedSession: on a TLS session that was resumed a proof over the connection's keys is refused, for the session
// may be somebody else's by then.
func TestResumedSession(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		for _, v := range versions {
			for _, tlsVersion := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
				t.Run(fmt.Sprintf("%s/%s", versionName(v), tls.VersionName(tlsVersion)), func(t *testing.T) {
					id := newClientID()
					token := p.world.token(t, id, site.Broker)
					cache := tls.NewLRUClientSessionCache(1)
					cached := func(c *tls.Config) {
						c.ClientSessionCache, c.MinVersion, c.MaxVersion, c.ServerName = cache, tlsVersion, tlsVersion, "localhost"
					}
					first := p.dial(t, v, cached)
					require.Zero(t, first.connect(id, token))
					second := p.dial(t, v, cached)
					if !second.conn.(*tls.Conn).ConnectionState().DidResume {
						return // the broker half gives no tickets, which is as good
					}
					state := second.conn.(*tls.Conn).ConnectionState()
					require.True(t, state.DidResume)
					require.Equal(t, second.refused(), second.connect(id, token))
				})
			}
		}
	})
}

// TestFalseBrokers: a client does not send its CONNECT to a broker that cannot show that it is the right one: with a
// certificate of somebody else's authority, for another name, without TLS, or without the pre-shared key.
func TestFalseBrokers(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		var told atomic.Int64
		listen := func(conn net.Conn) {
			if _, err := wire.Read(conn, wire.MaxPacket); err == nil {
				told.Add(1)
			}
		}
		id := newClientID()
		token := bearing(t, p.world.token(t, id, site.Broker))
		false1, false2 := falseCertificates(t, p.world)
		key := p.world.site.PSK("device-1")
		key.Key = bytes.Repeat([]byte{7}, 32)
		for name, lure := range map[string]struct {
			address string
			scheme  scheme
		}{
			"another authority": {serveTLS(t, false1, listen), token},
			"another name":      {serveTLS(t, false2, listen), token},
			"no TLS":            {serve(t, listen), token},
			"no key":            {serve(t, func(conn net.Conn) { listen(pskServer(conn, key)) }), keyed(t, p.world.site.PSK("device-1"))},
			"no TLS for a key":  {serve(t, listen), keyed(t, p.world.site.PSK("device-1"))},
		} {
			u := p.url(site.Tokens)
			u.Host = lure.address
			_, err := l.connect(t, p.world, lure.scheme, options{id: id, url: u})
			require.Error(t, err, name)
			require.Zero(t, told.Load(), name)
		}
	})
}
