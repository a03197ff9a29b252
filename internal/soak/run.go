package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/relay"
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

	// sabotage, for a test, is put between gateway and broker, at the returned address. Then there are no faults.
	sabotage func(pairs []*pair, broker string) (address string)
}

// persistent has a mosquitto write its state after every change, so that little that was acknowledged is lost with the
// process.
var persistent = []string{"autosave_on_changes true", "autosave_interval 1"}

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
	relays   map[string]*relay.Relay // in front of each listener of the gateway
	upstream *relay.Relay            // behind it
	pairs    []*pair
	intruder *intruder
	key      aesmsg.Key
	wallet   mqttauth.Wallet
	beside   *site.Beside // nil if it is not installed

	besideWallet mqttauth.Wallet

	mu     sync.Mutex
	kills  []kill // of the broker
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
	r := &run{cfg: cfg, pairs: append(pairs(), besidePairs()...), relays: make(map[string]*relay.Relay), faults: make(map[string]int)}
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
	if cfg.sabotage == nil {
		err = r.disturb(limited, begun.Add(cfg.For/2))
	} else {
		<-limited.Done()
	}
	cancel()
	running.Wait()
	if err == nil {
		r.recover(ctx)
		settle(ctx, r.pairs)
	}
	report.Duration = time.Since(begun)
	if err != nil || ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	disconnect(r.pairs, r.intruder)
	report.Refused = r.intruder.refusals()
	r.intruder = nil
	report.During = r.during
	if report.After, err = r.quiet(ctx, report.Before); err != nil {
		return nil, err
	}
	for _, p := range r.pairs {
		report.Results = append(report.Results, p.result(func(_ int, at span) bool { return exposed(at, r.kills) }))
	}
	if err := r.broker.Stop(); err != nil {
		return nil, err
	}
	return report, r.look(report)
}

// recover has each pair get one more message through, after everything that went wrong.
func (r *run) recover(ctx context.Context) {
	var running sync.WaitGroup
	for _, p := range r.pairs {
		running.Go(func() {
			limited, cancel := context.WithTimeout(ctx, 6*p.wait)
			defer cancel()
			p.recover(limited)
		})
	}
	running.Wait()
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
		Lines: persistent,
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
	behind := r.broker.URL(brokers.TCP).Host
	if r.cfg.sabotage != nil {
		behind = r.cfg.sabotage(r.pairs, behind)
	}
	if r.upstream, err = relay.New(secrets, behind); err != nil {
		return err
	}
	r.site, err = site.Start(ctx, site.Config{
		Upstream: "mqtt://" + r.upstream.Address(), Clients: clients, Identities: identities, Lifetime: r.cfg.Lifetime,
		Users: []string{user, stranger},
	})
	if err != nil {
		return err
	}
	for _, listener := range []string{site.Plain, site.PSK, site.Tokens, site.Passwords} {
		if r.relays[listener], err = relay.New(append(secrets, "soak/"), r.site.URL(listener).Host); err != nil {
			return err
		}
	}
	secret := bytes.Repeat([]byte("0123456789abcdef"), 2)
	if r.key, err = aesmsg.NewKey("soak/#", secret); err != nil {
		return err
	}
	if err := r.claimPasswords(ctx); err != nil {
		return err
	}
	if err := r.startBeside(ctx, append(secrets, "soak/")); err != nil {
		return err
	}
	if r.beside == nil {
		r.pairs = slices.DeleteFunc(r.pairs, func(p *pair) bool { return p.listener == besideBroker })
		return nil
	}
	return r.claimBeside(ctx)
}

