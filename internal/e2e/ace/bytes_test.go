package ace

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/wire"
)

// TestBytesOfConnect tells how long a CONNECT is for each kind of token, and holds it to what MQTT can carry in one
// field and what a broker half reads of a stranger.
func TestBytesOfConnect(t *testing.T) {
	w := newWorld(t, settings{})
	presents, err := w.authority.ServerConfig()
	require.NoError(t, err)
	presents.MinVersion = tls.VersionTLS13
	address, got := falseBroker(t, presents)
	victim := *w
	victim.address = address
	for _, format := range formats {
		for _, algorithm := range []string{"HS256", "EdDSA", "ES256"} {
			id := newClientID()
			token := w.static(id, format, algorithm)
			auth := authenticator(t, ace.Config{Source: token})
			dialV5(&victim, auth, options{id: id, tls: w.tls(0), once: true})
			v5 := next(t, got, "the CONNECT")
			_, _, err := dialV3(&victim, auth, options{id: id, tls: w.tls(0), once: true})
			require.Error(t, err, "the broker is a false one")
			v3 := next(t, got, "the CONNECT")
			for version, p := range map[wire.Version]wire.Packet{wire.V5: v5, wire.V311: v3} {
				m, err := wire.ParseConnect(p)
				require.NoError(t, err)
				require.Equal(t, version, m.Version)
				require.Less(t, len(p), 2048)
			}
			t.Logf("%s %s: token %d bytes, CONNECT v5 %d, v3.1.1 %d", format, algorithm, len(token.Raw), len(v5), len(v3))
		}
	}
}
