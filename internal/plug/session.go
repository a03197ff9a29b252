package plug

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"
	"github.com/eclipse/paho.golang/paho/log"
	"github.com/eclipse/paho.golang/paho/session"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// errUnnamed is reported for a stored message that cannot be sent again.
var errUnnamed = errors.New("only a Topic Alias of a former connection names its topic")

// frozenSession is a session manager in whose store PUBLISH packets are frozen. The
// one below stores a packet when it is added and sends it again when a connection is
// up; the client sends it the first time itself. Below, the packet is therefore
// replaced on its way in, and on its way out the connection is. PUBREL and PUBREC,
// the only others that are stored, carry no payload and pass.
type frozenSession struct {
	session.SessionManager
	frost frost
	errs  log.Logger
}

// AddToSession adds p, frozen if it is a PUBLISH. One that cannot be frozen is refused as
// an invalid argument: autopaho does not take such a message from its queue again.
func (s *frozenSession) AddToSession(ctx context.Context, p session.Packet, resp chan<- packets.ControlPacket) error {
	if p.Type() != packets.PUBLISH {
		return s.SessionManager.AddToSession(ctx, p, resp)
	}
	if err := wellFormed(p); err != nil {
		return fmt.Errorf("plug: message not stored: %w: %w", err, paho.ErrInvalidArguments)
	}
	stored := &frozenPacket{Packet: p, frost: s.frost}
	if err := s.SessionManager.AddToSession(ctx, stored, resp); err != nil {
		return err
	}
	if stored.err == nil {
		return nil
	}
	// What has been stored is the message's place only; its transaction ends here.
	if err := s.SessionManager.PacketReceived(refusal(stored.place), nil); err != nil {
		s.errs.Printf("plug: refused message %d not removed: %s", stored.place.id, err)
	}
	p.SetIdentifier(0)
	return fmt.Errorf("plug: message not stored: %w: %w", stored.err, paho.ErrInvalidArguments)
}

// wellFormed tells whether a PUBLISH is one that MQTT knows, before it is too late: it
// has no place in a store otherwise, and paho's memory store panics when a packet does
// not write itself.
func wellFormed(p session.Packet) error {
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		return err
	}
	_, err := wire.ParsePublish(b.Bytes(), wire.V5)
	return err
}

// aliasOf returns the Topic Alias alone.
func aliasOf(ps wire.Properties) wire.Properties {
	alias, _ := ps.Uint(wire.TopicAlias)
	return wire.Properties(nil).AppendUint(wire.TopicAlias, alias)
}

// frozenPacket is a PUBLISH for the store: it takes its identifier for the packet that
// the client is about to send, and is written as what is to be stored.
type frozenPacket struct {
	session.Packet
	frost frost
	err   error // why it cannot be frozen
	place skipped
}

// WriteTo writes the frozen packet. By now it has its identifier. If it cannot be frozen
// its place is written instead, for not every store takes an error from here.
func (p *frozenPacket) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	if _, err := p.Packet.WriteTo(&b); err != nil {
		return 0, err
	}
	m, err := wire.ParsePublish(b.Bytes(), wire.V5)
	if err != nil {
		return 0, err
	}
	var frozen wire.Packet
	if len(m.Topic) == 0 { // it can neither be frozen nor sent again
		frozen, err = placeOf(m)
	} else if frozen, p.err = p.frost.freeze(b.Bytes(), true); p.err != nil {
		p.place = skipped{m.ID, m.QoS}
		frozen, err = placeOf(m)
	}
	if err != nil {
		return 0, err
	}
	n, err := w.Write(frozen)
	return int64(n), err
}

// placeOf returns m without its contents. It does not thaw, and is no clearing of a
// retained message.
func placeOf(m wire.PublishPacket) (wire.Packet, error) {
	m.Retain, m.Payload = false, nil
	if len(m.Topic) == 0 {
		m.Properties = aliasOf(m.Properties)
	} else {
		m.Properties = nil
	}
	return m.Append(nil, wire.V5)
}

// ConAckReceived makes the session send what it has stored, thawed. What does not thaw
// has been skipped, and its transaction is ended as if the server had refused it.
func (s *frozenSession) ConAckReceived(conn io.Writer, cp *packets.Connect, ca *packets.Connack) error {
	w := newThawer(conn, s)
	err := s.SessionManager.ConAckReceived(w, cp, ca)
	for _, m := range w.takeSkipped() {
		if m.id == 0 || m.qos == 0 {
			continue // altered beyond recognition: there is nothing to answer to
		}
		if err := s.SessionManager.PacketReceived(refusal(m), nil); err != nil {
			s.errs.Printf("plug: stored message %d not removed: %s", m.id, err)
		}
	}
	return err
}

// refusal returns what a server answers that does not take m.
func refusal(m skipped) *packets.ControlPacket {
	if m.qos == 1 {
		return &packets.ControlPacket{
			FixedHeader: packets.FixedHeader{Type: packets.PUBACK},
			Content:     &packets.Puback{PacketID: m.id, ReasonCode: packets.PubackUnspecifiedError, Properties: new(packets.Properties)},
		}
	}
	return &packets.ControlPacket{
		FixedHeader: packets.FixedHeader{Type: packets.PUBREC},
		Content:     &packets.Pubrec{PacketID: m.id, ReasonCode: packets.PubrecUnspecifiedError, Properties: new(packets.Properties)},
	}
}
