package attacks

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// inTime calls f until it has done before the end of its token what it wants to do by then.
func inTime(t *testing.T, f func() (token ace.Token, inTime bool)) {
	t.Helper()
	for range 6 {
		token, ok := f()
		if ok {
			return
		}
		require.Less(t, time.Until(token.Expires), time.Second, "over before its end") // which it says in whole seconds
	}
	require.FailNow(t, "never in time")
}

// TestExpiredWhileConnected keeps on publishing and listening with a token that has run out: the broker ends the
// connection, the Will is published, and the token is of no use for another connection.
func TestExpiredWhileConnected(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		for _, v := range versions {
			t.Run(versionName(v), func(t *testing.T) {
				t.Parallel()
				inTime(t, func() (ace.Token, bool) { return expired(t, p, v) })
			})
		}
	})
}

func expired(t *testing.T, p place, v wire.Version) (token ace.Token, inTime bool) {
	id := newClientID()
	topic, will := "site/"+id+"/x", "site/"+id+"/will"
	observer := p.observe(t, "site/"+id+"/#")
	token = p.world.token(t, id, site.Brief)
	r := p.dial(t, v)
	code := r.connect(id, token, func(m *wire.ConnectPacket) {
		m.Will = &wire.Will{Topic: []byte(will), Payload: []byte("gone")}
	})
	if code != 0 {
		return token, false
	}
	r.write(&wire.SubscribePacket{ID: 1, Subscriptions: []wire.Subscription{{Filter: []byte(topic)}}})
	r.write(&wire.PublishPacket{QoS: 1, ID: 2, Topic: []byte(topic), Payload: []byte("in time")})
	for acknowledged := false; !acknowledged; {
		packet := r.receive()
		if packet == nil || packet.Type() == wire.Disconnect {
			return token, false
		}
		acknowledged = packet.Type() == wire.Puback
	}
	over := make(chan struct{})
	go func() { // all the time, past the end
		defer close(over)
		m := wire.PublishPacket{Topic: []byte(topic), Payload: []byte("more")}
		b, err := m.Append(nil, v)
		for err == nil {
			time.Sleep(10 * time.Millisecond) // a pace, at which the observer keeps all; nothing waits for it
			_, err = r.conn.Write(b)
		}
	}()
	r.ends(wire.NotAuthorized)
	require.Greater(t, time.Until(token.Expires), -patience, "not at its end")
	require.Less(t, time.Until(token.Expires), time.Second, "before its end") // which it says in whole seconds
	_ = r.conn.Close()
	<-over

	require.Equal(t, topic+" in time", next(t, observer.messages, "the first message"))
	for next(t, observer.messages, "the Will") != will+" gone" {
		continue // more of what was published in time
	}
	again := p.dial(t, v)
	require.Equal(t, again.refused(), again.connect(id, token))
	return token, true
}

// TestExpiryIsTold: the application hears of the end of its only token, and does not come back by itself.
func TestExpiryIsTold(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		inTime(t, func() (ace.Token, bool) {
			id := newClientID()
			token := p.world.token(t, id, site.Brief)
			c, err := l.connect(t, p.world, bearing(t, token), options{id: id, url: p.url(site.Tokens)})
			if err != nil || c.subscribe("site/"+id+"/x", 1) != nil {
				return token, false
			}
			next(t, c.lost, "the end of the connection")
			p.inject(t, "site/"+id+"/x", "too late")
			require.Error(t, c.publish("site/"+id+"/x", 1, false, "too late"))
			require.Empty(t, c.messages)
			return token, true
		})
	})
}

// TestRenewed: a client of v5 that can ask for another token outlives the first, several times over.
func TestRenewed(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		id := newClientID()
		renewed := make(chan error, 16)
		a, err := ace.New(ace.Config{Source: early{p.world, id}, Renewed: func(_ ace.Token, err error) { note(renewed, err) }})
		require.NoError(t, err)
		c := libraries[0].must(t, p, a, options{id: id, url: p.url(site.Tokens)})
		for over := time.Now().Add(2 * brief); time.Now().Before(over); {
			require.NoError(t, next(t, renewed, "a renewal"))
			require.NoError(t, c.publish("site/"+id+"/x", 1, false, "still here"))
		}
		require.Empty(t, c.lost)
	})
}

// early gives tokens that are to be renewed when a quarter of their life is over, which leaves a slow machine the rest.
type early struct {
	world *world
	id    string
}

func (e early) Token(ctx context.Context) (ace.Token, error) {
	source, err := e.world.site.Source(e.id, site.Brief)
	if err != nil {
		return ace.Token{}, err
	}
	token, err := source.Token(ctx)
	left := time.Until(token.Expires)
	// Renewal is due after four fifths of all.
	return ace.Token{Raw: token.Raw, Key: token.Key, Expires: token.Expires, Obtained: token.Expires.Add(-15 * left / 4)}, err
}
