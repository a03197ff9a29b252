package codec

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestReaderReadsInOrder(t *testing.T) {
	b := append([]byte{1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 4}, AppendV8(nil, "five")...)
	b = append(AppendV16(b, []byte("six")), 7, 8)
	r := NewReader(b)
	require.EqualValues(t, 1, r.Uint8())
	require.EqualValues(t, 2, r.Uint16())
	require.EqualValues(t, 3, r.Uint32())
	require.EqualValues(t, 4, r.Uint64())
	require.Equal(t, "five", string(r.V8()))
	require.Equal(t, "six", string(r.V16()))
	var one [1]byte
	r.Fill(one[:])
	require.Equal(t, [1]byte{7}, one)
	require.ErrorIs(t, NewReader([]byte{8}).End(), ErrMalformed, "what is left over")
	require.Equal(t, []byte{8}, r.Rest())
	require.NoError(t, r.End())
}

func TestFirstFailureSticks(t *testing.T) {
	r := NewReader([]byte{9, 1, 2})
	require.Nil(t, r.V8())
	err := r.Err()
	require.ErrorIs(t, err, ErrMalformed)
	require.Zero(t, r.Uint64())
	require.Empty(t, r.Rest())
	r.Fail(Malformed("something else"))
	require.Equal(t, err, r.End())
}

// TestTakenOctetsAreClipped: appending to what was read does not reach what follows.
func TestTakenOctetsAreClipped(t *testing.T) {
	b := []byte{1, 2}
	_ = append(NewReader(b).Take(1), 9)
	require.Equal(t, []byte{1, 2}, b)
}
