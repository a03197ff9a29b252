package seal

import (
	"errors"
	"fmt"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

var (
	errWillTooLarge   = fmt.Errorf("%w: a sealed Will of more than 65535 bytes", ErrTooLarge)
	errPacketTooLarge = fmt.Errorf("%w: more than the server's Maximum Packet Size", ErrTooLarge)
)

// parse is wire.ParsePublish for a packet on a connection, where QoS 1 and 2 have a
// packet identifier (MQTT 5, 2.2.1).
func parse(p wire.Packet, v wire.Version) (wire.PublishPacket, error) {
	m, err := wire.ParsePublish(p, v)
	if err == nil && m.QoS > 0 && m.ID == 0 {
		err = fmt.Errorf("%w: packet identifier 0", wire.ErrMalformed)
	}
	return m, err
}

// publish seals one PUBLISH of the local side.
func (f *filter) publish(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	m, err := parse(p, c.Version())
	if err != nil {
		return nil, err
	}
	topic, tell, err := f.outgoing.aliases.Resolve(&m, anyAlias)
	if err != nil {
		return nil, err
	}
	if tell {
		m.Topic = topic
	}
	if f.sealer.covers(topic) {
		p, err = f.sealPublish(c.Version(), topic, &m)
	} else if tell {
		p, err = m.Append(nil, c.Version())
	}
	if err != nil {
		f.reject(string(topic), true, err)
		return nil, layer.Refuse(c, &m, reason(err))
	}
	f.outgoing.aliases.Passed(&m)
	return p, nil
}

// sealPublish returns m sealed, in a buffer that the next call uses again.
func (f *filter) sealPublish(v wire.Version, topic []byte, m *wire.PublishPacket) (wire.Packet, error) {
	o := &f.outgoing
	ps := f.sealer.part(&o.properties, m.Properties)
	m.Properties = ps.outside
	clear := m.Retain && len(m.Payload) == 0 // of a retained message, which only an empty payload does
	msg := Message{Topic: topic, Retain: m.Retain, Properties: ps.inside, Payload: m.Payload}
	size := 0
	if !clear {
		size = f.sealer.sealedSize(&msg)
	}
	b, err := m.AppendHeader(reuse(o.packet), v, size)
	if errors.Is(err, wire.ErrTooLarge) {
		return nil, ErrTooLarge
	}
	if err != nil {
		return nil, err
	}
	if largest := f.largest.Load(); largest > 0 && len(b)+size > int(largest) {
		return nil, errPacketTooLarge
	}
	if !clear {
		b, err = f.mqtt.Load().seal(f.sealer, b, &msg, m)
	}
	o.packet = b
	return b, err
}

// published opens one PUBLISH of the peer.
func (f *filter) published(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	m, err := parse(p, c.Version())
	if err != nil {
		return nil, err
	}
	topic, tell, err := f.incoming.aliases.Resolve(&m, uint16(f.incoming.limit.Load()))
	if err != nil {
		return nil, err
	}
	if tell {
		m.Topic = topic
	}
	covered := f.sealer.coversArriving(topic)
	if covered {
		p, err = f.openPublish(c.Version(), topic, &m, p)
	} else if tell {
		p, err = m.Append(nil, c.Version())
	}
	if err != nil {
		f.reject(string(topic), false, err)
		return nil, f.withhold(c, &m, err)
	}
	if m.QoS == 2 {
		f.incoming.answers.Accepted(m.ID)
	}
	f.incoming.aliases.Passed(&m)
	return p, nil
}

// openPublish returns m, which is p, opened. It edits p.
func (f *filter) openPublish(v wire.Version, topic []byte, m *wire.PublishPacket, p wire.Packet) (wire.Packet, error) {
	if len(m.Payload) == 0 {
		return f.clear(v, m)
	}
	kind := liveAtMostOnce
	switch {
	case m.Retain:
		kind = retained
	case m.QoS > 0:
		kind = liveAcknowledged
	}
	msg := Message{Topic: topic, Retain: m.Retain, Payload: m.Payload}
	mqtt := f.mqtt.Load()
	o, err := f.sealer.open(m.Payload[:min(headerLen, len(m.Payload))], &msg, kind, mqtt.replay)
	if err != nil {
		return nil, err
	}
	m.Properties, err = f.sealer.join(m.Properties, o.Properties)
	if kind == liveAcknowledged {
		if err != nil {
			mqtt.replay.done(o.Entry)
		} else {
			mqtt.delivered(f, m.ID, o.Entry)
		}
	}
	if err != nil {
		return nil, err
	}
	if tell := f.sealer.config.Delivered; tell != nil {
		tell(Delivery{ClientID: mqtt.id(), Topic: string(topic), Publisher: o.Publisher, Payload: o.Payload})
	}
	end := len(p) - f.sealer.suite.TagSize // where the plaintext ends, opened in place
	m.Payload = o.Payload
	return f.rebuild(v, m, p, end)
}

// rebuild puts a header for m before its payload, which ends at p[:end]. There is room
// for it where the old header and the frame's were, unless an alias was spelled out.
func (f *filter) rebuild(v wire.Version, m *wire.PublishPacket, p wire.Packet, end int) (wire.Packet, error) {
	b, err := m.AppendHeader(reuse(f.incoming.packet), v, len(m.Payload))
	if err != nil {
		return nil, err
	}
	f.incoming.packet = b
	start := end - len(m.Payload) - len(b)
	if start < 0 {
		f.incoming.packet = append(b, m.Payload...)
		return f.incoming.packet, nil
	}
	copy(p[start:], b)
	return p[start:end], nil
}

// clear lets the peer clear a retained message if the application wants that: nothing
// in the packet is authentic.
func (f *filter) clear(v wire.Version, m *wire.PublishPacket) (wire.Packet, error) {
	if !f.sealer.config.AllowClear {
		return nil, ErrNotSealed
	}
	m.Properties = f.sealer.part(new(parted), m.Properties).outside
	return m.Append(nil, v)
}

// withhold answers for a PUBLISH of the peer that the local side does not get.
func (f *filter) withhold(c *layer.Conn, m *wire.PublishPacket, err error) error {
	if m.QoS == 0 {
		return nil
	}
	if !errors.Is(err, errDone) && !errors.Is(err, errPending) {
		return f.incoming.answers.Incoming(c, m, wire.PayloadFormatInvalid)
	}
	switch f.mqtt.Load().again(m.ID) {
	case unacknowledged:
		return nil // the local side's own acknowledgement is still to come
	case received:
		ack := wire.AckPacket{Type: wire.Pubrec, ID: m.ID}
		b, err := ack.Append(nil, c.Version())
		if err != nil {
			return err
		}
		return c.Send(b) // and the local side answers PUBREL
	}
	return f.incoming.answers.Incoming(c, m, wire.Success)
}
