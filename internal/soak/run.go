package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/mqttauth"
	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
	"github.com/mqttsec/mqttsec/present"
)

// Config says how long to run. The zero value is a minute.
type Config struct {
	// For is how long messages flow and faults happen. Starting and settling comes to it.
	For time.Duration
	// Lifetime is that of the tokens, three seconds if zero.
	Lifetime time.Duration
	// Progress, if not nil, hears once a second how far it is.
	Progress func(Progress)
}

// Progress is how far a run is.
type Progress struct {
	Elapsed                time.Duration
	Acknowledged, Received int
	Last                   string // what was done last
}

// run is one.
type run struct {
	cfg      Config
	broker   brokers.Broker
	dir      string // of the broker's files, empty if it has none
	site     *site.Site
	relays   map[string]*relay // in front of each listener of the gateway
	upstream *relay            // behind it
	pairs    []*pair
	intruder *intruder
	key      aesmsg.Key
	wallet   mqttauth.Wallet

	mu     sync.Mutex
	kills  []time.Time // of the broker
	faults map[string]int
	last   string
	during Gateway
}

// Run runs until the time is over or ctx ends, and says what it found. An error is one of the run itself.
func Run(ctx context.Context, cfg Config) (report *Report, err error) {
	if cfg.For == 0 {
		cfg.For = time.Minute
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = 3 * time.Second
	}
	r := &run{cfg: cfg, pairs: pairs(), relays: make(map[string]*relay), faults: make(map[string]int)}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	report = &Report{Faults: r.faults}
	if report.Before, err = r.measure(ctx); err != nil {
		return nil, err
	}
	if err := r.connect(ctx); err != nil {
		return nil, err
	}
	begun := time.Now()
	limited, cancel := context.WithTimeout(ctx, cfg.For)
	defer cancel()
	var running sync.WaitGroup
	for _, p := range r.pairs {
		running.Go(func() { p.speak(limited) })
	}
	running.Go(func() { r.intruder.attack(limited) })
	running.Go(func() { r.watch(limited, begun) })
	err = r.disturb(limited)
	cancel()
	running.Wait()
	if err == nil {
		r.settle(ctx)
	}
	report.Duration = time.Since(begun)
	if err != nil || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	r.disconnect()
	report.During = r.during
	if report.After, err = r.quiet(ctx, report.Before); err != nil {
		return nil, err
	}
	for _, p := range r.pairs {
		report.Results = append(report.Results, p.result(r.kills))
	}
	if err := r.broker.Stop(); err != nil {
		return nil, err
	}
	return report, r.look(report)
}

// pairs are the schemes, each with both libraries.
func pairs() (all []*pair) {
	for _, v5 := range []bool{true, false} {
		all = append(all,
			newPair("plain", site.Plain, v5, false),
			newPair("aesmsg", site.Plain, v5, true),
			newPair("present", site.Plain, v5, true),
			newPair("ace", site.Tokens, v5, false),
			newPair("psk", site.PSK, v5, false),
			newPair("mqttauth", site.Passwords, v5, false),
		)
	}
	return all
}

// prepare starts everything but the clients.
func (r *run) prepare(ctx context.Context) error {
	mosquitto, err := brokers.StartMosquitto(ctx, brokers.Config{Mosquitto: brokers.MosquittoConfig{
		// After every change, so that little that was acknowledged is lost with the process.
		Lines: []string{"autosave_on_changes true", "autosave_interval 1"},
	}})
	switch {
	case err == nil:
		r.broker, r.dir = mosquitto, mosquitto.Dir()
	case errors.Is(err, brokers.ErrNoMosquitto):
		r.broker, err = brokers.StartEmbedded(brokers.Config{})
	}
	if err != nil {
		return err
	}
	var secrets []string
	clients := map[string]ace.Scope{intruderName: {{Filter: "elsewhere/#", Publish: true, Subscribe: true}}}
	var identities []string
	for _, p := range r.pairs {
		secrets = append(secrets, p.secret)
		for _, id := range []string{p.name + "-pub", p.name + "-sub"} {
			clients[id] = ace.Scope{{Filter: "soak/" + p.name + "/#", Publish: true, Subscribe: true}}
			identities = append(identities, id)
		}
	}
	if r.upstream, err = newRelay(r.broker.URL(brokers.TCP).Host, secrets); err != nil {
		return err
	}
	r.site, err = site.Start(ctx, site.Config{
		Upstream: "mqtt://" + r.upstream.address(), Clients: clients, Identities: identities, Lifetime: r.cfg.Lifetime,
		Users: []string{user},
	})
	if err != nil {
		return err
	}
	for _, listener := range []string{site.Plain, site.PSK, site.Tokens, site.Passwords} {
		if r.relays[listener], err = newRelay(r.site.URL(listener).Host, append(secrets, "soak/")); err != nil {
			return err
		}
	}
	secret := bytes.Repeat([]byte("0123456789abcdef"), 2)
	if r.key, err = aesmsg.NewKey("soak/#", secret); err != nil {
		return err
	}
	r.wallet, err = r.claim(ctx)
	return err
}

