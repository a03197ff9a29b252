package seal

// Somebody with some key, who seals under any header, against a receiver who hears others too:
//
//   - sessions and times of its choosing, by the thousand, under
//     a sub-key, live and as Wills                              TestSubKeyShutsNobodyOut
//   - the session of a publisher elsewhere                      TestSubKeyUnderAnothersSession
//   - the session and numbers of another publisher on the same
//     topic, where signatures are demanded                      TestSignerTakesNothingFromAnother
//   - a retained message from the future, under an old key      TestRetainedFromTheFuture
//   - topics of many levels                                     TestDeepTopicsCostLittle
//
// And nobody at all, where time alone did it:
//
//   - a Will that is old when its client dies                   TestOldWill
//   - devices without a clock, and clocks that are ahead        TestClocks
//
// Not covered, since the key allows it: without signatures, another's session on a topic of one's own.

import (
	"crypto/ed25519"
	"encoding/binary"
	"fmt"
	"math"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// forger seals what its keys allow, under any header.
type forger struct{ *Sealer }

func (f forger) frame(t testing.TB, topic string, flags byte, session uint32, at, seq uint32, payload string) []byte {
	t.Helper()
	var id [12]byte
	binary.BigEndian.PutUint32(id[:], session)
	return f.under(t, topic, flags, id, at, seq, payload)
}

func (f forger) under(t testing.TB, topic string, flags byte, session [12]byte, at, seq uint32, payload string) []byte {
	t.Helper()
	l, err := f.derive(topic)
	require.NoError(t, err)
	b, err := f.newBox(&l.keys[0], session)
	require.NoError(t, err)
	if f.signer != nil {
		flags |= flagSigned
	}
	ln := newLine()
	putHeader(ln.header, f.suite.ID, flags, &l.keys[0].id, &session, at, seq)
	ln.setTopic(topic)
	frame, err := f.encrypt(nil, &ln, b, topic, nil, []byte(payload))
	require.NoError(t, err)
	return frame
}

func unix() uint32 { return uint32(time.Now().Unix()) }

func timeOf(frame []byte) uint32 { return binary.BigEndian.Uint32(frame[timeAt:]) }

// insider has a key for a branch of site/#.
func insider(t *testing.T) (mallory, honest forger, root Key) {
	t.Helper()
	root = testKey(t, "site/#", 1)
	sub, err := root.Sub("site/7/#")
	require.NoError(t, err)
	return forger{testSealer(t, Config{Keys: []Key{sub}})}, forger{testSealer(t, Config{Keys: []Key{root}})}, root
}

func TestSubKeyShutsNobodyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mallory, honest, root := insider(t)
		bob := testSealer(t, Config{Keys: []Key{root}, MaxSessions: 8})
		open := func(topic string, frame []byte) error { t.Helper(); _, err := bob.Open(topic, frame); return err }
		alice := testSealer(t, Config{Keys: []Key{root}})
		will := honest.frame(t, "site/pump/status", flagWill, 1, unix(), 1, "offline")
		early, err := alice.Seal("site/alarm", []byte("armed"))
		require.NoError(t, err)
		late := honest.frame(t, "site/late", 0, 2, unix(), 1, "sealed before the flood")
		require.NoError(t, open("site/alarm", early))
		n := uint32(100)
		for _, topic := range []string{"site/7/x", "site/7", "site/7/%d/y"} {
			for _, at := range []uint32{1<<32 - 1, unix() + 59, unix(), 0} {
				for range 800 {
					n++
					name := topic
					if len(topic) > 8 {
						name = fmt.Sprintf(topic, n)
					}
					flags := []byte{0, flagWill, flagRetain}[n%3]
					open(name, mallory.frame(t, name, flags, n, at, 1, "")) // refused or not
				}
				frame, err := alice.Seal("site/alarm", []byte("fire"))
				require.NoError(t, err)
				require.NoError(t, open("site/alarm", frame))
				require.ErrorIs(t, open("site/alarm", frame), ErrReplay)
				require.ErrorIs(t, open("site/alarm", early), ErrReplay, "nor is anything of hers forgotten")
				newcomer := honest.frame(t, "site/alarm", 0, n, unix(), 1, "")
				require.NoError(t, open("site/alarm", newcomer), "who was never heard")
			}
		}
		require.NoError(t, open("site/pump/status", will))
		require.ErrorIs(t, open("site/pump/status", will), ErrReplay)
		require.NoError(t, open("site/late", late))
		require.LessOrEqual(t, bob.own.Size(), 8*memoryPerSession)
	})
}

func TestSubKeyUnderAnothersSession(t *testing.T) {
	mallory, honest, root := insider(t)
	bob := testSealer(t, Config{Keys: []Key{root}, MaxSessions: 8})
	for seq := uint32(1); seq < 200; seq++ {
		frame := honest.frame(t, "site/alarm", 0, 1, unix(), seq, "fire")
		for _, at := range []uint32{0, math.MaxUint32, unix()} {
			bob.Open("site/7/x", mallory.under(t, "site/7/x", 0, [12]byte(frame[sessionAt:]), at, math.MaxUint32-seq, ""))
			bob.Open("site/7/x", mallory.under(t, "site/7/x", 0, [12]byte(frame[sessionAt:]), at, seq+1, ""))
		}
		_, err := bob.Open("site/alarm", frame)
		require.NoError(t, err)
	}
}

