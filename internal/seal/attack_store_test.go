package seal

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Attacks by someone who writes to the disk on which a client keeps its messages. The attacker has no key but every
// frame that ever passed.
//
//   - a frame of another publisher put into the store    TestStoreDoesNotSignForOthers
//   - a frame of the client's put there, to be sealed
//     anew as a fresh message                            TestStoreDoesNotRefreshOldFrames
//   - old files put back, also several for one packet
//     identifier, into a queue or a store                TestOldFilesPutBack
//   - a Config that makes other frames of what is stored TestStoredUnderAnotherConfig
//   - a queued message with another RETAIN flag          TestQueueDoesNotRetain
//   - properties of a message that clears a topic read   TestClearingMessageShowsNoProperties
//   - by who has the topic's key: contents too short for
//     what stands before a message                       TestStoredTooShort
//
// Not covered, because nothing in a file can prevent it: an old file put back is sent again, as the frame that it was,
// and delivered by receivers that have forgotten it or have restarted. Files that are taken away are messages lost.

// stolen is a PUBLISH for a client's store with a frame in it.
func stolen(t *testing.T, retain bool, topic string, frame []byte) wire.Packet {
	t.Helper()
	p, err := (&wire.PublishPacket{QoS: 1, Retain: retain, ID: 7, Topic: []byte(topic), Payload: frame}).Append(nil, wire.V5)
	require.NoError(t, err)
	return p
}

func signerOf(seed byte) ed25519.PrivateKey { return ed25519.NewKeyFromSeed(count(seed, 32)) }

func TestStoreDoesNotSignForOthers(t *testing.T) {
	keys := []Key{testKey(t, "site/#", 1)}
	alice := testSealer(t, Config{Keys: keys, Signer: signerOf(1)})
	mallory := testSealer(t, Config{Keys: keys, Signer: signerOf(2)})
	for _, s := range []*Sealer{alice, mallory} {
		frame, err := s.Seal("site/7", []byte("I owe you"))
		require.NoError(t, err)
		for _, out := range []bool{true, false} {
			_, err = alice.Thaw("client", wire.V5, stolen(t, false, "site/7", frame), out)
			require.ErrorIs(t, err, ErrAuthentication)
		}
	}
}

func TestStoreDoesNotRefreshOldFrames(t *testing.T) {
	keys := []Key{testKey(t, "site/#", 1)}
	props := wire.Properties(nil).AppendPair("k", "v")
	for name, m := range map[string]Message{
		"live": {}, "retained": {Retain: true}, "a Will": {Will: true}, "with properties": {Properties: props}, "queued": {Queued: true},
	} {
		m.Topic, m.Payload = []byte("site/7"), []byte("open the door")
		s := testSealer(t, Config{Keys: keys})
		frame, err := s.seal(nil, &m)
		require.NoError(t, err)
		for _, retain := range []bool{false, true} {
			_, err = s.Thaw("client", wire.V5, stolen(t, retain, "site/7", frame), true)
			require.Error(t, err, name)
		}
		require.Empty(t, s.mqtt.byID, "and no number of it is remembered")
	}
}

// What a client has stored itself, put back by somebody: the same frames leave, however often, under whichever of the
// old files for one identifier, and what is another client's, of another identifier, or would be another frame, does
// not.
func TestOldFilesPutBack(t *testing.T) {
	keys := []Key{testKey(t, "site/#", 1)}
	for _, v := range versions {
		for _, id := range []uint16{0, 7} { // a queue's entries have no identifier
			alice := testSealer(t, Config{Keys: keys})
			client(t, alice, nil, v, nil, nil)
			var files []wire.Packet
			for _, text := range []string{"first", "second", "third"} {
				m := wire.PublishPacket{QoS: 1, ID: id, Topic: []byte("site/7"), Payload: []byte(text)}
				p, err := m.Append(nil, v)
				require.NoError(t, err)
				file, err := alice.Freeze("client", v, p, true)
				require.NoError(t, err)
				files = append(files, file)
			}
			bob := testSealer(t, Config{Keys: keys})
			reject, rejected := rejections()
			alice = testSealer(t, Config{Keys: keys, Rejected: reject})
			e := client(t, alice, rejected, v, nil, nil)
			delivered := map[string]int{}
			for round := range 3 {
				var packets []wire.Packet
				for _, file := range files { // all out of the store before the first is sent
					p, err := alice.Thaw("client", v, bytes.Clone(file), true)
					require.NoError(t, err)
					packets = append(packets, p)
				}
				for _, p := range packets {
					m := e.parse(p)
					m.ID, m.Dup = 7, round > 0
					if text, err := bob.Open("site/7", e.publish(m).Payload); err == nil {
						delivered[string(text)]++
					}
				}
			}
			require.Equal(t, map[string]int{"first": 1, "second": 1, "third": 1}, delivered)

			_, err := alice.Thaw("another client", v, bytes.Clone(files[0]), true)
			require.ErrorIs(t, err, ErrAuthentication)
			_, err = alice.Thaw("client", v, bytes.Clone(files[0]), false)
			require.ErrorIs(t, err, ErrAuthentication)
			elsewhere := e.parse(bytes.Clone(files[0]))
			elsewhere.ID = 8
			_, err = alice.Thaw("client", v, e.packet(elsewhere), true)
			require.ErrorIs(t, err, ErrAuthentication)

			thawed, err := alice.Thaw("client", v, bytes.Clone(files[0]), true)
			require.NoError(t, err)
			changed := e.parse(thawed)
			changed.ID, changed.Payload = 7, append(changed.Payload, '!')
			e.write(e.app, e.packet(changed))
			e.refused(true, "site/7", ErrMalformed)
		}
	}
}

