package replay

import (
	"hash/maphash"
	"math"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

var seed = maphash.MakeSeed()

// receiver is a Memory with a clock that the test sets.
type receiver struct {
	*Memory
	clock uint32
}

const noon = 1_800_000_000

func newReceiver(limit int) *receiver {
	r := &receiver{clock: noon}
	r.Memory = New(Config{Limit: limit, Tolerance: 60, Seed: seed, Now: func() uint32 { return r.clock }})
	return r
}

// msg is a message on a topic.
func msg(topic string, session byte, time, seq uint32) Message {
	return Message{Topic: topic, Hash: maphash.String(seed, topic), Session: [12]byte{session}, Time: time, Seq: seq}
}

func live() *Arrival             { return &Arrival{} }
func acked(conn uint32) *Arrival { return &Arrival{Acknowledged: true, Conn: conn} }

// subscriptions is an Asker.
type subscriptions uint32

func (s subscriptions) Asked(string) uint32 { return uint32(s) }

// open does what opening a message does.
func (r *receiver) open(m Message, how *Arrival) error {
	_, err := r.take(m, how)
	return err
}

func (r *receiver) take(m Message, how *Arrival) (Entry, error) {
	first := r.Check(&m, how)
	e, err := r.Commit(&m, how)
	if (first == nil) != (err == nil) {
		panic("Check and Commit disagree")
	}
	return e, err
}

// intact sees that the tree is held together: parents, places, weights, heaps, and what finds the nodes.
func (r *receiver) intact(t testing.TB) {
	t.Helper()
	found := 0
	var walk func(n *node) int32
	walk = func(n *node) int32 {
		sum, sessions, marks := int32(0), 0, 0
		for i, c := range n.children {
			it := c.it()
			require.Same(t, n, it.parent)
			require.EqualValues(t, i, it.place)
			if i > 0 {
				require.False(t, n.before(i, (i-1)/2), "the heap's order")
			}
			switch c := c.(type) {
			case *node:
				require.Same(t, c, r.nodes[c.hash])
				found++
				require.Equal(t, 1+walk(c), it.weight)
			case *mark:
				require.Same(t, c, n.mark)
				require.EqualValues(t, 1, it.weight)
				marks++
			case *session:
				sessions++
				require.Same(t, c, n.session(&Message{Session: c.id.session}, c.id.stream))
				weight := 1
				if c.window != nil {
					weight += blockWeight*len(c.window.blocks) + c.window.live()/heldPerWeight
					require.LessOrEqual(t, len(c.window.blocks), windowSize/blockSize+1)
					require.LessOrEqual(t, c.window.live(), maxHeld)
					require.LessOrEqual(t, 2*c.window.gone, len(c.window.held))
				}
				require.EqualValues(t, weight, it.weight)
			}
			sum += it.weight
		}
		if n.sessions != nil {
			require.Len(t, n.sessions, sessions)
		}
		require.Equal(t, marks == 1, n.mark != nil)
		return sum
	}
	require.Equal(t, walk(&r.root), r.root.weight)
	require.Len(t, r.nodes, found)
}

func TestWindowEdges(t *testing.T) {
	const last = 1<<32 - 1
	for _, top := range []uint32{1, 2, 63, 64, 65, 1023, 1024, 1025, windowSize - 1, windowSize, windowSize + 1, 200000, last - 1, last} {
		r := newReceiver(1000)
		ok := func(seq uint32) { t.Helper(); require.NoError(t, r.open(msg("a", 1, noon, seq), live()), seq) }
		fails := func(seq uint32, want error) {
			t.Helper()
			require.ErrorIs(t, r.open(msg("a", 1, noon, seq), live()), want, seq)
		}
		ok(top)
		fails(top, ErrDelivered)
		for _, behind := range []uint32{1, 1023, 1024, windowSize - 1024, windowSize - 1} {
			if top > behind {
				ok(top - behind)
				fails(top-behind, ErrDelivered)
			}
		}
		if top > windowSize {
			fails(top-windowSize, ErrStale)
			fails(1, ErrStale)
		}
		if top < last {
			ok(top + 1)
			fails(top, ErrDelivered)
			if top > windowSize-1 {
				fails(top-(windowSize-1), ErrStale)
			}
		}
		if top < 1<<31 {
			ok(last) // a jump over everything
			ok(last + 1 - windowSize)
			fails(last+1-windowSize, ErrDelivered)
			fails(top, ErrStale)
			fails(last-windowSize, ErrStale)
		}
		r.intact(t)
	}
}

// What a message is kept apart by: topic, key, publisher, session, stream, and whether it is a Will.
func TestApart(t *testing.T) {
	r := newReceiver(1000)
	base := msg("a", 1, noon, 1)
	require.NoError(t, r.open(base, live()))
	other := func(edit func(*Message)) Message { m := base; edit(&m); return m }
	for name, m := range map[string]Message{
		"topic": msg("b", 1, noon, 1), "session": msg("a", 2, noon, 1), "number": msg("a", 1, noon, 2),
		"key":       other(func(m *Message) { m.Key = 1 }),
		"publisher": other(func(m *Message) { m.Publisher = 1 }),
		"Will":      other(func(m *Message) { m.Will = true }),
	} {
		require.NoError(t, r.open(m, live()), name)
		require.ErrorIs(t, r.open(m, live()), ErrDelivered, name)
	}
	require.NoError(t, r.open(base, &Arrival{Streams: []uint32{5}}))
	require.ErrorIs(t, r.open(base, &Arrival{Streams: []uint32{5}}), ErrDelivered)
	require.ErrorIs(t, r.open(base, live()), ErrDelivered)
	r.intact(t)
}

// Delivered at QoS 1, a number is pending until the client acknowledges it, whatever happens to identifiers; it comes
// again once for each connection that the client opens, and never after the acknowledgement.
func TestPending(t *testing.T) {
	r := newReceiver(1000)
	m := msg("a", 1, noon, 1)
	one := r.Connect()
	_, err := r.take(m, acked(one))
	require.NoError(t, err)
	for range 3 {
		require.ErrorIs(t, r.open(m, acked(one)), ErrPending)
		require.ErrorIs(t, r.open(m, live()), ErrPending)
	}
	two, three := r.Connect(), r.Connect()
	e, err := r.take(m, acked(three))
	require.NoError(t, err)
	for _, conn := range []uint32{one, two, three} {
		require.ErrorIs(t, r.open(m, acked(conn)), ErrPending, "a connection that is older, or has had it")
	}
	r.Done(e)
	r.Done(e)
	r.Done(Entry{})
	for _, conn := range []uint32{one, two, three, r.Connect()} {
		require.ErrorIs(t, r.open(m, acked(conn)), ErrDelivered)
	}
	r.intact(t)
	require.Nil(t, r.nodes[realm(0).place(m.Hash)].session(&m, 0).window, "nothing is left of it")
}

// What was published at QoS 0 is done when it is delivered, however it comes.
func TestPublishedAtMostOnce(t *testing.T) {
	r := newReceiver(1000)
	m := msg("a", 1, noon, 1)
	m.Once = true
	e, err := r.take(m, acked(r.Connect()))
	require.NoError(t, err)
	require.Zero(t, e)
	require.ErrorIs(t, r.open(m, acked(r.Connect())), ErrDelivered)
}

// A message that was never acknowledged comes through however far the window has moved on, but no copy of another one.
func TestPendingBehindTheWindow(t *testing.T) {
	r := newReceiver(1000)
	require.NoError(t, r.open(msg("a", 1, noon, 1), acked(r.Connect())))
	require.NoError(t, r.open(msg("a", 1, noon, 2), live()))
	for seq := uint32(3); seq < 5*windowSize; seq += 777 {
		require.NoError(t, r.open(msg("a", 1, noon, seq), live()))
	}
	require.ErrorIs(t, r.open(msg("a", 1, noon, 2), acked(r.Connect())), ErrStale)
	e, err := r.take(msg("a", 1, noon, 1), acked(r.Connect()))
	require.NoError(t, err)
	r.Done(e)
	require.ErrorIs(t, r.open(msg("a", 1, noon, 1), acked(r.Connect())), ErrStale)
	r.intact(t)
}

// As many messages as MQTT can have in flight are all remembered, acknowledged in any order, and then take no room.
func TestHeldIsBounded(t *testing.T) {
	r := newReceiver(1 << 20)
	conn := r.Connect()
	entries := make([]Entry, maxHeld)
	for i := range entries {
		var err error
		entries[i], err = r.take(msg("a", 1, noon, uint32(i+1)), acked(conn))
		require.NoError(t, err)
	}
	r.intact(t)
	require.NoError(t, r.open(msg("a", 1, noon, maxHeld+1), acked(conn)))
	require.ErrorIs(t, r.open(msg("a", 1, noon, 1), acked(r.Connect())), ErrDelivered, "the lowest is given up, and so is done")
	require.NoError(t, r.open(msg("a", 1, noon, 2), acked(r.Connect())))
	for _, i := range rand.New(rand.NewPCG(1, 1)).Perm(len(entries)) {
		r.Done(entries[i])
	}
	r.Done(Entry{entries[0].session, maxHeld + 1})
	require.Empty(t, entries[0].session.window.held)
	r.intact(t)
	require.Less(t, r.Size(), 3+blockWeight*(windowSize/blockSize+2))
}

// A copy for each Subscription Identifier that the client asked for.
func TestStreams(t *testing.T) {
	r := newReceiver(1000)
	m := msg("a", 1, noon, 1)
	conn := r.Connect()
	of := func(every bool, ids ...uint32) *Arrival {
		return &Arrival{Acknowledged: true, Conn: conn, Streams: ids, Every: every}
	}
	require.NoError(t, r.open(m, of(false, 1)))
	require.ErrorIs(t, r.open(m, of(false, 1)), ErrPending)
	require.NoError(t, r.open(m, of(false, 1, 2)), "one packet for two, of which one has not had it")
	require.ErrorIs(t, r.open(m, of(false, 2)), ErrPending)
	require.ErrorIs(t, r.open(m, of(true, 1, 2, 3)), ErrReplay, "it may be any of them")
	require.NoError(t, r.open(m, of(false, 3)))
	n := msg("a", 1, noon, 2)
	require.NoError(t, r.open(n, of(true, 1, 2, 3)))
	for id := range uint32(3) {
		require.Error(t, r.open(n, of(false, 1+id)))
	}
	conn = r.Connect()
	require.NoError(t, r.open(n, of(false, 1)), "pending in the first only")
	require.Error(t, r.open(n, of(false, 2)))
	r.intact(t)
}

// Whatever is forgotten, whatever the order: a message at QoS 0 is never delivered twice.
func TestNeverTwice(t *testing.T) {
	for _, limit := range []int{12, 20, 60, 300} {
		rng := rand.New(rand.NewPCG(uint64(limit), 1))
		r := newReceiver(limit)
		type id struct {
			topic, session byte
			seq            uint32
		}
		seen := map[id]bool{}
		var sent []Message
		numbers := map[byte]uint32{}
		delivered := 0
		for range 30000 / quicker {
			r.clock += uint32(rng.IntN(2))
			session := byte(rng.IntN(12))
			numbers[session]++
			at := r.clock
			switch session {
			case 0:
				at = 0 // without a clock
			case 1:
				at += 1000 // from the future
			case 2:
				at += uint32(rng.IntN(60))
			case 3:
				at -= 40
			}
			topic := []string{"a", "a/b", "a/b/c", "d/e", "d/f"}[rng.IntN(5)]
			numbers[session] += uint32(rng.IntN(40))
			m := msg(topic, session, at, numbers[session])
			sent = append(sent, m)
			for range 2 {
				m := sent[max(0, len(sent)-1-rng.IntN(1+rng.IntN(400)))]
				if err := r.open(m, live()); err == nil {
					k := id{m.Topic[len(m.Topic)-1], m.Session[0], m.Seq}
					require.False(t, seen[k], "%v", m)
					seen[k] = true
					delivered++
				}
			}
			require.LessOrEqual(t, r.Size(), limit)
		}
		r.intact(t)
		require.Greater(t, delivered, 1000/quicker)
	}
}

// Of many copies opened at once, one gets through.
func TestConcurrentCopies(t *testing.T) {
	r := newReceiver(1000)
	var wins, all sync.Map
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for seq := uint32(1); seq < 3000; seq++ {
				m := msg("a", byte(seq%3), noon, seq)
				if r.Check(&m, live()) != nil {
					continue
				}
				if _, err := r.Commit(&m, live()); err == nil {
					_, twice := wins.LoadOrStore(seq, true)
					require.False(t, twice)
				}
				all.Store(seq, true)
			}
		})
	}
	wg.Wait()
	r.intact(t)
	n := 0
	wins.Range(func(any, any) bool { n++; return true })
	require.Equal(t, 2999, n)
}

