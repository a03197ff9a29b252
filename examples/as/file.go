package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"

	"github.com/mqttsec/mqttsec/ace/aceserver"
	"github.com/mqttsec/mqttsec/ace/aceserver/store"
	"github.com/mqttsec/mqttsec/examples/internal/acedemo"
)

// fromFile runs, or checks, what a configuration file says.
func fromFile(ctx context.Context, o options, stdout io.Writer, log *slog.Logger) error {
	s, err := readSettings(o.config)
	if err != nil {
		return err
	}
	cfg, err := s.serverConfig()
	if err != nil {
		return err
	}
	cfg.Log = log
	server, err := s.tlsConfig()
	if err != nil {
		return err
	}
	if o.check {
		cfg.Store = store.NewMemory() // the state may be in use
		if _, err := aceserver.New(cfg); err != nil {
			return err
		}
		fmt.Fprintf(stdout, "%s: in order\n", o.config)
		return nil
	}
	file, err := store.OpenFile(s.file(s.State))
	if err != nil {
		return err
	}
	cfg.Store = file
	return errors.Join(s.run(ctx, o, cfg, site{tls: server, stdout: stdout, log: log}), file.Close())
}

// run listens and serves until ctx ends.
func (s *settings) run(ctx context.Context, o options, cfg aceserver.Config, at site) (err error) {
	if at.as, err = net.Listen("tcp", s.Listen); err != nil {
		return err
	}
	if o.broker != "" {
		if at.broker, err = net.Listen("tcp", o.broker); err != nil {
			return errors.Join(err, at.as.Close())
		}
	}
	service, err := newService(cfg, o.audience, at)
	if err != nil {
		return errors.Join(err, at.close())
	}
	if o.invite != "" {
		group := o.invite
		if group == "*" {
			group = ""
		}
		token, err := service.server.Invite(ctx, aceserver.Invitation{Group: group})
		if err != nil {
			return errors.Join(err, at.close())
		}
		fmt.Fprintf(at.stdout, "initial access token: %s\n", token)
	}
	authority := ""
	if s.CA != "" {
		authority = "--cacert " + acedemo.Quote(s.file(s.CA)) + " "
	}
	issuer, err := url.Parse(s.Issuer)
	if err != nil {
		return errors.Join(err, at.close())
	}
	return service.serve(ctx, func() error {
		if at.broker != nil {
			fmt.Fprintf(at.stdout, "broker: mqtts://%s\n", net.JoinHostPort(issuer.Hostname(), port(at.broker)))
		}
		fmt.Fprintf(at.stdout, "serving %s; to see what it offers:\n\n  curl %s%s/.well-known/oauth-authorization-server%s\n\n",
			s.Issuer, authority, at.url(issuer.Hostname()), issuer.Path)
		return nil
	})
}
