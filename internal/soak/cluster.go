package soak

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/eclipse/paho.golang/autopaho"
	mqtt "github.com/eclipse/paho.mqtt.golang"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/relay"
	"github.com/mqttsec/mqttsec/internal/site"
)

// What dies in a cluster of three nodes behind two gateways. The first gateway takes the node that dies while it can,
// the second another one, and the last node is taken by those whose first is gone.
const (
	dyingNode, otherNode, lastNode = 0, 1, 2
	firstGateway, dyingGateway     = 0, 1
)

// Where the clients of a pair are: the subscriber's gateway dies, and before that the publisher's node (Out), or the
// other way round (In), where the subscriber's session is at the node that dies.
const (
	Out = "out"
	In  = "in"
)

// direct begins the names of clients that know nothing of gateways: the yardstick. They come to the nodes in the same
// ways, and lose them at the same times.
const direct = "direct"

// ClusterConfig says what to run against.
type ClusterConfig struct {
	// Nodes is a cluster of three. One of them is killed.
	Nodes *brokers.Cluster
	// Lacks is what the cluster itself does not do.
	Lacks Lacks
	// Progress, if not nil, hears what is done.
	Progress func(what string)
}

// Lacks are what a cluster does not do for messages that it has acknowledged. It keeps all others.
type Lacks struct {
	// First is that it loses those that were sent before the first that arrived: a subscription is acknowledged before
	// all nodes know of it.
	First bool
	// QoS2 is that it loses those that were published at QoS 2 and under way between the death of a node and the time
	// when messages of everybody flowed again and the cluster had a leader.
	QoS2 bool
	// Node is that it loses those of clients of the node that dies: what that had acknowledged in its last two seconds
	// and not passed on, and what was for its subscribers until messages of everybody flowed again, since their
	// sessions are gone.
	Node bool
	// Twice is that it delivers messages again that the subscriber has acknowledged, at QoS 2 too.
	Twice bool
}

// What clusters lack.
var (
	// NATSLacks is for nats-server 2.12. A node says PUBCOMP to every PUBREL, also when it has not been given the
	// message, or has not had it stored for the subscribers, because there was no leader. And acknowledgements of
	// subscribers get lost in such a time.
	NATSLacks = Lacks{First: true, QoS2: true, Twice: true}
	// EjabberdLacks is for ejabberd 23.01, which acknowledges what it has not yet sent to another node.
	EjabberdLacks = Lacks{Node: true}
)

// clusterRun is one.
type clusterRun struct {
	ClusterConfig
	relays   []*relay.Relay // between gateways and nodes
	direct   []*relay.Relay // in the gateways' place, for those who go without
	site     *site.Site
	pairs    []*pair
	intruder *intruder
	key      aesmsg.Key

	// The node is killed after dying and gone before dead; messages of everybody flow again before healed.
	dying, dead, healed time.Time
}

// mayLose tells of a message of a pair that has arrived nowhere, but was acknowledged, whether the cluster may lose it.
// first is the number of the first that has arrived.
func (r *clusterRun) mayLose(p *pair, n, first int, at span) bool {
	toNode := place(p) == In
	return r.Lacks.First && n < first ||
		r.Lacks.QoS2 && qosOf(n) == 2 && at.reported.After(r.dying) && at.sent.Before(r.healed) ||
		r.Lacks.Node && at.reported.After(r.dying.Add(-unwritten)) && (at.sent.Before(r.dead) || toNode && at.sent.Before(r.healed))
}

// Cluster lets publishers and subscribers of both versions talk through two gateways in front of a cluster, with
// tokens and sealed, while an attacker at a node forges and replays; kills a node, then a gateway; and says what came
// of it. An error is one of the run itself.
func Cluster(ctx context.Context, cfg ClusterConfig) (report *ClusterReport, err error) {
	r := &clusterRun{ClusterConfig: cfg, pairs: clusterPairs(cfg.Nodes.SpeaksV5())}
	if r.Progress == nil {
		r.Progress = func(string) {}
	}
	defer func() { err = errors.Join(err, r.close()) }()
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	if err := r.connect(ctx); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, r.site.Gateway.Log())
	}
	begun := time.Now()
	talking, cancel := context.WithCancel(ctx)
	defer cancel()
	var running sync.WaitGroup
	for _, p := range r.pairs {
		running.Go(func() { p.speak(talking) })
	}
	running.Go(func() { r.intruder.attack(talking) })
	err = r.disturb(ctx)
	cancel()
	running.Wait()
	if err != nil {
		return nil, err
	}
	settle(ctx, r.pairs)
	report = &ClusterReport{Duration: time.Since(begun), Died: r.dying, Lacks: r.Lacks}
	disconnect(r.pairs, r.intruder)
	for _, p := range r.pairs {
		first := p.first()
		report.Results = append(report.Results, p.result(func(n int, at span) bool { return r.mayLose(p, n, first, at) }))
	}
	return report, r.look(report)
}

