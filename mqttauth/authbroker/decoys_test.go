package authbroker_test

import (
	"bytes"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
	"github.com/mqttsec/mqttsec/mqttauth/internal/frame"
)

// TestDecoysSideBySide asks two authorities for the same users, of which their stores have one: with a secret in common
// they say the same of her and of the one who does not exist; without, what differs shows who exists.
func TestDecoysSideBySide(t *testing.T) {
	t.Parallel()
	for name, secret := range map[string][]byte{"a secret in common": bytes.Repeat([]byte("secret! "), 4), "none": nil} {
		t.Run(name, func(t *testing.T) {
			store := authbroker.MemoryStore()
			enrol(t, store, "alice")
			alice, err := store.Verifier("alice")
			require.NoError(t, err)
			said := make(map[string][]string)
			for range 2 {
				w := newWorld(t, func(cfg *authbroker.Config) {
					cfg.Decoys = secret
					require.NoError(t, cfg.Store.SetUser("alice", alice))
				})
				for _, user := range []string{"alice", "nobody"} {
					id := uniqueID()
					hello, _ := startRun(t, user, id)
					challenge, err := frame.ParseChallenge(begin(t, w.dial(t, nil, wire.V5), id, hello))
					require.NoError(t, err)
					said[user] = append(said[user], string(challenge.Stretch))
				}
			}
			require.Equal(t, said["alice"][0], said["alice"][1])
			require.Equal(t, secret != nil, said["nobody"][0] == said["nobody"][1])
		})
	}
}

func TestDecoysOfAShortSecret(t *testing.T) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer inner.Close()
	_, err = authbroker.NewListener(inner, authbroker.Config{Server: serverName, Store: authbroker.MemoryStore(), Decoys: []byte("short")})
	require.ErrorContains(t, err, "Decoys")
}
