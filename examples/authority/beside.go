package main

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net/url"
	"os"

	"github.com/eclipse/paho.golang/autopaho"

	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// passwordVariable keeps a password out of the list of processes.
const passwordVariable = "MQTT_PASSWORD"

// authorityAccount is the account of this program's other connection. It is made anew each time, with a password that
// nobody knows.
const authorityAccount = "authority-client"

// beside is a client of a mosquitto that knows nothing of MQTT-Auth, and has it enforce the tokens.
func (o *serveOptions) beside(ctx context.Context, store *authbroker.Store, logger *slog.Logger) error {
	broker, err := brokerURL(o.broker)
	if err != nil {
		return err
	}
	secure, err := trusting(o.cafile)
	if err != nil {
		return err
	}
	client := func(username, password string) autopaho.ClientConfig {
		return autopaho.ClientConfig{
			ServerUrls: []*url.URL{broker}, TlsCfg: secure, ConnectUsername: username, ConnectPassword: []byte(password), ConnectTimeout: patience,
			OnConnectError: func(err error) { logger.Error("connecting to the broker", "user", username, "reason", err.Error()) },
		}
	}
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	plugin, err := authbroker.NewMosquitto(limited, client(o.user, os.Getenv(passwordVariable)))
	if err != nil {
		return err
	}
	defer plugin.Close()
	setup := authbroker.MosquittoSetup{
		Bootstrap: o.clients, BootstrapPassword: o.clients, Authority: authorityAccount, AuthorityPassword: rand.Text(),
	}
	if err := plugin.Remove(limited, authorityAccount); err != nil {
		return err
	}
	if err := plugin.Setup(limited, setup); err != nil {
		return err
	}
	a, err := authbroker.NewAuthority(authbroker.AuthorityConfig{
		Server: o.server, Store: store, Client: client(setup.Authority, setup.AuthorityPassword), Provisioner: plugin,
		Ticket: o.ticket, Public: o.rules(), Logger: logger,
	})
	if err != nil {
		return err
	}
	stop, err := control(ctx, o.store, &local{store: store, ended: func(user string) error {
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, err := a.Revoke(limited, authbroker.Revocation{User: user})
		return err
	}})
	if err != nil {
		return err
	}
	defer stop()
	go func() {
		if a.AwaitReady(ctx) == nil {
			logger.Info("serving", "broker", broker.Redacted(), "server", o.server)
		}
	}()
	return a.Run(ctx)
}
