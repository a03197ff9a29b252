package layer

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestRetire: the peer gets what was written before and the last word; the local side reads the reason, and what it
// writes from then on succeeds and goes nowhere, before and after Close.
func TestRetire(t *testing.T) {
	for name, pair := range pairs(t, script{}) {
		t.Run(name, func(t *testing.T) {
			c, peer := pair()
			go write(t, c, connectV3, pingreq)
			read(t, peer, len(connectV3)+len(pingreq))
			why := errors.New("replaced")
			got := make(chan []byte)
			go func() { got <- read(t, peer, 2) }()
			require.Equal(t, why, c.Retire(why, wire.Packet{0xe0, 0}))
			require.Equal(t, why, c.End(errors.New("later"), nil))
			write(t, c, pingreq[:1], publish0V5, pingreq) // in any piece
			require.Equal(t, []byte{0xe0, 0}, <-got)
			_, err := c.Read(make([]byte, 1))
			require.ErrorIs(t, err, why)
			require.NoError(t, c.Close())
			write(t, c, pingreq)
			n, err := peer.Read(make([]byte, 1))
			require.Zero(t, n, "nothing behind the last word")
			require.Error(t, err)
		})
	}
}

// TestRetireAfterEnd does not make Write succeed.
func TestRetireAfterEnd(t *testing.T) {
	a, _ := tcpPair(t)
	c := New(a, script{})
	write(t, c, connectV3)
	why := errors.New("ended")
	require.Equal(t, why, c.End(why, nil))
	require.Equal(t, why, c.Retire(errors.New("later"), nil))
	_, err := c.Write(pingreq)
	require.ErrorIs(t, err, why)
}
