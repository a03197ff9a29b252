package e2e

import (
	"errors"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/stretchr/testify/require"
)

// What a broker may do to a message, besides losing the connection.
const (
	proper    = "proper"    // it follows the standard
	forgetful = "forgetful" // it loses the acknowledgements with the connection, and delivers again what was acknowledged
	doubling  = "doubling"  // it sends each PUBLISH twice
	copying   = "copying"   // it delivers a copy under another packet identifier
)

// Where the rogue broker cuts a connection on which it delivers a message. The points of QoS 1 are the first four.
const (
	beforePublish = iota
	withinPublish
	afterPublish
	afterFirstAck // PUBACK or PUBREC
	afterPubrel
	afterPubcomp
	never
)

// TestExactlyOnceSubscriber delivers a message from a broker that cuts the first two connections at every pair of
// points, and misbehaves besides. However it goes, the application sees the message; and once it has acknowledged it,
// never again.
func TestExactlyOnceSubscriber(t *testing.T) {
	for _, s := range sealedSuites() {
		for _, d := range drivers() {
			for _, qos := range []byte{1, 2} {
				for _, manner := range []string{proper, forgetful, doubling, copying} {
					t.Run(fmt.Sprintf("%s/%s/QoS%d/%s", s.name, d.name, qos, manner), func(t *testing.T) {
						t.Parallel()
						points := []int{beforePublish, withinPublish, afterPublish, afterFirstAck, afterPubrel, afterPubcomp}
						if qos == 1 {
							points = points[:4]
						}
						for _, first := range points {
							for _, second := range append(points, never) {
								receiveOnce(t, s, s, d, &delivery{qos: qos, manner: manner, cuts: [2]int{first, second}})
							}
						}
					})
				}
			}
		}
	}
}

// delivery is one message on its way from the rogue broker to a subscriber, across connections.
type delivery struct {
	qos    byte
	manner string
	cuts   [2]int // the points at which the first two connections end

	frame, last []byte
	topic       string

	started  bool // a PUBLISH may have arrived
	released bool // PUBREC has come: the standard wants PUBREL from here on
	finished bool

	acked atomic.Bool  // the broker has seen an acknowledgement
	again atomic.Int64 // how often the application has seen the message since
}

// receiveOnce receives under suite s what was sealed under suite publisher.
func receiveOnce(t *testing.T, s, publisher suite, d driver, x *delivery) {
	const text = marker + " exactly once"
	id := unique("once")
	x.topic = "e2e/" + id
	cfg := testSealing(t, id)
	var err error
	honest := publisher.new(t, cfg).(sealer)
	x.frame, err = honest.Seal(x.topic, []byte(text))
	require.NoError(t, err)
	x.last, err = honest.Seal(x.topic, []byte("last"))
	require.NoError(t, err)

	broker := newRogue(t, x.script)
	ctx := patient(t)
	sub, err := d.connect(ctx, s.new(t, cfg), options{
		id:         id,
		url:        broker.url,
		persistent: true,
		received: func(m message) {
			if string(m.payload) == text && x.acked.Load() {
				x.again.Add(1)
			}
		},
	})
	require.NoError(t, err)
	defer func() { _ = sub.disconnect(ctx) }()
	if err := sub.subscribe(ctx, x.topic, x.qos); err != nil {
		require.Equal(t, beforePublish, x.cuts[0], err) // then SUBACK may have been lost with the connection
	}
	got, err := sub.inbox().awaitPayload(ctx, "last")
	require.NoError(t, err, "cuts %v", x.cuts)
	require.GreaterOrEqual(t, count(got, text), 1, "lost; cuts %v", x.cuts)
	require.Zero(t, x.again.Load(), "seen again after it was acknowledged; cuts %v", x.cuts)
	if x.cuts[0] != afterPublish && x.cuts[1] != afterPublish {
		require.Equal(t, 1, count(got, text), "cuts %v", x.cuts)
	}
}

// script runs one connection: what is left of the exchange, up to the cut, and a last message when it is finished.
func (x *delivery) script(p *peer) error {
	if _, err := p.greet(p.n > 0, nil); err != nil {
		return err
	}
	if p.n == 0 {
		if err := p.grant(); err != nil {
			return err
		}
	}
	cut := never
	if p.n < len(x.cuts) {
		cut = x.cuts[p.n]
	}
	if err := x.resume(p, cut); err != nil {
		return err
	}
	if p.n < len(x.cuts) && cut != never {
		return errCut
	}
	last := wire.PublishPacket{QoS: x.qos, ID: 9, Topic: []byte(x.topic), Payload: x.last}
	if err := p.deliver(last); err != nil {
		return err
	}
	return p.idle()
}

// resume takes the exchange up where it was, as far as the cut.
func (x *delivery) resume(p *peer, cut int) error {
	if x.finished && x.manner != forgetful {
		return nil
	}
	m := wire.PublishPacket{Dup: x.started, QoS: x.qos, ID: 7, Topic: []byte(x.topic), Payload: x.frame}
	if !x.released || x.manner == forgetful {
		if err := x.publish(p, m, cut); err != nil {
			return err
		}
	}
	if x.qos == 2 {
		if err := p.ack(wire.Pubrel, m.ID); err != nil {
			return err
		}
		if cut == afterPubrel {
			return errCut
		}
		if err := p.readAck(wire.Pubcomp, m.ID); err != nil {
			return err
		}
	}
	x.finished = true
	if x.manner == copying {
		m.Dup, m.ID = false, 8
		return p.deliver(m)
	}
	return nil
}

