package tlspsk

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSecretsAreWiped keeps hold of the memory of every secret of the key schedule, and looks at it after the
// handshake, after an update of the keys and after Close. Secrets inside the standard library (ephemeral keys, key
// schedules of AES, HMAC) are not covered.
func TestSecretsAreWiped(t *testing.T) {
	zero := make([]byte, 64)
	wiped := func(secret []byte) bool { return bytes.Equal(secret, zero[:len(secret)]) }
	for _, v := range onePerSuite() {
		for _, closer := range []string{"client", "server"} {
			var secrets [2][][]byte
			cc, sc := v.apply(clientConfig()), serverConfig()
			cc.watch = func(secret []byte) { secrets[0] = append(secrets[0], secret) }
			sc.watch = func(secret []byte) { secrets[1] = append(secrets[1], secret) }
			client, server := pair(t, cc, sc)
			alive := func(list [][]byte) (n int) {
				for _, s := range list {
					if !wiped(s) {
						n++
					}
				}
				return n
			}
			for _, list := range secrets {
				if v.version == TLS13 {
					require.Len(t, list, 5)
					require.Equal(t, 3, alive(list), "the exporter's and the two for data; not those of the handshake")
				} else {
					require.Len(t, list, 1, "the master secret, from which is exported")
				}
			}
			if v.version == TLS13 {
				client.out.Lock()
				require.NoError(t, client.updateKey())
				require.NoError(t, client.flush())
				client.out.Unlock()
				exchange(t, client, server, 10)
				for _, list := range secrets {
					require.Len(t, list, 6)
					require.Equal(t, 3, alive(list), "not the one before the update")
				}
			}
			ends := map[string]*Conn{"client": client, "server": server}
			require.NoError(t, ends[closer].Close())
			i := map[string]int{"client": 0, "server": 1}[closer]
			require.Zero(t, alive(secrets[i]), closer)
			require.Empty(t, ends[closer].exporter.secret)
			_, err := ends[closer].ExportKeyingMaterial("EXPORTER", nil, 16)
			require.ErrorIs(t, err, ErrIncomplete)
		}
	}
}

// TestSecretsOfAFailedHandshakeAreWiped is the same where it comes to no connection.
func TestSecretsOfAFailedHandshakeAreWiped(t *testing.T) {
	for _, version := range []Version{TLS12, TLS13} {
		var secrets [][]byte
		cc, sc := clientConfig(), serverConfig()
		cc.MaxVersion = version
		cc.Key = append([]byte{1}, deviceKey...)
		sc.watch = func(secret []byte) { secrets = append(secrets, secret) }
		a, b := tcpPair(t)
		_, serverErr := shake(Client(a, cc), Server(b, sc))
		require.ErrorIs(t, serverErr, ErrAuthentication)
		for _, s := range secrets {
			require.Equal(t, make([]byte, len(s)), s)
		}
	}
}

// TestKeysAreUsedUp: before more is encrypted than is good, TLS 1.3 goes on to another key, TLS 1.2 with AES-GCM ends,
// and TLS 1.2 with ChaCha20 has no such limit.
func TestKeysAreUsedUp(t *testing.T) {
	for _, v := range onePerSuite() {
		cc := v.apply(clientConfig())
		cc.limit = 100 // blocks
		client, server := pair(t, cc, serverConfig())
		first := bytes.Clone(client.out.secret)
		var err error
		for range 20 {
			if _, err = client.Write(make([]byte, 160)); err != nil {
				break
			}
		}
		switch v.suite {
		case TLS_ECDHE_PSK_WITH_AES_128_GCM_SHA256:
			require.ErrorIs(t, err, ErrKeyUsed)
			require.Less(t, client.out.cipher.Blocks(), cc.limit+12)
			_, err = client.Write([]byte("x"))
			require.ErrorIs(t, err, ErrKeyUsed, "sticky")
		case TLS_ECDHE_PSK_WITH_CHACHA20_POLY1305_SHA256:
			require.NoError(t, err)
		default:
			require.NoError(t, err)
			require.NotEqual(t, first, client.out.secret)
			exchange(t, server, client, 10)
		}
	}
	require.LessOrEqual(t, uint64(keyLimit), uint64(1<<24*(1<<10)), "2^24 records of 2^14 octets")
}

// TestManySequenceNumbers passes 2^24 records under one key, in a soak; else fewer.
func TestManySequenceNumbers(t *testing.T) {
	n := 1 << 11
	if soak() {
		n = 1 << 24
	}
	for _, v := range onePerSuite() {
		client, server := pair(t, v.apply(clientConfig()), serverConfig())
		done := make(chan error, 1)
		go func() {
			var err error
			for i := 0; i < n && err == nil; i++ {
				_, err = client.Write([]byte{byte(i)})
			}
			done <- err
		}()
		buf := make([]byte, 64)
		for i := 0; i < n; {
			m, err := server.Read(buf)
			require.NoError(t, err)
			for _, b := range buf[:m] {
				if b != byte(i) {
					t.Fatal(i)
				}
				i++
			}
		}
		require.NoError(t, <-done)
	}
}

func TestConfigShowsNoKey(t *testing.T) {
	c := *clientConfig()
	c.ServerName = "broker.example.org"
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("configured", "config", c)
	for _, text := range []string{c.String(), fmt.Sprint(c), fmt.Sprintf("%v %+v %#v %s", c, c, c, &c), log.String()} {
		require.Contains(t, text, "REDACTED")
		require.Contains(t, text, deviceName)
		for _, secret := range []string{string(deviceKey), deviceKeyHex, fmt.Sprint(deviceKey), "155"} {
			require.NotContains(t, text, secret)
		}
	}
}
