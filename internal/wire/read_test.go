package wire

import (
	"bytes"
	"io"
	"testing"
	"testing/iotest"

	"github.com/stretchr/testify/require"
)

// TestRead reads what Scan finds, packet by packet and no further, and tells an end between packets from one inside.
func TestRead(t *testing.T) {
	var stream []byte
	var want []Packet
	for _, s := range samples(2) {
		stream, want = append(stream, s.p...), append(want, s.p)
	}
	large := frame(Publish, 0, make([]byte, 300_000))
	stream, want = append(stream, large...), append(want, large)
	for _, r := range []io.Reader{bytes.NewReader(stream), iotest.OneByteReader(bytes.NewReader(stream)), iotest.HalfReader(bytes.NewReader(stream))} {
		for _, p := range want {
			got, err := Read(r, MaxPacket)
			require.NoError(t, err)
			require.Equal(t, p, got)
		}
		_, err := Read(r, MaxPacket)
		require.Equal(t, io.EOF, err)
	}
	for _, p := range []Packet{frame(Publish, 0, make([]byte, 200)), large} {
		for _, n := range []int{1, 2, 3, len(p) - 1} {
			_, err := Read(bytes.NewReader(p[:n]), MaxPacket)
			require.Equal(t, io.ErrUnexpectedEOF, err)
		}
		_, err := Read(bytes.NewReader(p), len(p)-1)
		require.ErrorIs(t, err, ErrTooLarge)
	}
	_, err := Read(bytes.NewReader([]byte{0, 0}), MaxPacket)
	require.ErrorIs(t, err, ErrMalformed)
}
