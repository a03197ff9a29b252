package layer

import (
	"bytes"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// granting returns a CONNECT that grants a Maximum Packet Size and aliases.
func granting(t *testing.T, size uint32) wire.Packet {
	t.Helper()
	m, err := wire.ParseConnect(connectV5)
	require.NoError(t, err)
	m.Properties = m.Properties.AppendUint(wire.MaximumPacketSize, size).AppendUint(wire.TopicAliasMaximum, 9)
	p, err := m.Append(nil)
	require.NoError(t, err)
	return p
}

// publishOf returns a PUBLISH of size bytes in all.
func publishOf(t *testing.T, size int, m wire.PublishPacket) wire.Packet {
	t.Helper()
	for n := size; n >= 0; n-- {
		if m.HeaderSize(wire.V5, n)+n == size {
			m.Payload = bytes.Repeat([]byte{'z'}, n)
			p, err := m.Append(nil, wire.V5)
			require.NoError(t, err)
			return p
		}
	}
	t.Fatalf("no PUBLISH has %d bytes", size)
	return nil
}

// skipping is a filter with the duties of a PUBLISH and nothing else.
type skipping struct {
	script
	publishes Publishes
	skipped   []string
}

func (f *skipping) Incoming(c *Conn, p wire.Packet) (wire.Packet, error) {
	return f.publishes.Incoming(c, p)
}

func (f *skipping) Outgoing(c *Conn, p wire.Packet) (wire.Packet, error) {
	return f.publishes.Outgoing(c, p)
}

func (f *skipping) Skipped(_ *Conn, m *wire.PublishPacket) error {
	name, err := f.publishes.Skipped(m)
	f.skipped = append(f.skipped, string(name))
	return err
}

// TestPacketBeyondMaximumPacketSize: what a server sends that does not count the fixed header arrives, what is larger
// is passed over and answered, in one piece or in crumbs, and the connection lives on (MQTT 5, 3.1.2.11.4).
func TestPacketBeyondMaximumPacketSize(t *testing.T) {
	const limit = 200
	alias := wire.Properties(nil).AppendUint(wire.TopicAlias, 3)
	cases := []struct {
		name   string
		packet wire.Packet
		answer wire.Packet // nil: it passes, or there is none
		skips  bool
	}{
		{"the limit", publishOf(t, limit, wire.PublishPacket{Topic: []byte("t"), QoS: 1, ID: 5}), nil, false},
		{"a byte more", publishOf(t, limit+1, wire.PublishPacket{Topic: []byte("t"), QoS: 1, ID: 5}), nil, false},
		{"the fixed header more", publishOf(t, limit+5, wire.PublishPacket{Topic: []byte("t")}), nil, false},
		{"QoS 0", publishOf(t, limit+6, wire.PublishPacket{Topic: []byte("t")}), nil, true},
		{"QoS 1", publishOf(t, limit+6, wire.PublishPacket{Topic: []byte("t"), QoS: 1, ID: 5}), wire.Packet{0x40, 3, 0, 5, 0x97}, true},
		{"QoS 2", publishOf(t, 300_000, wire.PublishPacket{Topic: []byte("t"), QoS: 2, ID: 5}), wire.Packet{0x50, 3, 0, 5, 0x97}, true},
		{"an alias", publishOf(t, 70_000, wire.PublishPacket{Topic: []byte("t"), QoS: 1, ID: 5, Properties: alias}), wire.Packet{0x40, 3, 0, 5, 0x97}, true},
		{"a long topic", publishOf(t, 70_000, wire.PublishPacket{Topic: bytes.Repeat([]byte{'t'}, 65_000), QoS: 1, ID: 5}), wire.Packet{0x40, 3, 0, 5, 0x97}, true},
	}
	for _, tc := range cases {
		for _, crumb := range []int{1, 997, 1 << 20} {
			if crumb == 1 && len(tc.packet) > 1000 {
				continue
			}
			t.Run(tc.name, func(t *testing.T) {
				a, b := tcpPair(t)
				f := new(skipping)
				c := New(a, f)
				connect := granting(t, limit)
				write(t, c, connect)
				read(t, b, len(connect))
				go func() {
					stream := append(append(bytes.Clone(connackV5), tc.packet...), pingreq...)
					for len(stream) > 0 {
						n := min(crumb, len(stream))
						b.Write(stream[:n])
						stream = stream[n:]
					}
				}()
				want := append(bytes.Clone(connackV5), tc.packet...)
				if tc.skips {
					want = connackV5
				}
				want = append(bytes.Clone(want), pingreq...)
				require.Equal(t, want, read(t, c, len(want)))
				if tc.answer != nil {
					require.Equal(t, []byte(tc.answer), read(t, b, len(tc.answer)))
				}
				require.Equal(t, tc.skips, len(f.skipped) == 1)
				require.LessOrEqual(t, len(c.in.data), 128<<10, "memory for what is passed over")
			})
		}
	}
}

// TestAllow: a filter that asks for more gets so much more, and where there is no limit there is none afterwards.
func TestAllow(t *testing.T) {
	const limit, more = 64, 10
	fits := publishOf(t, limit+more+uncounted, wire.PublishPacket{Topic: []byte("t")})
	over := publishOf(t, limit+more+uncounted+1, wire.PublishPacket{Topic: []byte("t")})
	for _, tc := range []struct{ connect, want wire.Packet }{
		{granting(t, limit), slices.Concat(connackV5, fits, pingreq)},
		{connectV5, slices.Concat(connackV5, fits, over, pingreq)},
	} {
		a, b := tcpPair(t)
		c := New(a, script{})
		write(t, c, tc.connect)
		read(t, b, len(tc.connect))
		c.Allow(more)
		write(t, b, connackV5, fits, over, pingreq)
		b.Close()
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Equal(t, []byte(tc.want), got)
	}
}

// TestAliasOfPassedOverPublish: the alias that it set is known, and its receiver gets the topic with the next PUBLISH.
func TestAliasOfPassedOverPublish(t *testing.T) {
	alias := wire.Properties(nil).AppendUint(wire.TopicAlias, 3)
	a, b := tcpPair(t)
	c := New(a, new(skipping))
	write(t, c, granting(t, 64))
	short, err := (&wire.PublishPacket{Properties: alias, Payload: []byte("x")}).Append(nil, wire.V5)
	require.NoError(t, err)
	write(t, b, connackV5, publishOf(t, 999, wire.PublishPacket{Topic: []byte("a/b"), Properties: alias}), short)
	read(t, c, len(connackV5))
	want, err := (&wire.PublishPacket{Topic: []byte("a/b"), Properties: alias, Payload: []byte("x")}).Append(nil, wire.V5)
	require.NoError(t, err)
	require.Equal(t, want, read(t, c, len(want)))
}

// named is a connection as a scheme hands it out.
type named struct{ *Conn }

func (c named) NetConn() net.Conn { return c.Conn }

// TestPassedOverBelow: what a layer below has passed over a filter hears of behind all that came before, and knows the
// alias that it set.
func TestPassedOverBelow(t *testing.T) {
	alias := wire.Properties(nil).AppendUint(wire.TopicAlias, 3)
	a, b := tcpPair(t)
	f := &skipping{}
	c := New(named{New(a, script{})}, f)
	var heard []string
	f.publishes.In = func(_ *Conn, m *Message) (wire.Packet, error) {
		heard = append(heard, string(m.Name)+" after "+strings.Join(f.skipped, " "))
		return m.Packet()
	}
	write(t, c, granting(t, 64))
	of := func(topic string, ps wire.Properties) wire.Packet {
		p, err := (&wire.PublishPacket{Topic: []byte(topic), Properties: ps}).Append(nil, wire.V5)
		require.NoError(t, err)
		return p
	}
	write(t, b, connackV5, slices.Concat(of("x", alias), publishOf(t, 999, wire.PublishPacket{Properties: alias}), of("", alias),
		publishOf(t, 999, wire.PublishPacket{Topic: []byte("a/b"), Properties: alias}), of("", alias)))
	want := []byte(slices.Concat(of("x", alias), of("", alias), of("a/b", alias)))
	read(t, c, len(connackV5))
	require.Equal(t, want, read(t, c, len(want)))
	require.Equal(t, []string{"x after ", "x after x", "a/b after x a/b"}, heard)
}

// TestOtherPacketBeyondMaximumPacketSize cannot be answered, so it ends the connection; so does a PUBLISH that is none.
func TestOtherPacketBeyondMaximumPacketSize(t *testing.T) {
	suback := append(wire.Packet{0x90, 100, 0, 1, 0}, make([]byte, 97)...)
	for _, tc := range []struct {
		p    wire.Packet
		want error
	}{
		{suback, wire.ErrTooLarge},
		{append(wire.Packet{0x30, 0xE4, 0}, make([]byte, 100)...), wire.ErrMalformed},
		{append(wire.Packet{0x32, 100, 0, 1, 't', 0, 0, 0}, make([]byte, 94)...), wire.ErrMalformed},
		{append(wire.Packet{0x30, 100, 0, 1, 't', 0x80, 0x80, 0x80, 0x80}, make([]byte, 93)...), wire.ErrMalformed},
	} {
		a, b := tcpPair(t)
		c := New(a, script{})
		write(t, c, granting(t, 64))
		write(t, b, connackV5, tc.p)
		read(t, c, len(connackV5))
		_, err := c.Read(make([]byte, 1))
		require.ErrorIs(t, err, tc.want)
	}
}

// TestOldVersions: what MQTT 3.1 and 3.1.1 allow and MQTT 5 does not passes byte for byte in both directions: a
// Remaining Length in more bytes than it needs (3.1.1, 2.2.3), and in 3.1 DUP on a PUBREL, SUBSCRIBE or UNSUBSCRIBE
// that is sent again (3.1, 2.1).
func TestOldVersions(t *testing.T) {
	connectV31 := wire.Packet{0x10, 0x10, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 60, 0, 2, 'c', '1'}
	overlong := wire.Packet{0x30, 0x84, 0, 0, 1, 'u', 'x'}
	cases := []struct {
		name    string
		connect wire.Packet
		packet  wire.Packet
		ok      bool
	}{
		{"3.1 length", connectV31, overlong, true},
		{"3.1.1 length", connectV3, overlong, true},
		{"3.1.1 length in four bytes", connectV3, wire.Packet{0x30, 0x84, 0x80, 0x80, 0, 0, 1, 'u', 'x'}, true},
		{"5 length", connectV5, overlong, false},
		{"3.1 PUBREL", connectV31, wire.Packet{0x6A, 2, 0, 5}, true},
		{"3.1 SUBSCRIBE", connectV31, wire.Packet{0x8A, 6, 0, 1, 0, 1, 'u', 0}, true},
		{"3.1 UNSUBSCRIBE", connectV31, wire.Packet{0xAA, 5, 0, 1, 0, 1, 'u'}, true},
		{"3.1.1 PUBREL", connectV3, wire.Packet{0x6A, 2, 0, 5}, false},
		{"5 SUBSCRIBE", connectV5, wire.Packet{0x8A, 7, 0, 1, 0, 0, 1, 'u', 0}, false},
	}
	for _, tc := range cases {
		t.Run(tc.name, func(t *testing.T) {
			a, b := tcpPair(t)
			client, server := New(a, script{}), New(b, script{})
			write(t, client, tc.connect)
			require.Equal(t, []byte(tc.connect), read(t, server, len(tc.connect)))
			if !tc.ok {
				_, err := client.Write(tc.packet)
				require.ErrorIs(t, err, wire.ErrMalformed)
				write(t, a, tc.packet)
				_, err = server.Read(make([]byte, 1))
				require.ErrorIs(t, err, wire.ErrMalformed)
				return
			}
			write(t, client, tc.packet)
			require.Equal(t, []byte(tc.packet), read(t, server, len(tc.packet)))
			write(t, server, tc.packet)
			require.Equal(t, []byte(tc.packet), read(t, client, len(tc.packet)))
		})
	}
	t.Run("CONNECT", func(t *testing.T) {
		long := append(wire.Packet{0x10, 0x8E, 0}, connectV3[2:]...)
		a, b := tcpPair(t)
		client, server := New(a, script{}), New(b, script{})
		write(t, client, long)
		require.Equal(t, []byte(long), read(t, server, len(long)))
		_, err := New(a, script{}).Write(append(wire.Packet{0x10, 0x8F, 0}, connectV5[2:]...))
		require.ErrorIs(t, err, wire.ErrMalformed)
	})
}