// A message without a clock is refused only where one without a clock was forgotten; one of the future only where one
// of that future was, also when that has come.
func TestForgottenTimes(t *testing.T) {
	r := newReceiver(math.MaxInt32)
	dark, ahead := msg("a", 1, 0, 1), msg("a", 2, noon+120, 1)
	require.NoError(t, r.open(msg("a", 3, noon, 1), live()))
	for len(r.root.children[0].(*node).children[0].(*node).children) > 0 {
		r.forget()
	}
	require.ErrorIs(t, r.open(msg("a", 3, noon, 1), live()), ErrForgotten)
	require.NoError(t, r.open(dark, live()), "one with a clock was forgotten")
	require.NoError(t, r.open(ahead, live()))
	for len(r.root.children[0].(*node).children[0].(*node).children) > 0 {
		r.forget()
	}
	require.ErrorIs(t, r.open(dark, live()), ErrForgotten)
	require.ErrorIs(t, r.open(ahead, live()), ErrForgotten)
	require.NoError(t, r.open(msg("a", 4, noon+1, 1), live()), "whose clock is right is not shut out")
	r.clock = noon + 100
	require.ErrorIs(t, r.open(ahead, live()), ErrForgotten, "its time has come")
	require.NoError(t, r.open(msg("a", 5, noon+100, 1), live()))
	require.NoError(t, r.open(msg("a", 6, noon+121, 1), live()))
	require.NoError(t, r.open(msg("b", 1, 0, 1), live()), "elsewhere nothing was forgotten")
}

