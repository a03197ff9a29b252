package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/stretchr/testify/require"
)

// The attacks on sealed messages that a broker, or whoever sits on the way, can mount. The broker of these tests is the
// attacker: it has no key, knows every frame that ever passed, and sends what it likes.
//
//   - every bit of a frame flipped                       TestEveryBitFlipped
//   - replay at each QoS, with DUP, as retained, under
//     another packet identifier, after reconnection      TestReplay
//   - order and number changed                           TestReorderedAndRepeated
//   - topics swapped, by name and by alias               TestTopicsSwapped
//   - an older retained message instead of the newer     TestOlderRetained
//   - a Will again, or as something else                 TestWillReplayed
//   - properties added outside the seal                  TestPropertiesAdded
//
// Not covered, because sealing does not prevent it: messages that are dropped, or delayed while the receiver knows no
// MaxAge; who talks to whom on which topic, when, and how much.

// attacked is a subscriber whose broker is the attacker.
type attacked struct {
	t     *testing.T
	ctx   context.Context
	suite suite
	cfg   sealing
	topic string
	heard *rejections
	sub   client
}

// forEachDriver runs an attack on every library with every sealing suite.
func forEachDriver(t *testing.T, attack func(a *attacked, d driver)) {
	forEachOf(t, drivers(), attack)
}

// forEachV5Driver is forEachDriver for what MQTT 3.1.1 does not have.
func forEachV5Driver(t *testing.T, attack func(a *attacked, d driver)) {
	forEachOf(t, slices.DeleteFunc(drivers(), func(d driver) bool { return !d.v5 }), attack)
}

func forEachOf(t *testing.T, ds []driver, attack func(a *attacked, d driver)) {
	for _, s := range sealedSuites() {
		for _, d := range ds {
			t.Run(s.name+"/"+d.name, func(t *testing.T) {
				t.Parallel()
				topic := "e2e/" + unique("attacked")
				a := &attacked{t: t, ctx: patient(t), suite: s, topic: topic, heard: newRejections()}
				a.cfg = testSealing(t, topic)
				attack(a, d)
			})
		}
	}
}

// honest is a publisher with the key.
func (a *attacked) honest() sealer { return a.suite.new(a.t, a.cfg).(sealer) }

func (a *attacked) seal(s sealer, topic, text string) []byte {
	a.t.Helper()
	frame, err := s.Seal(topic, []byte(text))
	require.NoError(a.t, err)
	return frame
}

// subscribe connects the victim to a broker that follows script after CONNECT, and, on the first connection, after
// SUBSCRIBE.
func (a *attacked) subscribe(d driver, o options, script func(p *peer) error) {
	a.t.Helper()
	broker := newRogue(a.t, func(p *peer) error {
		_, err := p.greet(p.n > 0, nil)
		if err == nil && p.n == 0 {
			err = p.grant()
		}
		if err != nil {
			return err
		}
		return script(p)
	})
	cfg := a.cfg
	cfg.Rejected = a.heard.add
	o.id, o.url, o.persistent = unique("victim"), broker.url, true
	sub, err := d.connect(a.ctx, a.suite.new(a.t, cfg), o)
	require.NoError(a.t, err)
	a.t.Cleanup(func() { _ = sub.disconnect(a.ctx) })
	a.sub = sub
	require.NoError(a.t, sub.subscribe(a.ctx, "e2e/#", 2))
}

// require demands that the application sees exactly these messages, the last of them last, and that as many others
// were rejected, with an error that ok accepts.
func (a *attacked) require(want []string, rejected int, ok func(error) error) {
	a.t.Helper()
	got, err := a.sub.inbox().awaitPayload(a.ctx, want[len(want)-1])
	require.NoError(a.t, err)
	require.ElementsMatch(a.t, want, payloads(got))
	all, err := a.heard.await(a.ctx, rejected)
	require.NoError(a.t, err, "%d rejections, not %d", len(all), rejected)
	require.Len(a.t, all, rejected)
	for _, r := range all {
		require.NoError(a.t, ok(r.Err), "%v", r)
		require.False(a.t, r.Outgoing)
	}
}

// oneOf accepts errors that are one of these.
func oneOf(wanted ...error) func(error) error {
	return func(err error) error {
		for _, want := range wanted {
			if errors.Is(err, want) {
				return nil
			}
		}
		return fmt.Errorf("%w is none of %v", err, wanted)
	}
}

func TestEveryBitFlipped(t *testing.T) {
	forEachDriver(t, func(a *attacked, d driver) {
		frame := a.seal(a.honest(), a.topic, marker)
		a.subscribe(d, options{}, func(p *peer) error {
			for bit := range len(frame) * 8 {
				mutant := bytes.Clone(frame)
				mutant[bit/8] ^= 1 << (bit % 8)
				m := wire.PublishPacket{Topic: []byte(a.topic), Payload: mutant, QoS: byte(bit % 3)}
				if m.QoS > 0 {
					m.ID = 5
				}
				if err := p.offer(m); err != nil {
					return err
				}
			}
			if err := p.deliver(wire.PublishPacket{Topic: []byte(a.topic), Payload: frame}); err != nil {
				return err
			}
			return p.idle()
		})
		a.require([]string{marker}, len(frame)*8, oneOf(aesmsg.ErrNotSealed, aesmsg.ErrMalformed, aesmsg.ErrUnknownKey, aesmsg.ErrAuthentication))
	})
}

