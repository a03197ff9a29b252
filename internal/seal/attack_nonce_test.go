package seal

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Attempts to make a Sealer use a nonce for two messages. Whatever the clients of one Sealer do, two frames that have
// key id, session and sequence number in common are one frame.
//
//   - many clients at once, while sessions roll over,
//     messages are sent again with and without DUP,
//     unchanged and changed (payload, topic, RETAIN,
//     properties), acknowledged, stored and read back    TestNoNonceTwice
//   - a message that takes the place of one sealed for
//     the store and never sent                           TestStoredFrameIsNotReused
//
// Not covered: the memory of a running process copied (a virtual machine that is cloned or set back). Both copies go on
// with the same session and number; with XAES the second makes them differ, with PRESENT nothing does.

// nonces collects frames by what makes their nonce and key.
type nonces struct {
	mu   sync.Mutex
	seen map[[20]byte][]byte
}

func (n *nonces) add(frame []byte) error {
	var k [20]byte
	copy(k[:], frame[idAt:timeAt])
	copy(k[16:], frame[seqAt:headerLen])
	n.mu.Lock()
	defer n.mu.Unlock()
	if old, ok := n.seen[k]; ok && !bytes.Equal(old, frame) {
		return fmt.Errorf("number %d twice", binary.BigEndian.Uint32(frame[seqAt:]))
	}
	n.seen[k] = bytes.Clone(frame)
	return nil
}

func TestNoNonceTwice(t *testing.T) {
	for name, suite := range map[string]Suite{"XAES": XAES(), "short sessions": smallSuite()} {
		for _, signed := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, signed %t", name, signed), func(t *testing.T) {
				cfg := Config{Keys: []Key{testKey(t, "site/#", 1)}}
				if signed {
					cfg.Signer = signerOf(1)
				}
				s, err := New(suite, cfg)
				require.NoError(t, err)
				n := &nonces{seen: map[[20]byte][]byte{}}
				results := make(chan error, 8)
				for i := range cap(results) {
					go func() { results <- abuse(s, fmt.Sprint("client ", i/2), n, rand.New(rand.NewPCG(1, uint64(i)))) }()
				}
				for range cap(results) {
					require.NoError(t, <-results)
				}
				require.NotEmpty(t, n.seen)
			})
		}
	}
}

// abuse does what a client may do, and what it may not, in any order. Two of them share each MQTT session.
func abuse(s *Sealer, client string, n *nonces, r *rand.Rand) error {
	props := wire.Properties(nil).AppendPair("k", "v")
	f := newFilter(s)
	s.mqtt.attach(f, client, false)
	m := f.link.Load()
	var stored []wire.Packet
	for range 500 {
		msg := Message{
			Topic:   fmt.Appendf(nil, "site/%d", r.IntN(2)),
			Retain:  r.IntN(4) == 0,
			Payload: fmt.Append(nil, r.IntN(3)),
		}
		if r.IntN(3) == 0 {
			msg.Properties = props
		}
		p := wire.PublishPacket{QoS: byte(r.IntN(3)), ID: uint16(1 + r.IntN(4)), Dup: r.IntN(2) == 0, Retain: msg.Retain, Topic: msg.Topic}
		var err error
		switch r.IntN(8) {
		case 0:
			m.arrived(p.ID)
			continue
		case 1: // into the store
			p.QoS, p.Dup, p.Properties, p.Payload = 1, false, msg.Properties, msg.Payload
			b, err := p.Append(nil, wire.V5)
			if err != nil {
				return err
			}
			if b, err = s.Freeze(client, wire.V5, b, true); err != nil {
				return err
			}
			q, err := wire.ParsePublish(b, wire.V5)
			if err != nil {
				return err
			}
			if err := n.add(q.Payload); err != nil {
				return err
			}
			stored = append(stored, b)
			continue
		case 2: // and out of it, also twice
			if len(stored) > 0 {
				if _, err = s.Thaw(client, wire.V5, bytes.Clone(stored[r.IntN(len(stored))]), true); err != nil {
					return err
				}
			}
			continue
		}
		frame, err := m.seal(s, nil, &msg, &p)
		if err != nil {
			return err
		}
		if err := n.add(frame); err != nil {
			return err
		}
	}
	return nil
}

func TestStoredFrameIsNotReused(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}})
	p, err := (&wire.PublishPacket{QoS: 1, ID: 7, Topic: []byte("site/7"), Payload: []byte("on")}).Append(nil, wire.V5)
	require.NoError(t, err)
	frozen, err := s.Freeze("client", wire.V5, p, true)
	require.NoError(t, err)
	old, err := wire.ParsePublish(frozen, wire.V5)
	require.NoError(t, err)
	f := newFilter(s)
	s.mqtt.attach(f, "client", false)
	m := f.link.Load()
	for _, other := range []Message{
		{Topic: []byte("site/7"), Payload: []byte("off")},
		{Topic: []byte("site/8"), Payload: []byte("on")},
		{Topic: []byte("site/7"), Payload: []byte("on"), Retain: true},
	} {
		require.NotPanics(t, func() {
			_, err := s.Thaw("client", wire.V5, bytes.Clone(frozen), true)
			require.NoError(t, err)
		})
		frame, err := m.seal(s, nil, &other, &wire.PublishPacket{QoS: 1, ID: 7})
		require.NoError(t, err)
		require.NotEqual(t, old.Payload[sessionAt:headerLen], frame[sessionAt:headerLen])
	}
}
