//go:build !race

package present

// The race detector makes sync.Pool forget, so these tests are without it.

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSealerAllocatesNothing(t *testing.T) {
	alice, bob := sealers(t)
	payload := make([]byte, 64)
	sealed, opened := make([]byte, 0, 200), make([]byte, 0, 200)
	exchange := func() {
		var err error
		sealed, err = alice.AppendSeal(sealed[:0], "site/7", payload)
		require.NoError(t, err)
		opened, err = bob.AppendOpen(opened[:0], "site/7", sealed)
		require.NoError(t, err)
	}
	exchange()
	require.Zero(t, testing.AllocsPerRun(100, exchange))
}