// In the steady state nothing is allocated.
func TestAllocatesNothing(t *testing.T) {
	r := newReceiver(1 << 18)
	seq := uint32(0)
	for name, how := range map[string]*Arrival{"QoS 0": live(), "QoS 1": acked(1)} {
		next := func() {
			seq++
			m := msg("site/7", byte(seq%2), noon, seq)
			if r.Check(&m, how) != nil {
				panic(name)
			}
			e, err := r.Commit(&m, how)
			if err != nil {
				panic(err)
			}
			r.Done(e)
		}
		for range 3 * windowSize {
			next()
		}
		require.Less(t, testing.AllocsPerRun(5000, next), 0.2, name)
	}
}

func BenchmarkMemory(b *testing.B) {
	for name, sessions := range map[string]uint32{"in order": 1, "4 sessions": 4} {
		b.Run(name, func(b *testing.B) {
			r := newReceiver(1 << 18)
			m := msg("site/7", 0, noon, 0)
			for i := uint32(0); b.Loop(); i++ {
				m.Seq, m.Session[0] = 1+i/sessions, byte(i%sessions)
				r.Check(&m, &Arrival{})
				if _, err := r.Commit(&m, &Arrival{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestRetainedMark is what a topic's last retained message says of those that are shown again.
func TestRetainedMark(t *testing.T) {
	published := func(session byte, time, seq uint32, will bool) Message {
		m := msg("a/b", session, time, seq)
		m.Retain, m.Will = true, will
		return m
	}
	asked := func(times uint32) *Arrival { return &Arrival{Retained: true, Conn: 1, Asker: subscriptions(times)} }
	shown := func(ms ...Message) *receiver {
		r := newReceiver(1000)
		for _, m := range ms {
			require.NoError(t, r.open(m, &Arrival{Conn: 1, Asker: subscriptions(9)}))
		}
		return r
	}
	state := published(1, noon-100, 1, false)

	r := shown(state)
	require.NoError(t, r.open(state, asked(1)), "what came live has not answered the SUBSCRIBE")
	require.ErrorIs(t, r.open(state, asked(1)), ErrDelivered)
	require.NoError(t, r.open(state, asked(2)))
	require.NoError(t, r.open(state, &Arrival{Retained: true, Conn: 2, Asker: subscriptions(1)}), "on the next connection")
	require.ErrorIs(t, r.open(state, &Arrival{Retained: true, Conn: 2, Asker: subscriptions(1)}), ErrDelivered)

	r = shown(state, published(1, noon-100, 2, false))
	require.ErrorIs(t, r.open(state, asked(1)), ErrSuperseded, "a session does not go backwards")

	will := published(2, noon, 1, true)
	r = shown(state, will)
	require.NoError(t, r.open(state, asked(1)), "a Will's time is that of its connection, and ages nothing")
	r = shown(will, state)
	require.ErrorIs(t, r.open(will, asked(1)), ErrSuperseded, "a Will that another message has replaced")

	r = shown(state, published(2, noon-40, 1, false))
	require.NoError(t, r.open(state, asked(1)), "older by the tolerance")
	r = shown(state, published(2, noon-39, 1, false))
	require.ErrorIs(t, r.open(state, asked(1)), ErrSuperseded, "older by more")
	early := published(1, noon, 1, false)
	r = shown(early, published(2, math.MaxUint32, 1, false))
	require.NoError(t, r.open(early, asked(1)), "a time of the future does not replace those of today")
	r = shown(published(1, 0, 1, false), published(2, noon, 1, false))
	require.NoError(t, r.open(published(1, 0, 1, false), asked(1)), "without a clock it is not older")
}

// TestWithoutAClock is a device whose messages have no time: they are heard in order, and what was forgotten of them
// neither comes again nor shuts out those that have a time.
func TestWithoutAClock(t *testing.T) {
	r := newReceiver(30)
	for seq := range uint32(5) {
		require.NoError(t, r.open(msg("a/b", 1, 0, seq+1), live()))
	}
	for s := range byte(40) { // drive it out
		r.clock++
		require.NoError(t, r.open(msg("a/b", 100+s, noon+uint32(s), 1), live()))
	}
	require.ErrorIs(t, r.open(msg("a/b", 1, 0, 5), live()), ErrForgotten)
	require.NoError(t, r.open(msg("a/b", 2, noon+50, 1), live()))
	require.ErrorIs(t, r.open(msg("a/b", 2, 0, 2), live()), ErrStale, "a session that is known since must not show it either")
	require.NoError(t, r.open(msg("a/b", 2, noon+50, 3), live()))
	r.intact(t)
}

// TestForgottenIsNotNoted: what follows on the last message of a session that was forgotten meanwhile is judged as all
// that may have been delivered, by whichever way it comes, and nothing is noted where nobody will look for it.
func TestForgottenIsNotNoted(t *testing.T) {
	r := newReceiver(1000)
	first, next := msg("a", 1, noon, 1), msg("a", 1, noon, 2)
	require.NoError(t, r.open(first, live()))
	run := r.Run(&first)
	require.True(t, run.Of(r.Memory))
	for r.forget() {
	}
	require.True(t, run.Follows(next.Time, next.Seq), "as far as can be seen without the lock")
	require.False(t, run.Note(next.Time, next.Seq))
	_, err := r.Commit(&next, live())
	require.ErrorIs(t, err, ErrForgotten)
	r.intact(t)
}
