package seal

import (
	"bytes"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// A broker that sends whatever it likes to a client with a Sealer.
//
//   - any bytes after CONNECT, in each version, the seeds being every way in which a sealed message can come: no panic,
//     and what reaches the client on a covered topic was sealed for that topic FuzzBroker
//   - any bytes of a client that writes them                                        FuzzClient
//
// Not covered: that what was sealed comes once only; the tests of replay see to that.

// tape is a connection whose peer sends what is on it and reads all.
type tape struct {
	net.Conn
	in *bytes.Reader
}

func (c *tape) Read(b []byte) (int, error)       { return c.in.Read(b) }
func (c *tape) Write(b []byte) (int, error)      { return len(b), nil }
func (c *tape) Close() error                     { return nil }
func (c *tape) SetReadDeadline(time.Time) error  { return nil }
func (c *tape) SetWriteDeadline(time.Time) error { return nil }

const genuine = "sealed with the key"

// openingFilter is a filter on a connection after CONNECT.
func openingFilter(t testing.TB, s *Sealer, v wire.Version, in []byte) net.Conn {
	t.Helper()
	conn, err := s.Conn(t.Context(), &tape{in: bytes.NewReader(in)})
	if err != nil {
		t.Fatal(err)
	}
	m := wire.ConnectPacket{Version: v, ClientID: []byte("client")}
	if v == wire.V5 {
		m.Properties = wire.Properties(nil).AppendUint(wire.TopicAliasMaximum, 3)
	}
	p, err := m.Append(nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(p); err != nil {
		t.Fatal(err)
	}
	return conn
}

func fuzzSealer(t testing.TB) *Sealer {
	return testSealer(t, Config{Keys: []Key{testKey(t, "site/#", 1)}, Rejected: func(Rejection) {}})
}

// seeds adds what an honest broker sends, and what a client writes.
func seeds(f *testing.F, s *Sealer) {
	for _, v := range versions {
		stream, err := (&wire.ConnackPacket{}).Append(nil, v)
		if err != nil {
			f.Fatal(err)
		}
		add := func(m wire.PublishPacket, msg Message) {
			msg.Topic, msg.Payload = []byte("site/7"), []byte(genuine)
			if m.Payload, err = s.seal(nil, &msg); err != nil {
				f.Fatal(err)
			}
			b, err := m.Append(nil, v)
			if err != nil {
				f.Fatal(err)
			}
			stream = append(stream, b...)
		}
		for qos := range byte(3) {
			alias := wire.Properties(nil).AppendUint(wire.TopicAlias, 2)
			m := wire.PublishPacket{QoS: qos, ID: 5, Topic: []byte("site/7")}
			add(m, Message{})
			m.Properties, m.ID = alias, 6
			add(m, Message{Properties: wire.Properties(nil).AppendPair("k", "v")})
			if v == wire.V5 {
				m.Topic, m.ID = nil, 7
				add(m, Message{Will: true})
				m.Topic = []byte("site/7")
			}
			m.Retain, m.ID = true, 8
			add(m, Message{Retain: true})
			m.Topic, m.Payload, m.ID = []byte("other"), []byte("plain"), 9
			b, err := m.Append(nil, v)
			if err != nil {
				f.Fatal(err)
			}
			stream = append(stream, b...)
		}
		for _, t := range []wire.Type{wire.Puback, wire.Pubrec, wire.Pubrel, wire.Pubcomp} {
			b, err := (&wire.AckPacket{Type: t, ID: 5}).Append(nil, v)
			if err != nil {
				f.Fatal(err)
			}
			stream = append(stream, b...)
		}
		f.Add(byte(v), stream)
	}
}

func FuzzBroker(f *testing.F) {
	seeds(f, fuzzSealer(f))
	f.Fuzz(func(t *testing.T, version byte, in []byte) {
		v := wire.V311 + wire.Version(version%2)
		s := fuzzSealer(t)
		conn := openingFilter(t, s, v, in)
		defer conn.Close()
		b, _ := io.ReadAll(conn)
		topics := layer.Aliases{}
		for {
			n, err := wire.Scan(b, wire.MaxPacket)
			if err != nil || n == 0 || n > len(b) {
				return
			}
			p := wire.Packet(b[:n])
			b = b[n:]
			if p.Type() != wire.Publish {
				continue
			}
			m, err := wire.ParsePublish(p, v)
			if err != nil {
				t.Fatalf("delivered %x: %v", p, err)
			}
			topic, _, err := topics.Resolve(&m, 3)
			if err != nil {
				t.Fatalf("delivered %x: %v", p, err)
			}
			if s.covers(topic) && string(m.Payload) != genuine {
				t.Fatalf("delivered on %q: %q", topic, m.Payload)
			}
		}
	})
}

func FuzzClient(f *testing.F) {
	seeds(f, fuzzSealer(f))
	f.Fuzz(func(t *testing.T, version byte, in []byte) {
		s := fuzzSealer(t)
		conn := openingFilter(t, s, wire.V311+wire.Version(version%2), nil)
		defer conn.Close()
		for piece := range slices.Chunk(in, 50) {
			if _, err := conn.Write(piece); err != nil {
				return
			}
		}
	})
}
