package layer

import (
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestAssembler cuts packets of many sizes out of pieces of many sizes, and holds no memory between packets.
func TestAssembler(t *testing.T) {
	var stream []byte
	var want []wire.Packet
	for _, n := range []int{2, 10, 126, 128, 4096, 4097, 70_000, 300_000, 2} {
		p := pingreq
		if n > 2 {
			p = publishOf(t, n+3, wire.PublishPacket{Topic: []byte("t")})
		}
		want, stream = append(want, p), append(stream, p...)
	}
	for _, piece := range []int{1, 3, 1000, 65_536, len(stream)} {
		var a Assembler
		var got []wire.Packet
		for rest := stream; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			require.NoError(t, a.Push(rest[:min(piece, len(rest))], func(p wire.Packet) error {
				got = append(got, bytes.Clone(p))
				return nil
			}))
		}
		require.Equal(t, want, got)
		require.Zero(t, cap(a.partial))
	}
	var a Assembler
	require.ErrorIs(t, a.Push([]byte{0}, nil), wire.ErrMalformed)
	require.NoError(t, a.Push([]byte{0x30}, nil))
	require.ErrorIs(t, a.Push(bytes.Repeat([]byte{0xFF}, 4), nil), wire.ErrMalformed)
	a.Reset()
	require.ErrorIs(t, a.Push(pingreq, func(wire.Packet) error { return errDenied }), errDenied)
}

// TestPool: what is put back is given out again, in its class, and what is not of the pool is not kept.
func TestPool(t *testing.T) {
	for _, n := range []int{0, 1, 4096, 4097, 1 << 20, 1<<24 + 1} {
		b := getBuffer(n)
		require.Empty(t, b)
		require.GreaterOrEqual(t, cap(b), n)
		putBuffer(b)
	}
	putBuffer(nil)
	putBuffer(make([]byte, 5000))
	for range 100 {
		require.GreaterOrEqual(t, cap(getBuffer(4097)), 8192)
	}
	b := append(getBuffer(10), "0123456789"...)
	grown := growBuffer(b, 1<<20, 1<<20)
	require.Equal(t, "0123456789", string(grown))
}
