package wire

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a peer can do to bytes: cut them anywhere, flip any bit, lie about any length.
// None of it may panic, and whatever still parses must be a packet in its own right. Not
// covered here: what the packets mean to a session.

// sample is a packet of a version.
type sample struct {
	p Packet
	v Version
}

// samples returns the valid packets of mochi's table and random ones of all types.
func samples(rounds int) (all []sample) {
	for _, m := range mochiValid() {
		all = append(all, sample{m.raw, m.v})
	}
	g := newGenerator(7)
	for range rounds {
		for _, v := range []Version{V31, V311, V5} {
			for _, typ := range types(v) {
				p, err := g.packet(typ, v).Append(nil, v)
				if err != nil {
					panic(err)
				}
				all = append(all, sample{p, v})
			}
		}
	}
	return all
}

// try parses p, and if that works checks that what was parsed is stable.
func try(t *testing.T, p Packet, v Version) error {
	t.Helper()
	m, err := parse(p, v)
	if err != nil {
		require.ErrorIs(t, err, ErrMalformed, "% x", p)
		require.NotErrorIs(t, err, ErrTooLarge, "% x", p)
		return err
	}
	requireStable(t, p, v, m)
	return nil
}

func TestRandomPackets(t *testing.T) {
	for _, s := range samples(30) {
		require.NoError(t, try(t, s.p, s.v), "% x", s.p)
	}
}

func TestTruncations(t *testing.T) {
	for _, s := range samples(6) {
		for i := range s.p {
			n, err := Scan(s.p[:i], MaxPacket)
			require.NoError(t, err)
			require.True(t, n == 0 || n == len(s.p))
			require.Error(t, try(t, s.p[:i:i], s.v))
		}
		// The same cuts under a Remaining Length that says so.
		body := s.p.Body()
		for i := range body {
			_ = try(t, frame(s.p.Type(), s.p.Flags(), body[:i]), s.v)
		}
		require.NoError(t, try(t, frame(s.p.Type(), s.p.Flags(), body), s.v))
		// And a byte too many, where the last field is not one that takes it.
		err := try(t, frame(s.p.Type(), s.p.Flags(), append(bytes.Clone(body), 0)), s.v)
		switch typ := s.p.Type(); {
		case typ == Publish, typ == Suback, typ == Unsuback && s.v == V5:
			require.NoError(t, err)
		case s.v == V5 && (typ.acknowledges() || typ == Disconnect || typ == Auth):
			// It depends on what there is already.
		default:
			require.Error(t, err, "% x", s.p)
		}
	}
}

func TestBitFlips(t *testing.T) {
	for _, s := range samples(1) {
		p := bytes.Clone(s.p)
		for i := range 8 * len(p) {
			p[i/8] ^= 1 << (i % 8)
			for _, v := range []Version{V31, V311, V5} {
				_ = try(t, p, v)
			}
			p[i/8] ^= 1 << (i % 8)
		}
	}
}

// TestParsedDoesNotReachOn appends to every slice of a parsed packet; the packet must
// stay as it is.
func TestParsedDoesNotReachOn(t *testing.T) {
	tail := bytes.Repeat([]byte{0xEE}, 9)
	for _, s := range samples(3) {
		room := append(bytes.Clone(s.p), tail...)
		p := Packet(room[:len(s.p)])
		m, err := parse(p, s.v)
		require.NoError(t, err)
		var slices [][]byte
		switch m := m.(type) {
		case *connect:
			slices = [][]byte{m.ClientID, m.Username, m.Password}
			if m.Will != nil {
				slices = append(slices, m.Will.Properties, m.Will.Topic, m.Will.Payload)
			}
		case *PublishPacket:
			slices = [][]byte{m.Topic, m.Payload}
		case *SubscribePacket:
			for _, sub := range m.Subscriptions {
				slices = append(slices, sub.Filter)
			}
		case *UnsubscribePacket:
			slices = m.Filters
		case *SubackPacket:
			slices = [][]byte{m.Codes}
		}
		if ps := propertiesOf(m); ps != nil {
			slices = append(slices, *ps)
			for _, value := range ps.All() {
				slices = append(slices, value)
			}
		}
		for _, b := range slices {
			_ = append(b, "overwritten"...)
		}
		require.Equal(t, s.p, p)
		require.Equal(t, tail, room[len(p):])
	}
}

// TestSubscribeMemory bounds what a SUBSCRIBE of the shortest filters makes Parse
// allocate.
func TestSubscribeMemory(t *testing.T) {
	body := append([]byte{0, 1}, bytes.Repeat([]byte{0, 1, 'a', 0}, 1<<14)...)
	m, err := ParseSubscribe(frame(Subscribe, 2, body), V311)
	require.NoError(t, err)
	require.Len(t, m.Subscriptions, 1<<14)
	require.Equal(t, 1<<14, cap(m.Subscriptions))

	// A fault behind them is found, and one before them costs nothing.
	_, err = ParseSubscribe(frame(Subscribe, 2, append(body, 0)), V311)
	require.ErrorIs(t, err, ErrMalformed)
}
