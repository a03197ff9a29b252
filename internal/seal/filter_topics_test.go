package seal

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestDollarTopicsOnArrival sends plaintext on topics that only a client's router would
// take for covered ones.
func TestDollarTopicsOnArrival(t *testing.T) {
	reject, rejected := rejections()
	s := testSealer(t, Config{Keys: []Key{testKey(t, "+/cmd", 1), testKey(t, "$mine/#", 2)}, Rejected: reject})
	bob := client(t, s, rejected, wire.V311, nil, nil)
	for topic, want := range map[string]error{"$x/cmd": ErrNotSealed, "$SYSTEM/cmd": ErrNotSealed, "$mine/x": ErrNotSealed} {
		bob.write(bob.broker, bob.packet(message(0, topic, "forged")))
		bob.refused(false, topic, want)
	}
	for _, topic := range []string{"$SYS/cmd", "$SYS", "$x/y"} {
		require.Equal(t, "plain", string(bob.deliver(message(0, topic, "plain")).Payload))
	}
}

// TestTopicOfManyLevels is refused before it costs much.
func TestTopicOfManyLevels(t *testing.T) {
	s := testSealer(t, Config{Keys: []Key{testKey(t, "#", 1)}})
	deepest := strings.Repeat("a/", DefaultMaxLevels-1) + "a"
	sealed, err := s.Seal(deepest, nil)
	require.NoError(t, err)
	_, err = s.Open(deepest, sealed)
	require.NoError(t, err)
	_, err = s.Seal(deepest+"/", nil)
	require.ErrorIs(t, err, ErrTopicName)
	_, err = s.Open(deepest+"/", sealed)
	require.ErrorIs(t, err, ErrTopicName)
}
