package seal

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync/atomic"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/replay"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// Conn returns conn with every PUBLISH and Will on a covered topic sealed on its
// way out and opened on its way in. If there is TLS in or below conn, its handshake is
// done first, within ctx.
func (s *Sealer) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	if err := layer.Handshake(ctx, conn); err != nil {
		return nil, fmt.Errorf("mqttsec: %w", err)
	}
	return layer.New(conn, newFilter(s)), nil
}

// filter seals and opens on one connection. The fields of a direction are used by
// that direction only.
type filter struct {
	sealer    *Sealer
	publishes layer.Publishes
	link      atomic.Pointer[link]
	attached  bool        // to a session; with closed, under the lock of Sealer.mqtt
	closed    bool        // the connection has ended
	clean     atomic.Bool // what the peer's CONNECT asks for

	limit    atomic.Int64   // the local side's Maximum Packet Size, 0 for none
	outgoing parted         // properties of the message going out
	header   []byte         // of the message coming in
	how      replay.Arrival // of the message coming in
}

func newFilter(s *Sealer) *filter {
	f := &filter{sealer: s}
	f.publishes.Out, f.publishes.In = f.publish, f.published
	f.link.Store(s.mqtt.create("").begin(true)) // until CONNECT names one
	return f
}

// Outgoing seals what the local side publishes, and sees what it acknowledges.
func (f *filter) Outgoing(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	p, err := f.publishes.Outgoing(c, p)
	if err != nil {
		return nil, err
	}
	switch p.Type() {
	case wire.Puback, wire.Pubrec, wire.Pubcomp:
		return p, f.acknowledged(c, p)
	case wire.Subscribe:
		f.link.Load().subscribed(p, c.Version())
	case wire.Unsubscribe:
		f.link.Load().unsubscribed(p, c.Version())
	case wire.Connect:
		return f.connect(c, p)
	case wire.Connack:
		return p, f.accept(c, p)
	}
	return p, nil
}

// Incoming opens what the peer publishes, and sees what it acknowledges.
func (f *filter) Incoming(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	p, err := f.publishes.Incoming(c, p)
	if err != nil {
		return nil, err
	}
	switch p.Type() {
	case wire.Puback, wire.Pubcomp: // a PUBREC may cross a PUBLISH that is sent again
		m, err := wire.ParseAck(p, c.Version())
		if err != nil {
			return nil, err
		}
		f.link.Load().arrived(m.ID)
	case wire.Connack:
		return p, f.accepted(c, p)
	case wire.Connect:
		return f.connected(c, p)
	}
	return p, nil
}

// Skipped tells the application of a message that is larger than it takes.
func (f *filter) Skipped(_ *layer.Conn, m *wire.PublishPacket) error {
	name, err := f.publishes.Skipped(m)
	if err == nil {
		f.reject(string(name), false, errReceivedTooLarge)
	}
	return err
}

// Closed gives up what the local side has not acknowledged: the peer will send it
// again.
func (f *filter) Closed() {
	f.sealer.mqtt.detach(f)
}

// connect seals the Will in the local side's CONNECT.
func (f *filter) connect(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	f.sealer.mqtt.attach(f, string(m.ClientID), m.CleanStart)
	if f.askForMore(c, &m) {
		if p, err = m.Append(nil); err != nil {
			return nil, err
		}
	}
	if m.Will == nil {
		return p, nil
	}
	name, err := f.sealer.leaving(m.Will.Topic)
	if err == nil && name == nil {
		return p, nil
	}
	if err == nil {
		err = f.sealWill(m.Will, name)
	}
	if err != nil {
		f.reject(string(m.Will.Topic), true, err)
		return nil, refuseConnect(c, err)
	}
	return m.Append(nil)
}

func (f *filter) sealWill(w *wire.Will, name []byte) error {
	ps := f.sealer.part(new(parted), w.Properties)
	w.Properties = ps.outside
	if w.Retain && len(w.Payload) == 0 {
		return nil // will clear a retained message
	}
	sealed, err := f.sealer.seal(nil, &Message{Topic: name, Retain: w.Retain, Will: true, Once: w.QoS == 0, Properties: ps.inside, Payload: w.Payload})
	if err != nil {
		return err
	}
	if len(sealed) > 0xFFFF {
		return errWillTooLarge
	}
	w.Payload = sealed
	return nil
}

