package ace

import (
	"crypto/tls"
	"fmt"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/aesmsg"
)

// TestSealedPayloadsOnTop: payloads sealed end to end by aesmsg, on connections that are authenticated by tokens, in
// either order of the two Wraps. The broker half enforces the scope on what it cannot read.
func TestSealedPayloadsOnTop(t *testing.T) {
	w := newWorld(t, settings{})
	for _, version := range []int{5, 3} {
		for _, inside := range []bool{true, false} {
			t.Run(fmt.Sprintf("v%d/%t", version, inside), func(t *testing.T) {
				id := newClientID()
				topic := "site/" + id + "/x"
				key, err := aesmsg.GenerateKey("site/" + id + "/#")
				require.NoError(t, err)
				rejected := make(chan error, 1)
				sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}, Rejected: func(r aesmsg.Rejection) { note(rejected, r.Err) }})
				require.NoError(t, err)
				auth := authenticator(t, ace.Config{Source: w.source(id, "jwt", "EdDSA")})
				plain, heard := w.connected(version, authenticator(t, ace.Config{Source: w.source(id, "cwt", "EdDSA")}), options{id: id + "-plain", tls: w.tls(tls.VersionTLS13), once: true})
				require.NoError(t, plain.subscribe("site/"+id+"/#", 1))

				app, events := w.stacked(version, auth, sealer, inside, options{id: id, tls: w.tls(tls.VersionTLS13), once: true})
				require.NoError(t, app.subscribe("site/"+id+"/#", 1))
				for qos := range byte(3) {
					require.NoError(t, app.publish(topic, qos, false, "hello"))
					require.Equal(t, topic+" hello", next(t, events.messages, "the message"))
					require.NotContains(t, next(t, heard.messages, "the sealed message"), "hello")
				}
				require.NoError(t, plain.publish(topic, 1, false, "forged"))
				require.ErrorIs(t, next(t, rejected, "the refusal"), aesmsg.ErrNotSealed)
				require.ErrorIs(t, app.subscribe("site/other/#", 1), errDenied)
				if version == 5 {
					require.ErrorIs(t, app.publish("news/today", 1, false, "x"), errDenied)
				}
			})
		}
	}
}

// stacked is connected with a sealer above the tokens, or below them.
func (w *world) stacked(version int, auth *ace.Authenticator, sealer *aesmsg.Sealer, above bool, o options) (application, *events) {
	w.t.Helper()
	if version == 3 {
		wrap := func(opts *mqtt.ClientOptions) *mqtt.ClientOptions { return sealer.WrapV3(auth.WrapV3(opts)) }
		if !above {
			wrap = func(opts *mqtt.ClientOptions) *mqtt.ClientOptions { return auth.WrapV3(sealer.WrapV3(opts)) }
		}
		c, e, err := dialV3(w, nil, o, wrap)
		require.NoError(w.t, err)
		next(w.t, e.up, "OnConnect")
		return c, e
	}
	wrap := func(cfg autopaho.ClientConfig) autopaho.ClientConfig { return sealer.Wrap(auth.Wrap(cfg)) }
	if !above {
		wrap = func(cfg autopaho.ClientConfig) autopaho.ClientConfig { return auth.Wrap(sealer.Wrap(cfg)) }
	}
	c, e := dialV5(w, nil, o, wrap)
	next(w.t, e.up, "OnConnectionUp")
	return c, e
}
