package aesmsg

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/internal/plug"
	"github.com/mqttsec/mqttsec/internal/seal"
)

// ErrNoSession is the error of a connection that derives no keys for a SessionSealer: there is no MQTT-Auth below it,
// or TLS is all that there is.
var ErrNoSession = seal.ErrNoSession

// SessionConfig says how a SessionSealer behaves. The zero value is ready to use.
type SessionConfig struct {
	// Rejected, if set, hears of each message that a connection withheld, as Config.Rejected does.
	Rejected func(Rejection)
}

// SessionSealer seals everything between a client and the broker half of its authentication scheme, which opens it
// and seals it again for each subscriber. [Session] makes one.
type SessionSealer struct {
	hop *seal.Hop
}

// Session returns a SessionSealer, which takes its keys from the handshake of the connection below it, MQTT-Auth's:
//
//	cm, err := autopaho.NewConnection(ctx, e2e.Wrap(hop.Wrap(auth.Wrap(cfg))))
//
// It needs no key of its own. Every PUBLISH is covered, on every topic, with its MQTT v5 properties, in both
// directions, under keys that end with the connection. The Will is not covered, for it leaves before there are keys,
// and neither are topics and subscriptions. The broker reads what is published; a Sealer above (e2e) keeps the
// payload from it too, and then the payload is protected twice on the way. The client's own queue and store hold
// messages as the layers above leave them.
//
// The broker half must be configured for the same cipher; otherwise nothing is delivered and Rejected hears of
// ErrUnknownKey or ErrMalformed.
func Session(cfg SessionConfig) *SessionSealer {
	return &SessionSealer{seal.NewHop(seal.XAES(), cfg.Rejected)}
}

// Conn returns conn with the payloads sealed on their way out and opened on their way in. It returns ErrNoSession if no
// connection below exports keying material of its own; ctx bounds the TLS handshake if there is one that is not done.
func (s *SessionSealer) Conn(ctx context.Context, conn net.Conn) (net.Conn, error) {
	return s.hop.Conn(ctx, conn)
}

// Wrap returns a copy of cfg, for paho.golang (MQTT v5), whose connections seal and open.
func (s *SessionSealer) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	return plug.V5(cfg, s.hop)
}

// WrapV3 is Wrap for paho.mqtt.golang (MQTT 3.1.1).
func (s *SessionSealer) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	return plug.V3(opts, s.hop)
}

// Format writes the type's name whatever the verb.
func (s *SessionSealer) Format(f fmt.State, _ rune) { io.WriteString(f, "aesmsg.SessionSealer") }
