package layer

import (
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Publishes does for one connection what every filter owes that judges PUBLISH packets, on a client's side or a
// broker's: it knows the topic behind an alias, answers for what is withheld so that nothing stays in flight, and
// learns the limits in CONNECT and CONNACK. A filter hands it every packet of both directions:
//
//	func (f *filter) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
//		p, err := f.publishes.Incoming(c, p)
//		...                                    // other packets, if p is not nil
//	}
//
// Out judges each PUBLISH that the local side sends, In each that the peer sends; nil lets all pass. The two run
// concurrently. The zero value is ready.
type Publishes struct {
	Out, In Judge

	largest  atomic.Uint32 // the peer's Maximum Packet Size, 0 for none
	aliases  atomic.Uint32 // the Topic Alias Maximum that the local side granted
	outgoing exchanges
	incoming exchanges
}

// exchanges are one direction's.
type exchanges struct {
	aliases Aliases
	answers Answers
	message Message            // under judgement; here so that none is allocated
	came    wire.PublishPacket // as it was before; here so that the stack of a reader stays small
}

// Judge returns the packet that goes on in place of the PUBLISH m: m.Packet() if nothing is to be changed. A [Withhold]
// withholds and answers it, any other error ends the connection. Nil without an error withholds it too, and the judge
// has answered or somebody will.
type Judge func(c *Conn, m *Message) (wire.Packet, error)

// Withhold is what a [Judge] returns to withhold a message. Its sender is answered: with an acknowledgement at QoS 1,
// with the whole exchange at QoS 2, both with Reason on v5, which must be one that PUBACK has (MQTT 5, 3.4.2.1) and is
// otherwise replaced by the nearest.
//
// MQTT has no word for it at QoS 0. Before v5 an acknowledgement means success, so a client gets none for what it
// published, while a broker, which would deliver the message for ever, and a client's peer get it.
type Withhold struct {
	Reason byte
	Err    error // why, for whoever reports it; may be nil
}

// Error describes the refusal.
func (w *Withhold) Error() string {
	if w.Err != nil {
		return w.Err.Error()
	}
	return fmt.Sprintf("layer: message withheld, reason 0x%02X", w.Reason)
}

// Unwrap returns why.
func (w *Withhold) Unwrap() error { return w.Err }

// Message is a PUBLISH under judgement, valid until the judge returns. Its Topic is empty where an alias stands for it
// and the receiver knows that alias.
type Message struct {
	wire.PublishPacket
	// Name is the topic, alias or not.
	Name []byte

	packet wire.Packet
	told   bool // Topic was empty and had to be spelled out
	buf    *scratch
	v      wire.Version
}

// Packet returns the message as it came, with the topic if its receiver does not know the alias.
func (m *Message) Packet() (wire.Packet, error) {
	if !m.told {
		return m.packet, nil
	}
	return m.Append(m.Buffer(m.Size(m.v)), m.v)
}

// Raw is the packet as it came. An incoming one may be edited in place.
func (m *Message) Raw() wire.Packet { return m.packet }

// Buffer returns an empty buffer with room for n bytes, in which the judge may return a packet. It is in use until that
// packet has left, and then goes back to where others get theirs: nothing of it may be kept.
func (m *Message) Buffer(n int) []byte { return m.buf.take(n) }

// MaximumPacketSize is what the peer takes, bytes, 0 without a limit (MQTT 5, 3.1.2.11.4 and 3.2.2.3.6).
func (s *Publishes) MaximumPacketSize() int { return int(s.largest.Load()) }

// Outgoing takes a packet that the local side wrote and returns what goes to the peer, nil for nothing.
func (s *Publishes) Outgoing(c *Conn, p wire.Packet) (wire.Packet, error) {
	switch p.Type() {
	case wire.Publish:
		return s.judge(c, p, &s.outgoing, s.Out, anyAlias, &c.scratch)
	case wire.Pubrel:
		return s.pubrel(c, p, &s.outgoing, c.Inject)
	case wire.Connect, wire.Connack:
		return p, s.granted(c, p)
	}
	return p, nil
}

// Incoming takes a packet of the peer's and returns what the local side gets, nil for nothing.
func (s *Publishes) Incoming(c *Conn, p wire.Packet) (wire.Packet, error) {
	switch p.Type() {
	case wire.Publish:
		return s.judge(c, p, &s.incoming, s.In, uint16(s.aliases.Load()), &c.opened)
	case wire.Pubrel:
		return s.pubrel(c, p, &s.incoming, c.Send)
	case wire.Connect, wire.Connack:
		return p, s.limited(c, p)
	}
	return p, nil
}

// anyAlias is the limit on the local side's own aliases: the peer judges them.
const anyAlias = 0xFFFF

// judge has one PUBLISH judged. limit is on its aliases.
func (s *Publishes) judge(c *Conn, p wire.Packet, x *exchanges, judge Judge, limit uint16, buf *scratch) (wire.Packet, error) {
	m := &x.message
	*m = Message{}
	m.packet, m.buf, m.v = p, buf, c.Version()
	var err error
	if m.PublishPacket, err = wire.ParsePublish(p, m.v); err != nil {
		return nil, err
	}
	if m.QoS > 0 && m.ID == 0 {
		return nil, fmt.Errorf("%w: packet identifier 0", wire.ErrMalformed) // MQTT 5, 2.2.1
	}
	if m.Name, m.told, err = x.aliases.Resolve(&m.PublishPacket, limit); err != nil {
		return nil, err
	}
	if m.told {
		m.Topic = m.Name
	}
	x.came = m.PublishPacket
	var q wire.Packet
	if judge == nil {
		q, err = m.Packet()
	} else {
		q, err = judge(c, m)
	}
	if err != nil {
		return nil, s.refused(c, x, err)
	}
	if q == nil {
		return nil, nil
	}
	x.answers.Accepted(x.came.ID)
	x.aliases.Passed(&x.came)
	return q, nil
}

// refused answers the sender of the message under judgement if it is withheld.
func (s *Publishes) refused(c *Conn, x *exchanges, err error) error {
	var w *Withhold
	if errors.As(err, &w) {
		return s.withhold(c, &x.came, x, w.Reason)
	}
	return err
}

// Skipped returns the topic of a PUBLISH that was passed over, for a filter that is a [Skipper], and notes the alias
// that it set.
func (s *Publishes) Skipped(m *wire.PublishPacket) (name []byte, err error) {
	name, _, err = s.incoming.aliases.Resolve(m, uint16(s.aliases.Load()))
	return name, err
}

// withhold answers the sender of m.
func (s *Publishes) withhold(c *Conn, m *wire.PublishPacket, x *exchanges, reason byte) error {
	if x == &s.incoming {
		return x.answers.withheld(c, m, reason, c.Send)
	}
	if c.IsClient() {
		return Refuse(c, m, reason)
	}
	return x.answers.withheld(c, m, reason, c.Inject)
}

// pubrel answers a PUBREL of a message that was withheld.
func (s *Publishes) pubrel(c *Conn, p wire.Packet, x *exchanges, answer func(wire.Packet) error) (wire.Packet, error) {
	m, err := wire.ParseAck(p, c.Version())
	if err != nil {
		return nil, err
	}
	if ours, err := x.answers.released(c, m.ID, answer); ours || err != nil {
		return nil, err
	}
	return p, nil
}

// granted learns what the local side grants its peer.
func (s *Publishes) granted(c *Conn, p wire.Packet) error {
	ps, err := limits(p, c.Version())
	if n, ok := ps.Uint(wire.TopicAliasMaximum); ok {
		s.aliases.Store(n)
	}
	return err
}

// limited learns what the peer grants the local side.
func (s *Publishes) limited(c *Conn, p wire.Packet) error {
	ps, err := limits(p, c.Version())
	if n, ok := ps.Uint(wire.MaximumPacketSize); ok {
		s.largest.Store(n)
	}
	return err
}

// limits returns the properties of a CONNECT or CONNACK.
func limits(p wire.Packet, v wire.Version) (wire.Properties, error) {
	if p.Type() == wire.Connect {
		m, err := wire.ParseConnect(p)
		return m.Properties, err
	}
	m, err := wire.ParseConnack(p, v)
	return m.Properties, err
}