// clusterPairs are the schemes, at both places, with the libraries of the versions that the cluster speaks.
func clusterPairs(v5 bool) (all []*pair) {
	for _, place := range []string{Out, In} {
		for _, five := range []bool{true, false} {
			if five && !v5 {
				continue
			}
			for _, p := range []*pair{
				newPair(direct+"-"+place, site.Plain, five, false),
				newPair("plain-"+place, site.Plain, five, false),
				newPair("aesmsg-"+place, site.Plain, five, true),
				newPair("ace-aesmsg-"+place, site.Tokens, five, true),
			} {
				p.pace, p.wait = 20*time.Millisecond, 3*time.Second
				all = append(all, p)
			}
		}
	}
	return all
}

// place is where the clients are.
func place(p *pair) string {
	if strings.Contains(p.name, "-"+In+"-") {
		return In
	}
	return Out
}

// id is a client's, which is its name too: of the form that ejabberd wants.
func id(p *pair, role string) string { return p.name + "-" + role + "@localhost" }

// prepare starts what stands before the nodes.
func (r *clusterRun) prepare(ctx context.Context) (err error) {
	r.Progress("starting an Authorization Server and two gateways")
	var secrets []string
	clients := map[string]ace.Scope{intruderName + "@localhost": {{Filter: "elsewhere/#", Publish: true, Subscribe: true}}}
	for _, p := range r.pairs {
		secrets = append(secrets, p.secret)
		for _, role := range []string{"pub", "sub"} {
			clients[id(p, role)] = ace.Scope{{Filter: "soak/" + p.name + "/#", Publish: true, Subscribe: true}}
		}
	}
	hosts := func(nodes ...int) (hosts []string) {
		for _, n := range nodes {
			hosts = append(hosts, r.Nodes.URL(n).Host)
		}
		return hosts
	}
	for _, targets := range [][]string{hosts(dyingNode, lastNode, otherNode), hosts(otherNode, lastNode, dyingNode)} {
		for _, relays := range []*[]*relay.Relay{&r.relays, &r.direct} {
			between, err := relay.New(secrets, targets...)
			if err != nil {
				return err
			}
			*relays = append(*relays, between)
		}
	}
	r.site, err = site.Start(ctx, site.Config{
		Upstream: "mqtt://" + r.relays[0].Address(), Further: []string{"mqtt://" + r.relays[1].Address()}, Clients: clients,
		Password: anyPassword,
	})
	if err != nil {
		return err
	}
	r.key, err = aesmsg.NewKey("soak/#", bytes.Repeat([]byte("0123456789abcdef"), 2))
	return err
}

// urls are where a client finds what it wants, beginning with the gateway that is its own.
func (r *clusterRun) urls(p *pair, own int) (all []*url.URL) {
	for _, gateway := range []int{own, 1 - own} {
		u := r.site.URLOf(gateway, p.listener)
		if strings.HasPrefix(p.name, direct) {
			u = &url.URL{Scheme: "mqtt", Host: r.direct[gateway].Address()}
		}
		all = append(all, u)
	}
	return all
}

// connect starts the clients, subscribers first, and returns when all are there.
func (r *clusterRun) connect(ctx context.Context) (err error) {
	r.Progress(fmt.Sprintf("%d clients connect", 2*len(r.pairs)))
	for _, p := range r.pairs {
		pub, sub := firstGateway, dyingGateway
		if place(p) == In {
			pub, sub = sub, pub
		}
		o := options{trust: r.site.Trust(), id: id(p, "sub"), urls: r.urls(p, sub),
			filter: "soak/" + p.name + "/#", qos: 2, received: p.hear, lost: p.lost}
		if p.subscriber, err = r.start(p, o); err != nil {
			return err
		}
		o = options{trust: r.site.Trust(), id: id(p, "pub"), urls: r.urls(p, pub)}
		if p.publisher, err = r.start(p, o); err != nil {
			return err
		}
	}
	if err := r.admitIntruder(); err != nil {
		return err
	}
	return ready(ctx, long, r.pairs, r.intruder)
}

// start starts a client of a pair.
func (r *clusterRun) start(p *pair, o options) (*client, error) {
	if p.listener == site.Plain {
		o.user = r.Nodes.User()
	}
	var under stack
	if p.sealed {
		sealer, err := aesmsg.New(aesmsg.Config{Keys: []aesmsg.Key{r.key}, Rejected: func(j aesmsg.Rejection) {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.rejected[rejection{o.id, j.Outgoing, j.Err.Error()}]++
		}})
		if err != nil {
			return nil, err
		}
		under = append(under, sealer)
	}
	if p.listener == site.Tokens {
		auth, err := r.tokens(o.id)
		if err != nil {
			return nil, err
		}
		under = append(under, auth)
	}
	o.scheme = under
	return p.start(o)
}

// tokens is the scheme of a client that the Authorization Server knows.
func (r *clusterRun) tokens(id string) (scheme, error) {
	source, err := r.site.Source(id, site.Broker)
	if err != nil {
		return nil, err
	}
	return ace.New(ace.Config{Source: source})
}