// askForMore asks the server for packets as much larger as sealing makes them than the client takes: what it says is of
// the packets that it will read.
func (f *filter) askForMore(c *layer.Conn, m *wire.ConnectPacket) bool {
	n, ok := m.Properties.Uint(wire.MaximumPacketSize)
	if !ok {
		return false
	}
	f.limit.Store(int64(n))
	more := headerLen + f.sealer.suite.TagSize + signatureLen + wire.VarintSize(wire.MaxPacket)
	m.Properties = m.Properties.Without(wire.MaximumPacketSize).
		AppendUint(wire.MaximumPacketSize, uint32(min(uint64(n)+uint64(more), 1<<32-1)))
	c.Allow(more)
	return true
}

// refuseConnect answers CONNECT in the server's place: to connect without the Will
// would drop it in silence, and a write error would only make the client try again
// at once.
func refuseConnect(c *layer.Conn, err error) error {
	const notAuthorized = 5 // MQTT 3.1.1 has no better code
	m := wire.ConnackPacket{Code: notAuthorized}
	if c.Version() == wire.V5 {
		m.Code = reason(err)
	}
	p, err := m.Append(nil, c.Version())
	if err != nil {
		return err
	}
	return c.Inject(p)
}

// connected opens the Will in the peer's CONNECT. Who the peer is shows in the answer
// only: until then it gets at nobody's session.
func (f *filter) connected(c *layer.Conn, p wire.Packet) (wire.Packet, error) {
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	f.announced(&m)
	if m.Will == nil {
		return p, nil
	}
	name, err := f.link.Load().arriving(f.sealer, m.Will.Topic)
	if err == nil && name == nil {
		return p, nil
	}
	if err == nil {
		err = f.openWill(m.Will, name)
	}
	if err != nil {
		f.reject(string(m.Will.Topic), false, err)
		return nil, err
	}
	return m.Append(nil)
}

func (f *filter) openWill(w *wire.Will, name []byte) error {
	if (len(w.Payload) == 0 || w.Payload[0] != version) && allows(f.sealer.config.InsecureAcceptUnsealed, name) {
		return nil
	}
	if len(w.Payload) == 0 {
		if !f.sealer.config.AllowClear {
			return ErrNotSealed
		}
		w.Properties = f.sealer.part(new(parted), w.Properties).outside
		return nil
	}
	mqtt := f.link.Load().mqttSession
	if known := f.sealer.mqtt.known(mqtt.id()); known != nil {
		mqtt = known
	}
	o, err := f.sealer.open(nil, &Message{Topic: name, Retain: w.Retain, Will: true, Payload: w.Payload}, &direct, mqtt.memory)
	if err != nil {
		return err
	}
	w.Properties, err = f.sealer.join(w.Properties, o.Properties)
	w.Payload = o.Payload
	return err
}

// accepted learns from the server's CONNACK.
func (f *filter) accepted(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseConnack(p, c.Version())
	if err != nil {
		return err
	}
	f.named(m.Properties)
	return nil
}

// accept learns from the local side's CONNACK.
func (f *filter) accept(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseConnack(p, c.Version())
	if err != nil {
		return err
	}
	if m.Code == wire.Success {
		f.sealer.mqtt.attach(f, f.link.Load().id(), f.clean.Load())
	}
	f.named(m.Properties)
	return nil
}

// announced notes the MQTT session that the peer's CONNECT names.
func (f *filter) announced(m *wire.ConnectPacket) {
	f.link.Load().rename(string(m.ClientID))
	f.clean.Store(m.CleanStart)
}

// named gives a session the Client Identifier that the server assigned.
func (f *filter) named(ps wire.Properties) {
	if id, ok := ps.Bytes(wire.AssignedClientIdentifier); ok {
		f.sealer.mqtt.name(f.link.Load().mqttSession, string(id))
	}
}

// acknowledged notes which messages the local side has taken for good.
func (f *filter) acknowledged(c *layer.Conn, p wire.Packet) error {
	m, err := wire.ParseAck(p, c.Version())
	if err != nil {
		return err
	}
	f.link.Load().acknowledged(&m)
	return nil
}

// reject tells the application of a message that was withheld.
func (f *filter) reject(topic string, outgoing bool, err error) {
	if tell := f.sealer.config.Rejected; tell != nil {
		tell(Rejection{ClientID: f.link.Load().id(), Topic: topic, Outgoing: outgoing, Err: err})
	}
}

// reason is the MQTT reason code for a message that cannot be sealed.
func reason(err error) byte {
	if errors.Is(err, ErrTooLarge) {
		return wire.PacketTooLarge
	}
	return wire.ImplementationSpecificError
}
