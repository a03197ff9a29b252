package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mqttsec/mqttsec/internal/layer"
)

// gateway is a running one.
type gateway struct {
	cfg            *config
	log            *slog.Logger
	upstream       *upstream
	bytesPerSecond int
	connections    chan struct{} // a place for each connection
	metrics        *metrics
	listeners      []*listener
	admin          *admin // nil for none
	draining       atomic.Bool
	relays         sync.WaitGroup
}

// newGateway makes a gateway and listens. Whoever gets one must run it.
func newGateway(cfg *config, log *slog.Logger) (g *gateway, err error) {
	k := &checker{file: cfg.file}
	g = &gateway{
		cfg:            cfg,
		log:            log,
		bytesPerSecond: cfg.Limits.BytesPerSecond.value,
		connections:    make(chan struct{}, cfg.Limits.Connections.value),
		metrics:        newMetrics(),
	}
	if n := cfg.Limits.Memory.value; n > 0 {
		debug.SetMemoryLimit(int64(n) << 20)
	}
	if g.upstream, err = newUpstream(&cfg.Upstream, k); err != nil {
		return nil, fmt.Errorf("upstream: %w", err)
	}
	opened := g // which the result is not any more after an error
	defer func() {
		if err != nil {
			err = errors.Join(err, opened.close())
		}
	}()
	for i := range cfg.Listeners {
		l, err := g.listen(&cfg.Listeners[i], k)
		if err != nil {
			return nil, fmt.Errorf("listener %s: %w", cfg.Listeners[i].Name.value, err)
		}
		g.listeners = append(g.listeners, l)
	}
	g.shareUploads(cfg)
	if cfg.Admin.Address.line > 0 {
		if g.admin, err = newAdmin(g, &cfg.Admin); err != nil {
			return nil, fmt.Errorf("admin: %w", err)
		}
	}
	return g, nil
}

// close gives up what is listening.
func (g *gateway) close() error {
	var err error
	for _, l := range g.listeners {
		err = errors.Join(err, l.served.Close(), l.free())
	}
	if g.admin != nil {
		err = errors.Join(err, g.admin.close())
	}
	return err
}

// run serves until ctx ends, and then drains: clients are told to go, one after another. ready is called once
// everything can be reached.
func (g *gateway) run(ctx context.Context, reloads <-chan *config, ready func() error) error {
	relaying, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	failed := make(chan error, len(g.listeners)+1)
	for _, l := range g.listeners {
		g.log.Info("listening", "listener", l.name, "address", l.served.Addr().String(), "scheme", l.scheme)
		go func() { failed <- g.accept(relaying, l) }()
	}
	if g.admin != nil {
		g.log.Info("admin", "address", g.admin.listener.Addr().String())
		go func() { failed <- g.admin.serve() }()
	}
	err := ready()
	for running := err == nil; running; {
		select {
		case <-ctx.Done():
			running = false
		case err = <-failed:
			running = false
		case cfg := <-reloads:
			g.reload(cfg)
		}
	}
	g.drain()
	stop()
	g.relays.Wait()
	for _, l := range g.listeners {
		err = errors.Join(err, l.free())
	}
	if g.admin != nil {
		err = errors.Join(err, g.admin.close())
	}
	return err
}

// accept takes the connections of a listener.
func (g *gateway) accept(ctx context.Context, l *listener) error {
	for {
		conn, err := l.served.Accept()
		if errors.Is(err, net.ErrClosed) && g.draining.Load() {
			return nil
		}
		if err != nil {
			return fmt.Errorf("listener %s: %w", l.name, err)
		}
		if l.withdrawn(conn) {
			l.failed(g)(conn.RemoteAddr(), errKeyWithdrawn)
			_ = conn.Close()
			continue
		}
		select {
		case g.connections <- struct{}{}:
		default:
			l.metrics.refused.WithLabelValues("limit").Inc()
			g.log.Warn("too many connections", "listener", l.name, "limit", cap(g.connections))
			g.relays.Go(func() { turnAway(conn) })
			continue
		}
		l.metrics.accepted.Inc()
		g.relays.Go(func() {
			over := func() { <-g.connections }
			err := g.relay(ctx, conn, l, func() {
				over()
				g.log.Debug("connection over", "listener", l.name, "remote", conn.RemoteAddr().String())
			})
			if err != nil {
				over()
				l.metrics.refused.WithLabelValues("upstream").Inc()
				g.log.Warn("connection not relayed", "listener", l.name, "remote", conn.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// drain ends all connections within the time that the configuration gives, evenly, so that a fleet does not come to
// another gateway in one moment.
func (g *gateway) drain() {
	g.draining.Store(true)
	for _, l := range g.listeners {
		if err := l.served.Close(); err != nil {
			g.log.Warn("closing", "listener", l.name, "error", err)
		}
	}
	var conns []*layer.Conn
	for _, l := range g.listeners {
		conns = append(conns, l.served.Established()...)
	}
	if len(conns) == 0 {
		return
	}
	g.log.Info("draining", "connections", len(conns), "within", g.cfg.Drain.value)
	started := time.Now()
	for i, c := range conns {
		if wait := g.cfg.Drain.value*time.Duration(i)/time.Duration(len(conns)) - time.Since(started); wait > 0 {
			time.Sleep(wait)
		}
		_ = c.End(layer.ErrShutdown, layer.Goodbye(c, serverShuttingDown)) // returns what it is given
	}
}

// reload takes from a new configuration what can change while connections live.
func (g *gateway) reload(cfg *config) {
	k := &checker{file: cfg.file}
	for _, l := range g.listeners {
		if err := l.reload(cfg, k); err != nil {
			g.log.Error("listener not reloaded, its old settings stay", "listener", l.name, "error", err)
			g.metrics.reloads.WithLabelValues(l.name, l.scheme, "failed").Inc()
		} else {
			g.metrics.reloads.WithLabelValues(l.name, l.scheme, "ok").Inc()
			g.log.Info("reloaded", "listener", l.name)
		}
	}
	if cfg.Upstream.URL.value != g.cfg.Upstream.URL.value || len(cfg.Listeners) != len(g.listeners) {
		g.log.Warn("the upstream and the set of listeners change with a restart only")
	}
}
