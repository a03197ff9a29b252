package wire

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTypeNames(t *testing.T) {
	for typ, want := range map[Type]string{
		0: "RESERVED", Connect: "CONNECT", Connack: "CONNACK", Publish: "PUBLISH", Puback: "PUBACK", Pubrec: "PUBREC",
		Pubrel: "PUBREL", Pubcomp: "PUBCOMP", Subscribe: "SUBSCRIBE", Suback: "SUBACK", Unsubscribe: "UNSUBSCRIBE",
		Unsuback: "UNSUBACK", Pingreq: "PINGREQ", Pingresp: "PINGRESP", Disconnect: "DISCONNECT", 15: "AUTH", 16: "Type(16)",
	} {
		require.Equal(t, want, typ.String())
	}
}

// TestScanFirstByte judges every first byte by MQTT5 tables 2-1 and 2-2, and by MQTT
// 3.1 section 2.1, before anything else has arrived.
func TestScanFirstByte(t *testing.T) {
	for b := range 256 {
		flags := b & 15
		valid := flags == 0
		switch b >> 4 {
		case 0:
			valid = false
		case 3:
			valid = flags&6 != 6
		case 6, 8, 10:
			valid = flags == 2 || flags == 10
		}
		for _, in := range [][]byte{{byte(b)}, {byte(b), 0}, {byte(b), 0x80}} {
			n, err := Scan(in, MaxPacket)
			if !valid {
				require.ErrorIs(t, err, ErrMalformed, "% x", in)
				require.Zero(t, n)
				continue
			}
			require.NoError(t, err, "% x", in)
			if len(in) == 2 && in[1] == 0 {
				require.Equal(t, 2, n)
			} else {
				require.Zero(t, n)
			}
		}
	}
}

// TestScanLength has the bounds of MQTT5 table 1-1.
func TestScanLength(t *testing.T) {
	for _, c := range []struct {
		length string
		n      int
		bad    bool
	}{
		{"", 0, false},
		{"\x00", 2, false}, {"\x7f", 129, false}, {"\x80\x01", 131, false}, {"\xff\x7f", 16386, false},
		{"\x80\x80\x01", 16388, false}, {"\xff\xff\x7f", 2097155, false}, {"\x80\x80\x80\x01", 2097157, false},
		{"\xff\xff\xff\x7f", MaxPacket, false},
		{"\x80", 0, false}, {"\xff\xff", 0, false}, {"\xff\xff\xff", 0, false},
		{"\xff\xff\xff\xff", 0, true}, {"\xff\xff\xff\xff\x00", 0, true}, {"\x80\x80\x80\x80\x01", 0, true},
	} {
		n, err := Scan([]byte("\x30"+c.length), MaxPacket)
		require.Equal(t, c.n, n, "% x", c.length)
		require.Equal(t, c.bad, err != nil, "% x", c.length)
		if c.bad {
			require.ErrorIs(t, err, ErrMalformed)
		}
		if c.n > 0 {
			require.Equal(t, c.length, string(AppendVarint(nil, c.n-1-len(c.length))))
			require.Equal(t, len(c.length), VarintSize(c.n-1-len(c.length)))
		}
	}
	n, err := Scan(nil, 0)
	require.Zero(t, n)
	require.NoError(t, err)
}

// TestScanOverlongLength: MQTT 3.1 and 3.1.1 do not ask for the shortest encoding of the
// Remaining Length, MQTT5 1.5.5 does.
func TestScanOverlongLength(t *testing.T) {
	for length, n := range map[string]int{
		"\x80\x00": 3, "\xff\x00": 130, "\x80\x80\x00": 4, "\x84\x80\x80\x00": 9,
	} {
		p := append([]byte("\x30"+length), make([]byte, 200)...)
		got, err := Scan(p, MaxPacket)
		require.NoError(t, err)
		require.Equal(t, n, got, "% x", length)
		whole := Packet(p[:n])
		require.Len(t, whole.Body(), n-1-len(length))
		require.NoError(t, whole.CheckHeader(V31))
		require.NoError(t, whole.CheckHeader(V311))
		require.ErrorIs(t, whole.CheckHeader(V5), ErrMalformed)
	}
	p := Packet("\x30\x84\x00\x00\x01ux")
	m, err := ParsePublish(p, V311)
	require.NoError(t, err)
	require.Equal(t, "x", string(m.Payload))
	_, err = ParsePublish(p, V5)
	require.ErrorIs(t, err, ErrMalformed)
}

