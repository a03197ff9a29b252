package aesmsg

import (
	"context"
	"net"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/plug"
)

// Wrap returns a copy of cfg, for paho.golang (MQTT v5), whose connections seal what
// they publish and open what they receive. The application's code stays as it is:
//
//	cm, err := autopaho.NewConnection(ctx, sealer.Wrap(cfg))
//
// The Will is sealed too, and cfg.Queue and cfg.Session, if set, hold sealed messages
// only. What cfg has of its own (AttemptConnection, TLS, WebSocket headers, a proxy)
// stays in use; a ConnectPacketBuilder can no longer decline problem information, for
// brokers would then strip User Properties. The schemes of server URLs are mqtt, tcp,
// mqtts, tls, ssl, ws, wss and unix; any other is an error, never a plain connection.
//
// A message that cannot be sealed is not sent. Publish at QoS 1 then returns an error, and
// at QoS 2 a PublishResponse whose ReasonCode is 0x80 or more, as for any refusal by a
// server; at QoS 0 only Config.Rejected tells. A message that does not open is
// acknowledged and withheld.
//
// Give the client a Client Identifier: what it has received is remembered under it. A
// client without one begins each connection with an empty memory, so that a broker which
// cuts the connection can repeat old messages, unless Config.MaxAge is set.
func (s *Sealer) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	return plug.V5(cfg, s.core)
}

// WrapV3 is Wrap for paho.mqtt.golang (MQTT 3.1.1):
//
//	client := mqtt.NewClient(sealer.WrapV3(opts))
//
// opts.Store, if set, holds sealed messages only. A protocol version that is not set
// becomes 4, MQTT 3.1.1. MQTT 3.1.1 has no word for a message that is not sent:
// Config.Rejected alone tells of one that cannot be sealed, and its token does not
// complete, or at QoS 0 completes as if it had been sent.
func (s *Sealer) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	return plug.V3(opts, s.core)
}

// Conn returns conn with the payloads of MQTT 3.1, 3.1.1 or 5 sealed on their way out
// and opened on their way in, for any library that takes a net.Conn. ctx bounds the TLS
// handshake if conn is a *tls.Conn that has not done it. The connection is one that
// paho.golang may write to from several goroutines (a sync.Locker).
//
// A Sealer remembers what each client has received by its Client Identifier, so clients of
// different brokers that share a Sealer need different ones.
func (s *Sealer) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	return s.core.Conn(ctx, conn)
}