// connect starts the clients, subscribers first, and returns when all are there.
func (r *run) connect(ctx context.Context) error {
	var err error
	for _, p := range r.pairs {
		o := options{urls: []*url.URL{r.url(p.listener)}, trust: r.site.Trust()}
		if p.listener == besideBroker {
			o.trust = r.besideTrust()
		}
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
	if err := ready(ctx, patience, r.pairs, r.intruder); err != nil {
		return fmt.Errorf("%w\n%s", err, r.logs())
	}
	return nil
}

// logs are what the programs have said.
func (r *run) logs() string {
	said := r.site.Gateway.Log()
	if r.beside != nil {
		said += r.beside.Authority.Log()
	}
	return said
}

// url is where clients of a listener connect: at the relay before it.
func (r *run) url(listener string) *url.URL {
	if listener == besideBroker {
		return r.besideURL()
	}
	u := r.site.URL(listener)
	u.Host = r.relays[listener].Address()
	return u
}

// ready returns when all clients are connected, and subscribed; the attacker's too, whose time begins with theirs.
func ready(ctx context.Context, within time.Duration, pairs []*pair, i *intruder) error {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	await := func(name string, clients ...*client) error {
		for _, c := range clients {
			select {
			case <-c.ready:
			case <-limited.Done():
				return fmt.Errorf("soak: %s does not connect: %w", name, limited.Err())
			}
		}
		return nil
	}
	for _, p := range pairs {
		if err := await(p.name, p.subscriber, p.publisher); err != nil {
			return err
		}
	}
	return await("the intruder", i.clients()...)
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
		return r.passwords(user, r.wallet)
	case "beside":
		return r.twoPhase(id)
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

// settle waits until everything that was acknowledged has arrived and nothing more comes for a second, or nothing comes
// for so long that nothing will.
func settle(ctx context.Context, pairs []*pair) {
	const quiet, still = time.Second, 20 * time.Second
	heard, since := -1, time.Now()
	for ctx.Err() == nil && time.Since(since) < still {
		missing, now := 0, 0
		for _, p := range pairs {
			missing += p.missing()
			now += p.heard()
		}
		if now != heard {
			heard, since = now, time.Now()
		}
		if missing == 0 && time.Since(since) > quiet { // a second copy may come late
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// disconnect ends all clients.
func disconnect(pairs []*pair, i *intruder) {
	var running sync.WaitGroup
	for _, p := range pairs {
		for _, c := range []*client{p.publisher, p.subscriber} {
			if c != nil {
				running.Go(c.close)
			}
		}
		p.publisher, p.subscriber = nil, nil
	}
	if i != nil {
		running.Go(i.close)
	}
	running.Wait()
}

// close ends whatever still runs.
func (r *run) close() error {
	disconnect(r.pairs, r.intruder)
	r.intruder = nil
	var errs []error
	if r.site != nil {
		errs = append(errs, r.site.Close())
	}
	if r.beside != nil {
		errs = append(errs, r.beside.Close())
	}
	for _, l := range r.relays {
		if l != nil {
			l.Close()
		}
	}
	if r.upstream != nil {
		r.upstream.Close()
	}
	if r.broker != nil {
		errs = append(errs, r.broker.Close())
	}
	return errors.Join(errs...)
}

// look searches for what could be read where it must not be, and for what must have been seen.
func (r *run) look(report *Report) error {
	files, err := contents(r.dir)
	if err != nil {
		return err
	}
	leak := func(what, where string) { report.Leaked = append(report.Leaked, what+" "+where) }
	for listener, before := range r.relays {
		readable := listener == site.Plain || listener == site.Passwords // where topics are, on purpose
		switch seen := before.Seen("soak/"); {
		case readable && !seen:
			report.Deaf = append(report.Deaf, "no topic was overheard in front of "+listener)
		case !readable && seen:
			leak("topics", "in front of "+listener)
		}
	}
	if r.dir != "" && !bytes.Contains(files, []byte("soak/")) {
		report.Deaf = append(report.Deaf, "the broker's files do not even have the topics of sessions")
	}
	for listener, n := range report.Refused {
		if n == 0 {
			report.Deaf = append(report.Deaf, "nobody was refused a forged message at "+listener)
		}
	}
	for i, p := range r.pairs {
		readable := p.listener == site.Plain && !p.sealed
		switch seen := r.relays[p.listener].Seen(p.secret); {
		case readable && !seen:
			report.Deaf = append(report.Deaf, p.name+" was not overheard")
		case !readable && seen:
			leak(p.name, "in front of the gateway, or the broker")
		}
		if !p.sealed && p.listener != besideBroker && !r.upstream.Seen(p.secret) {
			report.Deaf = append(report.Deaf, p.name+" was not overheard behind the gateway")
		}
		if p.sealed {
			if r.upstream.Seen(p.secret) {
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

// contents are those of all files of a directory, nothing for none.
func contents(dir string) (files []byte, err error) {
	if dir == "" {
		return nil, nil
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		files = append(files, text...)
		return err
	})
	return files, err
}
