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
)

// site is where a service runs.
type site struct {
	as, broker net.Listener // broker may be nil
	tls        *tls.Config
	stdout     io.Writer
	log        *slog.Logger
}

func (s site) close() error {
	err := s.as.Close()
	if s.broker != nil {
		err = errors.Join(err, s.broker.Close())
	}
	return err
}

// url is where the server can be reached from this machine, under a name that its certificate has.
func (s site) url(host string) string { return "https://" + net.JoinHostPort(host, port(s.as)) }

func port(l net.Listener) string {
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return "?" // not with TCP
	}
	return port
}

// service is an Authorization Server, and perhaps a broker.
type service struct {
	site
	server  *aceserver.Server
	guarded *broker // nil for none
}

// newService makes a service, whose broker is the audience of that name, or the first one.
func newService(cfg aceserver.Config, audience string, at site) (*service, error) {
	s := &service{site: at}
	var wanted aceserver.Audience
	if at.broker != nil {
		for _, a := range cfg.Audiences {
			if audience == a.Name || audience == "" && wanted.Name == "" {
				wanted = a
			}
		}
		if wanted.Name == "" {
			return nil, fmt.Errorf("there is no audience %q", audience)
		}
	}
	secret, hash := aceserver.NewSecret()
	if at.broker != nil && wanted.Format == aceserver.Reference {
		cfg.ResourceServers = append(cfg.ResourceServers, aceserver.ResourceServer{
			ID:         ownBroker,
			Credential: aceserver.Credential{Secret: hash},
			Audiences:  []string{wanted.Name},
		})
	}
	var err error
	if s.server, err = aceserver.New(cfg); err != nil || at.broker == nil {
		return s, err
	}
	s.guarded, err = newBroker(at, cfg, wanted, secret)
	return s, err
}

const (
	// A request that has not arrived by then is not waited for.
	headerWait, requestWait, idleWait = 5 * time.Second, 10 * time.Second, time.Minute
	// farewell is how long requests that are under way have when the program ends.
	farewell = 500 * time.Millisecond
)

// serve calls ready once everything can be reached, and returns when ctx has ended and all is closed, or something
// fails.
func (s *service) serve(ctx context.Context, ready func() error) error {
	server := &http.Server{
		Handler:           s.server,
		TLSConfig:         s.tls,
		ReadHeaderTimeout: headerWait,
		ReadTimeout:       requestWait,
		WriteTimeout:      requestWait,
		IdleTimeout:       idleWait,
		MaxHeaderBytes:    1 << 14,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.ServeTLS(s.as, "", "") }()
	if s.guarded != nil {
		if err := s.guarded.serve(); err != nil {
			return errors.Join(err, server.Close(), <-failed)
		}
	}
	err := ready()
	if err == nil {
		select {
		case <-ctx.Done():
		case err = <-failed:
			failed <- nil
		}
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if server.Shutdown(ending) != nil { // somebody did not finish in time
		err = errors.Join(err, server.Close())
	}
	if s.guarded != nil {
		err = errors.Join(err, s.guarded.close())
	}
	if serveErr := <-failed; !errors.Is(serveErr, http.ErrServerClosed) {
		err = errors.Join(err, serveErr)
	}
	return err
}
