package replay

// Every order of a few events by a broker, an insider and a client, against what the package documentation says.
// Covered: copies at any QoS and as retained, on any connection; acknowledgements; connections that end and are opened;
// SUBSCRIBE; two publishers, with a clock, one without, a Will; floods of an insider between them; memory that is
// short. Not covered: restarts of the receiver (nothing is remembered then, and every first copy is delivered), more
// than one topic of the broker's, and messages that a key's holder makes on the topic itself.

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// step is something that happens in the world of the model.
type step struct {
	name string
	do   func(*world)
}

// world is a receiver and what the model counts of it.
type world struct {
	*receiver
	conn, asked uint32
	flood       byte
	sent        []count
	entries     map[int]Entry
	order       []int // deliveries, by message
}

// count is what has happened to one message.
type count struct {
	m            Message
	live         int    // deliveries that were not repetitions of a retained one
	shows        int    // those that were
	answered     bool   // the client has acknowledged it
	conns, since uint32 // connections opened until the first delivery, and since then while it was not acknowledged
}

func (w *world) offer(i int, retain, ack bool) {
	c := &w.sent[i]
	how := &Arrival{Retained: retain, Acknowledged: ack, Conn: w.conn, Asker: subscriptions(w.asked)}
	known := c.live > 0
	e, err := w.take(c.m, how)
	if err != nil {
		return
	}
	w.order = append(w.order, i)
	switch {
	case !known:
		c.live, c.conns = 1, w.conn
	case !retain || !c.answered && !c.m.Once && w.conn > c.since:
		c.live++
	default:
		c.shows++
	}
	c.since = w.conn
	if e != (Entry{}) {
		w.entries[i], c.answered = e, false
	} else {
		c.answered = true // there is nothing to wait for
	}
}

func steps(flood bool) (all []step) {
	add := func(name string, do func(*world)) { all = append(all, step{name, do}) }
	for i := range newWorld(0).sent {
		add(fmt.Sprintf("%d at QoS 0", i), func(w *world) { w.offer(i, false, false) })
		add(fmt.Sprintf("%d at QoS 1", i), func(w *world) { w.offer(i, false, true) })
		add(fmt.Sprintf("%d retained", i), func(w *world) { w.offer(i, true, true) })
	}
	add("client acknowledges", func(w *world) {
		for i, e := range w.entries {
			w.Done(e)
			w.sent[i].answered = true
		}
		clear(w.entries)
	})
	add("client reconnects", func(w *world) { w.conn, w.asked = w.Connect(), 0; clear(w.entries) })
	add("client subscribes", func(w *world) { w.asked++ })
	if flood {
		add("insider floods", (*world).insider)
	}
	return all
}

// insider does what the holder of a key for other topics can: sessions, times, Wills, retained messages of its
// choosing, under the sessions of others too.
func (w *world) insider() {
	for range 40 {
		w.flood++
		m := msg(fmt.Sprintf("site/7/%d", w.flood%5), w.flood%30, []uint32{0, noon, noon + 59, 1<<32 - 1}[w.flood%4], 1+uint32(w.flood)*100)
		m.Will, m.Retain = w.flood%7 == 0, w.flood%3 == 0
		w.open(m, &Arrival{Retained: m.Retain, Acknowledged: w.flood%2 == 0, Conn: w.conn, Asker: subscriptions(9)})
	}
}

func newWorld(limit int) *world {
	w := &world{receiver: newReceiver(limit), entries: map[int]Entry{}}
	w.conn = w.Connect()
	for i := range 4 {
		m := msg("site/8", byte(1+i/2), noon, uint32(1+i%2))
		m.Retain = true
		switch i {
		case 1:
			m.Once = true // at QoS 0, by the first publisher
		case 2:
			m.Time = 0
		case 3:
			m = msg("site/8", 9, noon-1000, 1)
			m.Retain, m.Will = true, true
		}
		w.sent = append(w.sent, count{m: m})
	}
	return w
}

