package attacks

import (
	"crypto/tls"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
	"github.com/mqttsec/mqttsec/present"
)

// TestDowngrade asks for less than there is: older TLS, no TLS, certificates where keys are wanted and the other way
// round, MQTT 3.1 in place of 3.1.1, a proof that is left out. Nobody gets in.
func TestDowngrade(t *testing.T) {
	forEachPlace(t, func(t *testing.T, p place) {
		id := newClientID()
		token := p.world.token(t, id, site.Broker)
		for _, listener := range []string{site.Tokens, site.TLS, site.PSK} {
			old := p.world.trust()
			old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
			_, err := tls.Dial("tcp", p.addresses[listener], old)
			require.Error(t, err, listener)

			conn, err := net.Dial("tcp", p.addresses[listener])
			require.NoError(t, err)
			bare := newRaw(t, conn, wire.V311)
			bare.send(connectPacket(t, wire.V311, id, token.Raw, random(32)))
			for packet := bare.receive(); packet != nil; packet = bare.receive() {
				require.NotEqual(t, wire.Connack, packet.Type(), listener)
			}
		}
		_, err := tls.Dial("tcp", p.addresses[site.PSK], p.world.trust())
		require.Error(t, err, "a certificate for a key")
		key := p.world.site.PSK("device-1")
		keyed, err := tlspsk.Dial(patient(t), "tcp", p.addresses[site.Tokens], &key)
		if err == nil {
			err = keyed.HandshakeContext(patient(t))
		}
		require.Error(t, err, "a key for a certificate")

		r := p.dial(t, wire.V311)
		connect := connectPacket(t, wire.V311, id, token.Raw, r.proof(token.Key), func(m *wire.ConnectPacket) { m.Version = wire.V31 })
		r.send(connect)
		if answer := r.receive(); answer != nil {
			m, err := wire.ParseConnack(answer, wire.V311)
			require.NoError(t, err)
			require.NotZero(t, m.Code, "MQTT 3.1")
		}
		r = p.dial(t, wire.V311)
		r.send(connectPacket(t, wire.V311, id, token.Raw, nil))
		require.Equal(t, wire.V3NotAuthorized, r.connack(), "no proof")
		r = p.dial(t, wire.V5)
		r.send(connectPacket(t, wire.V5, id, token.Raw, []byte{}))
		packet := r.receive()
		require.NotNil(t, packet)
		require.Equal(t, wire.Auth, packet.Type(), "no proof is a request for a challenge, and no way in")
		_ = r.conn.Close()
	})
}

// TestCrossUse takes what is good in one place to another: a token to a broker it is not for, a sealed message to
// another topic, another scheme, another key. Nothing is taken.
func TestCrossUse(t *testing.T) {
	forEachLibrary(t, func(t *testing.T, p place, l library) {
		id := newClientID()
		elsewhere := p.world.token(t, id, site.Elsewhere)
		_, err := l.connect(t, p.world, bearing(t, elsewhere), options{id: id, url: p.url(site.Tokens)})
		require.Error(t, err)

		topic, other := "site/"+id+"/x", "site/"+id+"/other"
		secret := []byte("0123456789abcdef0123456789abcdef")
		key, err := aesmsg.NewKey("site/#", secret)
		require.NoError(t, err)
		rejected := make(chan error, 16)
		aes, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{key}, Rejected: func(r aesmsg.Rejection) { note(rejected, r.Err) }})
		require.NoError(t, err)
		light, err := present.New(present.Config{Keys: []present.Key{key}})
		require.NoError(t, err)
		stranger, err := aesmsg.NewKey("site/#", random(32))
		require.NoError(t, err)
		foreign, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{stranger}})
		require.NoError(t, err)

		c := l.must(t, p, over{aes, bearing(t, p.world.token(t, id, site.Broker))}, options{id: id, url: p.url(site.Tokens)})
		require.NoError(t, c.subscribe("site/"+id+"/#", 1))
		seal := func(s interface {
			Seal(string, []byte) ([]byte, error)
		}, topic string) string {
			frame, err := s.Seal(topic, []byte(marker))
			require.NoError(t, err)
			return string(frame)
		}
		for _, frame := range []string{seal(aes, other), seal(light, topic), seal(foreign, topic), marker} {
			p.inject(t, topic, frame)
			require.Error(t, next(t, rejected, "a rejection"))
		}
		genuine := seal(aes, topic)
		for range 2 {
			p.inject(t, topic, genuine)
		}
		require.Equal(t, topic+" "+marker, next(t, c.messages, "the genuine message"))
		require.ErrorIs(t, next(t, rejected, "a rejection"), aesmsg.ErrReplay)
		require.Empty(t, c.messages)
	})
}
