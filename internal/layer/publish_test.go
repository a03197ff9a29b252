package layer

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// aliasing returns a PUBLISH with an alias; topic may be empty.
func aliasing(topic string, alias uint32) *wire.PublishPacket {
	return &wire.PublishPacket{Topic: []byte(topic), Properties: wire.Properties(nil).AppendUint(wire.TopicAlias, alias)}
}

func TestAliases(t *testing.T) {
	var a Aliases
	resolve := func(m *wire.PublishPacket) (string, bool) {
		t.Helper()
		topic, tell, err := a.Resolve(m, 2)
		require.NoError(t, err)
		return string(topic), tell
	}
	refuse := func(m *wire.PublishPacket) {
		t.Helper()
		_, _, err := a.Resolve(m, 2)
		require.ErrorIs(t, err, wire.ErrMalformed)
	}
	plain := &wire.PublishPacket{Topic: []byte("t")}
	topic, tell := resolve(plain)
	require.Equal(t, "t", topic)
	require.False(t, tell)
	a.Passed(plain)

	refuse(&wire.PublishPacket{})
	refuse(aliasing("", 1))
	refuse(aliasing("t", 0))
	refuse(aliasing("t", 3))

	// The PUBLISH that sets alias 1 is withheld, so the next must carry the topic.
	topic, tell = resolve(aliasing("one", 1))
	require.Equal(t, "one", topic)
	require.False(t, tell)
	topic, tell = resolve(aliasing("", 1))
	require.Equal(t, "one", topic)
	require.True(t, tell)
	a.Passed(aliasing("one", 1))
	topic, tell = resolve(aliasing("", 1))
	require.Equal(t, "one", topic)
	require.False(t, tell)

	// A new topic under the same alias starts over.
	resolve(aliasing("two", 1))
	topic, tell = resolve(aliasing("", 1))
	require.Equal(t, "two", topic)
	require.True(t, tell)
}

// TestAliasesBounded: every alias may stand for a topic of common length, not for one as long as topics can be, also
// when it stands for a short one afterwards, in the same memory.
func TestAliasesBounded(t *testing.T) {
	var common Aliases
	for id := range uint32(0xFFFF) {
		_, _, err := common.Resolve(aliasing(strings.Repeat("t", 64), id+1), 0xFFFF)
		require.NoError(t, err)
	}
	var long Aliases
	var err error
	id := uint32(0)
	for ; err == nil; id++ {
		if _, _, err = long.Resolve(aliasing(strings.Repeat("t", 0xFFFF), id+1), 0xFFFF); err == nil {
			_, _, err = long.Resolve(aliasing("t", id+1), 0xFFFF)
		}
	}
	require.ErrorIs(t, err, errAliased)
	require.LessOrEqual(t, id, uint32(maxAliased/0xFFFF+1))
}

func TestAnswersToPeer(t *testing.T) {
	const dup, refused = wire.Success, wire.PayloadFormatInvalid
	cases := []struct {
		name    string
		connect wire.Packet
		qos     byte
		reason  byte
		want    wire.Packet
		pubrel  bool // the exchange goes on
	}{
		{"v5 QoS 1", connectV5, 1, refused, wire.Packet{0x40, 3, 0, 7, 0x99}, false},
		{"v5 QoS 1 duplicate", connectV5, 1, dup, wire.Packet{0x40, 2, 0, 7}, false},
		{"v5 QoS 2", connectV5, 2, refused, wire.Packet{0x50, 3, 0, 7, 0x99}, false},
		{"v5 QoS 2 duplicate", connectV5, 2, dup, wire.Packet{0x50, 2, 0, 7}, true},
		{"v3.1.1 QoS 1", connectV3, 1, refused, wire.Packet{0x40, 2, 0, 7}, false},
		{"v3.1.1 QoS 2", connectV3, 2, refused, wire.Packet{0x50, 2, 0, 7}, true},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			a, b := tcpPair(t)
			c := New(a, script{})
			write(t, c, tc.connect)
			read(t, b, len(tc.connect))
			var answers Answers
			require.NoError(t, answers.Incoming(c, &wire.PublishPacket{QoS: 0}, tc.reason))
			require.NoError(t, answers.Incoming(c, &wire.PublishPacket{QoS: tc.qos, ID: 7}, tc.reason))
			require.Equal(t, []byte(tc.want), read(t, b, len(tc.want)))
			ours, err := answers.Pubrel(c, 7)
			require.NoError(t, err)
			require.Equal(t, tc.pubrel, ours)
			if ours {
				require.Equal(t, []byte{0x70, 2, 0, 7}, read(t, b, 4))
			}
			ours, err = answers.Pubrel(c, 7)
			require.NoError(t, err)
			require.False(t, ours, "once")
		})
	}
}

