package plug

import (
	"bytes"
	"strings"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// frozenStore is a store whose PUBLISH packets are frozen in the store below. Other
// packets carry no payload and pass.
type frozenStore struct {
	mqtt.Store
	frost frost
}

// Put freezes a copy of m, since the client goes on to send m itself. If that fails,
// nothing is stored: better a message that a lost connection takes with it than one on
// the disk for everyone to read.
func (s frozenStore) Put(key string, m packets.ControlPacket) {
	pub, ok := m.(*packets.PublishPacket)
	if !ok {
		s.Store.Put(key, m)
		return
	}
	frozen, err := recode(pub, outbound(key), s.frost.freeze)
	if err != nil {
		mqtt.ERROR.Println(mqtt.STR, "plug: message not stored:", key, err)
		return
	}
	s.Store.Put(key, frozen)
}

// Get returns the packet as it was before it was stored, and nil if there is none or
// it does not thaw.
func (s frozenStore) Get(key string) packets.ControlPacket {
	m := s.Store.Get(key)
	pub, ok := m.(*packets.PublishPacket)
	if !ok {
		return m
	}
	thawed, err := recode(pub, outbound(key), s.frost.thaw)
	if err != nil {
		mqtt.ERROR.Println(mqtt.STR, "plug: stored message does not open:", key, err)
		return nil
	}
	return thawed
}

// outbound tells from its key whether the client sends a packet. Those it has received
// have keys that begin with "i.".
func outbound(key string) bool { return strings.HasPrefix(key, "o.") }

// recode returns what change makes of pub, which it leaves alone.
func recode(pub *packets.PublishPacket, out bool, change func(wire.Packet, bool) (wire.Packet, error)) (packets.ControlPacket, error) {
	c := *pub // Write sets the length in the header
	var b bytes.Buffer
	if err := c.Write(&b); err != nil {
		return nil, err
	}
	p, err := change(b.Bytes(), out)
	if err != nil {
		return nil, err
	}
	return packets.ReadPacket(bytes.NewReader(p))
}
