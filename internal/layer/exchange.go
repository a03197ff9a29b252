package layer

import (
	"errors"
	"fmt"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// ErrExchanges is a scheme that has more exchanges open than there are identifiers for it.
var ErrExchanges = errors.New("layer: too many exchanges")

// maxExchanges is how many exchanges of a scheme may be open at once.
const maxExchanges = 64

// Exchanges are a scheme's own SUBSCRIBE, UNSUBSCRIBE and PUBLISH of QoS 1 on a client's connection, between CONNECT
// and the CONNACK that the scheme withholds with [Conn.Hold]. Their packet identifiers count down from 0xFFFF; until
// CONNACK the client uses none, and to its session nothing stays behind, because there is no QoS 2 and CONNACK is to be
// released only when Open is 0. After CONNACK a scheme speaks at QoS 0, without identifiers.
//
// The zero value is ready. All methods but Open are for Filter.Outgoing and Filter.Incoming up to CONNACK, where one
// follows the other; they are not safe for concurrent use.
type Exchanges struct {
	used uint16 // identifiers
	open map[uint16]exchange
}

type exchange struct {
	answer wire.Type
	done   func(reasons []byte) error
}

// Open is how many exchanges wait for their acknowledgement.
func (x *Exchanges) Open() int { return len(x.open) }

// Subscribe sends a SUBSCRIBE. done gets the Reason Codes (before v5 Return Codes) of the SUBACK, of which 0x80 and
// more are refusals; its error ends the connection.
func (x *Exchanges) Subscribe(c *Conn, done func(codes []byte) error, subscriptions ...wire.Subscription) error {
	id, err := x.begin(wire.Suback, done)
	if err != nil {
		return err
	}
	m := wire.SubscribePacket{ID: id, Subscriptions: subscriptions}
	p, err := m.Append(nil, c.Version())
	return x.send(c, id, p, err)
}

// Unsubscribe sends an UNSUBSCRIBE. done gets the Reason Codes of the UNSUBACK, none before v5.
func (x *Exchanges) Unsubscribe(c *Conn, done func(codes []byte) error, filters ...[]byte) error {
	id, err := x.begin(wire.Unsuback, done)
	if err != nil {
		return err
	}
	m := wire.UnsubscribePacket{ID: id, Filters: filters}
	p, err := m.Append(nil, c.Version())
	return x.send(c, id, p, err)
}

// Publish sends m at QoS 1. done gets the Reason Code of the PUBACK, which is 0 before v5. A server's Receive Maximum
// is at least 1: of these, have one open at a time.
func (x *Exchanges) Publish(c *Conn, done func(reason []byte) error, m wire.PublishPacket) error {
	id, err := x.begin(wire.Puback, done)
	if err != nil {
		return err
	}
	m.QoS, m.ID, m.Dup = 1, id, false
	p, err := m.Append(nil, c.Version())
	return x.send(c, id, p, err)
}

// Incoming takes an acknowledgement of the peer's and tells whether it was for one of these exchanges: it is then not
// to go further. Its error is that of done.
func (x *Exchanges) Incoming(c *Conn, p wire.Packet) (ours bool, err error) {
	if len(x.open) == 0 {
		return false, nil
	}
	var id uint16
	var reasons []byte
	switch p.Type() {
	case wire.Puback:
		m, err := wire.ParseAck(p, c.Version())
		if err != nil {
			return false, err
		}
		id, reasons = m.ID, []byte{m.Reason}
	case wire.Suback, wire.Unsuback:
		m, err := wire.ParseSuback(p, c.Version())
		if err != nil {
			return false, err
		}
		id, reasons = m.ID, m.Codes
	default:
		return false, nil
	}
	e, ok := x.open[id]
	if !ok {
		return false, nil
	}
	if e.answer != p.Type() {
		return false, fmt.Errorf("%w: %v in place of %v", ErrProtocol, p.Type(), e.answer)
	}
	delete(x.open, id)
	return true, e.done(reasons)
}

func (x *Exchanges) begin(answer wire.Type, done func([]byte) error) (uint16, error) {
	if len(x.open) >= maxExchanges {
		return 0, ErrExchanges
	}
	if x.open == nil {
		x.open = make(map[uint16]exchange)
	}
	id := 0xFFFF - x.used
	for x.open[id].done != nil || id == 0 {
		id--
	}
	x.used = 0xFFFF - id + 1
	x.open[id] = exchange{answer, done}
	return id, nil
}

func (x *Exchanges) send(c *Conn, id uint16, p wire.Packet, err error) error {
	if err == nil {
		err = c.Send(p)
	}
	if err != nil {
		delete(x.open, id)
	}
	return err
}
