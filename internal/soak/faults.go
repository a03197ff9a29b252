package soak

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/mqttsec/mqttsec/internal/brokers"
)

// fault is something that goes wrong.
type fault struct {
	name string
	do   func(r *run, ctx context.Context) error
}

// gatewayKilled happens in the first half of a run only: what a gateway piles up is seen on one that lives.
const gatewayKilled = "gateway killed"

// faults are done in turn, from a random one on, so that a short run has each.
var faults = []fault{
	{gatewayKilled, func(r *run, ctx context.Context) error {
		if err := r.site.Gateway.Kill(); err != nil {
			return err
		}
		pause(300 * time.Millisecond)
		return r.site.Gateway.Start(ctx)
	}},
	{"cut", func(r *run, _ context.Context) error {
		for _, l := range r.relays {
			l.Cut()
		}
		return nil
	}},
	{"AS killed", func(r *run, ctx context.Context) error {
		if err := r.site.AS.Kill(); err != nil {
			return err
		}
		pause(2 * time.Second)
		return r.site.AS.Start(ctx)
	}},
	{"delayed", func(r *run, _ context.Context) error {
		for _, l := range r.relays {
			l.Hold(time.Duration(rand.IntN(300)) * time.Millisecond)
		}
		return nil
	}},
	{"broker killed", (*run).killBroker},
	{"authority killed", func(r *run, ctx context.Context) error {
		if r.beside == nil {
			return nil
		}
		if err := r.beside.Authority.Kill(); err != nil {
			return err
		}
		pause(2 * time.Second)
		return r.beside.Authority.Start(ctx)
	}},
	{"cut behind", func(r *run, _ context.Context) error {
		r.upstream.Cut()
		return nil
	}},
}

// pause waits up to as long; at random, so that things coincide in all ways.
func pause(most time.Duration) { time.Sleep(time.Duration(rand.Int64N(int64(most)))) }

// killBroker kills the brokers, or has one that cannot be killed drop everything.
func (r *run) killBroker(ctx context.Context) error {
	began, end := time.Now(), r.broker.Stop
	if mosquitto, ok := r.broker.(*brokers.Mosquitto); ok {
		end = mosquitto.Kill
	}
	if err := end(); err != nil {
		return err
	}
	if r.beside != nil {
		if err := r.beside.Broker.Kill(); err != nil {
			return err
		}
	}
	r.mu.Lock()
	r.kills = append(r.kills, kill{began, time.Now()})
	r.mu.Unlock()
	pause(300 * time.Millisecond)
	if r.beside != nil {
		if err := r.beside.Broker.Start(ctx); err != nil {
			return err
		}
	}
	return r.broker.Start(ctx)
}

// disturb does what goes wrong until ctx ends, and leaves everything running.
func (r *run) disturb(ctx context.Context, half time.Time) error {
	for n := rand.IntN(len(faults)); ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(time.Duration(500+rand.IntN(1500)) * time.Millisecond):
		}
		f := faults[n%len(faults)]
		if f.name == gatewayKilled && time.Now().After(half) && r.times(f.name) > 0 {
			continue
		}
		// What has begun is ended, whatever ctx says.
		whole, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		err := f.do(r, whole)
		cancel()
		if err != nil {
			return err
		}
		r.mu.Lock()
		r.faults[f.name]++
		r.last = f.name
		r.mu.Unlock()
	}
}

// times is how often something was done.
func (r *run) times(fault string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.faults[fault]
}

// watch measures the gateway and tells how far it is, once a second.
func (r *run) watch(ctx context.Context, begun time.Time) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(time.Second):
		}
		now, err := r.measure(ctx)
		if err == nil { // it may have been killed
			r.during.Memory = max(r.during.Memory, now.Memory)
			r.during.Goroutines = max(r.during.Goroutines, now.Goroutines)
			r.during.Descriptors = max(r.during.Descriptors, now.Descriptors)
		}
		if r.cfg.Progress == nil {
			continue
		}
		p := Progress{Elapsed: time.Since(begun)}
		for _, pair := range r.pairs {
			p.Received += pair.arrived()
			pair.mu.Lock()
			p.Acknowledged += len(pair.acked)
			pair.mu.Unlock()
		}
		r.mu.Lock()
		p.Last = r.last
		r.mu.Unlock()
		r.cfg.Progress(p)
	}
}

// measure asks the gateway how large it is.
func (r *run) measure(ctx context.Context) (Gateway, error) {
	m, err := r.site.Metrics(ctx)
	return Gateway{Memory: m["process_resident_memory_bytes"], Goroutines: m["go_goroutines"], Descriptors: m["process_open_fds"]}, err
}

// quiet is the gateway when all clients have gone, or after some time if it does not become as small as it was.
func (r *run) quiet(ctx context.Context, before Gateway) (now Gateway, err error) {
	for range 1000 {
		if now, err = r.measure(ctx); err != nil || now.Goroutines <= before.Goroutines && now.Descriptors <= before.Descriptors {
			return now, err
		}
		time.Sleep(50 * time.Millisecond)
	}
	return now, err
}
