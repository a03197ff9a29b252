package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPSK(t *testing.T) {
	out, err := quickstart(t, "-scheme", "psk")
	require.NoError(t, err, out)
	require.Equal(t, 2, strings.Count(out, "  application   "+opening), "once with each version of TLS")
	require.Equal(t, 3, strings.Count(out, "refused: decrypt_error"), "all look the same")
	require.Contains(t, out, "refused before anything is sent: ErrWeakKey")
	require.Contains(t, out, "All of it as promised.")
}
