package plug

import (
	"net/url"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"
	"github.com/stretchr/testify/require"
)

// renamedVault is a scheme that must know of another Client Identifier.
type renamedVault struct {
	*vault
	names map[string]string
}

func (r renamedVault) Renamed(configured, actual string) { r.names[configured] = actual }

// A ConnectPacketBuilder that sets a Client Identifier tells it to the scheme, before it connects; one that does not,
// and none, do not.
func TestClientIdentifierFromBuilder(t *testing.T) {
	for id, want := range map[string]map[string]string{"from the builder": {"configured": "from the builder"}, "configured": {}} {
		s := renamedVault{newVault(), map[string]string{}}
		cfg := V5(autopaho.ClientConfig{
			ConnectPacketBuilder: func(cp *paho.Connect, _ *url.URL) (*paho.Connect, error) {
				cp.ClientID = id
				return cp, nil
			},
			ClientConfig: paho.ClientConfig{ClientID: "configured"},
		}, s)
		cp, err := cfg.ConnectPacketBuilder(&paho.Connect{ClientID: "configured"}, nil)
		require.NoError(t, err)
		require.Equal(t, id, cp.ClientID)
		require.Equal(t, want, s.names)
	}
	s := renamedVault{newVault(), map[string]string{}}
	_, err := V5(autopaho.ClientConfig{}, s).ConnectPacketBuilder(&paho.Connect{ClientID: "x"}, nil)
	require.NoError(t, err)
	require.Empty(t, s.names)
}
