package e2e

import (
	"context"
	"crypto/sha256"
	"net"
	"sync"
	"testing"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/present"
	"github.com/mqttsec/mqttsec/present/presentcipher"
	"github.com/stretchr/testify/require"
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
	// largest is the most bytes that the suite seals in one message; 0 if MQTT ends first.
	largest int
}

// sealing is the part of a payload scheme's configuration that the tests turn. All packages have the same.
type sealing = aesmsg.Config

// testKey is a key for every topic below e2e/, another one for each name.
func testKey(t testing.TB, name string) aesmsg.Key {
	t.Helper()
	secret := sha256.Sum256([]byte(name))
	key, err := aesmsg.NewKey("e2e/#", secret[:])
	require.NoError(t, err)
	return key
}

// testSealing is a configuration with that key and nothing else.
func testSealing(t testing.TB, name string) sealing {
	t.Helper()
	return sealing{Keys: []aesmsg.Key{testKey(t, name)}}
}

// rejections collects what a scheme tells of the messages that it withheld.
type rejections struct {
	mu      sync.Mutex
	all     []aesmsg.Rejection
	arrived chan struct{} // closed and replaced with each
}

func newRejections() *rejections { return &rejections{arrived: make(chan struct{})} }

func (r *rejections) add(one aesmsg.Rejection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, one)
	close(r.arrived)
	r.arrived = make(chan struct{})
}

// await returns the first n rejections when there are so many.
func (r *rejections) await(ctx context.Context, n int) ([]aesmsg.Rejection, error) {
	for {
		r.mu.Lock()
		all, arrived := r.all[:len(r.all):len(r.all)], r.arrived
		r.mu.Unlock()
		if len(all) >= n {
			return all, nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return all, ctx.Err()
		}
	}
}

// unsealed is the suite of no scheme at all.
func unsealed() suite {
	return suite{name: "plain", new: func(testing.TB, sealing) scheme { return plain{} }}
}

// sealedSuites are the suites that protect payloads.
func sealedSuites() []suite {
	return []suite{
		{name: "aesmsg", sealed: true, new: func(t testing.TB, cfg sealing) scheme { return made(t, aesmsg.New, cfg) }},
		{name: "present", sealed: true, largest: presentcipher.MaxPlaintext, new: func(t testing.TB, cfg sealing) scheme {
			return made(t, present.New, present.Config(cfg))
		}},
		{name: "present over aesmsg", sealed: true, largest: presentcipher.MaxPlaintext, new: func(t testing.TB, cfg sealing) scheme {
			return sealedTwice{stack{made(t, present.New, present.Config(cfg)), made(t, aesmsg.New, cfg)}}
		}},
	}
}

// made calls a package's New.
func made[S scheme, C any](t testing.TB, newSealer func(C) (S, error), cfg C) S {
	t.Helper()
	s, err := newSealer(cfg)
	require.NoError(t, err)
	return s
}

// plain is no scheme: what it wraps is what it was given.
type plain struct{}

func (plain) Conn(_ context.Context, conn net.Conn) (net.Conn, error) { return conn, nil }
func (plain) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig    { return cfg }
func (plain) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions     { return opts }
