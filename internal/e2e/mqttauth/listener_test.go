package mqttauth

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/mqttauth"
)

// TestTokensDecide: an owner claims, hands out tokens, and they decide who publishes and who reads.
func TestTokensDecide(t *testing.T) {
	t.Parallel()
	onBoth(t, func(t *testing.T, lib library) {
		w := newWorld(t, nil)
		owner, _ := w.owned(t, lib, "alice", "plant/#")
		reader, _ := w.connect(t, lib, "bob", settings{}, issue(t, owner, mqttauth.Auth2, "plant/1/#", time.Hour))
		require.NoError(t, reader.subscribe("plant/1/temperature"))
		require.Error(t, reader.subscribe("plant/2/temperature"), "outside of the token")
		require.Error(t, reader.subscribe("plant/#"), "wider than the token")
		writer, _ := w.connect(t, lib, "eve", settings{}, issue(t, owner, mqttauth.Auth1, "plant/1/temperature", time.Hour))
		require.NoError(t, writer.publish("plant/1/temperature", 1, "21"))
		receives(t, reader, "plant/1/temperature 21")
		require.Error(t, writer.subscribe("plant/1/temperature"), "a token of the other kind")
	})
}
