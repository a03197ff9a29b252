package seal

import (
	"container/list"
	"slices"
	"sync"

	"github.com/mqttsec/mqttsec/internal/replay"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// mqttSession is what outlives the connections of one MQTT session: what it has been
// delivered, and what is in flight. Several connections may have it at once, to several
// brokers, say.
type mqttSession struct {
	memory *replay.Memory

	mu       sync.Mutex
	clientID string
	links    int                 // connections that are attached, under the lock of mqttSessions
	received map[uint16]struct{} // what the connection that ended last had in its own
	sent     map[uint16]flight   // sealed at QoS 1 or 2, the last maxOver of which are over
	over     []uint16            // the identifiers of those, oldest first
	subscriptions

	idle int // its size when it came to rest, under the lock of mqttSessions
}

// What a session takes, roughly, in bytes: by itself, and for each thing that it has.
const (
	sessionBytes = 1024
	memoryBytes  = 120 // for one in the units of a replay.Memory
	flightBytes  = 64
	filterBytes  = 64 // besides the filter
)

// size is how many bytes the session takes, roughly.
func (m *mqttSession) size() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return sessionBytes + memoryBytes*m.memory.Size() + flightBytes*(len(m.sent)+len(m.received)) +
		filterBytes*len(m.identifiers) + m.length
}

// shrink forgets what is under way in the session, its subscriptions, and all but a little
// of what was delivered: a copy of that is refused, as one of a message that may have been
// delivered, and of what is sent again receivers get a copy.
func (m *mqttSession) shrink() {
	m.memory.Shrink(memoryPerSession)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sent, m.over, m.received = map[uint16]flight{}, nil, nil
	m.subscriptions = subscriptions{}
}

// maxOver is how many messages are remembered after their exchange is complete. The
// client may not have read the last acknowledgement when its connection ends, and then
// sends the message again.
const maxOver = 256

// flight is a message on its way. A client that sends it again must send the same
// frame, or its receivers would take it for another message.
type flight struct {
	stamp  stamp
	over   bool // acknowledged
	stored bool // it lies in the client's store, as does each of its messages before it is sent
}

// repeats tells whether a PUBLISH under the identifier of f can be f: the first time, if it lies in the client's store,
// or once more, without DUP even: paho.mqtt.golang sends a message twice that is published while a session resumes, out
// of its store with DUP and then once more without. One that is new would have been stored anew. Where the client
// stores in memory, this cannot be told.
func (f flight) repeats(dup bool) bool { return dup || f.stored }

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
// A new message never gets an old one's: it cannot be the old one, or its tag differs.
// No lock is held meanwhile, for a Signer may take its time.
func (m *mqttSession) seal(s *Sealer, dst []byte, msg *Message, p *wire.PublishPacket) ([]byte, error) {
	if p.QoS == 0 {
		return s.seal(dst, msg)
	}
	if f, ok := m.flight(p.ID); ok && f.repeats(p.Dup) {
		b, same, err := s.reseal(dst, msg, f.stamp)
		if err != nil {
			return nil, err
		}
		if same {
			m.put(p.ID, flight{stamp: f.stamp, stored: f.stored})
			return b, nil
		}
	}
	b, err := s.seal(dst, msg)
	if err != nil {
		return nil, err
	}
	m.put(p.ID, flight{stamp: s.stamp(b[len(dst):])})
	return b, nil
}

// sealAgain appends the frame that a stamp was taken from, of a message out of the client's
// store. Nothing of a store is ever sealed anew.
func (m *mqttSession) sealAgain(s *Sealer, dst []byte, msg *Message, p *wire.PublishPacket, st stamp) ([]byte, error) {
	b, same, err := s.reseal(dst, msg, st)
	if err != nil {
		return nil, err
	}
	if !same {
		return nil, errNotOwn
	}
	if p.QoS > 0 {
		m.put(p.ID, flight{stamp: st, stored: true})
	}
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

// The bounds of the MQTT sessions without a connection that a Sealer remembers.
const (
	maxIdle      = 1024
	maxIdleBytes = 64 << 20 // the rest is what they are shrunk to
)

// mqttSessions are a Sealer's, by Client Identifier. Those without a connection are
// shrunk when they take too much and dropped when there are too many, the one longest
// without first.
type mqttSessions struct {
	sealer *Sealer
	room   int // maxIdleBytes
	taken  int // by those without a connection
	mu     sync.Mutex
	byID   map[string]*mqttSession
	idle   list.List // of *mqttSession
	places map[*mqttSession]*list.Element
	actual map[string]string // of a configured Client Identifier that is not the one in CONNECT
}

func newMQTTSessions(s *Sealer) *mqttSessions {
	return &mqttSessions{sealer: s, room: maxIdleBytes, byID: map[string]*mqttSession{}, places: map[*mqttSession]*list.Element{}}
}

func (ms *mqttSessions) create(id string) *mqttSession {
	return &mqttSession{
		memory:   ms.sealer.newMemory(),
		clientID: id,
		sent:     map[uint16]flight{},
	}
}

// known returns the session of a Client Identifier, nil if there is none.
func (ms *mqttSessions) known(id string) *mqttSession {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	return ms.byID[id]
}

// attach links connection f with the session that is known by the identifier, or else
// with the one that it has. One without an identifier is nobody else's. A clean start ends
// the exchanges that were under way and the subscriptions; what has been seen stays seen. A
// connection that has ended gets no session: nobody would ever detach it.
func (ms *mqttSessions) attach(f *filter, id string, clean bool) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if f.closed || f.attached {
		return
	}
	m := ms.byID[id]
	if m == nil {
		m = f.link.Load().mqttSession
		m.rename(id)
		if id != "" {
			ms.byID[id] = m
		}
	}
	ms.wake(m)
	f.attached = true
	m.links++
	f.link.Store(m.begin(clean))
}

