package layer

import (
	"fmt"
	"io"
	"net"
	"testing"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// BenchmarkThroughput moves PUBLISH packets over TCP, without a layer and with one on either side that edits nothing.
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{64, 1 << 10, 64 << 10, 256 << 10, 1 << 20} {
		for _, layers := range []bool{false, true} {
			b.Run(fmt.Sprintf("%d bytes/layers %v", size, layers), func(b *testing.B) {
				p, err := (&wire.PublishPacket{Topic: []byte("t"), Payload: make([]byte, size)}).Append(nil, wire.V5)
				if err != nil {
					b.Fatal(err)
				}
				l, err := net.Listen("tcp", "127.0.0.1:0")
				if err != nil {
					b.Fatal(err)
				}
				defer l.Close()
				var client, server net.Conn
				if client, err = net.Dial("tcp", l.Addr().String()); err != nil {
					b.Fatal(err)
				}
				if server, err = l.Accept(); err != nil {
					b.Fatal(err)
				}
				if layers {
					client, server = New(client, script{}), New(server, script{})
				}
				defer client.Close()
				defer server.Close()
				go func() {
					_, _ = client.Write(connectV5)
					for range b.N {
						_, _ = client.Write(p)
					}
				}()
				buf := make([]byte, len(connectV5)+len(p))
				b.SetBytes(int64(len(p)))
				b.ReportAllocs()
				b.ResetTimer()
				for i := range b.N {
					n := len(p)
					if i == 0 {
						n += len(connectV5)
					}
					if _, err := io.ReadFull(server, buf[:n]); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
