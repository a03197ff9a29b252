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

// AddToSession adds p, frozen if it is a PUBLISH. One that cannot be frozen is refused
// before anything is stored, as an invalid argument: autopaho does not take such a
// message from its queue again.
func (s *frozenSession) AddToSession(ctx context.Context, p session.Packet, resp chan<- packets.ControlPacket) error {
	if p.Type() == packets.PUBLISH {
		frozen, err := s.freeze(p)
		if err != nil {
			return fmt.Errorf("plug: message not stored: %w: %w", err, paho.ErrInvalidArguments)
		}
		p = frozen
	}
	return s.SessionManager.AddToSession(ctx, p, resp)
}

func (s *frozenSession) freeze(p session.Packet) (*frozenPacket, error) {
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		return nil, err
	}
	m, err := wire.ParsePublish(b.Bytes(), wire.V5)
	if err != nil {
		return nil, err
	}
	var frozen wire.Packet
	if len(m.Topic) == 0 {
		// It can neither be frozen nor sent again; what the store gets is its place.
		m.Payload, m.Properties = nil, aliasOf(m.Properties)
		frozen, err = m.Append(nil, wire.V5)
	} else {
		frozen, err = s.frost.freeze(b.Bytes(), true)
	}
	if err != nil {
		return nil, err
	}
	m, err = wire.ParsePublish(frozen, wire.V5)
	return &frozenPacket{Packet: p, frozen: frozen, topic: len(m.Topic)}, err
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
	frozen wire.Packet
	topic  int // length of the topic in frozen
}

// SetIdentifier sets the identifier of both packets.
func (p *frozenPacket) SetIdentifier(id uint16) {
	p.Packet.SetIdentifier(id)
	setDelivery(p.frozen, false, p.topic, id)
}

// WriteTo writes the frozen packet.
func (p *frozenPacket) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(p.frozen)
	return int64(n), err
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
