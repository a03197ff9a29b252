package main

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/ace/acebroker"
	"github.com/mqttsec/mqttsec/ace/aceserver"
	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/brokers/ca"
)

// The clients of the demo, and what the broker is called by the server that issues tokens for it.
const (
	sensorName  = "sensor"
	consoleName = "console"
	audience    = "mqtts://localhost"
)

// tokenWorld is an authorization server and a broker that takes its tokens.
type tokenWorld struct {
	stage
	issuer  string
	tls     *tls.Config       // that clients trust both by
	secrets map[string]string // of the clients
	close   func()
}

// newTokenWorld starts both on free ports of this machine, each with TLS.
func newTokenWorld(s stage) (*tokenWorld, error) {
	authority, err := ca.New()
	if err != nil {
		return nil, err
	}
	certificate, err := authority.ServerConfig()
	if err != nil {
		return nil, err
	}
	w := &tokenWorld{stage: s, tls: authority.ClientConfig(), secrets: map[string]string{}}
	keys, stopServer, err := w.startServer(certificate.Clone())
	if err != nil {
		return nil, err
	}
	stopBroker, err := w.startBroker(certificate.Clone(), keys)
	if err != nil {
		stopServer()
		return nil, err
	}
	w.close = func() { stopBroker(); stopServer() }
	return w, nil
}

// startServer starts the authorization server. It returns the keys that the broker verifies tokens with.
func (w *tokenWorld) startServer(tlsConfig *tls.Config) (acebroker.StaticKeys, func(), error) {
	listener, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return nil, nil, err
	}
	w.issuer = (&url.URL{Scheme: "https", Host: listener.Addr().String()}).String()
	public, signing, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	shared := make([]byte, 32) // with the broker: nobody else can read the keys in its tokens
	rand.Read(shared)          // never fails
	cfg := aceserver.Config{
		Issuer: w.issuer,
		Store:  store.NewMemory(),
		Keys:   []aceserver.SigningKey{{ID: "signing", Key: signing}},
		Audiences: []aceserver.Audience{{
			Name: audience, Lifetime: w.lifetime, Encryption: aceserver.TokenKey{ID: "broker", Secret: shared},
		}},
		Policies: []aceserver.Policy{
			{Client: sensorName, Audience: audience, Scope: aceserver.Scope{{Filter: w.topic(), Publish: true}}},
			{Client: consoleName, Audience: audience, Scope: aceserver.Scope{{Filter: w.base + "/#", Subscribe: true}}},
		},
	}
	for _, name := range []string{sensorName, consoleName} {
		secret, hash := aceserver.NewSecret()
		w.secrets[name] = secret
		cfg.Clients = append(cfg.Clients, aceserver.Client{ID: name, Credential: aceserver.Credential{Secret: hash}})
	}
	handler, err := aceserver.New(cfg)
	if err != nil {
		return nil, nil, err
	}
	server := &http.Server{Handler: handler, ReadTimeout: 10 * time.Second, ErrorLog: log.New(io.Discard, "", 0)}
	go server.Serve(tls.NewListener(listener, tlsConfig))
	return acebroker.StaticKeys{
		{ID: "signing", Algorithm: acebroker.EdDSA, Key: public},
		{ID: "broker", Algorithm: acebroker.A256GCM, Key: shared},
	}, func() { server.Close() }, nil
}

// startBroker starts a broker behind a listener that lets in who has a token.
func (w *tokenWorld) startBroker(tlsConfig *tls.Config, keys acebroker.StaticKeys) (func(), error) {
	tcp, err := net.Listen("tcp", "localhost:0")
	if err != nil {
		return nil, err
	}
	guarded, err := acebroker.NewListener(tcp, acebroker.Config{
		TLS:        tlsConfig,
		Algorithms: []acebroker.Algorithm{acebroker.EdDSA, acebroker.A256GCM},
		Issuers:    []acebroker.Issuer{{Name: w.issuer, Keys: keys}},
		Audience:   []string{audience},
	})
	if err != nil {
		return nil, errors.Join(err, tcp.Close())
	}
	broker, err := brokers.StartEmbedded(brokers.Config{})
	if err != nil {
		return nil, errors.Join(err, guarded.Close())
	}
	if err := broker.Serve(guarded); err != nil {
		return nil, errors.Join(err, broker.Close())
	}
	w.server = server{url: &url.URL{Scheme: "mqtts", Host: tcp.Addr().String()}, tls: w.tls}
	return func() { _ = broker.Close() }, nil
}

// topic is the one that the sensor may publish on.
func (w *tokenWorld) topic() string { return w.base + "/kitchen/door" }

// source asks the server for a token of this client, a new one each time.
func (w *tokenWorld) source(client string) ace.TokenSource {
	as, err := ace.NewAS(ace.ASConfig{
		Endpoint: w.issuer + "/token", ClientID: client, ClientSecret: w.secrets[client], Audience: audience, TLS: w.tls,
	})
	if err != nil {
		panic(err) // nothing in it comes from outside
	}
	return as
}