// A message from a queue or store leaves as it was sealed, or not at all: not without the signature that it had, say.
func TestStoredUnderAnotherConfig(t *testing.T) {
	keys := []Key{testKey(t, "site/#", 1)}
	plain, signing := Config{Keys: keys}, Config{Keys: keys, Signer: signerOf(1)}
	for _, c := range [][2]Config{{plain, signing}, {signing, plain}} {
		p, err := (&wire.PublishPacket{QoS: 1, ID: 7, Topic: []byte("site/7"), Payload: []byte("x")}).Append(nil, wire.V5)
		require.NoError(t, err)
		frozen, err := testSealer(t, c[0]).Freeze("client", wire.V5, p, true)
		require.NoError(t, err)
		reject, rejected := rejections()
		c[1].Rejected = reject
		s := testSealer(t, c[1])
		e := client(t, s, rejected, wire.V5, nil, nil)
		thawed, err := s.Thaw("client", wire.V5, frozen, true)
		require.NoError(t, err)
		e.write(e.app, thawed)
		e.refused(true, "site/7", ErrMalformed)
		require.Equal(t, wire.Puback, e.read(e.app).Type(), "and the application is told")
	}
}

// A topic as long as MQTT allows is too long for some suites, in a store as on the wire.
func TestLongTopicInAStore(t *testing.T) {
	long := append([]byte("site/"), bytes.Repeat([]byte{'x'}, 65510)...)
	suite := smallSuite()
	suite.MaxAD = 65536
	s, err := New(suite, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	require.NoError(t, err)
	for _, m := range []wire.PublishPacket{{QoS: 1}, {QoS: 1, ID: 7}} {
		m.Topic, m.Payload = long, []byte("x")
		p, err := m.Append(nil, wire.V5)
		require.NoError(t, err)
		for _, out := range []bool{true, false} {
			_, err = s.Freeze("client", wire.V5, p, out)
			require.ErrorIs(t, err, ErrTooLarge)
		}
		forged, err := s.Seal("site/7", []byte("x"))
		require.NoError(t, err)
		_, err = s.Thaw("client", wire.V5, stolen(t, false, string(long), forged), true)
		require.Error(t, err)
	}
}

func TestQueueDoesNotRetain(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	for _, out := range []bool{true, false} {
		p, err := (&wire.PublishPacket{QoS: 1, Topic: []byte("site/7"), Payload: []byte("x")}).Append(nil, wire.V5)
		require.NoError(t, err)
		frozen, err := s.Freeze("client", wire.V5, p, out)
		require.NoError(t, err)
		frozen[0] |= 1
		_, err = s.Thaw("client", wire.V5, frozen, out)
		require.ErrorIs(t, err, ErrMalformed)
	}
}

func TestClearingMessageShowsNoProperties(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	p, err := (&wire.PublishPacket{QoS: 1, ID: 7, Retain: true, Topic: []byte("site/7"),
		Properties: wire.Properties(nil).AppendUint(wire.MessageExpiryInterval, 9).AppendPair("name", "secret")}).Append(nil, wire.V5)
	require.NoError(t, err)
	frozen, err := s.Freeze("client", wire.V5, p, true)
	require.NoError(t, err)
	require.NotContains(t, string(frozen), "secret")
	thawed, err := s.Thaw("client", wire.V5, frozen, true)
	require.NoError(t, err)
	m, err := wire.ParsePublish(thawed, wire.V5)
	require.NoError(t, err)
	require.True(t, m.Retain)
	require.Empty(t, m.Payload)
	require.Equal(t, wire.Properties(nil).AppendUint(wire.MessageExpiryInterval, 9), m.Properties)
}

func TestStoredTooShort(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	l, err := s.leavesOf([]byte("site/7"))
	require.NoError(t, err)
	in := slot{"client", 7, true}
	for n := range headerLen + len(stamp{}.tag) {
		ses := newSession()
		b, err := s.storedBox(&l.keys[0], &ses.id, in)
		require.NoError(t, err)
		ln := newLine()
		putHeader(ln.header, s.suite.ID, 0, &l.keys[0].id, &ses.id, 0, 1)
		ln.setTopic("site/7")
		frame := b.aead.Seal(bytes.Clone(ln.header[:]), ln.makeNonce(&s.suite), make([]byte, n), ln.ad)
		_, err = s.Thaw(in.client, wire.V5, stolen(t, false, "site/7", frame), in.out)
		require.ErrorIs(t, err, ErrMalformed, n)
	}
}
