package ace

import (
	"crypto/tls"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
)

// TestMatrix runs an application, as it would be without tokens, over every kind of token, key and proof, on both
// Eclipse clients and both versions of TLS: it publishes and subscribes as its scope says, and is refused what its
// scope does not say.
func TestMatrix(t *testing.T) {
	w := newWorld(t, settings{})
	t.Run("cells", func(t *testing.T) {
		for _, format := range formats {
			for _, algorithm := range []string{"HS256", "EdDSA", "ES256"} {
				for _, proof := range []string{"exporter", "challenge", "user name"} {
					for version, name := range map[uint16]string{tls.VersionTLS12: "TLS1.2", tls.VersionTLS13: "TLS1.3"} {
						t.Run(fmt.Sprintf("%s/%s/%s/%s", format, algorithm, proof, name), func(t *testing.T) {
							t.Parallel()
							cell := *w
							cell.t = t
							cell.run(format, algorithm, proof, version)
						})
					}
				}
			}
		}
	})
	counters := w.listener.Counters()
	require.EqualValues(t, 54, counters.Admitted)
	require.EqualValues(t, 18, counters.Challenges)
	require.Zero(t, counters.Rejected)
	require.Zero(t, counters.ProofFailed)
}

// run is the application.
func (w *world) run(format, algorithm, proof string, version uint16) {
	t := w.t
	id := newClientID()
	auth := authenticator(t, ace.Config{Source: w.source(id, format, algorithm), Challenge: proof == "challenge"})
	mqttVersion := 5
	if proof == "user name" {
		mqttVersion = 3
	}
	app, events := w.connected(mqttVersion, auth, options{id: id, tls: w.tls(version), once: true, will: "site/" + id + "/will"})

	require.NoError(t, app.subscribe("site/"+id+"/+", 1))
	require.NoError(t, app.subscribe("news/today", 0))
	for _, filter := range []string{"#", "site/#", "site/other/#", "$SYS/#", "news/#", "$share/g/#"} {
		require.ErrorIs(t, app.subscribe(filter, 1), errDenied, filter)
	}
	for qos := range byte(3) {
		require.NoError(t, app.publish("site/"+id+"/x", qos, false, fmt.Sprint("message ", qos)))
		require.Equal(t, fmt.Sprintf("site/%s/x message %d", id, qos), next(t, events.messages, "a message"))
	}
	if mqttVersion == 5 {
		require.ErrorIs(t, app.publish("news/today", 1, false, "fake"), errDenied)
		require.ErrorIs(t, app.publish("site/other/x", 2, false, "fake"), errDenied)
		require.NoError(t, app.publish("site/"+id+"/x", 1, false, "still here"))
		require.Equal(t, "site/"+id+"/x still here", next(t, events.messages, "a message"))
	}
	require.NoError(t, app.publish("news/today", 0, false, "fake"))
	next(t, events.lost, "the end of the connection")
}
