package seal

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// head is a header as replay sees it.
type head struct {
	key, session byte
	time, seq    uint32
	flags        byte
}

func (h head) bytes() []byte {
	var b [headerLen]byte
	putHeader(&b, 1, h.flags, &[4]byte{h.key}, &[12]byte{h.session}, h.time, h.seq)
	return b[:]
}

// topicOf gives each key id one topic.
func (h head) topicOf() *leaves { return &leaves{mark: [16]byte{h.key}} }

// deliver is what opening a message does to r.
func (h head) deliver(r *replay, k kind) (entry, error) {
	before := r.snapshot()
	if err := r.check(h.bytes(), h.topicOf(), k); err != nil {
		if r.snapshot() != before {
			panic("check changed the state")
		}
		return entry{}, err
	}
	return r.commit(h.bytes(), h.topicOf(), k)
}

// sizes sums up what a replay holds.
type sizes struct{ live, wills, publishers, marks, blocks, held int }

// snapshot returns what r holds, and sees that it is held together.
func (r *replay) snapshot() sizes {
	r.mu.Lock()
	defer r.mu.Unlock()
	blocks, held := 0, 0
	for _, h := range []*history{&r.live, &r.wills} {
		for _, w := range h.windows {
			blocks += len(w.blocks)
			held += w.held
		}
	}
	if blocks != r.blocks.n || held != len(r.held.m) || blocks > r.blocks.limit || held > maxHeld {
		panic(fmt.Sprint(blocks, " blocks, ", r.blocks.n, " counted; ", held, " held, ", len(r.held.m), " known"))
	}
	return sizes{len(r.live.windows), len(r.wills.windows), len(r.live.publishers), len(r.marks.m), blocks, held}
}

// intact sees that blocks and windows know each other, each block once.
func (r *replay) intact(t *testing.T) {
	t.Helper()
	n := 0
	for b := r.blocks.recent; b != nil; {
		w := b.window
		i, ok := w.place(b.number)
		require.True(t, ok)
		require.Same(t, b, w.blocks[i])
		require.Same(t, b, b.next.prev)
		n++
		if b = b.next; b == r.blocks.recent {
			break
		}
	}
	require.Equal(t, r.snapshot().blocks, n)
	for _, h := range []*history{&r.live, &r.wills} {
		for _, w := range h.windows {
			require.LessOrEqual(t, len(w.blocks), windowSize/blockSize+1)
			require.True(t, slices.IsSortedFunc(w.blocks, func(a, b *block) int { return cmp.Compare(a.number, b.number) }))
		}
	}
}

func newTestReplay(limit int) *replay {
	return &replay{limit: limit, clock: new(clock), blocks: blocks{limit: maxBlocks(limit)}}
}

func at(seq uint32) head { return head{key: 1, session: 1, time: 1e9, seq: seq} }

func TestSessionsAndKeysApart(t *testing.T) {
	r := newTestReplay(10)
	for _, h := range []head{{key: 1, session: 1}, {key: 2, session: 1}, {key: 1, session: 2}} {
		h.seq, h.time = 7, 1e9
		_, err := h.deliver(r, liveAtMostOnce)
		require.NoError(t, err)
		_, err = h.deliver(r, liveAtMostOnce)
		require.ErrorIs(t, err, errDone)
	}
}

// Forgetting a publisher raises the horizon; nothing of it opens again.
func TestHorizon(t *testing.T) {
	r := newTestReplay(3)
	send := func(session byte, time, seq uint32) error {
		_, err := head{key: 1, session: session, time: time, seq: seq}.deliver(r, liveAtMostOnce)
		return err
	}
	require.NoError(t, send(1, 100, 1))
	require.NoError(t, send(2, 50, 1))
	require.NoError(t, send(3, 60, 1))
	require.NoError(t, send(0, 10, 1), "older than all, but none has been forgotten")
	// Session 1 is out, and with it time 100.
	require.ErrorIs(t, send(1, 100, 1), ErrStale)
	require.ErrorIs(t, send(1, 100, 2), ErrStale)
	require.ErrorIs(t, send(9, 100, 1), ErrStale)
	require.ErrorIs(t, send(9, 0, 1), ErrStale, "no clock")
	require.NoError(t, send(2, 40, 2), "a known session may be as old as it likes")
	require.NoError(t, send(1, 101, 3), "newer: known again, and 3 is out")
	require.ErrorIs(t, send(1, 101, 3), errDone)
	require.ErrorIs(t, send(1, 100, 2), ErrStale, "still refused, though inside the new window")
	require.NoError(t, send(1, 101, 2))
	require.ErrorIs(t, send(3, 60, 1), ErrStale)
	require.LessOrEqual(t, len(r.live.windows), 3)
	require.LessOrEqual(t, len(r.live.publishers), 3)
}