// TestSentAgain: MQTT 3.1 has DUP on PUBREL, SUBSCRIBE and UNSUBSCRIBE, its successors
// do not.
func TestSentAgain(t *testing.T) {
	for _, p := range []Packet{[]byte("\x6a\x02\x00\x05"), []byte("\x8a\x06\x00\x01\x00\x01u\x00"), []byte("\xaa\x05\x00\x01\x00\x01u")} {
		n, err := Scan(p, MaxPacket)
		require.NoError(t, err)
		require.Len(t, p, n)
		for _, v := range []Version{V31, V311, V5} {
			err := p.CheckHeader(v)
			_, parsing := parse(p, v)
			if v == V31 {
				require.NoError(t, err)
				require.NoError(t, parsing)
			} else {
				require.ErrorIs(t, err, ErrMalformed)
				require.ErrorIs(t, parsing, ErrMalformed)
			}
		}
	}
}

func TestScanLimit(t *testing.T) {
	p := frame(Publish, 0, make([]byte, 200))
	n, err := Scan(p[:3], len(p))
	require.NoError(t, err)
	require.Equal(t, len(p), n)
	_, err = Scan(p[:3], len(p)-1)
	require.ErrorIs(t, err, ErrTooLarge)
	require.NotErrorIs(t, err, ErrMalformed)
	_, err = Scan([]byte("\x30\xff\xff\xff\x7f"), MaxPacket-1)
	require.ErrorIs(t, err, ErrTooLarge)
	_, err = Scan([]byte("\xc0\x00"), 0)
	require.ErrorIs(t, err, ErrTooLarge)
}

func TestPacketParts(t *testing.T) {
	p := Packet("\x3b\x04\x00\x01tx")
	require.Equal(t, Publish, p.Type())
	require.Equal(t, byte(0x0B), p.Flags())
	require.Equal(t, "\x00\x01tx", string(p.Body()))
	require.Equal(t, len(p.Body()), cap(p.Body()))
	require.Empty(t, Packet("\xc0\x00").Body())

	for _, p := range []Packet{nil, {}, {0x30}, {0x30, 0x80}, []byte("\x30\xff\xff\xff\xff\x01")} {
		require.Nil(t, p.Body())
	}
	require.Zero(t, Packet(nil).Type())
	require.Zero(t, Packet(nil).Flags())
}

// TestParseNeedsOnePacket hands over what is not one whole packet of the right type and
// a known version.
func TestParseNeedsOnePacket(t *testing.T) {
	for _, v := range []Version{V31, V311, V5} {
		for _, typ := range types(v) {
			p, err := newGenerator(1).packet(typ, v).Append(nil, v)
			require.NoError(t, err)
			for _, bad := range [][]byte{nil, p[:1], p[:len(p)-1], append(bytes.Clone(p), 0), append(bytes.Clone(p), p...)} {
				_, err := parse(append([]byte{p[0]}[:min(1, len(bad))], bad[min(1, len(bad)):]...), v)
				require.ErrorIs(t, err, ErrMalformed)
			}
			requireOtherTypesRefused(t, typ, p, v)
			for _, unknown := range []Version{0, 2, 6, 0x84} {
				if typ == Connect || typ == Pingreq || typ == Pingresp {
					continue
				}
				_, err := parse(p, unknown)
				require.ErrorIs(t, err, ErrVersion, typ.String())
				_, err = newGenerator(1).packet(typ, v).Append(nil, unknown)
				require.ErrorIs(t, err, ErrVersion, typ.String())
			}
		}
	}
}

func requireOtherTypesRefused(t *testing.T, typ Type, p Packet, v Version) {
	t.Helper()
	parsers := map[string]struct {
		types []Type
		parse func() error
	}{
		"CONNECT":     {[]Type{Connect}, func() error { _, err := ParseConnect(p); return err }},
		"CONNACK":     {[]Type{Connack}, func() error { _, err := ParseConnack(p, v); return err }},
		"PUBLISH":     {[]Type{Publish}, func() error { _, err := ParsePublish(p, v); return err }},
		"ack":         {[]Type{Puback, Pubrec, Pubrel, Pubcomp}, func() error { _, err := ParseAck(p, v); return err }},
		"SUBSCRIBE":   {[]Type{Subscribe}, func() error { _, err := ParseSubscribe(p, v); return err }},
		"UNSUBSCRIBE": {[]Type{Unsubscribe}, func() error { _, err := ParseUnsubscribe(p, v); return err }},
		"SUBACK":      {[]Type{Suback, Unsuback}, func() error { _, err := ParseSuback(p, v); return err }},
		"reason":      {[]Type{Disconnect, Auth}, func() error { _, err := ParseReason(p, v); return err }},
	}
	for name, parser := range parsers {
		mine := bytes.Contains(typeBytes(parser.types), []byte{byte(typ)})
		if err := parser.parse(); mine {
			require.NoError(t, err, "%s as %s", typ, name)
		} else {
			require.ErrorIs(t, err, ErrMalformed, "%s as %s", typ, name)
		}
	}
}

func typeBytes(types []Type) (b []byte) {
	for _, t := range types {
		b = append(b, byte(t))
	}
	return b
}
