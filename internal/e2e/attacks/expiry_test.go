package attacks

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestExpiredWhileConnected keeps on publishing and listening with a token that has run out: the broker ends the
// connection, the Will is published, and the token is of no use for another connection.
func TestExpiredWhileConnected(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		for _, v := range versions {
			t.Run(versionName(v), func(t *testing.T) {
				t.Parallel()
				id := newClientID()
				topic, will := "site/"+id+"/x", "site/"+id+"/will"
				observer := p.observe(t, "site/"+id+"/#")
				token := p.world.token(t, id, site.Brief)
				r := p.dial(t, v)
				code := r.connect(id, token, func(m *wire.ConnectPacket) {
					m.Will = &wire.Will{Topic: []byte(will), Payload: []byte("gone")}
				})
				require.Zero(t, code)
				r.write(&wire.SubscribePacket{ID: 1, Subscriptions: []wire.Subscription{{Filter: []byte(topic)}}})
				require.NotNil(t, r.receive())
				r.write(&wire.PublishPacket{QoS: 1, ID: 2, Topic: []byte(topic), Payload: []byte("in time")})
				over := make(chan struct{})
				go func() { // as fast as it goes, past the end
					defer close(over)
					m := wire.PublishPacket{Topic: []byte(topic), Payload: []byte("more")}
					b, err := m.Append(nil, v)
					for err == nil {
						time.Sleep(time.Millisecond) // a pace; nothing waits for it
						_, err = r.conn.Write(b)
					}
				}()
				r.ends(wire.NotAuthorized)
				late := time.Since(token.Expires)
				require.Less(t, late, patience/2)
				_ = r.conn.Close()
				<-over

				require.Equal(t, topic+" in time", next(t, observer.messages, "the first message"))
				p.inject(t, "site/"+id+"/end", "end")
				willed := false
				for got := ""; got != "site/"+id+"/end end" || !willed; {
					got = next(t, observer.messages, "the Will and the end")
					willed = willed || got == will+" gone"
				}
				again := p.dial(t, v)
				require.Equal(t, again.refused(), again.connect(id, token))
			})
		}
	})
}

// TestExpiryIsTold: the application hears of the end of its only token, and does not come back by itself.
func TestExpiryIsTold(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		id := newClientID()
		c := l.must(t, p, bearing(t, p.world.token(t, id, site.Brief)), options{id: id, url: p.url(site.Tokens)})
		require.NoError(t, c.subscribe("site/"+id+"/x", 1))
		next(t, c.lost, "the end of the connection")
		p.inject(t, "site/"+id+"/x", "too late")
		require.Error(t, c.publish("site/"+id+"/x", 1, false, "too late"))
		require.Empty(t, c.messages)
	})
}

// TestRenewed: a client of v5 that can ask for another token outlives the first, several times over.
func TestRenewed(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		id := newClientID()
		source, err := p.world.site.Source(id, site.Brief)
		require.NoError(t, err)
		renewed := make(chan error, 16)
		a, err := ace.New(ace.Config{Source: source, Renewed: func(_ ace.Token, err error) { note(renewed, err) }})
		require.NoError(t, err)
		c := libraries[0].must(t, p, a, options{id: id, url: p.url(site.Tokens)})
		for range 2 {
			require.NoError(t, next(t, renewed, "a renewal"))
			require.NoError(t, c.publish("site/"+id+"/x", 1, false, "still here"))
		}
		require.Empty(t, c.lost)
	})
}
