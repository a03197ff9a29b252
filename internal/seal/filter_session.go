package seal

import (
	"container/list"
	"slices"
	"sync"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// mqttSession is what outlives the connections of one MQTT session: which messages it
// has seen, and what is in flight.
type mqttSession struct {
	replay *replay

	mu       sync.Mutex
	clientID string
	owner    *filter             // the connection that has the session now
	waiting  map[uint16]entry    // delivered at QoS 1 or 2, not yet acknowledged
	received map[uint16]struct{} // delivered at QoS 2, PUBREC sent, PUBCOMP not
	sent     map[uint16]flight   // sealed at QoS 1 or 2, the last maxOver of which are over
	over     []uint16            // the identifiers of those, oldest first
}

// maxOver is how many messages are remembered after their exchange is complete. The
// client may not have read the last acknowledgement when its connection ends, and then
// sends the message again.
const maxOver = 256

// flight is a message on its way. A client that sends it again must send the same
// frame, or its receivers would take it for another message.
type flight struct {
	stamp  stamp
	onWire bool // not just stored
	over   bool // acknowledged
}

func (m *mqttSession) id() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.clientID
}

func (m *mqttSession) rename(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.clientID = id
}

// seal appends the frame of one PUBLISH: that of the first time if it is sent again.
// A new message never gets an old one's: it comes without DUP, or its tag differs.
// No lock is held meanwhile, for a Signer may take its time.
func (m *mqttSession) seal(s *Sealer, dst []byte, msg *Message, p *wire.PublishPacket) ([]byte, error) {
	if p.QoS == 0 {
		return s.seal(dst, msg)
	}
	if f, ok := m.flight(p.ID); ok && (p.Dup || !f.onWire) {
		b, same, err := s.reseal(dst, msg, f.stamp)
		if err != nil {
			return nil, err
		}
		if same {
			m.put(p.ID, flight{stamp: f.stamp, onWire: true})
			return b, nil
		}
	}
	b, err := s.seal(dst, msg)
	if err != nil {
		return nil, err
	}
	m.put(p.ID, flight{stamp: s.stamp(b[len(dst):]), onWire: true})
	return b, nil
}

// flight returns the message that is on its way under an identifier, or was last.
func (m *mqttSession) flight(id uint16) (f flight, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok = m.sent[id]
	return f, ok
}

// put makes f the message that is on its way under an identifier.
func (m *mqttSession) put(id uint16, f flight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.sent[id].over {
		i := slices.Index(m.over, id)
		m.over = slices.Delete(m.over, i, i+1)
	}
	m.sent[id] = f
}

// arrived tells that the peer has completed the exchange of a message.
func (m *mqttSession) arrived(id uint16) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f, ok := m.sent[id]
	if !ok || f.over {
		return
	}
	f.over = true
	m.sent[id] = f
	m.over = append(m.over, id)
	if len(m.over) <= maxOver {
		return
	}
	delete(m.sent, m.over[0])
	m.over = slices.Delete(m.over, 0, 1)
}

// delivered tells that a message went to the local side.
func (m *mqttSession) delivered(f *filter, id uint16, e entry) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owner != f {
		m.replay.release(e) // another connection has taken over
		return
	}
	if old, ok := m.waiting[id]; ok {
		m.replay.release(old)
	}
	m.waiting[id] = e
}

// acknowledged notes an acknowledgement of the local side.
func (m *mqttSession) acknowledged(f *filter, ack *wire.AckPacket) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owner != f {
		return
	}
	if ack.Type == wire.Pubcomp {
		delete(m.received, ack.ID)
		return
	}
	if e, ok := m.waiting[ack.ID]; ok {
		delete(m.waiting, ack.ID)
		m.replay.done(e)
	}
	if ack.Type == wire.Pubrec && ack.Reason < wire.UnspecifiedError {
		m.received[ack.ID] = struct{}{}
	}
}

// What the local side knows of a packet identifier whose PUBLISH comes again.
const (
	nothing        = iota // it is a copy under another identifier, or the exchange is over
	unacknowledged        // it has the message and will acknowledge it
	received              // it has sent PUBREC and waits for PUBREL
)