// stored notes the frame under which a message that is to be sent lies in the store of
// a client, connected or not.
func (ms *mqttSessions) stored(clientID string, packetID uint16, st stamp) {
	if clientID == "" {
		return // no connection will find it
	}
	ms.mu.Lock()
	if actual, ok := ms.actual[clientID]; ok {
		clientID = actual
	}
	m := ms.byID[clientID]
	if m == nil {
		m = ms.create(clientID)
		ms.byID[clientID] = m
		ms.rest(m)
	}
	m.put(packetID, flight{stamp: st, stored: true})
	if ms.places[m] != nil {
		ms.weigh(m)
	}
	ms.mu.Unlock()
}

// Renamed tells that a client whose configured identifier is one connects under another: the
// messages that it has stored are the other's.
func (s *Sealer) Renamed(configured, actual string) {
	ms := s.mqtt
	ms.mu.Lock()
	defer ms.mu.Unlock()
	if len(ms.actual) >= maxIdle || actual == "" {
		return
	}
	if ms.actual == nil {
		ms.actual = make(map[string]string)
	}
	ms.actual[configured] = actual
	if m := ms.byID[configured]; m != nil && m.links == 0 && ms.byID[actual] == nil {
		delete(ms.byID, configured)
		m.rename(actual)
		ms.byID[actual] = m
	}
}

// name gives m the identifier that the server assigned. If it is one that is known, a
// broker may only want its session forgotten: that one keeps its place. If the connection has
// ended meanwhile, nobody would ever detach the session, and it gets no place.
func (ms *mqttSessions) name(m *mqttSession, id string) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.clientID != "" || id == "" || m.links == 0 {
		return
	}
	m.clientID = id
	if ms.byID[id] == nil {
		ms.byID[id] = m
	}
}

// detach ends connection f's part in its session, which then waits for its next one.
func (ms *mqttSessions) detach(f *filter) {
	ms.mu.Lock()
	defer ms.mu.Unlock()
	f.closed = true
	if !f.attached {
		return
	}
	f.attached = false
	m := f.link.Load().end()
	m.links--
	if m.links == 0 && ms.byID[m.id()] == m {
		ms.rest(m)
	}
}

// rest puts m among the sessions that may be dropped.
func (ms *mqttSessions) rest(m *mqttSession) {
	ms.wake(m)
	ms.places[m] = ms.idle.PushBack(m)
	if ms.idle.Len() > maxIdle {
		oldest := ms.idle.Front().Value.(*mqttSession)
		ms.wake(oldest)
		delete(ms.byID, oldest.id())
	}
	ms.weigh(m)
}

// weigh notes what m takes, which is at rest, and shrinks the oldest if all together take too much.
func (ms *mqttSessions) weigh(m *mqttSession) {
	ms.count(m)
	for e := ms.idle.Front(); e != nil && ms.taken > ms.room; e = e.Next() {
		if m := e.Value.(*mqttSession); m.idle > sessionBytes+memoryBytes*memoryPerSession {
			m.shrink()
			ms.count(m)
		}
	}
}

func (ms *mqttSessions) count(m *mqttSession) {
	ms.taken -= m.idle
	m.idle = m.size()
	ms.taken += m.idle
}

// wake takes m from the sessions that may be dropped.
func (ms *mqttSessions) wake(m *mqttSession) {
	if e := ms.places[m]; e != nil {
		ms.idle.Remove(e)
		delete(ms.places, m)
		ms.taken -= m.idle
		m.idle = 0
	}
}
