package wire

import (
	"fmt"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"
)

// mochiPacket is a packet of the table of the mochi-mqtt server's own tests.
type mochiPacket struct {
	name string // its case
	typ  Type
	v    Version
	fail error // why mochi refuses it
	raw  []byte
}

// mochiTable returns the table. A case of mochi's encoder has the bytes that it starts
// from, which need not be a packet, and those that it ends with; only the latter count.
func mochiTable() (all []mochiPacket) {
	for typ, cases := range packets.TPacketData {
		for i, c := range cases {
			m := mochiPacket{typ: Type(typ), v: V311, fail: c.FailFirst, raw: c.RawBytes}
			m.name = fmt.Sprintf("%s %d %s", m.typ, i, c.Desc)
			if c.Packet != nil && c.Packet.ProtocolVersion != 0 {
				m.v = Version(c.Packet.ProtocolVersion)
			}
			if c.ActualBytes != nil {
				m.raw = c.ActualBytes
			}
			if c.Group == "encode" {
				m.fail = c.Expect
			}
			if m.raw != nil { // some cases are about mochi's structs only
				all = append(all, m)
			}
		}
	}
	return all
}

// mochiValid returns the packets of the table that are valid.
func mochiValid() (valid []mochiPacket) {
	for _, m := range mochiTable() {
		if m.fail == nil || m.fail == packets.CodeSuccess {
			valid = append(valid, m)
		}
	}
	return valid
}

func TestMochiValid(t *testing.T) {
	valid := mochiValid()
	require.Greater(t, len(valid), 80)
	for _, m := range valid {
		t.Run(m.name, func(t *testing.T) {
			n, err := Scan(m.raw, MaxPacket)
			require.NoError(t, err)
			require.Equal(t, len(m.raw), n)
			require.Equal(t, m.typ, Packet(m.raw).Type())

			got, err := parse(m.raw, m.v)
			require.NoError(t, err)
			canonical := requireStable(t, m.raw, m.v, got)
			if string(m.raw) == "\xe0\x02\x82\x00" {
				require.Equal(t, "\xe0\x01\x82", string(canonical)) // a length of no properties
				return
			}
			require.Equal(t, Packet(m.raw), canonical)
		})
	}
}

// TestMochiInvalid looks at what mochi refuses to decode. Those packets are cut short
// under a Remaining Length that is not theirs, so here their bodies are framed anew as
// well, which leaves the fault that the case is about.
func TestMochiInvalid(t *testing.T) {
	accepted := map[string]string{
		"invalid utf8 string (a) - code point U+D800": "UTF-8 is not checked",
		"invalid utf8 string (b) - code point U+DFFF": "UTF-8 is not checked",
		"invalid utf8 string (c) - code point U+0000": "UTF-8 is not checked",
		"malformed reason code":                       "an empty tail is no reason code, which stands for Success",
	}
	seen := map[string]bool{}
	for typ, cases := range packets.TPacketData {
		for i, c := range cases {
			if c.Group != "decode" && c.Group != "nodecode" || c.FailFirst == nil {
				continue
			}
			t.Run(fmt.Sprintf("%s %d %s", Type(typ), i, c.Desc), func(t *testing.T) {
				v := V311
				if c.Packet != nil && c.Packet.ProtocolVersion != 0 {
					v = Version(c.Packet.ProtocolVersion)
				}
				if Type(typ) == Auth {
					v = V5
				}
				_, err := parse(c.RawBytes, v)
				require.ErrorIs(t, err, ErrMalformed)

				flags := Type(typ).flags()
				if Type(typ) == Publish {
					flags = Packet(c.RawBytes).Flags()
				}
				p := frame(Type(typ), flags, c.RawBytes[2:])
				_, err = parse(p, v)
				if _, ok := accepted[c.Desc]; ok {
					seen[c.Desc] = true
					require.NoError(t, err)
					return
				}
				require.ErrorIs(t, err, ErrMalformed)
			})
		}
	}
	require.Len(t, seen, len(accepted))
}

func TestMochiNoPacketID(t *testing.T) {
	for typ, id := range map[byte]byte{
		packets.Publish:     packets.TPublishSpecQosMustPacketID,
		packets.Subscribe:   packets.TSubscribeSpecQosMustPacketID,
		packets.Unsubscribe: packets.TUnsubscribeSpecQosMustPacketID,
	} {
		raw := packets.TPacketData[typ].Get(id).RawBytes
		_, err := parse(raw, V311)
		if Type(typ) == Publish {
			require.NoError(t, err) // a client may store it like this
			continue
		}
		require.ErrorIs(t, err, ErrMalformed)
	}
}