// Least recently used goes first.
func TestEvictionOrder(t *testing.T) {
	r := newTestReplay(3)
	send := func(session byte, seq uint32) error {
		_, err := head{key: 1, session: session, time: 100 + seq, seq: seq}.deliver(r, liveAtMostOnce)
		return err
	}
	for session := byte(1); session <= 3; session++ {
		require.NoError(t, send(session, 1))
	}
	require.NoError(t, send(1, 2))
	require.NoError(t, send(4, 2))
	require.ErrorIs(t, send(1, 2), errDone, "still known")
	require.ErrorIs(t, send(3, 1), errDone, "still known")
	require.ErrorIs(t, send(2, 1), ErrStale, "forgotten")
}

// A publisher on more topics than there are windows is not shut out by the clock:
// its numbers rise across all topics.
func TestOnePublisherOnManyTopics(t *testing.T) {
	r := newTestReplay(8)
	seq := uint32(0)
	for range 5 {
		for key := byte(1); key <= 100; key++ {
			seq++
			h := head{key: key, session: 1, time: 100, seq: seq}
			_, err := h.deliver(r, liveAtMostOnce)
			require.NoError(t, err)
			_, err = h.deliver(r, liveAtMostOnce)
			require.ErrorIs(t, err, errDone)
		}
	}
	for old := uint32(1); old <= seq; old++ {
		_, err := head{key: byte((old-1)%100 + 1), session: 1, time: 100, seq: old}.deliver(r, liveAtMostOnce)
		require.Error(t, err, old)
	}
	require.Len(t, r.live.windows, 8)
	require.Len(t, r.live.publishers, 1)
	require.Zero(t, r.live.horizon)
}

// A window whose client owes acknowledgements is kept rather than another.
func TestEvictionSparesPending(t *testing.T) {
	r := newTestReplay(3)
	e, err := head{key: 1, session: 1, time: 1, seq: 1}.deliver(r, liveAcknowledged)
	require.NoError(t, err)
	for i := uint32(2); i < 100; i++ {
		_, err := head{key: 1, session: byte(i), time: i, seq: 1}.deliver(r, liveAtMostOnce)
		require.NoError(t, err)
	}
	r.release(e)
	_, err = head{key: 1, session: 1, time: 1, seq: 1}.deliver(r, liveAcknowledged)
	require.NoError(t, err)

	r = newTestReplay(1) // nothing else to drop
	e, err = at(1).deliver(r, liveAcknowledged)
	require.NoError(t, err)
	_, err = at(1+windowSize).deliver(r, liveAtMostOnce)
	require.NoError(t, err)
	_, err = head{key: 1, session: 2, time: 2e9, seq: 1}.deliver(r, liveAtMostOnce)
	require.NoError(t, err)
	r.done(e)
	require.Zero(t, r.snapshot().held)
	_, err = at(1).deliver(r, liveAcknowledged)
	require.ErrorIs(t, err, ErrStale)
}

// Replay never delivers a QoS 0 message twice, whatever the order and however few
// sessions and blocks it may remember.
func TestNeverTwice(t *testing.T) {
	for seed := range uint64(40) {
		rng := rand.New(rand.NewPCG(seed, 2))
		r := newTestReplay(1 + rng.IntN(6))
		if seed%4 > 1 {
			r.blocks.limit = 1 + rng.IntN(30)
		}
		numbers := []int{3000, 3 * windowSize}[seed%2]
		delivered := map[head]bool{}
		var sent []head
		for range 5000 {
			h := head{key: byte(rng.IntN(4)), session: byte(rng.IntN(5)), seq: uint32(1 + rng.IntN(numbers))}
			if rng.IntN(8) == 0 {
				h.flags, h.seq = flagWill, 1
			}
			h.time = (uint32(h.session)*1000 + h.seq) * 7919 % 30 // a message has one time, in no order
			if len(sent) > 0 && rng.IntN(2) == 0 {
				h = sent[max(0, len(sent)-1-rng.IntN(1000))]
			}
			if _, err := h.deliver(r, liveAtMostOnce); err == nil {
				require.False(t, delivered[h], "seed %d: %+v", seed, h)
				delivered[h] = true
				sent = append(sent, h)
			}
			require.LessOrEqual(t, len(r.live.windows), r.limit)
			require.LessOrEqual(t, len(r.wills.windows), r.limit)
			require.LessOrEqual(t, r.blocks.n, r.blocks.limit)
		}
		require.NotEmpty(t, sent)
		r.intact(t)
	}
}

func TestWillOnce(t *testing.T) {
	r := newTestReplay(3)
	deliver := func(h head) error { _, err := h.deliver(r, liveAcknowledged); return err }
	for i := uint32(1); i < 20; i++ {
		require.NoError(t, deliver(head{key: 1, session: byte(i), time: 1000 + i, seq: 1}))
	}
	will := head{key: 1, session: 100, time: 5, seq: 1, flags: flagWill}
	require.NoError(t, deliver(will), "older than the horizon of live messages")
	require.ErrorIs(t, deliver(will), errPending)
	for i := uint32(1); i < 20; i++ {
		require.NoError(t, deliver(head{key: 1, session: 100 + byte(i), time: 5 + i, seq: 1, flags: flagWill}))
	}
	require.ErrorIs(t, deliver(will), ErrStale, "forgotten, so refused")
}

func TestMaxAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		key := testKey(t, "#", 1)
		sender := testSealer(t, Config{Keys: []Key{key}})
		s := testSealer(t, Config{Keys: []Key{key}, MaxAge: 10 * time.Second})
		seal := func(m Message) []byte {
			m.Topic, m.Payload = []byte("a"), []byte("x")
			b, err := sender.seal(nil, &m)
			require.NoError(t, err)
			return b
		}
		open := func(frame []byte, k kind) error {
			_, err := s.open(nil, &Message{Topic: []byte("a"), Payload: frame}, k, s.newReplay())
			return err
		}
		var live, ret, will [3][]byte
		for i := range live {
			live[i], ret[i], will[i] = seal(Message{}), seal(Message{Retain: true}), seal(Message{Will: true})
		}
		require.NoError(t, open(live[0], liveAtMostOnce))
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.NoError(t, open(live[0], liveAcknowledged), "just")
		time.Sleep(time.Second)
		synctest.Wait()
		require.ErrorIs(t, open(live[0], liveAtMostOnce), ErrTooOld)
		require.ErrorIs(t, open(live[0], liveAcknowledged), ErrTooOld)
		require.ErrorIs(t, open(ret[0], liveAtMostOnce), ErrTooOld, "RETAIN=0 on arrival: a live message")
		require.NoError(t, open(ret[0], retained))
		require.NoError(t, open(will[0], liveAtMostOnce))
		require.NoError(t, open(live[0], atRest))
		time.Sleep(1000 * time.Hour)
		synctest.Wait()
		require.NoError(t, open(ret[0], retained))
		require.NoError(t, open(will[0], liveAtMostOnce))
		require.NoError(t, open(seal(Message{}), liveAtMostOnce))
		time.Sleep(time.Minute) // the last clock's timer
	})
	r := newTestReplay(10)
	r.maxAge = 10
	now := uint32(time.Now().Unix())
	for _, c := range []struct {
		time uint32
		want error
	}{{0, ErrTooOld}, {now + 30, ErrTooOld}, {now - 30, ErrTooOld}, {now + 5, nil}, {now - 5, nil}, {1<<32 - 1, ErrTooOld}, {1, ErrTooOld}} {
		_, err := head{key: 1, session: 1, time: c.time, seq: c.time%1000 + 1}.deliver(r, liveAtMostOnce)
		require.Equal(t, c.want, err, c.time)
	}
	r.clock.second.Store(5) // neither side has a clock
	_, err := head{key: 1, session: 2, seq: 1}.deliver(r, liveAtMostOnce)
	require.ErrorIs(t, err, ErrTooOld)
}

// Of many copies opened at once, one gets through.
func TestConcurrentCopies(t *testing.T) {
	key := testKey(t, "#", 1)
	sender, s := testSealer(t, Config{Keys: []Key{key}}), testSealer(t, Config{Keys: []Key{key}})
	for i := range 50 {
		frame, err := sender.Seal(fmt.Sprint("topic/", i%3), []byte("x"))
		require.NoError(t, err)
		var passed, refused atomic.Int32
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				_, err := s.Open(fmt.Sprint("topic/", i%3), frame)
				switch {
				case err == nil:
					passed.Add(1)
				case errors.Is(err, ErrReplay):
					refused.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, passed.Load())
		require.EqualValues(t, 7, refused.Load())
	}
}

// Releasing, acknowledging, opening and evicting at the same time.
func TestConcurrentReplay(t *testing.T) {
	r := newTestReplay(4)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range 2000 {
				h := head{key: byte(i % 3), session: byte(g + i%4), time: uint32(i), seq: uint32(i + 1)}
				if r.check(h.bytes(), h.topicOf(), liveAcknowledged) != nil {
					continue
				}
				e, err := r.commit(h.bytes(), h.topicOf(), liveAcknowledged)
				if err != nil {
					continue
				}
				r.release(e)
				if i%2 == 0 {
					r.done(e)
				}
			}
		})
	}
	wg.Wait()
	r.intact(t)
	require.LessOrEqual(t, r.snapshot().live, 4)
}

// A new window may drive out another of its publisher, with higher numbers. What
// judge let pass counts nevertheless, once.
func TestWindowDrivesOutItsPublishers(t *testing.T) {
	r := newTestReplay(2)
	for _, h := range []head{{key: 1, seq: 9}, {key: 2, seq: 8}, {key: 3, seq: 5}} {
		h.session, h.time = 1, 100
		e, err := h.deliver(r, liveAcknowledged)
		require.NoError(t, err)
		_, err = h.deliver(r, liveAcknowledged)
		require.ErrorIs(t, err, errPending)
		r.release(e)
		_, err = h.deliver(r, liveAcknowledged)
		require.NoError(t, err)
		r.done(e)
		_, err = h.deliver(r, liveAcknowledged)
		require.Error(t, err)
	}
	r.intact(t)
}
