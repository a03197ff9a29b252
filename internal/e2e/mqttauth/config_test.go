package mqttauth

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"net/url"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/present"
)

// TestLifetime: Config.Lifetime ends a connection, whose client logs in anew.
func TestLifetime(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		inTime(t, func(life time.Duration) bool {
			w := newWorld(t, func(c *authbroker.Config) { c.Lifetime = life })
			p, err := lib(t, w.client(t, "alice"), w.url, settings{reconnect: true})
			if err != nil {
				return false // it has ended already
			}
			loses(t, p)
			require.Eventually(t, func() bool {
				return p.ups() >= 2 && w.listener.Counters().Expired > 0 // which is counted once the client has been told
			}, patience, 5*time.Millisecond)
			require.GreaterOrEqual(t, w.listener.Counters().Welcomed, int64(2))
			return true
		})
	})
}

// TestClientIdentifierPolicy: the administrator ties users to Client Identifiers.
func TestClientIdentifierPolicy(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		w := newWorld(t, func(c *authbroker.Config) {
			c.ClientIdentifier = func(user, clientID string) bool { return strings.HasPrefix(clientID, user+"-") }
		})
		_, err := lib(t, w.client(t, "eve"), w.url, settings{clientID: "alice-1"})
		require.Error(t, err)
		require.NotErrorIs(t, err, mqttauth.ErrPassword, "it is told why")
		_, _ = w.connect(t, lib, "alice", settings{clientID: "alice-1"})
	})
}

// TestTLS: the listener does TLS itself, and the handshake runs within.
func TestTLS(t *testing.T) {
	t.Parallel()
	authority, err := ca.New()
	require.NoError(t, err)
	server, err := authority.ServerConfig()
	require.NoError(t, err)
	onBoth(t, func(t *testing.T, lib library) {
		w := newWorld(t, func(c *authbroker.Config) { c.TLS = server })
		w.url = &url.URL{Scheme: "mqtts", Host: w.url.Host}
		p, err := lib(t, w.client(t, "alice"), w.url, settings{tls: &tls.Config{RootCAs: authority.Pool()}})
		require.NoError(t, err)
		require.Error(t, p.subscribe("any"))
	})
}

// TestHops: each cipher, with end-to-end sealing on top; a client with none, or the other one, delivers nothing.
func TestHops(t *testing.T) {
	t.Parallel()
	hops := map[authbroker.Hop]layerAbove{
		authbroker.HopAES: aesmsg.Session(aesmsg.SessionConfig{}), authbroker.HopPRESENT: present.Session(present.SessionConfig{}),
	}
	onBoth(t, func(t *testing.T, lib library) {
		for hop, above := range hops {
			rejected := make(chan authbroker.Rejection, 16)
			w := newWorld(t, func(c *authbroker.Config) {
				c.Hop, c.Rejected = hop, func(r authbroker.Rejection) { rejected <- r }
			})
			owner, _ := w.owned(t, lib, "alice", "plant/#")
			read, write := issue(t, owner, mqttauth.Auth2, "plant/#", time.Hour), issue(t, owner, mqttauth.Auth1, "plant/#", time.Hour)
			sealer := func(token mqttauth.Token) layerAbove {
				s, err := present.New(present.Config{Keys: []present.Key{token.Key()}})
				require.NoError(t, err)
				return s
			}
			reader, err := lib(t, w.client(t, "bob", read), w.url, settings{}, above, sealer(read))
			require.NoError(t, err)
			require.NoError(t, reader.subscribe("plant/#"))
			for wrong, other := range hops {
				if wrong == hop {
					continue
				}
				for _, layers := range [][]layerAbove{{other}, {}} {
					stranger, err := lib(t, w.client(t, "eve", write), w.url, settings{}, layers...)
					require.NoError(t, err)
					_ = stranger.publish("plant/1", 0, "not sealed for this hop")
					select {
					case r := <-rejected:
						require.Equal(t, "plant/1", r.Topic)
					case <-time.After(patience):
						require.FailNow(t, "let through")
					}
				}
			}
			writer, err := lib(t, w.client(t, "eve", write), w.url, settings{}, above, sealer(write))
			require.NoError(t, err)
			require.NoError(t, writer.publish("plant/1", 1, "sealed twice"))
			receives(t, reader, "plant/1 sealed twice")
		}
	})
}

// TestAuditLog: who was let in and refused, and why, and no secret.
func TestAuditLog(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		log := new(synced)
		w := newWorld(t, func(c *authbroker.Config) { c.Logger = slog.New(slog.NewTextHandler(log, nil)) })
		owner, alice := w.owned(t, lib, "alice", "plant/#")
		token := issue(t, owner, mqttauth.Auth1, "plant/1", time.Hour)
		p, _ := w.connect(t, lib, "bob", settings{}, token)
		_ = p.publish("plant/2", 1, "x")
		require.NoError(t, alice.Revoke(ctx(t), "plant/#", token.ID()))
		_, late := w.connect(t, lib, "bob", settings{})
		require.ErrorIs(t, late.Present(ctx(t), token), mqttauth.ErrRevoked)
		_, err := lib(t, newClient(t, mqttauth.Config{User: "eve", Password: []byte("a guess at it")}), w.url, settings{})
		require.Error(t, err)
		log.mu.Lock()
		text := log.text.Bytes()
		log.mu.Unlock()
		for _, said := range []string{"msg=claim ", `msg="token accepted"`, `msg="token refused"`, "msg=revoke", `msg="publish not authorized"`, `msg="connect refused"`} {
			require.True(t, bytes.Contains(text, []byte(said)), said)
		}
		secret, err := token.MarshalBinary()
		require.NoError(t, err)
		for _, hidden := range [][]byte{password("alice"), password("bob"), []byte("a guess at it"), secret[len(secret)-32:]} {
			require.False(t, bytes.Contains(text, hidden))
		}
	})
}

// TestNothingIsLeftBehind: after Shutdown no goroutine of a listener runs any more, whatever its clients were doing.
func TestNothingIsLeftBehind(t *testing.T) {
	w := newWorld(t, nil)
	for _, v := range wires {
		w.dial(t, nil, v) // says nothing
		_, ok := w.dial(t, w.client(t, "alice"), v).connect(wire.ConnectPacket{CleanStart: true})
		require.True(t, ok)
	}
	limited, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(t, w.listener.Shutdown(limited))
	require.Eventually(t, func() bool {
		stacks := make([]byte, 1<<20)
		all := stacks[:runtime.Stack(stacks, true)]
		return !bytes.Contains(all, []byte("mqttauth/authbroker.(")) && !bytes.Contains(all, []byte("internal/layer.(*Listener)"))
	}, patience, 20*time.Millisecond)
}
