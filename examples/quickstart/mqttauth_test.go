package main

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMQTTAuth(t *testing.T) {
	out, err := quickstart(t, "-scheme", "mqttauth")
	require.NoError(t, err, out)
	require.Equal(t, 2, strings.Count(out, "refused: ErrPassword"), "with each version")
	require.Equal(t, 2, strings.Count(out, "bob subscribes without a token         refused"))
	require.Equal(t, 2, strings.Count(out, "\nMQTTAUTH:"), "the text is beside the symbol")
	require.Contains(t, out, "██")
	require.Equal(t, 2, strings.Count(out, "reads             "+opening))
	require.Equal(t, 2, strings.Count(out, "bob is cut off"))
	require.Contains(t, out, "no password and no token among them")
}

func TestMQTTPRESENT(t *testing.T) {
	out, err := quickstart(t, "-scheme", "mqtt-present")
	require.NoError(t, err, out)
	require.Equal(t, 2, strings.Count(out, "reads             "+opening))
	require.Equal(t, 2, strings.Count(out, "signed by"))
	require.Equal(t, 2, strings.Count(out, "sealed end to end"))
	require.Equal(t, 2, strings.Count(out, "sealed once more"))
}
