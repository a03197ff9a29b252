package seal

import (
	"sync"

	"github.com/mqttsec/mqttsec/internal/replay"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// link is the part of one connection in its MQTT session: what was delivered on it and
// is not acknowledged.
type link struct {
	*mqttSession
	number uint32 // of the connection, in the session's memory

	mu       sync.Mutex
	waiting  map[uint16]replay.Entry // delivered at QoS 1 or 2, not yet acknowledged
	received map[uint16]struct{}     // delivered at QoS 2, PUBREC sent, PUBCOMP not

	asks asks
}

// begin links a connection that is new.
func (m *mqttSession) begin(clean bool) *link {
	m.mu.Lock()
	defer m.mu.Unlock()
	l := &link{mqttSession: m, number: m.memory.Connect(), received: m.received}
	m.received = nil
	if clean {
		l.received = nil
		m.subscriptions = subscriptions{}
	}
	return l
}

// end gives the exchanges of QoS 2 back to the session, for the next connection to have as its own: a Write of this one
// may still be under way. What has not been acknowledged will be sent again by the peer, on a connection with a higher
// number.
func (l *link) end() *mqttSession {
	l.mu.Lock()
	received := l.received
	l.received = nil
	l.mu.Unlock()
	m := l.mqttSession
	m.mu.Lock()
	defer m.mu.Unlock()
	m.received = received
	return m
}

// delivered tells that a message went to the local side. If the peer uses an identifier that
// the local side has not answered for, the message before has been delivered for good: an
// honest peer does not do that, and to a dishonest one it must be of no use.
func (l *link) delivered(id uint16, qos byte, e replay.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reused(id, qos)
	l.memory.Done(l.waiting[id])
	if l.waiting == nil {
		l.waiting = make(map[uint16]replay.Entry)
	}
	l.waiting[id] = e
}

// acknowledged notes an acknowledgement of the local side.
func (l *link) acknowledged(ack *wire.AckPacket) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if ack.Type == wire.Pubcomp {
		delete(l.received, ack.ID)
		return
	}
	if e, ok := l.waiting[ack.ID]; ok {
		delete(l.waiting, ack.ID)
		l.memory.Done(e)
	}
	if ack.Type == wire.Pubrec && ack.Reason < wire.UnspecifiedError {
		if l.received == nil {
			l.received = make(map[uint16]struct{})
		}
		l.received[ack.ID] = struct{}{}
	}
}

// What the local side knows of a packet identifier whose PUBLISH comes again.
const (
	nothing        = iota // it is a copy under another identifier, or the exchange is over
	unacknowledged        // it has the message and will acknowledge it
	received              // it has sent PUBREC and waits for PUBREL
)

func (l *link) again(id uint16, qos byte) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reused(id, qos)
	if _, ok := l.waiting[id]; ok {
		return unacknowledged
	}
	if _, ok := l.received[id]; ok {
		return received
	}
	return nothing
}

// reused forgets the exchange of QoS 2 under an identifier that a message of QoS 1 comes with: a broker that has lost
// its own memory of it, in a crash for instance, gives identifiers out anew, and ends a connection on which PUBREC
// answers a message of QoS 1.
func (l *link) reused(id uint16, qos byte) {
	if qos == 1 {
		delete(l.received, id)
	}
}