// publish sends the PUBLISH and awaits the first acknowledgement.
func (x *delivery) publish(p *peer, m wire.PublishPacket, cut int) error {
	if cut == beforePublish {
		return errCut
	}
	b, err := m.Append(nil, p.version)
	if err != nil {
		return err
	}
	if cut == withinPublish {
		return errors.Join(p.send(b[:len(b)/2]), errCut)
	}
	x.started = true
	if err := p.send(b); err != nil {
		return err
	}
	if x.manner == doubling {
		m.Dup = true
		if err := p.write(&m); err != nil {
			return err
		}
	}
	if cut == afterPublish {
		return errCut
	}
	first := wire.Puback
	if x.qos == 2 {
		first = wire.Pubrec
	}
	if err := p.readAck(first, m.ID); err != nil {
		return err
	}
	x.acked.Store(true)
	x.released = x.qos == 2
	if cut == afterFirstAck {
		x.finished = x.qos == 1
		return errCut
	}
	return nil
}

// TestExactlyOncePublisher publishes to a broker that cuts the first two connections at every pair of points. The
// library sends again what was not acknowledged; whatever of that a broker passes on, its receivers open one.
func TestExactlyOncePublisher(t *testing.T) {
	for _, s := range sealedSuites() {
		for _, d := range drivers() {
			for _, qos := range []byte{1, 2} {
				t.Run(fmt.Sprintf("%s/%s/QoS%d", s.name, d.name, qos), func(t *testing.T) {
					t.Parallel()
					points := []int{withinPublish, afterPublish, afterFirstAck, afterPubrel, afterPubcomp}
					if qos == 1 {
						points = points[:3]
					}
					for _, first := range points {
						for _, second := range append(points, never) {
							publishOnce(t, s, s, d, &publication{qos: qos, cuts: [2]int{first, second}})
						}
					}
				})
			}
		}
	}
}

// publication is one message on its way from a publisher to the rogue broker, across connections.
type publication struct {
	qos    byte
	cuts   [2]int
	frames [][]byte // what the broker has received, and would pass on
}

// publishOnce publishes under suite s, and opens under suite opener what the broker got.
func publishOnce(t *testing.T, s, opener suite, d driver, x *publication) {
	const text = marker + " exactly once"
	id := unique("once")
	topic := "e2e/" + id
	cfg := testSealing(t, id)
	broker := newRogue(t, x.script)
	ctx := patient(t)
	o := options{id: id, url: broker.url, persistent: true, dir: filepath.Join(tempDir(t), "store")}
	if d.v5 {
		o.dir = "" // in memory
	}
	pub, err := d.connect(ctx, s.new(t, cfg), o)
	require.NoError(t, err)
	defer func() { _ = pub.disconnect(ctx) }()
	err = pub.publish(ctx, message{topic: topic, payload: []byte(text), qos: x.qos})
	require.True(t, err == nil || !d.v5, "cuts %v: %v", x.cuts, err)
	// That is not the end everywhere: paho.mqtt.golang completes a token as soon as it writes the message again, or
	// fails to. Its store is empty when it knows that the message has arrived.
	require.Eventually(t, func() bool { return storedFiles(t, o.dir) == 0 }, patience, pollInterval)
	require.NoError(t, pub.disconnect(ctx))
	broker.script.Lock() // the last one is over
	defer broker.script.Unlock()

	subscriber := opener.new(t, cfg).(sealer)
	opened := 0
	for _, frame := range x.frames {
		payload, err := subscriber.Open(topic, frame)
		if err != nil {
			require.ErrorIs(t, err, aesmsg.ErrReplay)
			continue
		}
		require.Equal(t, text, string(payload))
		opened++
	}
	require.Equal(t, 1, opened, "%d frames; cuts %v", len(x.frames), x.cuts)
}

func (x *publication) script(p *peer) error {
	if _, err := p.greet(p.n > 0, nil); err != nil {
		return err
	}
	cut := never
	if p.n < len(x.cuts) {
		cut = x.cuts[p.n]
	}
	return x.receive(p, cut)
}

// receive is a broker's part of the exchange, up to the cut. It takes what comes: a client that knows that its PUBLISH
// has arrived goes on with PUBREL.
func (x *publication) receive(p *peer, cut int) error {
	if cut == withinPublish {
		if err := p.readStart(); err != nil {
			return err
		}
		return errCut
	}
	for {
		packet, err := p.readPast()
		if err != nil {
			return err
		}
		switch packet.Type() {
		case wire.Publish:
			err = x.received(p, packet, cut)
		case wire.Pubrel:
			err = x.freed(p, packet, cut)
		}
		if err != nil {
			return err
		}
	}
}

func (x *publication) received(p *peer, packet wire.Packet, cut int) error {
	m, err := wire.ParsePublish(packet, p.version)
	if err != nil {
		return err
	}
	x.frames = append(x.frames, m.Payload)
	if cut == afterPublish {
		return errCut
	}
	first := wire.Puback
	if m.QoS == 2 {
		first = wire.Pubrec
	}
	if err := p.ack(first, m.ID); err != nil {
		return err
	}
	if cut == afterFirstAck {
		return errCut
	}
	return nil
}

func (x *publication) freed(p *peer, packet wire.Packet, cut int) error {
	m, err := wire.ParseAck(packet, p.version)
	if err != nil {
		return err
	}
	if cut == afterPubrel {
		return errCut
	}
	if err := p.ack(wire.Pubcomp, m.ID); err != nil {
		return err
	}
	if cut == afterPubcomp {
		return errCut
	}
	return nil
}
