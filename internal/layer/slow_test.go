package layer

import (
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestSlowPacketKeepsAlive: the client's packet takes longer than its Keep Alive of a minute, and the broker hears in
// time that the client lives, as long as bytes of it arrive. Its answers are not for the client, who did not ask.
func TestSlowPacketKeepsAlive(t *testing.T) {
	const step = 5 * time.Second
	m := wire.PublishPacket{Topic: []byte("t"), QoS: 1, ID: 7, Payload: make([]byte, 25)}
	encoded, err := m.Append(nil, wire.V5)
	require.NoError(t, err)
	slow := wire.Packet(encoded)
	for name, tc := range map[string]struct {
		connack wire.Packet
		every   time.Duration // 0: never
	}{
		"as the client wants": {connackV5, 15 * time.Second},
		"as the server wants": {wire.Packet{0x20, 6, 0, 0, 3, byte(wire.ServerKeepAlive), 0, 120}, 30 * time.Second},
		"no keep alive":       {wire.Packet{0x20, 6, 0, 0, 3, byte(wire.ServerKeepAlive), 0, 0}, 0},
		"no connection yet":   {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				broker := New(b, script{})
				defer a.Close()
				defer broker.Close()
				go write(t, a, connectV5)
				read(t, broker, len(connectV5))
				if tc.connack != nil {
					go write(t, broker, tc.connack)
					read(t, a, len(tc.connack))
				}
				time.Sleep(time.Hour) // idle is the client's business

				var heard []wire.Packet
				go func() {
					for {
						p, err := wire.Read(broker, wire.MaxPacket)
						if err != nil {
							return
						}
						heard = append(heard, p)
						if p.Type() == wire.Pingreq {
							_, _ = broker.Write(wire.Packet{0xD0, 0})
						}
					}
				}()
				rest := slow[:len(slow)-3]
				began := time.Now()
				for ; len(rest) > 0; rest = rest[1:] {
					write(t, a, rest[:1])
					time.Sleep(step)
				}
				synctest.Wait()
				pings := 0
				if tc.every > 0 { // the first bytes do not say yet that more are to come, the last is followed by a pause
					pings = int((time.Since(began) - 3*step) / tc.every)
				}
				require.Len(t, heard, pings)
				time.Sleep(time.Hour)
				require.Len(t, heard, pings, "nothing arrives, nothing is said")

				write(t, a, append(append([]byte{}, slow[len(slow)-3:]...), pingreq...))
				synctest.Wait()
				require.Equal(t, slow, heard[pings])
				require.Equal(t, pingreq, heard[pings+1])
				require.Len(t, heard, pings+2)
				require.Equal(t, []byte{0xD0, 0}, read(t, a, 2), "the one that the client asked for")
			})
		})
	}
}
