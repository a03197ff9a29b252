package brokers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"

	"github.com/mqttsec/mqttsec/internal/brokers/ports"
)

// Socat is socat in a child process, in front of a broker: it copies bytes and looks at none of them, which is the
// least that a program between clients and a broker can do.
type Socat struct {
	url     *url.URL
	ports   ports.Set
	process *process
}

// StartSocat starts it before the broker at upstream, a URL of [TCP]. The error wraps [ErrNotInstalled] if there is
// none.
func StartSocat(ctx context.Context, upstream *url.URL) (*Socat, error) {
	program, err := exec.LookPath("socat")
	if err != nil {
		return nil, fmt.Errorf("%w: socat", ErrNotInstalled)
	}
	s := new(Socat)
	host, err := s.ports.Take()
	if err != nil {
		return nil, err
	}
	s.url = &url.URL{Scheme: TCP, Host: host}
	listen := fmt.Sprintf("TCP-LISTEN:%s,bind=%s,fork,reuseaddr,nodelay", s.url.Port(), s.url.Hostname())
	if s.process, err = spawn("socat", exec.Command(program, listen, "TCP:"+upstream.Host+",nodelay")); err != nil {
		return nil, errors.Join(err, s.ports.Close())
	}
	if err := s.process.await(ctx, func() error { return listening(ctx, host) }); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// URL is where it listens.
func (s *Socat) URL() *url.URL { return copied(s.url) }

// Close ends it. Connections that it passes on have to be closed before.
func (s *Socat) Close() error {
	s.process.stop()
	return s.ports.Close()
}
