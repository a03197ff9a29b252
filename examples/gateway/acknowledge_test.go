package main

import (
	"crypto/tls"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestAcknowledgesNothing: an acknowledgement that a client gets was the broker's, and all that the broker sent before
// it came before it. So a gateway can die at any time, and nothing is lost that was acknowledged.
func TestAcknowledgesNothing(t *testing.T) {
	connack := wire.Packet{0x20, 2, 0, 0}
	published := []byte{0x32, 7, 0, 3, 'a', '/', 'x', 0, 1, 0x34, 7, 0, 3, 'a', '/', 'x', 0, 2} // at QoS 1, and at QoS 2
	pingreq, pingresp := wire.Packet{0xc0, 0}, wire.Packet{0xd0, 0}
	answers := []wire.Packet{{0x32, 7, 0, 3, 'a', '/', 'y', 0, 9}, {0x50, 2, 0, 2}, {0x40, 2, 0, 1}}
	// The broker answers the first ping, and what was published with the second, upon which it ends.
	upstream := listening(t, func(conn net.Conn) {
		for pings := 0; pings < 2; {
			p, err := wire.Read(conn, 1<<16)
			if err != nil {
				return
			}
			switch p.Type() {
			case wire.Connect:
				_, _ = conn.Write(connack)
			case wire.Pingreq:
				if pings++; pings == 1 {
					_, _ = conn.Write(pingresp)
				}
			}
		}
		for _, p := range answers {
			_, _ = conn.Write(p)
		}
	})
	s := newSite(t)
	s.trusts(1)
	r := s.start(upstream, tokens+`
  - {name: none, address: "127.0.0.1:0"}
`)
	for name, dial := range map[string]func() (net.Conn, error){
		"none": func() (net.Conn, error) { return net.Dial("tcp", r.listeners[2].served.Addr().String()) },
		"ACE": func() (net.Conn, error) {
			conn, err := tls.Dial("tcp", r.listeners[0].served.Addr().String(), s.authority.ClientConfig())
			if err != nil {
				return nil, err
			}
			return token(t, 1).Conn(t.Context(), conn)
		},
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := dial()
			require.NoError(t, err)
			require.Zero(t, knock(t, conn, wire.ConnectPacket{}))
			expect := func(want wire.Packet) {
				got, err := wire.Read(conn, 1<<16)
				require.NoError(t, err)
				require.Equal(t, want, got)
			}
			_, err = conn.Write(append(published, pingreq...))
			require.NoError(t, err)
			expect(pingresp)
			_, err = conn.Write(pingreq)
			require.NoError(t, err)
			for _, p := range answers {
				expect(p)
			}
			_, err = conn.Read(make([]byte, 1))
			require.ErrorIs(t, err, io.EOF)
		})
	}
}
