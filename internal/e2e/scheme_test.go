package e2e

import (
	"context"
	"net"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// scheme is what every protection of this module has: the three ways of putting it under an application.
type scheme interface {
	Conn(ctx context.Context, conn net.Conn) (net.Conn, error)
	Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig
	WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions
}

// sealer is a scheme that seals payloads.
type sealer interface {
	scheme
	Seal(topic string, payload []byte) ([]byte, error)
	Open(topic string, sealed []byte) ([]byte, error)
}

// suite is a payload scheme under test.
type suite struct {
	name string
	// new makes the scheme of one client; those with the same configuration read each other.
	new func(t testing.TB, cfg sealing) scheme
	// sealed is false for the suite that protects nothing.
	sealed bool
}

// sealing is the part of a payload scheme's configuration that the tests turn.
type sealing struct {
	keys     []key
	rejected func(rejection)
}

// key protects the topics that filter matches.
type key struct {
	filter string
	secret [32]byte
}

// rejection is what a scheme tells about a message that it withheld.
type rejection struct {
	topic string
	out   bool // the client had sent it
	err   error
}

// plain is no scheme at all: what it wraps is what it was given.
type plain struct{}

func (plain) Conn(_ context.Context, conn net.Conn) (net.Conn, error) { return conn, nil }
func (plain) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig    { return cfg }
func (plain) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions     { return opts }
func unsealed() suite                                                 { return suite{name: "plain", new: newPlain} }
func newPlain(testing.TB, sealing) scheme                             { return plain{} }

// sealed are the suites that protect payloads.
func sealedSuites() []suite { return []suite{} }
