package tlspsk

import (
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkHandshake is both sides of a handshake over memory.
func BenchmarkHandshake(b *testing.B) {
	for _, v := range []variant{{TLS13, TLS_AES_128_GCM_SHA256, X25519}, {TLS12, TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256, X25519}} {
		b.Run(v.version.String(), func(b *testing.B) {
			cc, sc := v.apply(clientConfig()), serverConfig()
			b.ReportAllocs()
			for b.Loop() {
				near, far := net.Pipe()
				clientErr, serverErr := shake(Client(near, cc), Server(far, sc))
				require.NoError(b, clientErr)
				require.NoError(b, serverErr)
				_ = near.Close()
				_ = far.Close()
			}
		})
	}
}

// BenchmarkMessages sends small and large messages over TCP.
func BenchmarkMessages(b *testing.B) {
	for _, v := range onePerSuite() {
		for name, n := range map[string]int{"64 B": 64, "1 MiB": 1 << 20} {
			b.Run(v.suite.String()+" "+name, func(b *testing.B) {
				client, server := pair(b, v.apply(clientConfig()), serverConfig())
				go func() { _, _ = io.Copy(io.Discard, server) }()
				block := make([]byte, n)
				b.SetBytes(int64(n))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := client.Write(block); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
