package layer

import (
	"time"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// A broker that gets a large packet whole has not heard of its client for as long as that took, and would end a
// connection over a slow link, for ever anew, that it would have kept if it had seen the bytes arrive. So the layer
// says for the client, while they arrive, that it lives.

var (
	pingRequest = wire.Packet{byte(wire.Pingreq) << 4, 0}
	quarter     = int64(time.Second / 4)
)

// arriving notes that a part of the peer's packet has come, of which some is still missing. If the local side, a
// server, has heard nothing for a quarter of the Keep Alive of that, PINGREQ is the next for it: it waits for one and a
// half (MQTT 5, 3.1.2.10), of which a client that is idle may use up one.
func (c *Conn) arriving() {
	s := &c.state
	patience := time.Duration(s.patience.Load() * quarter)
	if patience == 0 || s.client.Load() || !s.greeted.Load() {
		return
	}
	switch now := time.Now(); {
	case c.since.IsZero():
		c.since = now
	case now.Sub(c.since) >= patience:
		c.since = now
		s.pings.Add(1)
		c.ready = pingRequest
	}
}

// answersUs tells whether p, which the local side writes, is the answer to a PINGREQ of ours, and so not for the peer.
// Its caller has locked out.
func (s *state) answersUs(p wire.Packet) bool {
	if p.Type() != wire.Pingresp || s.pings.Load() == 0 {
		return false
	}
	s.pings.Add(-1)
	return true
}
