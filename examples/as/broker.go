package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net/url"

	mochi "github.com/mochi-mqtt/server/v2"
	"github.com/mochi-mqtt/server/v2/hooks/auth"
	"github.com/mochi-mqtt/server/v2/listeners"

	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/ace/aceserver"
	"github.com/mqttsec/mqttsec/examples/internal/acedemo"
)

// ownBroker is what the broker in this process is called when it asks about tokens.
const ownBroker = "the broker in this process"

// broker is mochi-mqtt with nothing but a guarded listener.
type broker struct {
	server   *mochi.Server
	listener *acebroker.Listener
}

// newBroker makes the broker of an audience. What it has to know of the server it takes from the server's
// configuration, as an operator would copy it.
func newBroker(at site, cfg aceserver.Config, audience aceserver.Audience, secret string) (*broker, error) {
	issuer := acebroker.Issuer{Name: cfg.Issuer}
	guarding := acebroker.Config{
		TLS:      &tls.Config{Certificates: at.tls.Certificates, MinVersion: tls.VersionTLS12},
		Audience: []string{audience.Name},
		Hint:     &acebroker.Hint{AS: cfg.Issuer + "/token", Audience: audience.Name},
		Logger:   at.log,
	}
	if audience.Format == aceserver.Reference {
		introspection, err := introspect(at, cfg.Issuer, secret)
		if err != nil {
			return nil, err
		}
		issuer.Introspection = introspection
		guarding.Algorithms = []acebroker.Algorithm{acebroker.EdDSA}
	} else {
		issuer.Keys, guarding.Algorithms = acedemo.Keys(cfg, audience)
	}
	guarding.Issuers = []acebroker.Issuer{issuer}
	listener, err := acebroker.NewListener(at.broker, guarding)
	if err != nil {
		return nil, err
	}
	server := mochi.New(&mochi.Options{Logger: slog.New(slog.DiscardHandler)})
	if err := server.AddHook(new(auth.AllowHook), nil); err != nil { // the listener has done it
		return nil, err
	}
	return &broker{server, listener}, server.AddListener(listeners.NewNet("ace", listener))
}

// introspect is how the broker asks the server in this process, whose certificate it knows.
func introspect(at site, issuer, secret string) (*acebroker.Introspection, error) {
	base, err := url.Parse(issuer)
	if err != nil {
		return nil, err
	}
	certificate, err := x509.ParseCertificate(at.tls.Certificates[0].Certificate[0])
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AddCert(certificate)
	return &acebroker.Introspection{
		URL:          at.url(base.Hostname()) + base.Path + "/introspect",
		ClientID:     ownBroker,
		ClientSecret: secret,
		TLS:          &tls.Config{RootCAs: roots, ServerName: base.Hostname(), MinVersion: tls.VersionTLS12},
	}, nil
}

// serve takes connections from now on.
func (b *broker) serve() error {
	if err := b.server.Serve(); err != nil {
		return fmt.Errorf("broker: %w", err)
	}
	return nil
}

// close ends all connections.
func (b *broker) close() error { return b.server.Close() }
