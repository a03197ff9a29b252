package layer

import "github.com/mqttsec/mqttsec/internal/wire"

// Answers gives, for each PUBLISH that a filter withholds, the acknowledgements that its sender waits for, so that
// nothing stays in flight. The zero value is ready. It is for one direction of one connection, and not safe for
// concurrent use.
type Answers struct {
	owed map[uint16]struct{} // PUBREL of these is ours to answer
}

// Incoming answers the peer for the withheld PUBLISH m: PUBACK at QoS 1, PUBREC at QoS 2. The reason is said on v5
// only; one of 0x80 or more ends the exchange there, otherwise the PUBREL comes to Pubrel.
func (a *Answers) Incoming(c *Conn, m *wire.PublishPacket, reason byte) error {
	return a.withheld(c, m, reason, c.Send)
}

// withheld is Incoming for either direction: answer reaches the sender of m.
func (a *Answers) withheld(c *Conn, m *wire.PublishPacket, reason byte, answer func(wire.Packet) error) error {
	if m.QoS == 0 {
		return nil
	}
	ack := wire.AckPacket{Type: wire.Puback, ID: m.ID, Reason: publishReason(reason)}
	if m.QoS == 2 {
		ack.Type = wire.Pubrec
		if c.Version() != wire.V5 || reason < wire.UnspecifiedError {
			if a.owed == nil {
				a.owed = make(map[uint16]struct{})
			}
			a.owed[m.ID] = struct{}{}
		}
	}
	return reply(&ack, c.Version(), answer)
}

// Accepted tells that a PUBLISH with this packet identifier was let pass, whose exchange is now between the two sides.
func (a *Answers) Accepted(id uint16) {
	if len(a.owed) > 0 {
		delete(a.owed, id)
	}
}

// Pubrel answers a PUBREL of the peer with PUBCOMP if it belongs to a PUBLISH that was withheld, and tells whether it
// does.
func (a *Answers) Pubrel(c *Conn, id uint16) (bool, error) { return a.released(c, id, c.Send) }

func (a *Answers) released(c *Conn, id uint16, answer func(wire.Packet) error) (bool, error) {
	if _, ok := a.owed[id]; !ok {
		return false, nil
	}
	delete(a.owed, id)
	return true, reply(&wire.AckPacket{Type: wire.Pubcomp, ID: id}, c.Version(), answer)
}

// Refuse tells the local side, a client, that its PUBLISH m was not sent: PUBACK or PUBREC with the reason, which must
// be 0x80 or more. At QoS 0, and before v5, MQTT has no word for it: an acknowledgement would mean success, so there is
// none.
func Refuse(c *Conn, m *wire.PublishPacket, reason byte) error {
	if c.Version() != wire.V5 || m.QoS == 0 {
		return nil
	}
	ack := wire.AckPacket{Type: wire.Puback, ID: m.ID, Reason: publishReason(reason)}
	if m.QoS == 2 {
		ack.Type = wire.Pubrec
	}
	return reply(&ack, c.Version(), c.Inject)
}

// publishReason returns the reason that PUBACK and PUBREC have for what reason says (MQTT 5, tables 3-4 and 3-5).
func publishReason(reason byte) byte {
	switch reason {
	case wire.Success, wire.NoMatchingSubscribers, wire.UnspecifiedError, wire.ImplementationSpecificError, wire.NotAuthorized,
		wire.TopicNameInvalid, wire.PacketIdentifierInUse, wire.QuotaExceeded, wire.PayloadFormatInvalid:
		return reason
	case wire.PacketTooLarge, wire.MessageRateTooHigh, wire.ReceiveMaximumExceeded:
		return wire.QuotaExceeded
	}
	if reason < wire.UnspecifiedError {
		return wire.Success
	}
	return wire.ImplementationSpecificError
}

func reply(ack *wire.AckPacket, v wire.Version, send func(wire.Packet) error) error {
	p, err := ack.Append(make([]byte, 0, 8), v)
	if err != nil {
		return err
	}
	return send(p)
}
