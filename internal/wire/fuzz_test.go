package wire

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each target parses what it is given, appends what was parsed, and parses that again;
// see requireStable.

func FuzzScan(f *testing.F) {
	for _, s := range samples(1) {
		f.Add([]byte(s.p), 64)
	}
	f.Add([]byte("\x30\xff\xff\xff\x7f"), MaxPacket)
	f.Add([]byte("\x30\x80\x80\x80\x80\x01"), MaxPacket)
	f.Fuzz(func(t *testing.T, b []byte, limit int) {
		n, err := Scan(b, limit)
		if err != nil {
			require.Zero(t, n)
			return
		}
		if n == 0 {
			require.Less(t, len(b), 5)
			return
		}
		require.True(t, n >= 2 && n <= limit && n <= MaxPacket)
		// The fixed header alone decides, and any shorter prefix of it does not.
		size := 2
		for b[size-1] >= 0x80 {
			size++
		}
		again, err := Scan(b[:size], limit)
		require.NoError(t, err)
		require.Equal(t, n, again)
		again, err = Scan(b[:size-1], limit)
		require.NoError(t, err)
		require.Zero(t, again)
		if n <= len(b) {
			require.Len(t, Packet(b[:n]).Body(), n-size)
		}
	})
}

// fuzzType fuzzes the bodies of packets of some types.
func fuzzType(f *testing.F, wanted ...Type) {
	for _, s := range samples(3) {
		if bytes.Contains(typeBytes(wanted), []byte{byte(s.p.Type())}) {
			f.Add(s.p[0], []byte(s.p.Body()), byte(s.v))
		}
	}
	f.Fuzz(func(t *testing.T, first byte, body []byte, v byte) {
		typ := Type(first >> 4)
		if !bytes.Contains(typeBytes(wanted), []byte{byte(typ)}) {
			typ = wanted[0]
		}
		_ = try(t, frame(typ, first&0x0F, body), Version(v))
	})
}

func FuzzPublish(f *testing.F)   { fuzzType(f, Publish) }
func FuzzConnect(f *testing.F)   { fuzzType(f, Connect) }
func FuzzConnack(f *testing.F)   { fuzzType(f, Connack) }
func FuzzAck(f *testing.F)       { fuzzType(f, Puback, Pubrec, Pubrel, Pubcomp) }
func FuzzSubscribe(f *testing.F) { fuzzType(f, Subscribe, Unsubscribe) }
func FuzzSuback(f *testing.F)    { fuzzType(f, Suback, Unsuback) }
func FuzzReason(f *testing.F)    { fuzzType(f, Disconnect, Auth) }
func FuzzAnyPacket(f *testing.F) {
	for _, s := range samples(2) {
		f.Add([]byte(s.p), byte(s.v))
	}
	f.Fuzz(func(t *testing.T, p []byte, v byte) { _ = try(t, p, Version(v)) })
}

// FuzzProperties takes properties apart by every method and builds them again.
func FuzzProperties(f *testing.F) {
	g := newGenerator(13)
	for t := Connect; t <= Auth; t++ {
		f.Add([]byte(g.properties(1 << t)))
	}
	f.Add([]byte(g.properties(willPlace)))
	f.Add([]byte("\x0b\x80\x00"))
	f.Add([]byte("\x26\x00\x01n\xff\xff"))
	f.Fuzz(func(t *testing.T, b []byte) {
		ps := Properties(b)
		err := ps.Validate()
		var rebuilt Properties
		for id, value := range ps.All() {
			first, ok := ps.Find(id)
			require.True(t, ok)
			if got, ok := ps.Uint(id); ok && bytes.Equal(first, value) {
				rebuilt = rebuilt.AppendUint(id, got)
			} else if got, ok := ps.Bytes(id); ok && bytes.Equal(first, value) {
				rebuilt = rebuilt.AppendBytes(id, got)
			} else {
				rebuilt = append(append(rebuilt, byte(id)), value...)
			}
			require.Less(t, len(ps.Without(id)), len(ps))
			_, ok = ps.Without(id).Find(id)
			require.False(t, ok)
		}
		require.True(t, bytes.HasPrefix(b, rebuilt))
		if err == nil {
			require.Equal(t, len(b), len(rebuilt))
		}
		var users Properties
		for name, value := range ps.Pairs() {
			users = users.AppendPair(name, value)
		}
		others := ps.Without(UserProperty)
		require.Equal(t, len(b), len(others)+len(users))
		require.Equal(t, err == nil, others.Validate() == nil)
		for typ := Connect; typ <= Auth; typ++ {
			if ps.ValidateIn(typ) == nil {
				require.NoError(t, err)
			}
		}
	})
}

// FuzzAppend builds a PUBLISH of any fields: what Append writes must be one packet that
// parses to them.
func FuzzAppend(f *testing.F) {
	f.Add(byte(1), uint16(7), []byte("topic"), []byte("\x23\x00\x01"), []byte("payload"), byte(5), true)
	f.Add(byte(3), uint16(0), []byte{}, []byte{}, []byte{}, byte(4), false)
	f.Fuzz(func(t *testing.T, qos byte, id uint16, topic, ps, payload []byte, v byte, flag bool) {
		m := &PublishPacket{Dup: flag, Retain: !flag, QoS: qos, Topic: topic, ID: id, Properties: ps, Payload: payload}
		p, err := m.Append(nil, Version(v))
		if err != nil {
			require.Empty(t, p)
			return
		}
		if qos == 0 {
			m.ID = 0
		}
		if v != byte(V5) {
			m.Properties = nil
		}
		got, err := ParsePublish(p, Version(v))
		require.NoError(t, err)
		require.Equal(t, text(m), text(&got))
	})
}
