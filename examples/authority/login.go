package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	"github.com/eclipse/paho.golang/paho"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/present"
)

// loginOptions are what the command line of login says.
type loginOptions struct {
	user, server, broker, cafile, hop string
	beside, plaintext                 bool
}

// loginCommand logs a user in once, as a device does, to see that it works.
func loginCommand(ctx context.Context, args []string, in *os.File, out, complaints io.Writer) error {
	var o loginOptions
	o.user, args = word(args)
	flags := newFlags("login", "login NAME -server NAME -broker URL", complaints)
	flags.StringVar(&o.server, "server", "", "`NAME` of the authority")
	flags.StringVar(&o.broker, "broker", "", "`URL` to log in at, mqtt://HOST:PORT or mqtts://HOST:PORT")
	flags.StringVar(&o.cafile, "cafile", "", "PEM `FILE` with the certificates that vouch for mqtts, instead of the system's")
	flags.StringVar(&o.hop, "hop", "", "`aes` or present, if payloads are sealed up to there")
	flags.BoolVar(&o.beside, "beside", false, "the authority is beside the broker: log in there, then connect with a short-lived account")
	flags.BoolVar(&o.plaintext, "plaintext", false, "with -beside, let that account's password go over mqtt:// where everybody can read it")
	if err := parse(flags, args, o.check); err != nil {
		return err
	}
	password, err := readPassword(o.user, in, complaints, false)
	if err != nil {
		return err
	}
	if err := o.login(ctx, password); err != nil {
		return err
	}
	fmt.Fprintf(out, "%s is logged in at %s\n", o.user, o.server)
	return nil
}

func (o *loginOptions) check() error {
	switch {
	case o.user == "":
		return errors.New("login: the user's name is missing")
	case o.server == "":
		return errors.New("-server is missing")
	case o.hop != "" && o.hop != "aes" && o.hop != "present":
		return fmt.Errorf("-hop %q: want aes or present", o.hop)
	case o.beside && o.hop != "":
		return errors.New("-hop goes with an authority in front of the broker")
	case o.plaintext && !o.beside:
		return errors.New("-plaintext goes with -beside")
	}
	if _, err := brokerURL(o.broker); err != nil {
		return fmt.Errorf("-broker: %w", err)
	}
	return nil
}

// login connects, and disconnects again.
func (o *loginOptions) login(ctx context.Context, password []byte) error {
	ctx, cancel := context.WithTimeoutCause(ctx, 3*patience, errors.New("no answer"))
	defer cancel()
	server, err := brokerURL(o.broker)
	if err != nil {
		return err
	}
	trust, err := trusting(o.cafile)
	if err != nil {
		return err
	}
	failed := make(chan error, 1)
	cfg, err := o.client(server, trust, password, func(err error) {
		select {
		case failed <- err:
		default: // the first reason is enough
		}
	})
	if err != nil {
		return err
	}
	manager, err := autopaho.NewConnection(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { cancel(); <-manager.Done() }()
	connected := make(chan error, 1)
	go func() { connected <- manager.AwaitConnection(ctx) }()
	select {
	case err := <-failed:
		return err
	case err := <-connected:
		if err != nil {
			return context.Cause(ctx)
		}
		return manager.Disconnect(ctx)
	}
}

// client is one that logs in, and tells why it could not.
func (o *loginOptions) client(server *url.URL, trust *tls.Config, password []byte, failed func(error)) (cfg autopaho.ClientConfig, err error) {
	id := fmt.Sprintf("login-%d-%d", os.Getpid(), time.Now().UnixNano())
	settings := mqttauth.Config{User: o.user, Password: password, Server: o.server, ClientID: id, TwoPhase: o.beside, AllowPlaintext: o.plaintext}
	if o.beside {
		settings.Bootstrap = mqttauth.Account{Username: bootstrap, Password: bootstrap}
	}
	auth, err := mqttauth.New(settings)
	if err != nil {
		return cfg, err
	}
	cfg = auth.Wrap(autopaho.ClientConfig{
		ServerUrls: []*url.URL{server}, TlsCfg: trust, KeepAlive: 20, CleanStartOnInitialConnection: true,
		OnConnectError: failed, ClientConfig: paho.ClientConfig{ClientID: id},
	})
	switch o.hop {
	case "aes":
		cfg = aesmsg.Session(aesmsg.SessionConfig{}).Wrap(cfg)
	case "present":
		cfg = present.Session(present.SessionConfig{}).Wrap(cfg)
	}
	return cfg, nil
}
