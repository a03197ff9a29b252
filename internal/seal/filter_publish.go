package seal

import (
	"errors"
	"fmt"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/replay"
	"github.com/mqttsec/mqttsec/internal/wire"
)

var (
	errWillTooLarge     = fmt.Errorf("%w: a sealed Will of more than 65535 bytes", ErrTooLarge)
	errReceivedTooLarge = fmt.Errorf("%w: more than the Maximum Packet Size of this client", ErrTooLarge)

	errPacketTooLarge = fmt.Errorf("%w: more than the server's Maximum Packet Size", ErrTooLarge)
)

// tolerated is by how many bytes a packet may exceed the local side's Maximum Packet Size: mosquitto does not count the
// first byte, and both Eclipse clients take it.
const tolerated = 1

// isTooLarge says that a packet is more than the local side takes, whatever was asked of the server.
func (f *filter) isTooLarge(size int) bool {
	limit := f.limit.Load()
	return limit > 0 && int64(size) > limit+tolerated
}

// publish seals one PUBLISH of the local side.
func (f *filter) publish(c *layer.Conn, m *layer.Message) (wire.Packet, error) {
	name, err := f.sealer.leaving(m.Name)
	if err == nil && name == nil {
		return f.sendUnsealed(c.Version(), m)
	}
	var p wire.Packet
	if err == nil {
		p, err = f.sealPublish(c.Version(), m, name)
	}
	if err != nil {
		f.reject(string(m.Name), true, err)
		return nil, &layer.Withhold{Reason: reason(err), Err: err}
	}
	return p, nil
}

// sendUnsealed returns m as it is, less the stamp of one that was sealed when it was stored and need not be any more.
func (f *filter) sendUnsealed(v wire.Version, m *layer.Message) (wire.Packet, error) {
	_, payload, stamped := f.sealer.unwrap(m.Payload)
	if !stamped {
		return m.Packet()
	}
	m.Payload = payload
	return m.Append(m.Buffer(m.Size(v)), v)
}

// sealPublish returns m sealed for the topic that it is for.
func (f *filter) sealPublish(v wire.Version, m *layer.Message, name []byte) (wire.Packet, error) {
	ps := f.sealer.part(&f.outgoing, m.Properties)
	m.Properties = ps.outside
	empty := m.Retain && len(m.Payload) == 0 && !f.sealer.hop // of a retained message, which only an empty payload does
	st, payload, stamped := f.sealer.unwrap(m.Payload)
	msg := Message{Topic: name, Retain: m.Retain, Once: m.QoS == 0, Properties: ps.inside, Payload: payload}
	size := 0
	if !empty {
		size = f.sealer.sealedSize(&msg)
	}
	whole := m.HeaderSize(v, size) + size
	if whole > wire.MaxPacket {
		return nil, ErrTooLarge
	}
	if largest := f.publishes.MaximumPacketSize(); largest > 0 && whole > largest {
		return nil, errPacketTooLarge
	}
	b, err := m.AppendHeader(m.Buffer(whole), v, size)
	if err != nil || empty {
		return b, err
	}
	if stamped {
		return f.link.Load().sealAgain(f.sealer, b, &msg, &m.PublishPacket, st)
	}
	return f.link.Load().seal(f.sealer, b, &msg, &m.PublishPacket)
}

// published opens one PUBLISH of the peer.
func (f *filter) published(c *layer.Conn, m *layer.Message) (wire.Packet, error) {
	name, err := f.link.Load().arriving(f.sealer, m.Name)
	id := m.ID
	var p wire.Packet
	switch {
	case err != nil:
	case name != nil:
		p, err = f.openPublish(c.Version(), m, name)
	case !f.isTooLarge(len(m.Raw())):
		return m.Packet()
	default:
		err = errReceivedTooLarge
	}
	if err != nil {
		f.reject(string(m.Name), false, err)
		return nil, f.withhold(c, id, m.QoS, err)
	}
	return p, nil
}

