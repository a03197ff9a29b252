package layer

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

var errUnwanted = errors.New("unwanted")

// refusing is a filter that does not take PINGREQ.
var refusing = script{
	in: func(_ *Conn, p wire.Packet) (wire.Packet, error) {
		if p.Type() == wire.Pingreq {
			return nil, errUnwanted
		}
		return p, nil
	},
	out: func(_ *Conn, p wire.Packet) (wire.Packet, error) {
		if p.Type() == wire.Pingreq {
			return nil, errUnwanted
		}
		return p, nil
	},
}

// TestOneReadForWhatHasArrived reads what has arrived in one piece in as many as have room, and never past CONNACK.
func TestOneReadForWhatHasArrived(t *testing.T) {
	arrived := slices.Concat(connackV5, publish0V5, publish1V5, publish0V5[:5])
	arriving := [][]byte{arrived, slices.Concat(publish0V5[5:], publish1V5, pingreq, publish0V5)}
	c := New(&fakeConn{
		read: func(b []byte) (int, error) {
			if len(arriving) == 0 {
				return 0, io.EOF
			}
			n := copy(b, arriving[0])
			arriving = arriving[1:]
			return n, nil
		},
		write: func(b []byte) (int, error) { return len(b), nil },
	}, refusing)
	write(t, c, connectV5)
	for _, want := range [][]byte{
		connackV5, slices.Concat(publish0V5, publish1V5[:3]), publish1V5[3:], slices.Concat(publish0V5, publish1V5[:3]), publish1V5[3:],
	} {
		got := make([]byte, len(publish0V5)+3)
		n, err := c.Read(got)
		require.NoError(t, err)
		require.Equal(t, want, got[:n])
	}
	for range 2 {
		_, err := c.Read(make([]byte, 100))
		require.ErrorIs(t, err, errUnwanted, "behind what was in order")
	}
}

// TestOneWriteForManyPackets counts the writes below for packets that were written at once.
func TestOneWriteForManyPackets(t *testing.T) {
	var writes [][]byte
	answer := wire.Packet{0x40, 3, 0, 7, 0x95}
	conn := &fakeConn{write: func(b []byte) (int, error) { writes = append(writes, bytes.Clone(b)); return len(b), nil }}
	c := New(conn, script{out: func(c *Conn, p wire.Packet) (wire.Packet, error) {
		if p.Type() == wire.Publish && p.Flags()&6 != 0 {
			return p, c.Send(answer)
		}
		return refusing.out(c, p)
	}})
	many := slices.Repeat(publish0V5, 10)
	write(t, c, slices.Concat(connectV5, many, publish0V5[:3]), slices.Concat(publish0V5[3:], publish0V5))
	require.Equal(t, [][]byte{slices.Concat(connectV5, many), slices.Concat(publish0V5, publish0V5)}, writes)

	writes = nil
	large := wire.Packet(slices.Concat([]byte{0x30, 0xFD, 0xFF, 0x03, 0, 1, 't', 0}, make([]byte, 65529)))
	write(t, c, slices.Concat(publish0V5, large, publish0V5, publish0V5))
	require.Equal(t, [][]byte{publish0V5, large, slices.Concat(publish0V5, publish0V5)}, writes)

	writes = nil
	write(t, c, slices.Concat(publish0V5, publish1V5, publish0V5, publish0V5))
	require.Equal(t, [][]byte{slices.Concat(publish0V5, publish1V5, answer, publish0V5, publish0V5)}, [][]byte{slices.Concat(writes...)})

	writes = nil
	_, err := c.Write(slices.Concat(publish0V5, publish0V5, pingreq, publish0V5))
	require.ErrorIs(t, err, errUnwanted)
	require.Equal(t, [][]byte{slices.Concat(publish0V5, publish0V5)}, writes, "what passed before has left")
}

// TestEndBehindABatch ends a connection while several packets are being written: those that were judged leave first.
func TestEndBehindABatch(t *testing.T) {
	gone := errors.New("gone")
	a, b := tcpPair(t)
	var c *Conn
	c = New(a, script{out: func(_ *Conn, p wire.Packet) (wire.Packet, error) {
		if p.Type() == wire.Publish && p.Flags()&6 != 0 {
			return nil, c.End(gone, pingreq)
		}
		return p, nil
	}})
	_, err := c.Write(slices.Concat(connectV5, publish0V5, publish1V5, publish0V5))
	require.ErrorIs(t, err, gone)
	want := []byte(slices.Concat(connectV5, publish0V5, pingreq))
	require.Equal(t, want, read(t, b, len(want)))
	n, _ := b.Read(make([]byte, 1))
	require.Zero(t, n, "nothing overtakes the last word")
}
