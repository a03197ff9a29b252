package seal

import (
	"crypto/ed25519"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Attacks by someone who writes to the disk on which a client keeps its messages. The attacker has no key but every
// frame that ever passed.
//
//   - a frame of another publisher put into the store    TestStoreDoesNotSignForOthers
//   - a frame put there to be sealed anew, as a fresh
//     message: under another RETAIN flag, a Will, one
//     with properties, one signed or not signed          TestStoreDoesNotRefreshOldFrames
//   - a queued message with another RETAIN flag          TestQueueDoesNotRetain
//   - properties of a message that clears a topic read   TestClearingMessageShowsNoProperties
//
// Not covered, because nothing in a file can prevent it: an old file put back or copied. Of a frame the receivers know
// that it is old; a queued message, which has no number yet, is published again.

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
	frame, err := mallory.Seal("site/7", []byte("I owe you"))
	require.NoError(t, err)
	_, err = alice.Thaw("client", wire.V5, stolen(t, false, "site/7", frame), true)
	require.ErrorIs(t, err, ErrAuthentication)

	frame, err = alice.Seal("site/7", []byte("hello"))
	require.NoError(t, err)
	_, err = testSealer(t, Config{Keys: keys, Signer: signerOf(1)}).Thaw("client", wire.V5, stolen(t, false, "site/7", frame), true)
	require.NoError(t, err, "her own")
}

func TestStoreDoesNotRefreshOldFrames(t *testing.T) {
	keys := []Key{testKey(t, "site/#", 1)}
	props := wire.Properties(nil).AppendPair("k", "v")
	plain, signing := Config{Keys: keys}, Config{Keys: keys, Signer: signerOf(1)}
	for name, c := range map[string]struct {
		old, now Config
		m        Message
		retain   bool
	}{
		"made retained":             {plain, plain, Message{}, true},
		"made live":                 {plain, plain, Message{Retain: true}, false},
		"a Will":                    {plain, plain, Message{Will: true}, false},
		"properties to stand plain": {plain, Config{Keys: keys, PlainProperties: true}, Message{Properties: props}, false},
		"signature lost":            {signing, plain, Message{}, false},
		"signature gained":          {plain, signing, Message{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := c.m
			m.Topic, m.Payload = []byte("site/7"), []byte("open the door")
			frame, err := testSealer(t, c.old).seal(nil, &m)
			require.NoError(t, err)
			s := testSealer(t, c.now)
			_, err = s.Thaw("client", wire.V5, stolen(t, c.retain, "site/7", frame), true)
			require.Error(t, err)
			require.Empty(t, s.mqtt.byID, "and no number of it is remembered")
		})
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
