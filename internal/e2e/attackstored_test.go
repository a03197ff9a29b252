package e2e

import (
	"fmt"
	"testing"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/stretchr/testify/require"
)

// version is the protocol version that a library speaks.
func (d driver) version() wire.Version {
	if d.v5 {
		return wire.V5
	}
	return wire.V311
}

// offerAll makes a script that offers messages in turn.
func offerAll(messages func() []wire.PublishPacket) func(*peer) error {
	return func(p *peer) error {
		for i, m := range messages() {
			if m.Dup = false; m.QoS > 0 {
				m.ID = uint16(100 + i)
			}
			if err := p.offer(m); err != nil {
				return err
			}
		}
		return p.idle()
	}
}

// publishOf makes a PUBLISH of QoS 1 out of text.
func publishOf(topic, text string, retain bool) wire.PublishPacket {
	return wire.PublishPacket{QoS: 1, ID: 1, Topic: []byte(topic), Payload: []byte(text), Retain: retain}
}

func TestOlderRetained(t *testing.T) {
	forEachDriver(t, func(a *attacked, d driver) {
		_, sealed := onWire(t, a.honest(), d.version(), nil,
			publishOf(a.topic, "old", true), publishOf(a.topic, "new", true), publishOf(a.topic, "last", false))
		older, newer, last := sealed[0], sealed[1], sealed[2]
		live := newer
		live.Retain = false
		a.subscribe(d, options{}, offerAll(func() []wire.PublishPacket {
			return []wire.PublishPacket{older, newer, older, newer, live, last} // one SUBSCRIBE, and no more is asked for
		}))
		got, err := a.sub.inbox().awaitPayload(a.ctx, "last")
		require.NoError(a.t, err)
		require.Equal(a.t, []string{"old", "new", "last"}, payloads(got))
		all, err := a.heard.await(a.ctx, 3)
		require.NoError(a.t, err)
		require.ErrorIs(a.t, all[0].Err, aesmsg.ErrStale, "a step back")
		require.ErrorIs(a.t, all[1].Err, aesmsg.ErrReplay, "shown before")
		require.ErrorIs(a.t, all[2].Err, aesmsg.ErrReplay, "live this time")
	})
}

func TestWillReplayed(t *testing.T) {
	forEachDriver(t, func(a *attacked, d driver) {
		will := &wire.Will{Topic: []byte(a.topic), Payload: []byte("last words"), QoS: 1}
		connect, sealed := onWire(t, a.honest(), d.version(), will, publishOf(a.topic, "last", false))
		require.NotContains(a.t, string(connect.Will.Payload), "words")
		words := wire.PublishPacket{QoS: 1, ID: 1, Topic: []byte(a.topic), Payload: connect.Will.Payload}
		retained := words
		retained.Retain = true
		a.subscribe(d, options{}, offerAll(func() []wire.PublishPacket {
			return []wire.PublishPacket{retained, words, words, retained, sealed[0]}
		}))
		a.require([]string{"last words", "last"}, 3, oneOf(aesmsg.ErrReplay))
	})
}

func TestPropertiesAdded(t *testing.T) {
	forEachV5Driver(t, func(a *attacked, d driver) {
		inside := wire.Properties(nil).AppendBytes(wire.ContentType, []byte("text/plain"))
		first := publishOf(a.topic, "first", false)
		first.Properties = inside
		_, sealed := onWire(t, a.honest(), d.version(), nil, first, publishOf(a.topic, "last", false))
		for i := range sealed {
			require.Empty(a.t, sealed[i].Properties)
			sealed[i].Properties = wire.Properties(nil).
				AppendBytes(wire.ContentType, []byte("evil")).
				AppendBytes(wire.ResponseTopic, []byte("evil")).
				AppendBytes(wire.CorrelationData, []byte("evil")).
				AppendPair("evil", "evil")
		}
		a.subscribe(d, options{}, offerAll(func() []wire.PublishPacket { return sealed }))
		a.require([]string{"first", "last"}, 0, oneOf())
		got := a.sub.inbox().all()
		require.Equal(a.t, "text/plain", got[0].properties.ContentType)
		require.Empty(a.t, got[1].properties.ContentType)
		for _, m := range got {
			require.NotContains(a.t, fmt.Sprintf("%+v", *m.properties), "evil")
		}
	})
}

// TestConnectionsOfOneSealer replays to one client what another of the same Sealer has had: each has its own state,
// and neither takes the other's messages for replays.
func TestConnectionsOfOneSealer(t *testing.T) {
	forEachDriver(t, func(a *attacked, d driver) {
		frame := a.seal(a.honest(), a.topic, marker)
		cfg := a.cfg
		cfg.Rejected = a.heard.add
		shared := a.suite.new(a.t, cfg)
		broker := newRogueParallel(a.t, func(p *peer) error {
			if _, err := p.greet(false, nil); err != nil {
				return err
			}
			if err := p.grant(); err != nil {
				return err
			}
			for range 2 {
				m := wire.PublishPacket{Topic: []byte(a.topic), Payload: frame, QoS: 1, ID: 1}
				if err := p.offer(m); err != nil {
					return err
				}
			}
			return p.idle()
		})
		for range 3 {
			sub, err := d.connect(a.ctx, shared, options{id: unique("one"), url: broker.url})
			require.NoError(a.t, err)
			a.t.Cleanup(func() { _ = sub.disconnect(a.ctx) })
			require.NoError(a.t, sub.subscribe(a.ctx, a.topic, 1))
			_, err = sub.inbox().awaitCount(a.ctx, 1)
			require.NoError(a.t, err)
		}
		all, err := a.heard.await(a.ctx, 3)
		require.NoError(a.t, err)
		require.Len(a.t, all, 3)
	})
}