func TestAcceptedExchangeIsTheLocalSides(t *testing.T) {
	a, _ := tcpPair(t)
	c := New(a, script{})
	write(t, c, connectV3)
	var answers Answers
	require.NoError(t, answers.Incoming(c, &wire.PublishPacket{QoS: 2, ID: 7}, 0))
	answers.Accepted(7)
	ours, err := answers.Pubrel(c, 7)
	require.NoError(t, err)
	require.False(t, ours)
}

func TestRefuseLocalSide(t *testing.T) {
	cases := []struct {
		name    string
		connect wire.Packet
		qos     byte
		want    wire.Packet
	}{
		{"v5 QoS 0", connectV5, 0, nil},
		{"v5 QoS 1", connectV5, 1, wire.Packet{0x40, 3, 0, 7, 0x97}},
		{"v5 QoS 2", connectV5, 2, wire.Packet{0x50, 3, 0, 7, 0x97}},
		{"v3.1.1 QoS 1", connectV3, 1, nil},
		{"v3.1.1 QoS 2", connectV3, 2, nil},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			a, b := tcpPair(t)
			c := New(a, script{})
			write(t, c, tc.connect)
			read(t, b, len(tc.connect))
			require.NoError(t, Refuse(c, &wire.PublishPacket{QoS: tc.qos, ID: 7}, wire.PacketTooLarge))
			b.Close()
			got, err := io.ReadAll(c)
			require.NoError(t, err)
			require.Equal(t, string(tc.want), string(got))
		})
	}
}

// FuzzStream feeds a stream to a layer in pieces of any size, in both directions: what comes out is a prefix of what
// went in, cut between packets, and all of it if no error is reported.
func FuzzStream(f *testing.F) {
	f.Add(bytes.Join([][]byte{connectV5, publish0V5, publish1V5, pingreq}, nil), uint8(3))
	f.Add(bytes.Join([][]byte{connectV3, {0x30, 0x80, 0x01}}, nil), uint8(1))
	f.Add([]byte{0x10, 0xff, 0xff, 0xff, 0x7f, 0}, uint8(255))
	f.Fuzz(func(t *testing.T, stream []byte, piece uint8) {
		size := int(piece) + 1
		var out bytes.Buffer
		rest := stream
		c := New(&fakeConn{
			write: out.Write,
			read: func(b []byte) (int, error) {
				n := copy(b[:min(size, len(b))], rest)
				rest = rest[n:]
				if n == 0 {
					return 0, io.EOF
				}
				return n, nil
			},
		}, script{})
		got, err := io.ReadAll(c)
		require.True(t, bytes.HasPrefix(stream, got))
		if err == nil {
			require.Equal(t, len(stream), len(got))
		}
		c = New(&fakeConn{write: out.Write}, script{})
		for i := 0; i < len(stream) && err == nil; i += size {
			_, err = c.Write(stream[i:min(i+size, len(stream))])
		}
		require.True(t, bytes.HasPrefix(stream, out.Bytes()))
	})
}