func TestReplay(t *testing.T) {
	forEachDriver(t, func(a *attacked, d driver) {
		s := a.honest()
		frame, second, third := a.seal(s, a.topic, "first"), a.seal(s, a.topic, "second"), a.seal(s, a.topic, "third")
		all := func(p *peer) error {
			for qos := range byte(3) {
				for _, dup := range []bool{false, true} {
					for _, retain := range []bool{false, true} {
						m := wire.PublishPacket{Topic: []byte(a.topic), Payload: frame, QoS: qos, Retain: retain}
						if qos > 0 {
							m.ID, m.Dup = 20, dup
						}
						if err := p.offer(m); err != nil {
							return err
						}
					}
				}
			}
			return nil
		}
		a.subscribe(d, options{}, func(p *peer) error {
			next, err := second, error(nil)
			switch p.n {
			case 0:
				err = p.deliver(wire.PublishPacket{Topic: []byte(a.topic), Payload: frame, QoS: 1, ID: 1})
			case 1:
				next = third
			}
			if err == nil {
				err = all(p)
			}
			if err == nil {
				err = p.deliver(wire.PublishPacket{Topic: []byte(a.topic), Payload: next, QoS: 2, ID: 3})
			}
			if err != nil || p.n == 0 {
				return err // and cuts the connection
			}
			return p.idle()
		})
		_, err := a.sub.inbox().awaitPayload(a.ctx, "third")
		require.NoError(a.t, err)
		a.require([]string{"first", "second", "third"}, 2*3*2*2, oneOf(aesmsg.ErrReplay))
	})
}

func TestReorderedAndRepeated(t *testing.T) {
	forEachDriver(t, func(a *attacked, d driver) {
		const n = 500 // inside the window
		random := rand.New(rand.NewPCG(1, 2))
		s := a.honest()
		var frames [][]byte
		var want []string
		for i := range n {
			want = append(want, fmt.Sprintf("%s %d", marker, i))
			frames = append(frames, a.seal(s, a.topic, want[i]))
		}
		last := a.seal(s, a.topic, "last")
		a.subscribe(d, options{}, func(p *peer) error {
			for round := range 3 {
				for _, i := range random.Perm(n) {
					m := wire.PublishPacket{Topic: []byte(a.topic), Payload: frames[i], QoS: byte(round)}
					if round > 0 {
						m.ID = uint16(i + 1)
					}
					if err := p.offer(m); err != nil {
						return err
					}
				}
			}
			if err := p.deliver(wire.PublishPacket{Topic: []byte(a.topic), Payload: last}); err != nil {
				return err
			}
			return p.idle()
		})
		a.require(append(want, "last"), 2*n, oneOf(aesmsg.ErrReplay))
	})
}

func TestTopicsSwapped(t *testing.T) {
	forEachDriver(t, func(a *attacked, d driver) {
		s := a.honest()
		red, blue := a.topic+"/red", a.topic+"/blue"
		fromRed, fromBlue := a.seal(s, red, "red"), a.seal(s, blue, "blue")
		more := a.seal(s, red, "more red")
		rejected := 2
		if d.v5 {
			rejected = 3
		}
		a.subscribe(d, options{aliases: 4}, func(p *peer) error {
			messages := []wire.PublishPacket{
				{Topic: []byte(red), Payload: fromBlue, QoS: 1, ID: 1},
				{Topic: []byte(blue), Payload: fromRed, QoS: 1, ID: 2},
			}
			if d.v5 {
				alias := wire.Properties(nil).AppendUint(wire.TopicAlias, 1)
				messages = append(messages,
					wire.PublishPacket{Topic: []byte(red), Properties: alias, Payload: fromRed, QoS: 1, ID: 3},
					wire.PublishPacket{Topic: []byte(blue), Properties: alias, Payload: fromBlue, QoS: 1, ID: 4},
					wire.PublishPacket{Properties: alias, Payload: more, QoS: 1, ID: 5}, // now means blue
				)
			} else {
				messages = append(messages,
					wire.PublishPacket{Topic: []byte(red), Payload: fromRed, QoS: 1, ID: 3},
					wire.PublishPacket{Topic: []byte(blue), Payload: fromBlue, QoS: 1, ID: 4},
				)
			}
			messages = append(messages, wire.PublishPacket{Topic: []byte(red), Payload: more, QoS: 1, ID: 6})
			for _, m := range messages {
				if err := p.offer(m); err != nil {
					return err
				}
			}
			return p.idle()
		})
		a.require([]string{"red", "blue", "more red"}, rejected, oneOf(aesmsg.ErrUnknownKey, aesmsg.ErrAuthentication))
		for i, want := range []string{red, blue, red} {
			require.Equal(a.t, want, a.sub.inbox().all()[i].topic)
		}
	})
}
