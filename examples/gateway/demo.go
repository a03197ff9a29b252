package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/mqttsec/mqttsec/ace/aceserver"
	"github.com/mqttsec/mqttsec/examples/internal/acedemo"
)

type demoOptions struct {
	dir, upstream string
	lifetime      time.Duration
}

// runDemo runs an Authorization Server and a gateway in front of the given broker until ctx ends.
func runDemo(ctx context.Context, o demoOptions, out io.Writer, log *slog.Logger) error {
	given := func(text string) setting[string] { return setting[string]{text, 1} }
	cfg := &config{file: "-demo", Upstream: upstreamConfig{URL: given(o.upstream)}, Admin: adminConfig{Address: given("127.0.0.1:0")}}
	cfg.Listeners = []listenerConfig{{Name: given("demo"), Address: given("localhost:0"), Scheme: given(schemeACE)}}
	cfg.defaults()
	cfg.Drain.value = 0
	if _, err := parseUpstream(o.upstream); err != nil {
		return fmt.Errorf("-upstream: %w", err)
	}
	d, err := acedemo.New(o.dir, o.lifetime)
	if err != nil {
		return err
	}
	d.Server.Log = log
	authorization, err := aceserver.New(d.Server)
	if err != nil {
		return errors.Join(err, d.AS.Close())
	}
	g, err := newDemoGateway(cfg, d, log)
	if err != nil {
		return errors.Join(err, d.AS.Close())
	}
	server := &http.Server{
		Handler: authorization, TLSConfig: d.TLS.Clone(), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 10 * time.Second, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ended := make(chan error, 1)
	go func() {
		err := server.ServeTLS(d.AS, "", "")
		stop(err)
		ended <- err
	}()
	err = g.run(running, nil, func() error {
		advice, err := d.Write(g.listeners[0].served, "http://"+g.admin.listener.Addr().String())
		if err == nil {
			fmt.Fprint(out, advice)
		}
		return err
	})
	err = errors.Join(err, server.Close())
	if served := <-ended; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// newDemoGateway is newGateway for the one listener of a demo, whose settings are in memory.
func newDemoGateway(cfg *config, d *acedemo.Demo, log *slog.Logger) (*gateway, error) {
	listeners := cfg.Listeners
	cfg.Listeners = nil
	g, err := newGateway(cfg, log)
	if err != nil {
		return nil, err
	}
	l := g.newListener(&listeners[0])
	l.certificate.Store(&tls.Config{
		Certificates: d.TLS.Certificates, MinVersion: tls.VersionTLS12, NextProtos: []string{"mqtt"}, SessionTicketsDisabled: true,
	})
	network, err := net.Listen("tcp", l.started.Address.value)
	if err != nil {
		return nil, errors.Join(err, g.close())
	}
	b := &below{Listener: network, secure: l.secure(&listenerConfig{TLS: &tlsConfig{}})}
	if _, err := g.guardACE(l, b, d.Guard()); err != nil {
		return nil, errors.Join(err, network.Close(), g.close())
	}
	g.listeners = []*listener{l}
	return g, nil
}