// admitIntruder connects the attacker: inside to the node that nobody kills and nobody prefers, outside with a token.
func (r *clusterRun) admitIntruder() (err error) {
	ofPlain := func(p *pair) bool { return strings.HasPrefix(p.name, "plain") }
	r.intruder = newIntruder(slices.DeleteFunc(slices.Clone(r.pairs), ofPlain))
	start := startV3
	if r.Nodes.SpeaksV5() {
		start = startV5
	}
	inside := r.Nodes.URL(lastNode)
	inside.Scheme = "mqtt"
	r.intruder.inside, err = start(options{
		id: intruderName + "-inside", urls: []*url.URL{inside}, user: r.Nodes.User(), filter: "soak/#", received: r.intruder.hear,
	})
	if err != nil {
		return err
	}
	auth, err := r.tokens(intruderName + "@localhost")
	if err != nil {
		return err
	}
	r.intruder.outside, err = start(options{
		id: intruderName + "@localhost", urls: []*url.URL{r.site.URLOf(firstGateway, site.Tokens)},
		trust: r.site.Trust(), scheme: auth,
	})
	return err
}

// disturb kills a node and a gateway, each when messages of all pairs flow.
func (r *clusterRun) disturb(ctx context.Context) error {
	if err := r.flowing(ctx, false); err != nil {
		return err
	}
	r.Progress("a node is killed")
	r.dying = time.Now()
	r.Nodes.Kill(dyingNode)
	r.dead = time.Now()
	if err := errors.Join(r.flowing(ctx, r.Lacks.Node), r.Nodes.Elected(ctx)); err != nil {
		return err
	}
	r.healed = time.Now()
	r.Progress("a gateway is killed")
	r.direct[dyingGateway].Close()
	if err := r.site.Gateways[dyingGateway].Kill(); err != nil {
		return err
	}
	return r.flowing(ctx, false)
}

// long is how long one waits for a cluster that has much to do.
const long = 2 * patience

// flowing returns when some more messages of each pair were acknowledged and have arrived. With again, all connections
// are cut whenever that takes long.
func (r *clusterRun) flowing(ctx context.Context, again bool) error {
	const some, deaf = 10, 10 * time.Second
	limited, cancel := context.WithTimeout(ctx, long)
	defer cancel()
	from := make(map[*pair]int)
	for _, p := range r.pairs {
		from[p] = p.next()
	}
	since := time.Now()
	for {
		var wanting []string
		for _, p := range r.pairs {
			if acknowledged, arrived := p.since(from[p]); acknowledged < some || arrived < some {
				wanting = append(wanting, fmt.Sprintf("%s: %d acknowledged and %d arrived since; the subscriber's connections ended: %v",
					p.name, acknowledged, arrived, p.endings()))
			}
		}
		if wanting == nil {
			r.Progress("messages of everybody flow")
			return nil
		}
		if again && time.Since(since) > deaf {
			r.Progress("some hear nothing: all connections are cut\n" + strings.Join(wanting, "\n"))
			for _, between := range slices.Concat(r.relays, r.direct) {
				between.Cut()
			}
			since = time.Now()
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-limited.Done():
			return fmt.Errorf("soak: no messages flow: %w\n%s", limited.Err(), strings.Join(wanting, "\n"))
		}
	}
}

// look searches for what could be read where it must not be, and for what must have been seen.
func (r *clusterRun) look(report *ClusterReport) error {
	files, err := contents(r.Nodes.Dir())
	if err != nil {
		return err
	}
	for i, p := range r.pairs {
		seen := r.relays[0].Seen(p.secret) || r.relays[1].Seen(p.secret)
		switch {
		case strings.HasPrefix(p.name, "plain") && !seen:
			report.Deaf = append(report.Deaf, p.name+" was not overheard")
		case p.sealed && (seen || bytes.Contains(files, []byte(p.secret))):
			report.Leaked = append(report.Leaked, p.name)
		}
		if p.sealed && len(report.Results[i].Rejected) == 0 {
			report.Deaf = append(report.Deaf, p.name+" was not attacked")
		}
		if strings.HasPrefix(p.name, direct) && report.Results[i].Forged == 0 {
			report.Deaf = append(report.Deaf, "no message was forged for "+p.name)
		}
	}
	return nil
}

// close ends whatever still runs, but for the nodes.
func (r *clusterRun) close() (err error) {
	disconnect(r.pairs, r.intruder)
	if r.site != nil {
		err = r.site.Close()
	}
	for _, between := range append(r.relays, r.direct...) {
		between.Close()
	}
	return err
}

// stack is schemes on top of each other, the uppermost first.
type stack []scheme

// Wrap implements scheme.
func (s stack) Wrap(cfg autopaho.ClientConfig) autopaho.ClientConfig {
	for _, under := range slices.Backward(s) {
		cfg = under.Wrap(cfg)
	}
	return cfg
}

// WrapV3 implements scheme.
func (s stack) WrapV3(opts *mqtt.ClientOptions) *mqtt.ClientOptions {
	for _, under := range slices.Backward(s) {
		opts = under.WrapV3(opts)
	}
	return opts
}
