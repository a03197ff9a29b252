package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"runtime/debug"
	"strings"
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
	bytesPerSecond atomic.Int64 // 0 for no bound
	connections    places
	within         time.Duration // how long draining takes; of the goroutine of run
	memory         int           // the limit that is set, MiB, 0 for none; likewise
	metrics        *metrics
	listeners      []*listener
	admin          *admin // nil for none
	draining       atomic.Bool
	relays         sync.WaitGroup
	stalls         *stalls
}

// newGateway makes a gateway and listens. Whoever gets one must run it.
func newGateway(cfg *config, log *slog.Logger) (g *gateway, err error) {
	k := &checker{file: cfg.file}
	g = &gateway{
		cfg:     cfg,
		log:     log,
		metrics: newMetrics(),
		stalls:  newStalls(),
	}
	g.limit(cfg)
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

// limit takes what holds for the whole gateway, and can change while it runs.
func (g *gateway) limit(cfg *config) {
	g.within = cfg.Drain.value
	g.connections.limit.Store(int64(cfg.Limits.Connections.value))
	g.bytesPerSecond.Store(int64(cfg.Limits.BytesPerSecond.value))
	memory := int64(math.MaxInt64)
	if n := cfg.Limits.Memory.value; n > 0 {
		memory = int64(n) << 20
	}
	if cfg.Limits.Memory.value != g.memory { // the environment's stays if the file has none
		debug.SetMemoryLimit(memory)
		g.memory = cfg.Limits.Memory.value
	}
}

// places are those for connections. Fewer than are taken is no reason to end one.
type places struct{ limit, taken atomic.Int64 }

func (p *places) take() bool {
	if p.taken.Add(1) <= p.limit.Load() {
		return true
	}
	p.free()
	return false
}

func (p *places) free() { p.taken.Add(-1) }

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
func (g *gateway) run(ctx context.Context, reloads <-chan reload, ready func() error) error {
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
	go g.stalls.run(relaying, func(client net.Addr) {
		g.log.Info("connection ended: one side of it takes nothing", "remote", client.String())
	})
	err := ready()
	for running := err == nil; running; {
		select {
		case <-ctx.Done():
			running = false
		case err = <-failed:
			running = false
		case r := <-reloads:
			g.reload(r)
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
			l.failed(conn.RemoteAddr(), errKeyWithdrawn)
			_ = conn.Close()
			continue
		}
		if !g.connections.take() {
			l.metrics.refused.WithLabelValues("limit").Inc()
			l.log.Warn("too many connections", "limit", g.connections.limit.Load())
			g.relays.Go(func() { turnAway(conn) })
			continue
		}
		l.metrics.accepted.Inc()
		g.relays.Go(func() {
			err := g.relay(ctx, conn, l, func() {
				g.connections.free()
				l.log.Debug("connection over", "remote", conn.RemoteAddr().String())
			})
			if err != nil {
				g.connections.free()
				l.metrics.refused.WithLabelValues("upstream").Inc()
				l.log.Warn("connection not relayed", "remote", conn.RemoteAddr().String(), "error", err)
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
	g.log.Info("draining", "connections", len(conns), "within", g.within)
	started := time.Now()
	for i, c := range conns {
		if wait := g.within*time.Duration(i)/time.Duration(len(conns)) - time.Since(started); wait > 0 {
			time.Sleep(wait)
		}
		_ = c.End(layer.ErrShutdown, layer.Goodbye(c, serverShuttingDown)) // returns what it is given
	}
}

// reload takes from a new configuration what can change while connections live. One that cannot be read no listener
// takes.
func (g *gateway) reload(r reload) {
	if r.err != nil {
		g.log.Error("configuration not reloaded, the old one stays", "error", r.err)
		for _, l := range g.listeners {
			g.reloaded(l, "failed")
		}
		return
	}
	g.limit(r.cfg)
	k := &checker{file: r.cfg.file}
	for _, l := range g.listeners {
		if err := l.reload(r.cfg, k); err != nil {
			g.log.Error("listener not reloaded, its old settings stay", "listener", l.name, "error", err)
			g.reloaded(l, "failed")
		} else {
			g.log.Info("reloaded", "listener", l.name)
			g.reloaded(l, "ok")
		}
	}
	if fixed := g.cfg.fixed(r.cfg); len(fixed) > 0 {
		g.log.Warn("what has changed here needs a restart, and is as it was", "settings", strings.Join(fixed, " "))
	}
}

func (g *gateway) reloaded(l *listener, result string) {
	g.metrics.reloads.WithLabelValues(l.name, l.scheme, result).Inc()
}
