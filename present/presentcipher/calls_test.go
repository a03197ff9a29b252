package presentcipher

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestCalls counts by hand: 8 bytes a block of key stream, 6 a call of LightMAC, the last
// of which, over the rest, is under another key.
func TestCalls(t *testing.T) {
	require.Equal(t, 0+3, Calls(0, 4))    // 18 bytes: 6, 6 and the last 6
	require.Equal(t, 1+4, Calls(1, 4))    // 19 bytes
	require.Equal(t, 8+20, Calls(64, 40)) // 118 bytes
	// The largest message leaves both 16-bit counters where they are.
	require.Equal(t, 1<<15+54_616, Calls(MaxPlaintext, MaxAD))
}