// openPublish returns m opened for the topic that it is for, in the memory of the packet that it came in.
func (f *filter) openPublish(v wire.Version, m *layer.Message, name []byte) (wire.Packet, error) {
	if (len(m.Payload) == 0 || m.Payload[0] != version) && allows(f.sealer.config.InsecureAcceptUnsealed, name) {
		f.tell(m.Name, Delivery{Payload: m.Payload, Unsealed: true})
		return m.Packet()
	}
	if len(m.Payload) == 0 {
		return f.clear(v, m)
	}
	msg := Message{Topic: name, Retain: m.Retain, Payload: m.Payload}
	l := f.link.Load()
	how := l.arrival(&f.how, v, m)
	o, err := f.sealer.open(m.Payload[:min(headerLen, len(m.Payload))], &msg, how, l.memory)
	if err != nil {
		return nil, err
	}
	m.Properties, err = f.sealer.join(m.Properties, o.Properties)
	if err != nil {
		l.memory.Done(o.Entry)
		return nil, err
	}
	if whole := m.HeaderSize(v, len(o.Payload)) + len(o.Payload); f.isTooLarge(whole) {
		l.memory.Done(o.Entry)
		return nil, errReceivedTooLarge
	}
	if m.QoS > 0 {
		l.delivered(m.ID, m.QoS, o.Entry)
	}
	f.tell(m.Name, Delivery{Publisher: o.Publisher, Payload: o.Payload})
	p := m.Raw()
	end := len(p) - f.sealer.suite.TagSize // where the plaintext ends, opened in place
	m.Payload = o.Payload
	return f.rebuild(v, m, p, end)
}

// tell tells the application of a message that it is about to get on a topic.
func (f *filter) tell(topic []byte, d Delivery) {
	if f.sealer.config.Delivered != nil {
		d.Topic, d.ClientID = string(topic), f.link.Load().id()
		f.sealer.config.Delivered(d)
	}
}

// rebuild puts a header for m before its payload, which ends at p[:end]. There is room
// for it where the old header and the frame's were, unless an alias was spelled out.
func (f *filter) rebuild(v wire.Version, m *layer.Message, p wire.Packet, end int) (wire.Packet, error) {
	b, err := m.AppendHeader(reuse(f.header), v, len(m.Payload))
	if err != nil {
		return nil, err
	}
	f.header = b
	start := end - len(m.Payload) - len(b)
	if start < 0 {
		b = append(m.Buffer(len(b)+len(m.Payload)), b...)
		return append(b, m.Payload...), nil
	}
	copy(p[start:], b)
	return p[start:end], nil
}

// clear lets the peer clear a retained message if the application wants that: nothing
// in the packet is authentic.
func (f *filter) clear(v wire.Version, m *layer.Message) (wire.Packet, error) {
	if !f.sealer.config.AllowClear {
		return nil, ErrNotSealed
	}
	m.Properties = f.sealer.part(new(parted), m.Properties).outside
	return m.Append(nil, v)
}

// withhold answers for a PUBLISH of the peer that the local side does not get.
func (f *filter) withhold(c *layer.Conn, id uint16, qos byte, err error) error {
	if errors.Is(err, errReceivedTooLarge) {
		return &layer.Withhold{Reason: wire.PacketTooLarge, Err: err}
	}
	if !errors.Is(err, replay.ErrDelivered) && !errors.Is(err, replay.ErrPending) && !errors.Is(err, replay.ErrUnasked) {
		return &layer.Withhold{Reason: wire.PayloadFormatInvalid, Err: err}
	}
	if qos == 0 {
		return nil
	}
	switch f.link.Load().again(id, qos) {
	case unacknowledged:
		return nil // the local side's own acknowledgement is still to come
	case received:
		ack := wire.AckPacket{Type: wire.Pubrec, ID: id}
		b, err := ack.Append(nil, c.Version())
		if err != nil {
			return err
		}
		return c.Send(b) // and the local side answers PUBREL
	}
	return &layer.Withhold{Reason: wire.Success, Err: err}
}
