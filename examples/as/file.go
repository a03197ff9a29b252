package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"slices"

	"github.com/go-jose/go-jose/v4"

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
	if o.keys != "" {
		return printKeys(cfg, o.keys, stdout)
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

// printKeys prints what the broker that is this audience has to know of the server, as a JWK Set (RFC 7517).
func printKeys(cfg aceserver.Config, name string, stdout io.Writer) error {
	at := slices.IndexFunc(cfg.Audiences, func(a aceserver.Audience) bool { return a.Name == name })
	if at < 0 {
		return fmt.Errorf("there is no audience %q", name)
	}
	if cfg.Audiences[at].Format == aceserver.Reference {
		return fmt.Errorf("the audience %q has reference tokens: its broker asks the server, and needs no keys", name)
	}
	keys, _ := acedemo.Keys(cfg, cfg.Audiences[at])
	var set jose.JSONWebKeySet
	for _, k := range keys {
		set.Keys = append(set.Keys, jose.JSONWebKey{Key: k.Key, KeyID: k.ID, Algorithm: string(k.Algorithm)})
	}
	text, err := json.MarshalIndent(set, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(stdout, "%s\n", text)
	return err
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
