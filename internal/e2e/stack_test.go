package e2e

import (
	"context"
	"net"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/layer"
	"github.com/mqttsec/mqttsec/internal/plug"
	"github.com/mqttsec/mqttsec/internal/wire"
	"github.com/stretchr/testify/require"
)

// stack is two schemes on one connection. The upper one is nearer to the application.
type stack struct{ upper, lower scheme }

func (s stack) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	conn, err := s.lower.Conn(ctx, conn)
	if err != nil {
		return nil, err
	}
	return s.upper.Conn(ctx, conn)
}

func (s stack) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	return s.upper.Wrap(s.lower.Wrap(cfg))
}

func (s stack) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	return s.upper.WrapV3(s.lower.WrapV3(opts))
}

// sealedTwice is a stack of two payload schemes: what the upper one seals, the lower one seals again.
type sealedTwice struct{ stack }

func (s sealedTwice) Seal(topic string, payload []byte) ([]byte, error) {
	sealed, err := s.upper.(sealer).Seal(topic, payload)
	if err != nil {
		return nil, err
	}
	return s.lower.(sealer).Seal(topic, sealed)
}

func (s sealedTwice) Open(topic string, sealed []byte) ([]byte, error) {
	opened, err := s.lower.(sealer).Open(topic, sealed)
	if err != nil {
		return nil, err
	}
	return s.upper.(sealer).Open(topic, opened)
}

// sealedAbove is a payload scheme on top of a scheme that leaves payloads alone.
type sealedAbove struct{ stack }

func (s sealedAbove) Seal(topic string, payload []byte) ([]byte, error) {
	return s.upper.(sealer).Seal(topic, payload)
}

func (s sealedAbove) Open(topic string, sealed []byte) ([]byte, error) {
	return s.upper.(sealer).Open(topic, sealed)
}

// named stands in for an authentication scheme: it writes a user name into CONNECT on the connection, where neither the
// application nor its client library knows of it.
type named struct{ user string }

func (n named) Conn(_ context.Context, conn net.Conn) (net.Conn, error) {
	return layer.New(conn, n), nil
}

func (n named) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig { return plug.V5(cfg, n) }

func (n named) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions { return plug.V3(opts, n) }

func (n named) Outgoing(_ *layer.Conn, p wire.Packet) (wire.Packet, error) {
	if p.Type() != wire.Connect {
		return p, nil
	}
	m, err := wire.ParseConnect(p)
	if err != nil {
		return nil, err
	}
	m.HasUsername, m.Username = true, []byte(n.user)
	return m.Append(nil)
}

func (named) Incoming(_ *layer.Conn, p wire.Packet) (wire.Packet, error) { return p, nil }

func (named) Closed() {}

// TestSealingOnTopOfAuthentication runs sealer.Wrap(auth.Wrap(cfg)): the broker hears who the client is, on the first
// connection and on later ones, and reads nothing of what it publishes.
func TestSealingOnTopOfAuthentication(t *testing.T) {
	for _, s := range sealedSuites() {
		user, below := unique("user"), s.new
		s.new = func(t testing.TB, cfg sealing) scheme { return sealedAbove{stack{below(t, cfg), named{user}}} }
		for _, d := range drivers() {
			t.Run(s.name+"/"+d.name, func(t *testing.T) {
				t.Parallel()
				embedded := sharedEmbedded(t)
				for _, f := range []feature{
					{"QoS2", func(c *cell) { exchange(c, 2) }},
					{"Retained", retained},
					{"Will", will},
					{"ResendQoS1", func(c *cell) { resend(c, 1) }},
				} {
					t.Run(f.name, func(t *testing.T) {
						c := newCell(t, place{suite: s, driver: d, broker: embedded, transport: brokers.TLS})
						id := unique("named")
						c.connect(options{id: id})
						known, ok := embedded.Server.Clients.Get(id)
						require.True(t, ok)
						require.Equal(t, user, string(known.Properties.Username))
						f.run(c)
						c.requireSecrecy()
					})
				}
			})
		}
	}
}
