package e2e

import (
	"errors"
	"runtime"
	"slices"
	"testing"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/stretchr/testify/require"
)

// badInput are packets that no broker may send to a client that has just subscribed, and that a protected connection
// must end for.
func badInput(v wire.Version, topic string) map[string][]byte {
	name := append([]byte{0, byte(len(topic))}, topic...)
	publish := func(flags byte, rest ...byte) []byte {
		body := slices.Concat(name, rest)
		return slices.Concat([]byte{0x30 | flags, byte(len(body))}, body)
	}
	bad := map[string][]byte{
		"a reserved packet type":                {0x00, 0x00},
		"a Remaining Length of five bytes":      {0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F},
		"a Remaining Length longer than needed": {0x30, 0x80, 0x00},
		"QoS 3":                                 publish(6, 0, 1),
		"a topic longer than the packet":        {0x30, 4, 0xFF, 0xFF, 'a', 'b'},
		"a PUBLISH without an identifier":       publish(2),
		"flags that PUBREL must not have":       {0x60, 2, 0, 1},
		"a CONNECT":                             {0x10, 12, 0, 4, 'M', 'Q', 'T', 'T', 4, 2, 0, 0, 0, 0},
	}
	if v == wire.V5 {
		bad["properties longer than the packet"] = publish(0, 0x7F, 1)
		bad["an unknown property"] = publish(0, 2, 0x7E, 0)
		bad["an alias that the client did not allow"] = publish(0, 3, 0x23, 0, 1)
		bad["a Topic Alias of nothing"] = []byte{0x30, 6, 0, 0, 3, 0x23, 0, 1}
	}
	return bad
}

// TestBadInput sends each of these on a connection of its own. The connection ends, the client comes back, and what is
// sealed still arrives, though it be one byte at a time.
func TestBadInput(t *testing.T) {
	forEachDriver(t, func(a *attacked, d driver) {
		bad := badInput(d.version(), a.topic)
		names := slices.Sorted(func(yield func(string) bool) {
			for name := range bad {
				if !yield(name) {
					return
				}
			}
		})
		s := a.honest()
		good := wire.PublishPacket{QoS: 1, ID: 1, Topic: []byte(a.topic), Payload: a.seal(s, a.topic, marker)}
		a.subscribe(d, options{}, func(p *peer) error {
			if p.n < len(names) {
				if err := p.send(bad[names[p.n]]); err != nil {
					return err
				}
				for { // a client may say DISCONNECT before it hangs up
					if _, err := p.read(); err != nil {
						return errCut
					}
				}
			}
			b, err := good.Append(nil, p.version)
			for i := range b {
				err = errors.Join(err, p.send(b[i:i+1]))
			}
			if err != nil {
				return err
			}
			return errors.Join(p.readAck(wire.Puback, good.ID), p.idle())
		})
		a.require([]string{marker}, 0, oneOf())
	})
}

// TestLyingLengthTakesNoMemory announces a PUBLISH of 256 MiB and sends one of it. What the client allocates in the
// meantime is a small multiple of that. (It runs alone: others allocate too.)
func TestLyingLengthTakesNoMemory(t *testing.T) {
	const sent, limit = 1 << 20, 24 << 20
	for _, s := range sealedSuites() {
		for _, d := range drivers() {
			t.Run(s.name+"/"+d.name, func(t *testing.T) {
				topic := "e2e/" + unique("lie")
				a := &attacked{t: t, ctx: patient(t), suite: s, topic: topic, heard: newRejections(), cfg: testSealing(t, topic)}
				good := wire.PublishPacket{Topic: []byte(topic), Payload: a.seal(a.honest(), topic, marker)}
				var before, after runtime.MemStats
				a.subscribe(d, options{}, func(p *peer) error {
					if p.n == 0 {
						runtime.ReadMemStats(&before)
						err := p.send([]byte{0x30, 0xFF, 0xFF, 0xFF, 0x7F})
						return errors.Join(err, p.send(make([]byte, sent)), errCut)
					}
					return errors.Join(p.deliver(good), p.idle())
				})
				a.require([]string{marker}, 0, oneOf())
				runtime.ReadMemStats(&after)
				require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(limit), "allocated for one MiB")
			})
		}
	}
}
