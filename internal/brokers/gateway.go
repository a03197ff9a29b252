package brokers

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/mqttsec/mqttsec/internal/brokers/ca"
	"github.com/mqttsec/mqttsec/internal/brokers/ports"
)

// Gateway is examples/gateway in a child process, in front of a broker that is somebody else's. Its listeners have no
// scheme: they let everything pass. It implements [Broker], and is a means to hold a broker behind it against the
// broker alone.
type Gateway struct {
	authority *ca.Authority
	dir       string
	urls      map[string]*url.URL
	ports     ports.Set
	process   *process // nil while stopped
}

// StartGateway builds the gateway and starts it before the broker at upstream, a URL of [TCP] or [Unix]. It returns
// when it accepts connections. The error wraps [ErrNotInstalled] outside a clone of this module, where there is nothing
// to build.
func StartGateway(ctx context.Context, upstream *url.URL) (*Gateway, error) {
	authority, err := ca.New()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gateway")
	if err != nil {
		return nil, err
	}
	g := &Gateway{authority: authority, dir: dir}
	if err = g.prepare(ctx, upstream); err == nil {
		err = g.Start(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

// prepare makes the program, its credentials and its configuration.
func (g *Gateway) prepare(ctx context.Context, upstream *url.URL) error {
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(g.dir, "gateway"), "github.com/mqttsec/mqttsec/examples/gateway")
	if out, err := build.CombinedOutput(); ctx.Err() != nil {
		return fmt.Errorf("brokers: building the gateway: %w", context.Cause(ctx))
	} else if err != nil {
		return fmt.Errorf("%w: the gateway cannot be built: %w: %s", ErrNotInstalled, err, out)
	}
	presents, err := g.authority.ServerConfig()
	if err != nil {
		return err
	}
	if _, _, err := ca.WriteFiles(g.dir, "gateway", presents.Certificates[0]); err != nil {
		return err
	}
	if g.urls, err = addresses(&g.ports, g.dir, []string{TCP, TLS, WS, WSS}); err != nil {
		return err
	}
	behind := "mqtt://" + upstream.Host
	if upstream.Scheme == Unix {
		behind = "unix://" + upstream.Path
	}
	var text strings.Builder
	fmt.Fprintf(&text, "upstream: {url: %q}\ndrain: 0s\nlisteners:\n", behind)
	const tls = ", tls: {certificate: gateway.pem, key: gateway-key.pem}"
	for transport, more := range map[string]string{
		TCP: "", TLS: tls, WS: ", transport: websocket", WSS: ", transport: websocket" + tls,
	} {
		fmt.Fprintf(&text, "  - {name: %s, address: \"%s\"%s}\n", transport, g.urls[transport].Host, more)
	}
	return os.WriteFile(filepath.Join(g.dir, "gateway.yaml"), []byte(text.String()), 0o600)
}

// Name returns "gateway".
func (g *Gateway) Name() string { return "gateway" }

// URL is the address of the listener for a transport, nil for an unknown one; there is no Unix socket.
func (g *Gateway) URL(transport string) *url.URL {
	if transport == Unix {
		return nil
	}
	return copied(g.urls[transport])
}

// RootCAs verifies the certificate that the tls and wss listeners present.
func (g *Gateway) RootCAs() *x509.CertPool { return g.authority.Pool() }

// Start starts the gateway again after Stop, on the same addresses.
func (g *Gateway) Start(ctx context.Context) error {
	p, err := spawn("gateway", exec.Command(filepath.Join(g.dir, "gateway"), "-config", filepath.Join(g.dir, "gateway.yaml")))
	if err != nil {
		return err
	}
	g.process = p
	for _, transport := range []string{TCP, TLS, WS, WSS} {
		if err := p.await(ctx, func() error { return listening(ctx, g.urls[transport].Host) }); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends the process in the orderly way.
func (g *Gateway) Stop() error {
	if g.process != nil {
		g.process.stop()
		g.process = nil
	}
	return nil
}

// Close stops the gateway for good and removes its files. The broker behind it goes on.
func (g *Gateway) Close() error { return errors.Join(g.Stop(), g.ports.Close(), os.RemoveAll(g.dir)) }