func TestSignerTakesNothingFromAnother(t *testing.T) {
	k := testKey(t, "site/#", 1)
	a, m := signerOf(1), signerOf(2)
	alice := testSealer(t, Config{Keys: []Key{k}, Signer: a})
	mallory := forger{testSealer(t, Config{Keys: []Key{k}, Signer: m})}
	eachVersion(t, func(t *testing.T, v wire.Version) {
		bob := testSealer(t, Config{Keys: []Key{k}, MaxSessions: 4, Publishers: []ed25519.PublicKey{a.Public().(ed25519.PublicKey), m.Public().(ed25519.PublicKey)}})
		e := client(t, bob, nil, v, nil, nil)
		for i := range 60 {
			frame, err := alice.Seal("site/7", fmt.Append(nil, i))
			require.NoError(t, err)
			for n, seq := range []uint32{seqOf(frame), math.MaxUint32, seqOf(frame) + 1} {
				for _, at := range []uint32{timeOf(frame), math.MaxUint32, 0} {
					e.offer(0, 0, false, "site/7", mallory.under(t, "site/7", 0, [12]byte(frame[sessionAt:]), at, seq, "mallory"), nil)
					e.offer(0, 0, true, "site/7", mallory.frame(t, "site/7", flagRetain, uint32(9*i+n), at, seq, "mallory"), nil)
				}
			}
			e.heard()
			e.offer(0, 0, false, "site/7", frame, nil)
			e.offer(0, 0, false, "site/7", frame, nil)
			require.Equal(t, []string{fmt.Sprint(i)}, e.heard())
		}
	})
}

func TestRetainedFromTheFuture(t *testing.T) {
	old, fresh := testKey(t, "site/#", 1), testKey(t, "site/#", 2)
	mallory := forger{testSealer(t, Config{Keys: []Key{old}})}
	honest := forger{testSealer(t, Config{Keys: []Key{fresh, old}})}
	eachVersion(t, func(t *testing.T, v wire.Version) {
		bob := testSealer(t, Config{Keys: []Key{fresh, old}})
		e := client(t, bob, nil, v, nil, nil)
		e.subscribe(0, "site/#")
		e.offer(0, 0, true, "site/mode", mallory.frame(t, "site/mode", flagRetain, 1, math.MaxUint32, 1, "bad"), nil)
		require.Equal(t, []string{"bad"}, e.heard())
		good := honest.frame(t, "site/mode", flagRetain, 2, unix(), 1, "good")
		e.offer(0, 0, true, "site/mode", good, nil)
		require.Equal(t, []string{"good"}, e.heard())
		e.offer(0, 0, true, "site/mode", mallory.frame(t, "site/mode", flagRetain, 1, math.MaxUint32, 2, "worse"), nil)
		require.Equal(t, []string{"worse"}, e.heard())
		e.subscribe(0, "site/#")
		e.offer(0, 0, true, "site/mode", good, nil)
		require.Equal(t, []string{"good"}, e.heard(), "shown before, and what its broker still holds")
	})
}

// A Will is as old as its connection when it comes, whatever Wills have come since it was sealed.
func TestOldWill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, honest, root := insider(t)
		for _, topics := range []uint32{1, 100} {
			bob := testSealer(t, Config{Keys: []Key{root}})
			now := unix()
			for i := range uint32(5000) { // a month of devices that come and go
				topic := fmt.Sprintf("site/%d/status", i%topics)
				frame := honest.frame(t, topic, flagWill, i, now-30*24*3600+10+500*i, 1, "offline")
				_, err := bob.Open(topic, frame)
				require.NoError(t, err)
				_, err = bob.Open(topic, frame)
				require.ErrorIs(t, err, ErrReplay)
			}
			for _, topic := range []string{"site/pump/status", "site/0/status"} {
				_, err := bob.Open(topic, honest.frame(t, topic, flagWill, 1<<31, now-30*24*3600, 1, "offline"))
				require.NoError(t, err, "that of a client that was connected all the time")
			}
		}
	})
}

// Devices without a clock, and ones whose clock is ahead, are heard while others come and go, and once.
func TestClocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, honest, root := insider(t)
		bob := testSealer(t, Config{Keys: []Key{root}, MaxSessions: 2})
		open := func(topic string, frame []byte) error { t.Helper(); _, err := bob.Open(topic, frame); return err }
		for i := range uint32(1000) { // many times what there is room for, on the same topic
			require.NoError(t, open("site/7", honest.frame(t, "site/7", 0, 1000+i, unix(), 1, "")))
			time.Sleep(time.Second)
		}
		dark := honest.frame(t, "site/7", 0, 1, 0, 1, "no clock")
		ahead := honest.frame(t, "site/7", 0, 2, unix()+120, 1, "ahead")
		require.NoError(t, open("site/7", dark))
		require.NoError(t, open("site/7", ahead))
		for range 400 {
			err := open("site/7", honest.frame(t, "site/7", 0, unix(), unix(), 1, ""))
			if unix() != timeOf(ahead) { // a second in which anybody new may be the one that was ahead
				require.NoError(t, err, int(unix())-int(timeOf(ahead)))
			}
			require.Error(t, open("site/7", dark))
			require.Error(t, open("site/7", ahead), "also when its time has come, and is over")
			time.Sleep(time.Second)
		}
	})
}
