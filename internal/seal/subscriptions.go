package seal

import (
	"slices"
	"sync"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/replay"
	"github.com/mqttsec/mqttsec/internal/topic"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// subscriptions are what the local side has subscribed to in an MQTT session: the
// Subscription Identifier of each filter, 0 for none.
type subscriptions struct {
	identifiers map[string]uint32 // by filter, the group of a shared subscription included
	identified  int               // how many are not 0
	length      int               // of all filters
}

func (ss *subscriptions) set(filter string, id uint32) {
	ss.remove(filter)
	if ss.identifiers == nil {
		ss.identifiers = make(map[string]uint32)
	}
	ss.identifiers[filter] = id
	ss.length += len(filter)
	if id != 0 {
		ss.identified++
	}
}

func (ss *subscriptions) remove(filter string) {
	if _, known := ss.identifiers[filter]; known {
		ss.length -= len(filter)
	}
	if ss.identifiers[filter] != 0 {
		ss.identified--
	}
	delete(ss.identifiers, filter)
}

// streams returns, appended to to, the Subscription Identifiers of those in ps that the
// local side asked for with a filter that matches the topic. A message without any belongs
// to a subscription that has none; if there is no such subscription it may stand for each,
// so it must be new for every one.
func (ss *subscriptions) streams(to []uint32, name []byte, ps wire.Properties) (streams []uint32, every bool) {
	var all []uint32
	plain := false
	for filter, id := range ss.identifiers {
		switch {
		case !topic.Match(filter, name):
		case id == 0:
			plain = true
		case carries(ps, id):
			to = append(to, id)
		default:
			all = append(all, id)
		}
	}
	if len(to) > 0 || plain {
		all = to
	}
	slices.Sort(all)
	return slices.Compact(all), len(to) == 0
}

// carries tells whether a PUBLISH has a Subscription Identifier.
func carries(ps wire.Properties, id uint32) bool {
	for property, value := range ps.All() {
		if property != wire.SubscriptionIdentifier {
			continue
		}
		if v, _ := wire.Varint(value); v == id {
			return true
		}
	}
	return false
}

// subscribed notes a SUBSCRIBE of the local side. One that cannot be read is not judged
// here: it says nothing of what may be delivered.
func (l *link) subscribed(p wire.Packet, v wire.Version) {
	m, err := wire.ParseSubscribe(p, v)
	if err != nil {
		return
	}
	id, _ := m.Properties.Uint(wire.SubscriptionIdentifier)
	l.mqttSession.mu.Lock()
	for _, s := range m.Subscriptions {
		l.subscriptions.set(string(s.Filter), id)
	}
	l.mqttSession.mu.Unlock()

	l.asks.add(m.Subscriptions)
}

// unsubscribed notes an UNSUBSCRIBE of the local side.
func (l *link) unsubscribed(p wire.Packet, v wire.Version) {
	m, err := wire.ParseUnsubscribe(p, v)
	if err != nil {
		return
	}
	l.mqttSession.mu.Lock()
	defer l.mqttSession.mu.Unlock()
	for _, filter := range m.Filters {
		l.subscriptions.remove(string(filter))
	}
}

// asks is how often a connection has subscribed to each filter, for a SUBSCRIBE is what
// retained messages answer. The memory asks it while it is locked itself. Beyond a number
// of filters, or of their bytes, those that were asked for first are forgotten: retained
// messages that answer them are then taken for copies.
type asks struct {
	mu     sync.Mutex
	times  map[string]uint32
	oldest []string // the filters, in the order in which they were asked for first
	length int      // of all filters
}

// The bounds of asks.
const (
	maxAsks      = 4096
	maxAskLength = 1 << 20
)

func (a *asks) add(ss []wire.Subscription) {
	const retainHandling, never = 0x30, 0x20 // MQTT 5, 3.8.3.1
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range ss {
		filter := string(s.Filter)
		if s.Options&retainHandling == never || topic.Unshare(filter) != filter {
			continue // brings no retained messages
		}
		if a.times == nil {
			a.times = make(map[string]uint32)
		}
		if a.times[filter] == 0 {
			a.oldest = append(a.oldest, filter)
			a.length += len(filter)
		}
		a.times[filter]++
	}
	drop := 0
	for ; len(a.oldest)-drop > maxAsks || a.length > maxAskLength; drop++ {
		a.length -= len(a.oldest[drop])
		delete(a.times, a.oldest[drop])
	}
	a.oldest = slices.Delete(a.oldest, 0, drop)
}

// Asked is how many filters that match a topic the connection has subscribed to so far.
func (a *asks) Asked(name string) (n uint32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for filter, times := range a.times {
		if topic.Match(filter, name) {
			n += times
		}
	}
	return n
}

// arrival says, in how, in which way a PUBLISH of the peer came.
func (l *link) arrival(how *replay.Arrival, v wire.Version, m *layer.Message) *replay.Arrival {
	*how = replay.Arrival{Retained: m.Retain, Acknowledged: m.QoS > 0, Conn: l.number, Streams: how.Streams[:0]}
	if m.Retain {
		how.Asker = &l.asks
	}
	if v == wire.V5 {
		l.mqttSession.mu.Lock()
		defer l.mqttSession.mu.Unlock()
		if l.identified > 0 {
			how.Streams, how.Every = l.subscriptions.streams(how.Streams, m.Name, m.Properties)
		}
	}
	return how
}