// orders runs every order of n of the steps.
func orders(t *testing.T, limit, n int, all []step, check func(w *world, done []string)) {
	index := make([]int, n)
	done := make([]string, n)
	for {
		w := newWorld(limit)
		for i, s := range index {
			done[i] = all[s].name
			all[s].do(w)
		}
		check(w, done)
		i := 0
		for ; i < n; i++ {
			if index[i]++; index[i] < len(all) {
				break
			}
			index[i] = 0
		}
		if i == n {
			return
		}
	}
}

// What a broker cannot do, in any order of five events.
func TestModelOfABroker(t *testing.T) {
	orders(t, 1000, 5-fewer, steps(false), func(w *world, done []string) {
		for i, c := range w.sent {
			switch {
			case c.live == 0:
				continue
			case c.m.Once && c.live > 1:
				require.Fail(t, "published at QoS 0 and delivered again", "%d: %q", i, done)
			case uint32(c.live) > 1+w.conn-c.conns:
				require.Fail(t, "delivered more often than once for each connection", "%d: %q", i, done)
			case c.shows > 0 && uint32(c.shows) > asks(done):
				require.Fail(t, "shown more often than asked for", "%d: %q", i, done)
			}
		}
	})
}

func asks(done []string) (n uint32) {
	for _, d := range done {
		if d == "client subscribes" {
			n++
		}
	}
	return n
}

// After an acknowledgement nothing but a SUBSCRIBE brings a message again.
func TestModelOfAcknowledgement(t *testing.T) {
	all := steps(false)
	orders(t, 1000, 4-fewer, all, func(w *world, done []string) {
		all[len(all)-3].do(w) // the client acknowledges
		acknowledged := map[int]bool{}
		for i, c := range w.sent {
			acknowledged[i] = c.live > 0 && c.answered
		}
		before := len(w.order)
		w.conn, w.asked = w.Connect(), 0
		for i := range w.sent {
			for _, retain := range []bool{false, true} {
				w.offer(i, retain, true)
			}
		}
		for _, i := range w.order[before:] {
			require.False(t, acknowledged[i], "%d: %q", i, done)
		}
	})
}

// An honest broker delivers each message once in any order, and each arrives.
func TestModelOfAnHonestBroker(t *testing.T) {
	all := steps(false)
	orders(t, 1000, 4-fewer, all[:12], func(w *world, done []string) {
		first := map[int]bool{}
		for _, d := range done {
			first[int(d[0]-'0')] = true
		}
		for i, c := range w.sent {
			require.Equal(t, first[i], c.live > 0, "%d: %q", i, done)
		}
	})
}

// Who holds keys for other topics changes nothing on this one: with its floods between them, the same messages are
// delivered in the same order, in memory so short that each flood fills it.
func TestModelOfAnInsider(t *testing.T) {
	all := steps(true)
	quiet := steps(true)
	quiet[len(quiet)-1].do = func(*world) {}
	const limit = 100
	index := map[string]int{}
	for i, s := range all {
		index[s.name] = i
	}
	orders(t, limit, 4-fewer, all, func(w *world, done []string) {
		alone := newWorld(limit)
		for _, d := range done {
			quiet[index[d]].do(alone)
		}
		require.Equal(t, alone.order, w.order, "%q", done)
		require.LessOrEqual(t, w.Size(), limit)
	})
}

// The same between publishers that signatures tell apart: mallory's messages on the very topic, under alice's session
// and with her numbers, change nothing for alice.
func TestModelOfAPublisher(t *testing.T) {
	for _, seq := range []uint32{1, 2, 3, 1<<32 - 1} {
		for _, at := range []uint32{0, noon, 1<<32 - 1} {
			r := newReceiver(60)
			alice, mallory := msg("site/7", 1, noon, 1), msg("site/7", 1, at, seq)
			alice.Publisher, mallory.Publisher = 1, 2
			for n := range uint32(50) {
				mallory.Seq = seq - min(n, seq-1)
				for session := range byte(5) {
					mallory.Session[0] = 1 + session
					r.open(mallory, live())
				}
				alice.Seq = 1 + n
				require.NoError(t, r.open(alice, live()))
				require.ErrorIs(t, r.open(alice, live()), ErrReplay)
			}
			r.intact(t)
		}
	}
}
