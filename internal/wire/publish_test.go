package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestPublishSizes holds Size, HeaderSize and AppendHeader against Append.
func TestPublishSizes(t *testing.T) {
	g := newGenerator(11)
	for range 300 {
		for _, v := range []Version{V31, V311, V5} {
			m := g.packet(Publish, v).(*PublishPacket)
			whole, err := m.Append(nil, v)
			require.NoError(t, err)
			require.Len(t, whole, m.Size(v))

			n := len(m.Payload)
			header, err := m.AppendHeader(nil, v, n)
			require.NoError(t, err)
			require.Len(t, header, m.HeaderSize(v, n))
			require.Equal(t, whole, append(header, m.Payload...))
		}
	}
}

func TestPublishLimits(t *testing.T) {
	for _, v := range []Version{V311, V5} {
		m := PublishPacket{Topic: []byte("t"), QoS: 1, ID: 1}
		room := maxRemaining - m.variableSize(v)
		header, err := m.AppendHeader(nil, v, room)
		require.NoError(t, err)
		require.Equal(t, "\x32\xff\xff\xff\x7f", string(header[:5]))
		require.Equal(t, MaxPacket, m.HeaderSize(v, room)+room)
		n, err := Scan(header, MaxPacket)
		require.NoError(t, err)
		require.Equal(t, MaxPacket, n)

		for _, n := range []int{room + 1, maxRemaining, maxRemaining + 1, 1 << 30, -1} {
			dst, err := m.AppendHeader([]byte("kept"), v, n)
			require.ErrorIs(t, err, ErrTooLarge)
			require.Equal(t, "kept", string(dst))
		}
		require.Greater(t, m.HeaderSize(v, room+1)+room+1, MaxPacket)
		m.Payload = make([]byte, room+1) // never touched
		require.Greater(t, m.Size(v), MaxPacket)
		_, err = m.Append(nil, v)
		require.ErrorIs(t, err, ErrTooLarge)
	}
}

func TestVarintSizes(t *testing.T) {
	for _, v := range []int{0, 1, 127, 128, 16383, 16384, 2097151, 2097152, maxRemaining} {
		b := AppendVarint(nil, v)
		require.Len(t, b, VarintSize(v))
		got, n := Varint(append(b, 0xFF))
		require.Equal(t, v, int(got))
		require.Equal(t, len(b), n)
	}
	require.Equal(t, 5, VarintSize(maxRemaining+1))
}

// typicalPublish is a PUBLISH as a sealed v5 one looks.
func typicalPublish() (*PublishPacket, Packet) {
	m := &PublishPacket{
		QoS: 1, ID: 7, Topic: []byte("site/7/line/3/temperature"), Payload: make([]byte, 256),
		Properties: Properties(nil).AppendUint(MessageExpiryInterval, 60).AppendUint(TopicAlias, 3).
			AppendBytes(ContentType, []byte("application/octet-stream")).AppendPair("name", "value"),
	}
	p, err := m.Append(nil, V5)
	if err != nil {
		panic(err)
	}
	return m, p
}

func TestNoAllocation(t *testing.T) {
	m, p := typicalPublish()
	ack, err := (&AckPacket{Pubrec, 7, NotAuthorized, Properties(nil).AppendPair("name", "value")}).Append(nil, V5)
	require.NoError(t, err)
	dst := make([]byte, 0, 1024)
	var failed error
	check := func(err error) {
		if err != nil {
			failed = err
		}
	}
	for name, f := range map[string]func(){
		"Scan":         func() { _, err := Scan(p, MaxPacket); check(err) },
		"ParsePublish": func() { _, err := ParsePublish(p, V5); check(err) },
		"ParseAck":     func() { _, err := ParseAck(ack, V5); check(err) },
		"AppendHeader": func() { _, err := m.AppendHeader(dst, V5, len(m.Payload)); check(err) },
		"Append":       func() { _, err := m.Append(dst, V5); check(err) },
		"malformed":    func() { _, _ = ParsePublish(p[:len(p)-1], V5); _, _ = Scan(p, 5) },
		"Find": func() {
			m.Properties.Find(UserProperty)
			m.Properties.Uint(TopicAlias)
			m.Properties.Bytes(ContentType)
		},
		"Without": func() { m.Properties.Without(CorrelationData) },
		"All": func() {
			for id, value := range m.Properties.All() {
				if id == 0 || len(value) == 0 {
					failed = errProperty
				}
			}
		},
	} {
		require.Zero(t, testing.AllocsPerRun(100, f), name)
	}
	require.NoError(t, failed)
}

func BenchmarkScan(b *testing.B) {
	_, p := typicalPublish()
	b.ReportAllocs()
	for b.Loop() {
		_, _ = Scan(p, MaxPacket)
	}
}

func BenchmarkParsePublish(b *testing.B) {
	_, p := typicalPublish()
	v3, err := (&PublishPacket{QoS: 1, ID: 7, Topic: []byte("site/7/line/3/temperature"), Payload: make([]byte, 256)}).Append(nil, V311)
	require.NoError(b, err)
	b.Run("v5", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = ParsePublish(p, V5)
		}
	})
	b.Run("v3", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			_, _ = ParsePublish(v3, V311)
		}
	})
}

func BenchmarkAppendHeader(b *testing.B) {
	m, _ := typicalPublish()
	dst := make([]byte, 0, 1024)
	for _, v := range []Version{V5, V311} {
		b.Run(map[Version]string{V5: "v5", V311: "v3"}[v], func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = m.AppendHeader(dst, v, 256)
			}
		})
	}
}

func BenchmarkParseAck(b *testing.B) {
	p := Packet("\x40\x02\x00\x07")
	b.ReportAllocs()
	for b.Loop() {
		_, _ = ParseAck(p, V5)
	}
}
