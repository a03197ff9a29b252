// Package plug puts a scheme under an MQTT client: it turns the options that an
// application has made for paho.golang or paho.mqtt.golang into options whose
// connections the scheme secures. [V5] and [V3] are what the Wrap and WrapV3
// methods of every scheme call.
//
// Both copy what they are given and never edit it. What the application had set
// keeps working: its own function to open a connection is called where the client
// would have called it, and otherwise this package dials as the client would have,
// with the same URL schemes, dialer, TLS configuration, websocket options and proxy
// from the environment. A URL scheme that it does not know is an error; there is no
// fallback to an unprotected connection. Because a wrapped configuration is again
// one with a function of its own, wraps stack: in a.Wrap(b.Wrap(cfg)), b is next to
// the wire and a next to the application.
//
// A scheme that is also [AtRest] protects the messages that a client keeps: the
// queue and the session of autopaho, the store of paho.mqtt.golang. One that is an
// [Opener] makes connections of its own first, a [Transport] takes the place of TLS, and
// [Unresumed] keeps TLS sessions from being resumed. The reasons why
// this is done below the client and not with its hooks are in the comments of V5
// and V3 on what each client does and does not do.
package plug

import (
	"context"
	"errors"
	"net"

	"github.com/mqttsec/mqttsec/internal/wire"
)

// Scheme is what a scheme must have to be put under a client: Conn turns an MQTT
// connection into a safer one. ctx bounds what has to happen before CONNECT and is
// over when Conn has returned. If Conn fails, its caller closes conn.
type Scheme interface {
	Conn(ctx context.Context, conn net.Conn) (net.Conn, error)
}

// AtRest is what a payload scheme has besides, to protect the PUBLISH packets that
// a client stores. session is the client's ClientID as configured; out tells whether
// the packet is one that the client sends or one that it has received.
//
// Both methods see packets with DUP clear, whatever it is in truth, because a client
// sets it on a packet that it has stored. The Packet Identifier is the one that the
// packet is sent with, or 0 for a message that waits in a queue. A v5 session re-encodes
// stored packets: Thaw then finds the same properties, perhaps in another order. p
// belongs to the method and may be returned or edited.
//
// Freeze returns p itself when no key covers the topic. Its result must be a PUBLISH
// of the same QoS and Packet Identifier. Thaw is the inverse and fails if the packet does
// not open, which is also when a covered topic comes back unprotected. Both may be called
// by several goroutines at once.
type AtRest interface {
	Freeze(session string, v wire.Version, p wire.Packet, out bool) (wire.Packet, error)
	Thaw(session string, v wire.Version, p wire.Packet, out bool) (wire.Packet, error)
}

// errNoConn is reported when a function of the application opens nothing and calls
// that a success.
var errNoConn = errors.New("plug: the application's function to open a connection returned none")
