// Package brokers starts MQTT brokers for tests, examples and benchmarks: an embedded one (mochi-mqtt) with
// [StartEmbedded], Eclipse Mosquitto as a child process with [StartMosquitto], and others that people have, as a
// [Cluster] of one node or more: [StartEjabberd], [StartRabbitMQ], [StartNATS], [StartAedes].
//
// The first two listen on 127.0.0.1 (and a Unix socket) over every transport that MQTT knows, with a certificate
// authority made for the occasion, and can be stopped and started again on the same ports with their state kept, so
// that a test can cut a client off and let it come back; the others listen over TCP and run until they are closed. None
// asks for a password, unless mosquitto is told to by lines of configuration; ejabberd wants a name.
// [Embedded.Serve] puts the embedded broker behind a listener of the caller's. They are meant for one machine and a
// short life: nothing here is a way to run a broker in production.
package brokers

import (
	"context"
	"crypto/x509"
	"net/url"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
)

// The transports a [Broker] listens on. Each is also the scheme of the URL that reaches it.
const (
	TCP  = "tcp"
	TLS  = "tls"
	WS   = "ws"
	WSS  = "wss"
	Unix = "unix"
)

// Config says how a broker behaves. The zero value is useful.
type Config struct {
	// MaximumPacketSize is the largest packet in bytes that the broker accepts, and announces to MQTT v5 clients.
	// Zero means no limit.
	MaximumPacketSize uint32
	// Authority issues the certificate that the broker presents for localhost, 127.0.0.1 and ::1. Nil is one made for
	// the occasion.
	Authority *ca.Authority
	// Mosquitto is what only [StartMosquitto] looks at.
	Mosquitto MosquittoConfig
}

// Broker is a running MQTT broker.
type Broker interface {
	// Name tells brokers apart in the names of subtests.
	Name() string
	// URL is the address of the listener for a transport, nil for an unknown one. It outlives a restart.
	URL(transport string) *url.URL
	// RootCAs verifies the certificate that the tls and wss listeners present, for the name 127.0.0.1.
	RootCAs() *x509.CertPool
	// Stop disconnects every client and closes the listeners. Sessions and retained messages are kept.
	Stop() error
	// Start listens again after Stop, on the same addresses.
	Start(ctx context.Context) error
	// Close stops the broker for good and removes what it stored.
	Close() error
}

// authority is the one that cfg names, or a new one.
func (cfg Config) authority() (*ca.Authority, error) {
	if cfg.Authority != nil {
		return cfg.Authority, nil
	}
	return ca.New()
}