// connect starts the clients, subscribers first, and returns when all are there.
func (r *run) connect(ctx context.Context) error {
	var err error
	for _, p := range r.pairs {
		u := r.site.URL(p.listener)
		u.Host = r.relays[p.listener].address()
		o := options{url: u, trust: r.site.Trust()}
		sub := o
		sub.id, sub.filter, sub.qos, sub.received = p.name+"-sub", "soak/"+p.name+"/#", 2, p.hear
		sub.lost = p.lost
		if sub.scheme, err = r.scheme(p, sub.id); err != nil {
			return err
		}
		if p.subscriber, err = p.start(sub); err != nil {
			return err
		}
		o.id = p.name + "-pub"
		if o.scheme, err = r.scheme(p, o.id); err != nil {
			return err
		}
		if p.publisher, err = p.start(o); err != nil {
			return err
		}
	}
	if r.intruder, err = r.newIntruder(); err != nil {
		return err
	}
	for _, p := range r.pairs {
		for _, c := range []*client{p.subscriber, p.publisher} {
			select {
			case <-c.ready:
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(patience):
				return fmt.Errorf("soak: %s does not connect\n%s", p.name, r.site.Gateway.Log())
			}
		}
	}
	return nil
}

// scheme is what goes under a client of a pair.
func (r *run) scheme(p *pair, id string) (scheme, error) {
	rejected := func(j aesmsg.Rejection) {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.rejected[rejection{id, j.Outgoing, j.Err.Error()}]++
	}
	cfg := aesmsg.Config{Keys: []aesmsg.Key{r.key}, Rejected: rejected}
	switch p.name[:len(p.name)-len("-v5")] {
	case "aesmsg":
		return aesmsg.New(cfg)
	case "present":
		return present.New(present.Config(cfg))
	case "mqttauth":
		return r.passwords()
	case "psk":
		return tlspsk.New(r.site.PSK(id))
	case "ace":
		source, err := r.site.Source(id, site.Brief)
		if err != nil {
			return nil, err
		}
		return ace.New(ace.Config{Source: source})
	}
	return nil, nil
}

// settle waits until everything that was acknowledged has arrived, or nothing comes any more.
func (r *run) settle(ctx context.Context) {
	const still = 10 * time.Second
	arrived, since := -1, time.Now()
	for ctx.Err() == nil && time.Since(since) < still {
		missing, now := 0, 0
		for _, p := range r.pairs {
			missing += p.missing()
			now += p.arrived()
		}
		if missing == 0 {
			return
		}
		if now != arrived {
			arrived, since = now, time.Now()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// disconnect ends all clients.
func (r *run) disconnect() {
	var running sync.WaitGroup
	for _, p := range r.pairs {
		for _, c := range []*client{p.publisher, p.subscriber} {
			if c != nil {
				running.Go(c.close)
			}
		}
		p.publisher, p.subscriber = nil, nil
	}
	if r.intruder != nil {
		running.Go(r.intruder.close)
	}
	running.Wait()
	r.intruder = nil
}

// close ends whatever still runs.
func (r *run) close() error {
	r.disconnect()
	var errs []error
	if r.site != nil {
		errs = append(errs, r.site.Close())
	}
	for _, l := range r.relays {
		if l != nil {
			l.close()
		}
	}
	if r.upstream != nil {
		r.upstream.close()
	}
	if r.broker != nil {
		errs = append(errs, r.broker.Close())
	}
	return errors.Join(errs...)
}

// look searches for what could be read where it must not be, and for what must have been seen.
func (r *run) look(report *Report) error {
	var files []byte
	if r.dir != "" {
		err := filepath.WalkDir(r.dir, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			text, err := os.ReadFile(path)
			files = append(files, text...)
			return err
		})
		if err != nil {
			return err
		}
	}
	leak := func(what, where string) { report.Leaked = append(report.Leaked, what+" "+where) }
	for _, listener := range []string{site.PSK, site.Tokens} {
		if r.relays[listener].seen("soak/") {
			leak("topics", "in front of "+listener)
		}
	}
	for i, p := range r.pairs {
		readable := p.listener == site.Plain && !p.sealed
		switch seen := r.relays[p.listener].seen(p.secret); {
		case readable && !seen:
			report.Deaf = append(report.Deaf, p.name+" was not overheard")
		case !readable && seen:
			leak(p.name, "in front of the gateway")
		}
		if p.sealed {
			if r.upstream.seen(p.secret) {
				leak(p.name, "behind the gateway")
			}
			if bytes.Contains(files, []byte(p.secret)) {
				leak(p.name, "in the broker's files")
			}
			if len(report.Results[i].Rejected) == 0 {
				report.Deaf = append(report.Deaf, p.name+" was not attacked")
			}
		}
		if report.Results[i].Plain && report.Results[i].Forged == 0 {
			report.Deaf = append(report.Deaf, "no message was forged for "+p.name)
		}
	}
	return nil
}