func (m *mqttSession) again(id uint16) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := m.waiting[id]; ok {
		return unacknowledged
	}
	if _, ok := m.received[id]; ok {
		return received
	}
	return nothing
}

// take gives the session to connection f.
func (m *mqttSession) take(f *filter) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.owner = f
	m.giveUp()
}

// drop ends connection f's hold on the session, if it still has it.
func (m *mqttSession) drop(f *filter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.owner != f {
		return false
	}
	m.owner = nil
	m.giveUp()
	return true
}

// giveUp releases what has not been acknowledged: the peer will send it again.
func (m *mqttSession) giveUp() {
	for id, e := range m.waiting {
		m.replay.release(e)
		delete(m.waiting, id)
	}
}

// maxIdle is how many MQTT sessions without a connection a Sealer remembers.
const maxIdle = 1024

// mqttSessions are a Sealer's, by Client Identifier. Those without a connection are
// dropped when there are too many, the one longest without first.
type mqttSessions struct {
	sealer *Sealer
	mu     sync.Mutex
	byID   map[string]*mqttSession
	idle   list.List // of *mqttSession
	places map[*mqttSession]*list.Element
}

func newMQTTSessions(s *Sealer) *mqttSessions {
	return &mqttSessions{sealer: s, byID: map[string]*mqttSession{}, places: map[*mqttSession]*list.Element{}}
}

func (ms *mqttSessions) create(id string) *mqttSession {
	return &mqttSession{
		replay:   ms.sealer.newReplay(),
		clientID: id,
		waiting:  map[uint16]entry{},
		received: map[uint16]struct{}{},
		sent:     map[uint16]flight{},
	}
}

// known returns the session of a Client Identifier, nil if there is none.
func (ms *mqttSessions) known(id string) *mqttSession {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.byID[id]
}

// attach returns the session for connection f: the one that is known by the identifier,
// or else a new one. One without an identifier is nobody else's. A clean start ends the
// exchanges that were under way; what has been seen stays seen.
func (ms *mqttSessions) attach(f *filter, id string, clean bool) *mqttSession {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m := ms.byID[id]
	if m == nil {
		if m = f.mqtt.Load(); m == nil {
			m = ms.create("")
		}
		m.rename(id)
		if id != "" {
			ms.byID[id] = m
		}
	}
	ms.wake(m)
	m.take(f)
	if clean {
		m.mu.Lock()
		clear(m.received)
		m.mu.Unlock()
	}
	return m
}

// stored notes the frame under which a message that is to be sent lies in the store of
// a client, connected or not.
func (ms *mqttSessions) stored(clientID string, packetID uint16, st stamp) {
	if clientID == "" {
		return // no connection will find it
	}
	ms.mu.Lock()
	m := ms.byID[clientID]
	if m == nil {
		m = ms.create(clientID)
		ms.byID[clientID] = m
		ms.rest(m)
	}
	ms.mu.Unlock()
	m.put(packetID, flight{stamp: st})
}

// name gives m the identifier that the server assigned. If it is one that is known, a
// broker may only want its session forgotten: that one keeps its place.
func (ms *mqttSessions) name(m *mqttSession, id string) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clientID != "" || id == "" {
		return
	}
	m.clientID = id
	if ms.byID[id] == nil {
		ms.byID[id] = m
	}
}

// detach ends connection f's hold on m, which then waits for its next connection.
func (ms *mqttSessions) detach(f *filter, m *mqttSession) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if m.drop(f) && ms.byID[m.id()] == m {
		ms.rest(m)
	}
}

// rest puts m among the sessions that may be dropped.
func (ms *mqttSessions) rest(m *mqttSession) {
	ms.wake(m)
	ms.places[m] = ms.idle.PushBack(m)
	if ms.idle.Len() <= maxIdle {
		return
	}
	oldest := ms.idle.Front().Value.(*mqttSession)
	ms.wake(oldest)
	delete(ms.byID, oldest.id())
}

// wake takes m from the sessions that may be dropped.
func (ms *mqttSessions) wake(m *mqttSession) {
	if e := ms.places[m]; e != nil {
		ms.idle.Remove(e)
		delete(ms.places, m)
	}
}
