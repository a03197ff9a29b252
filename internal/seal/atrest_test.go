package seal

import (
	"bytes"
	"crypto/ed25519"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// tcpEnds returns the two ends of a connection.
func tcpEnds(t *testing.T) (a, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer ln.Close()
	a, err = net.Dial("tcp", ln.Addr().String())
	require.NoError(t, err)
	b, err = ln.Accept()
	require.NoError(t, err)
	t.Cleanup(func() { a.Close(); b.Close() })
	return a, b
}

// TestStoredMessageIsSentAsItLies stores a message, restarts, and sends it: the receivers
// get the frame that they may have got before.
func TestStoredMessageIsSentAsItLies(t *testing.T) {
	key := testKey(t, "site/#", 1)
	_, signer, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	other, _, err := ed25519.GenerateKey(nil)
	require.NoError(t, err)
	cfg := Config{Keys: []Key{key}, Signer: signer, Publishers: []ed25519.PublicKey{other}}
	m := message(1, "site/7", "a secret")
	m.Properties = wire.Properties(nil).AppendPair("k", "v")

	before := testSealer(t, cfg)
	e := client(t, before, nil, wire.V5, nil, nil)
	lying, err := before.Freeze("client", wire.V5, e.packet(m), true)
	require.NoError(t, err)
	require.False(t, bytes.Contains(lying, []byte("a secret")))
	sent := bytes.Clone(e.publish(m).Payload)

	after := testSealer(t, cfg)
	thawed, err := after.Thaw("client", wire.V5, lying, true)
	require.NoError(t, err)
	e = client(t, after, nil, wire.V5, nil, nil)
	again := e.parse(thawed)
	again.Dup = true
	require.Equal(t, sent, e.publish(again).Payload, "after a restart")
	_, again.Payload, _ = after.unwrap(again.Payload)
	require.Equal(t, sent, e.publish(again).Payload, "once more, out of the client's memory")
	again.Dup = false
	require.Equal(t, e.packet(m), e.packet(again))
}

// TestStoredForOneself freezes a received message and a queued one: neither is worth
// anything on the wire.
func TestStoredForOneself(t *testing.T) {
	key := testKey(t, "site/#", 1)
	s := testSealer(t, Config{Keys: []Key{key}})
	for _, out := range []bool{false, true} {
		m := message(2, "site/7", "a secret")
		m.Retain = true
		if out {
			m.QoS, m.ID = 0, 0
		}
		for _, v := range versions {
			e := &end{t: t, v: v}
			p := e.packet(m)
			frozen, err := s.Freeze("client", v, p, out)
			require.NoError(t, err)
			require.False(t, bytes.Contains(frozen, []byte("a secret")))
			_, err = testSealer(t, Config{Keys: []Key{key}}).Open("site/7", e.parse(frozen).Payload)
			require.ErrorIs(t, err, ErrAuthentication)
			other := testSealer(t, Config{Keys: []Key{key}})
			thawed, err := other.Thaw("client", v, bytes.Clone(frozen), out)
			require.NoError(t, err)
			got := e.parse(thawed)
			_, got.Payload, _ = other.unwrap(got.Payload)
			require.Equal(t, p, e.packet(got))

			for i := range frozen {
				bad := bytes.Clone(frozen)
				bad[i] ^= 1
				if got, err := s.Thaw("client", v, bad, out); err == nil && s.covers(e.parse(got).Topic) {
					// Only what is outside the seal may differ: DUP, identifier, RETAIN.
					_, payload, _ := s.unwrap(e.parse(got).Payload)
					require.Equal(t, m.Payload, payload, i)
					require.Equal(t, m.Topic, e.parse(got).Topic, i)
				}
			}
			for n := range frozen {
				_, err := s.Thaw("client", v, frozen[:n:n], out)
				require.Error(t, err)
			}
		}
	}
}

func TestUncoveredIsStoredAsItIs(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	e := &end{t: t, v: wire.V5}
	cleared := message(1, "site/7", "")
	cleared.Retain = true
	for _, m := range []wire.PublishPacket{message(1, "other", "x"), cleared} {
		p := e.packet(m)
		frozen, err := s.Freeze("client", wire.V5, p, true)
		require.NoError(t, err)
		require.Equal(t, p, frozen)
		thawed, err := s.Thaw("client", wire.V5, p, true)
		require.NoError(t, err)
		require.Equal(t, p, thawed)
	}
}
