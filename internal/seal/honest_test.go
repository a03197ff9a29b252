package seal

// Honest brokers, whose messages all arrive: with RETAIN on live messages (Retain As Published, the bridge bit),
// retained messages that were sealed before one that the subscriber knows, a late message beside a busy publisher. How
// many publishers there is room for at once is tested in package replay.

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// A client comes back to its queue and subscribes again. The broker shows the retained message first, and goes on with
// the queue, with RETAIN since the subscription has Retain As Published.
func TestQueueBehindRetained(t *testing.T) {
	eachVersion(t, func(t *testing.T, v wire.Version) {
		alice, bob := connectedPair(t, v, Config{})
		var texts []string
		for i := range 100 {
			texts = append(texts, fmt.Sprint("state ", i))
		}
		frames := sealedAt(t, alice, 1, true, "site/state", texts...)
		bob.subscribe(0, "site/state")
		bob.discard()
		bob.offer(0, 0, true, "site/state", frames[99], nil)
		require.Equal(t, texts[99:], bob.heard())
		for i, f := range frames[:99] {
			bob.offer(1, uint16(i+1), true, "site/state", f, nil)
			require.Equal(t, texts[i:i+1], bob.heard())
		}
	})
}

// Of two publishers one is behind, on the way or by its clock. Its message comes for the first time.
func TestSecondPublisherIsBehind(t *testing.T) {
	_, honest, root := insider(t)
	eachVersion(t, func(t *testing.T, v wire.Version) {
		for _, behind := range []uint32{0, 2, 3600, unix()} {
			bob := client(t, testSealer(t, Config{Keys: []Key{root}}), nil, v, nil, nil)
			bob.subscribe(0, "site/#")
			bob.discard()
			bob.offer(1, 1, true, "site/state", honest.frame(t, "site/state", flagRetain, 1, unix(), 5, "from A"), nil)
			bob.offer(1, 2, true, "site/state", honest.frame(t, "site/state", flagRetain, 2, unix()-behind, 5, "from B"), nil)
			require.Equal(t, []string{"from A", "from B"}, bob.heard(), behind)
		}
	})
}

// What a subscriber was shown last is what the broker holds, in the order of arrival.
func TestRetainedIsTheLastThatArrived(t *testing.T) {
	_, honest, root := insider(t)
	device := func(flags byte, session, at, seq uint32, text string) []byte {
		return honest.frame(t, "site/status", flags|flagRetain, session, at, seq, text)
	}
	now := unix()
	for name, frames := range map[string][][]byte{
		"sent again out of order": {device(0, 1, now, 2, "two"), device(0, 1, now, 1, "one")},
		"clocks apart":            {device(0, 1, now, 1, "a"), device(0, 2, now-30, 1, "b"), device(0, 1, now, 2, "c"), device(0, 2, now-30, 2, "d")},
		"behind after a reboot":   {device(0, 1, now, 1, "online"), device(0, 2, now-3600, 1, "online"), device(flagWill, 3, now-3601, 1, "offline")},
		"no clock":                {device(0, 1, 0, 7, "online"), device(flagWill, 2, 0, 1, "offline"), device(0, 3, 0, 1, "online again")},
	} {
		t.Run(name, func(t *testing.T) {
			eachVersion(t, func(t *testing.T, v wire.Version) {
				s := testSealer(t, Config{Keys: []Key{root}})
				bob := client(t, s, nil, v, nil, nil)
				bob.discard()
				for i, f := range frames {
					bob.offer(1, uint16(i+1), false, "site/status", f, nil)
					require.Len(t, bob.heard(), 1, "live")
					bob.write(bob.app, bob.ack(wire.Puback, uint16(i+1), 0))
					for n := range 2 {
						bob.subscribe2("site/#")
						bob.offer(0, 0, true, "site/status", f, nil)
						require.Len(t, bob.heard(), 1, "%d", n)
					}
				}
				last := frames[len(frames)-1]
				again := client(t, s, nil, v, nil, nil)
				again.subscribe(0, "site/#")
				again.offer(0, 0, true, "site/status", last, nil)
				require.Len(t, again.heard(), 1, "on another connection")
				fresh := client(t, testSealer(t, Config{Keys: []Key{root}}), nil, v, nil, nil)
				fresh.subscribe(0, "site/#")
				fresh.offer(0, 0, true, "site/status", last, nil)
				require.Len(t, fresh.heard(), 1, "at a new subscriber")
			})
		})
	}
}

// subscribe2 is subscribe while somebody else reads for the broker.
func (e *end) subscribe2(filter string) {
	e.t.Helper()
	p, err := (&wire.SubscribePacket{ID: 9, Subscriptions: []wire.Subscription{{Filter: []byte(filter), Options: 1}}}).Append(nil, e.v)
	require.NoError(e.t, err)
	e.write(e.app, p)
}

// A message that is a minute late comes through while another publisher is busy, and draws a session for each of its
// messages.
func TestLateBesideABusyPublisher(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, honest, root := insider(t)
		bob := testSealer(t, Config{Keys: []Key{root}, MaxSessions: 512})
		first := honest.frame(t, "site/7", 0, 1, unix(), 1, "first")
		late := honest.frame(t, "site/7", 0, 1, unix(), 2, "late")
		other := honest.frame(t, "site/8", 0, 2, unix(), 1, "never heard before")
		_, err := bob.Open("site/7", first)
		require.NoError(t, err)
		for n := range uint32(60 * 300) {
			_, err := bob.Open("site/7", honest.frame(t, "site/7", 0, 100+n, unix(), 1, ""))
			require.NoError(t, err)
			time.Sleep(time.Second / 300)
		}
		for topic, frame := range map[string][]byte{"site/7": late, "site/8": other} {
			_, err = bob.Open(topic, frame)
			require.NoError(t, err)
		}
	})
}
