package seal

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestIdleSessionsAreBoundedInBytes: what the one longest without a connection takes is given up first, and copies of
// what it was delivered are refused all the same; one that has room keeps everything.
func TestIdleSessionsAreBoundedInBytes(t *testing.T) {
	const now, publishers = 1_800_000_000, 500
	keys := []Key{testKey(t, "#", 1)}
	from := forger{testSealer(t, Config{Keys: keys})}
	s := testSealer(t, Config{Keys: keys})
	s.clock.read = func() reading { return reading{wall: time.Unix(now, 0)} }
	s.mqtt.room = 2 * publishers * memoryBytes
	open := func(f *filter, session, at uint32) error {
		frame := from.frame(t, "a/b", 0, session, at, 1, "")
		_, err := s.open(nil, &Message{Topic: []byte("a/b"), Payload: frame}, &direct, f.link.Load().memory)
		return err
	}
	begin := func(id string) *filter {
		f := newFilter(s)
		s.mqtt.attach(f, id, false)
		return f
	}
	for _, id := range []string{"old", "young"} {
		f := begin(id)
		for session := range uint32(publishers) {
			require.NoError(t, open(f, session+1, now-10))
		}
		f.link.Load().subscriptions.set(strings.Repeat("x", 1000), 1)
		f.link.Load().put(1, flight{})
		s.mqtt.detach(f)
	}
	require.LessOrEqual(t, s.mqtt.taken, s.mqtt.room)
	for id, shrunk := range map[string]bool{"old": true, "young": false} {
		f := begin(id)
		m := f.link.Load().mqttSession
		require.Equal(t, shrunk, m.memory.Size() <= memoryPerSession, id)
		require.Equal(t, shrunk, len(m.sent) == 0, id)
		require.Equal(t, shrunk, m.length == 0, id)
		for session := range uint32(publishers) {
			require.Error(t, open(f, session+1, now-10), id)
		}
		require.NoError(t, open(f, publishers+1, now), id)
	}
	require.Zero(t, s.mqtt.taken, "none is without a connection")
}

// TestStoredWithoutConnection: what a client stores while it is away counts, too.
func TestStoredWithoutConnection(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}})
	s.mqtt.room = 4 * (sessionBytes + memoryBytes*memoryPerSession)
	for id := range uint16(1000) {
		s.mqtt.stored("away", id+1, stamp{})
		require.LessOrEqual(t, s.mqtt.taken, s.mqtt.room)
	}
	require.NotEmpty(t, s.mqtt.byID["away"].sent)
}

// TestFiltersAskedForAreBounded: by number and by their bytes; those that are left count as often as they were asked
// for.
func TestFiltersAskedForAreBounded(t *testing.T) {
	var a asks
	ask := func(filter string) { a.add([]wire.Subscription{{Filter: []byte(filter)}}) }
	for n := range 2 * maxAsks {
		ask(fmt.Sprint("a/", n))
		ask(fmt.Sprint("a/", n))
	}
	require.Len(t, a.times, maxAsks)
	require.Len(t, a.oldest, maxAsks)
	require.Zero(t, a.Asked("a/0"))
	require.EqualValues(t, 2, a.Asked(fmt.Sprint("a/", 2*maxAsks-1)))
	long := strings.Repeat("x", 60_000)
	for n := range 100 {
		ask(fmt.Sprint(long, n))
		require.LessOrEqual(t, a.length, maxAskLength)
	}
	require.Zero(t, a.Asked(long+"0"))
	require.EqualValues(t, 1, a.Asked(long+"99"))
	total := 0
	for filter := range a.times {
		total += len(filter)
	}
	require.Equal(t, total, a.length)
	require.Len(t, a.oldest, len(a.times))
}

// TestStreams: a message counts for the Subscription Identifiers that it has, of those that were asked for with a
// filter that matches; one without any of those for the subscription without, or must be new for each.
func TestStreams(t *testing.T) {
	var ss subscriptions
	for id, filter := range []string{1: "a/#", 2: "a/b", 3: "+/b", 4: "c"} {
		if id > 0 {
			ss.set(filter, uint32(id))
		}
	}
	streams := func(ids ...uint32) []uint32 {
		var ps wire.Properties
		for _, id := range ids {
			ps = ps.AppendUint(wire.SubscriptionIdentifier, id)
		}
		found, every := ss.streams(nil, []byte("a/b"), ps)
		require.Equal(t, len(found) != len(ids) || len(ids) == 0, every)
		return found
	}
	require.Equal(t, []uint32{1}, streams(1))
	require.Equal(t, []uint32{1, 3}, streams(3, 1))
	for _, unasked := range [][]uint32{nil, {4, 5}} {
		require.Equal(t, []uint32{1, 2, 3}, streams(unasked...))
	}
	ss.set("#", 0)
	require.Equal(t, []uint32{2}, streams(2))
	for _, unasked := range [][]uint32{nil, {4}} {
		require.Empty(t, streams(unasked...))
	}
}

// TestLengthOfFilters is what a session counts of its subscriptions.
func TestLengthOfFilters(t *testing.T) {
	var ss subscriptions
	ss.set("a/b", 1)
	ss.set("a/b", 2)
	ss.set("c", 0)
	require.Equal(t, 4, ss.length)
	ss.remove("a/b")
	ss.remove("a/b")
	require.Equal(t, 1, ss.length)
}
