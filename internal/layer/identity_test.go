package layer

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/mochi-mqtt/server/v2/packets"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// table lists the packets that mochi's own tests encode and decode, with the version each belongs to.
func table() (streams map[wire.Version][]wire.Packet) {
	streams = map[wire.Version][]wire.Packet{}
	for _, cases := range packets.TPacketData {
		for _, c := range cases {
			n, err := wire.Scan(c.RawBytes, wire.MaxPacket)
			if err != nil || n != len(c.RawBytes) {
				continue
			}
			v := wire.V311
			if c.Packet != nil && c.Packet.ProtocolVersion != 0 {
				v = wire.Version(c.Packet.ProtocolVersion)
			}
			streams[v] = append(streams[v], c.RawBytes)
		}
	}
	return streams
}

// TestIdentityPassesEveryPacket sends mochi's table through a layer that edits nothing, in whole packets, in single
// bytes and all at once, to a layer on the other side that is read in single bytes.
func TestIdentityPassesEveryPacket(t *testing.T) {
	first := map[wire.Version]wire.Packet{wire.V31: {0x10, 0x10, 0, 6, 'M', 'Q', 'I', 's', 'd', 'p', 3, 2, 0, 60, 0, 2, 'c', '1'}, wire.V311: connectV3, wire.V5: connectV5}
	chop := map[string]func(stream []byte, ps []wire.Packet) [][]byte{
		"packets": func(_ []byte, ps []wire.Packet) (pieces [][]byte) {
			for _, p := range ps {
				pieces = append(pieces, p)
			}
			return pieces
		},
		"bytes": func(s []byte, _ []wire.Packet) (pieces [][]byte) {
			for i := range s {
				pieces = append(pieces, s[i:i+1])
			}
			return pieces
		},
		"odd pieces": func(s []byte, _ []wire.Packet) (pieces [][]byte) {
			for i := 0; i < len(s); i += 7 {
				pieces = append(pieces, s[i:min(i+7, len(s))])
			}
			return pieces
		},
		"one piece": func(s []byte, _ []wire.Packet) [][]byte { return [][]byte{s} },
	}
	total := 0
	for v, all := range table() {
		ps := []wire.Packet{first[v]}
		for _, p := range all {
			if t := p.Type(); t != wire.Connect && t != wire.Connack {
				ps = append(ps, p)
			}
		}
		total += len(ps) - 1
		stream := bytes.Join(func() (b [][]byte) {
			for _, p := range ps {
				b = append(b, p)
			}
			return b
		}(), nil)
		for name, pieces := range chop {
			t.Run(name, func(t *testing.T) {
				a, b := tcpPair(t)
				client, server := New(a, script{}), New(b, script{})
				go func() {
					for _, piece := range pieces(stream, ps) {
						client.Write(piece)
					}
					client.Close()
				}()
				got, err := io.ReadAll(iotest.OneByteReader(server))
				require.NoError(t, err)
				require.Equal(t, stream, got)
			})
		}
	}
	require.Greater(t, total, 100, "mochi's table")
}

// TestIdentityPassesConnectAndConnack sends each CONNECT of the table on a connection of its own, and each CONNACK back
// on one.
func TestIdentityPassesConnectAndConnack(t *testing.T) {
	connects, connacks := 0, 0
	for v, all := range table() {
		for _, p := range all {
			a, b := tcpPair(t)
			client, server := New(a, script{}), New(b, script{})
			switch p.Type() {
			case wire.Connect:
				if _, err := wire.ParseConnect(p); err != nil {
					_, err := client.Write(p)
					require.Error(t, err)
					break
				}
				connects++
				write(t, client, p)
				require.Equal(t, []byte(p), read(t, server, len(p)))
			case wire.Connack:
				connect := connectV3
				if v == wire.V5 {
					connect = connectV5
				}
				m, err := wire.ParseConnack(p, v)
				if err != nil || v != wire.V5 && m.Code > 5 {
					break
				}
				if _, ok := m.Properties.Bytes(wire.AuthenticationMethod); ok {
					connect = askingV5
				}
				connacks++
				write(t, client, connect)
				read(t, server, len(connect))
				write(t, server, p)
				require.Equal(t, []byte(p), read(t, client, len(p)))
			}
			client.Close()
			server.Close()
		}
	}
	require.Greater(t, connects, 8)
	require.Greater(t, connacks, 8)
}
