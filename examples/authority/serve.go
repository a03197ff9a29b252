package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/mqttauth/authbroker"
)

// patience bounds what other machines may take, and how long clients have to go when the program ends.
const patience = 30 * time.Second

// bootstrap is the account, and its password, with which devices log in beside a broker.
const bootstrap = "bootstrap"

// serveOptions are what the command line of serve says.
type serveOptions struct {
	server, store string

	listen, cert, key, upstream, hop string
	public                           []string

	broker, user, clients, cafile string
	ticket                        time.Duration
}

// serveCommand runs an authority until ctx ends.
func serveCommand(ctx context.Context, args []string, complaints io.Writer) error {
	var o serveOptions
	flags := newFlags("serve", "serve -server NAME -store FILE -listen ADDR [-upstream URL]\n"+
		"       authority serve -server NAME -store FILE -broker URL", complaints)
	o.define(flags)
	if err := parse(flags, args, o.check); err != nil {
		return err
	}
	store, err := authbroker.OpenStore(o.store)
	if err != nil {
		return err
	}
	defer store.Close()
	logger := slog.New(slog.NewTextHandler(complaints, nil))
	if o.broker != "" {
		return o.beside(ctx, store, logger)
	}
	return o.listener(ctx, store, logger)
}

func (o *serveOptions) define(flags *flag.FlagSet) {
	flags.StringVar(&o.server, "server", "", "`NAME` of the authority, which clients are configured with")
	flags.StringVar(&o.store, "store", "", "`FILE` with users, claims and what was issued; it is made if there is none")
	flags.StringVar(&o.listen, "listen", "", "`ADDR` to listen on, :1883 for example")
	flags.StringVar(&o.cert, "cert", "", "PEM `FILE` with a certificate: clients connect with TLS")
	flags.StringVar(&o.key, "key", "", "PEM `FILE` with the certificate's key")
	flags.StringVar(&o.upstream, "upstream", "", "`URL` of the broker behind, mqtt://HOST:PORT or mqtts://HOST:PORT; without one there is one in this process")
	flags.StringVar(&o.broker, "broker", "", "`URL` of a mosquitto with its dynamic-security plugin to serve beside it, mqtt://HOST:PORT or mqtts://HOST:PORT")
	flags.StringVar(&o.user, "user", "admin", "`NAME` of the plugin's administrator; the password is in "+passwordVariable)
	flags.StringVar(&o.clients, "bootstrap", bootstrap, "`NAME`, and password, of the account with which devices log in at -broker; everybody may know it")
	flags.DurationVar(&o.ticket, "ticket", authbroker.DefaultTicket, "the longest life of an account at -broker")
	flags.StringVar(&o.cafile, "cafile", "", "PEM `FILE` with the certificates that vouch for the broker, instead of the system's")
	flags.StringVar(&o.hop, "hop", "", "`aes` or present: payloads are sealed between clients and here, in place of TLS or beside it")
	flags.Func("public", "`FILTER` of topics that every user may publish on and subscribe to without a token; more than once", func(filter string) error {
		o.public = append(o.public, filter)
		return nil
	})
}

// check says what does not go together.
func (o *serveOptions) check() error {
	switch {
	case o.server == "":
		return errors.New("-server is missing")
	case o.store == "":
		return errors.New("-store is missing")
	case (o.listen == "") == (o.broker == ""):
		return errors.New("one of -listen and -broker says where")
	case o.broker != "" && o.cert+o.key+o.upstream+o.hop != "":
		return errors.New("-cert, -key, -upstream and -hop go with -listen")
	case o.ticket < time.Second:
		return fmt.Errorf("-ticket %v: at least a second", o.ticket)
	case (o.cert == "") != (o.key == ""):
		return errors.New("-cert and -key go together")
	case o.hop != "" && o.hop != "aes" && o.hop != "present":
		return fmt.Errorf("-hop %q: want aes or present", o.hop)
	}
	for option, text := range map[string]string{"-upstream": o.upstream, "-broker": o.broker} {
		if text == "" {
			continue
		}
		if _, err := brokerURL(text); err != nil {
			return fmt.Errorf("%s: %w", option, err)
		}
	}
	return nil
}

func brokerURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, err
	}
	if u.Hostname() == "" || u.Scheme != "mqtt" && u.Scheme != "mqtts" {
		return nil, fmt.Errorf("%q: want mqtt://HOST:PORT or mqtts://HOST:PORT", text)
	}
	return u, nil
}

// listener stands in front of a broker.
func (o *serveOptions) listener(ctx context.Context, store *authbroker.Store, logger *slog.Logger) error {
	behind, err := o.behind()
	if err != nil {
		return err
	}
	defer behind.close()
	cfg, err := o.config(store, logger)
	if err != nil {
		return err
	}
	inner, err := net.Listen("tcp", o.listen)
	if err != nil {
		return err
	}
	l, err := authbroker.NewListener(inner, cfg)
	if err != nil {
		return errors.Join(err, inner.Close())
	}
	stop, err := control(ctx, o.store, &local{store: store, ended: func(user string) error {
		_, err := l.Revoke(authbroker.Revocation{User: user})
		return err
	}})
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer stop()
	users, err := store.Users()
	if err != nil {
		return errors.Join(err, l.Close())
	}
	logger.Info("listening", "address", inner.Addr().String(), "server", o.server, "users", len(users))

	var clients sync.WaitGroup
	drained := make(chan error, 1)
	end := context.AfterFunc(ctx, func() {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		drained <- l.Shutdown(limited)
	})
	for {
		conn, err := l.Accept()
		if err != nil {
			if end() { // it was not us
				return err
			}
			err = <-drained
			clients.Wait()
			return err
		}
		clients.Go(func() {
			defer conn.Close()
			if err := behind.serve(context.WithoutCancel(ctx), conn); err != nil {
				logger.Error("broker", "reason", err.Error())
			}
		})
	}
}

// behind is the broker that the clients are for.
func (o *serveOptions) behind() (broker, error) {
	if o.upstream == "" {
		return newInProcess()
	}
	u, err := brokerURL(o.upstream)
	if err != nil {
		return nil, err
	}
	secure, err := trusting(o.cafile)
	if err != nil {
		return nil, err
	}
	return newUpstream(u, secure), nil
}

func (o *serveOptions) config(store *authbroker.Store, logger *slog.Logger) (authbroker.Config, error) {
	cfg := authbroker.Config{Server: o.server, Store: store, Logger: logger}
	cfg.Public = o.rules()
	switch o.hop {
	case "aes":
		cfg.Hop = authbroker.HopAES
	case "present":
		cfg.Hop = authbroker.HopPRESENT
	}
	if o.cert != "" {
		certificate, err := tls.LoadX509KeyPair(o.cert, o.key)
		if err != nil {
			return cfg, fmt.Errorf("-cert and -key: %w", err)
		}
		cfg.TLS = &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}
	}
	return cfg, nil
}

// rules are the topics for everybody.
func (o *serveOptions) rules() (rules []authbroker.Rule) {
	for _, filter := range o.public {
		rules = append(rules, authbroker.Rule{Filter: filter, Publish: true, Subscribe: true})
	}
	return rules
}

// trusting is for connections to a broker whose certificate one of those in a file vouches for, or the system's if it
// is empty.
func trusting(cafile string) (*tls.Config, error) {
	secure := &tls.Config{MinVersion: tls.VersionTLS12}
	if cafile == "" {
		return secure, nil
	}
	pem, err := os.ReadFile(cafile)
	if err != nil {
		return nil, fmt.Errorf("-cafile: %w", err)
	}
	secure.RootCAs = x509.NewCertPool()
	if !secure.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("-cafile %s: no certificate in it", cafile)
	}
	return secure, nil
}
