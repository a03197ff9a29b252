package soak

import (
	"context"
	"errors"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/mqttauth"
)

// intruderName is its name at the Authorization Server, which gives it tokens for topics of its own.
const intruderName = "intruder"

// intruder attacks from two sides: at the broker itself, where it hears and says what it likes, it replays and forges
// what plain and sealing clients are to receive; at the gateway, with a token of its own, it publishes on the topics of
// clients with tokens; and with the password of somebody who has no tokens, or an account that everybody knows, on
// those of the clients of MQTT-Auth.
type intruder struct {
	inside, outside *client
	strangers       map[string]*client // by listener
	targets         []*pair

	mu      sync.Mutex
	refused map[string]int // forged messages, by listener
	heard   []frame
	played  map[string]bool // so that what it hears of itself is not played again
}

type frame struct {
	topic   string
	payload []byte
}

func newIntruder(targets []*pair) *intruder {
	return &intruder{targets: targets, played: make(map[string]bool), strangers: make(map[string]*client), refused: make(map[string]int)}
}

func (r *run) newIntruder() (i *intruder, err error) {
	i = newIntruder(r.pairs)
	inside := r.broker.URL(brokers.TCP)
	inside.Scheme = "mqtt"
	i.inside, err = startV5(options{id: intruderName + "-inside", urls: []*url.URL{inside}, filter: "soak/#", received: i.hear})
	if err != nil {
		return nil, err
	}
	source, err := r.site.Source(intruderName, site.Broker)
	if err != nil {
		return nil, err
	}
	auth, err := ace.New(ace.Config{Source: source})
	if err != nil {
		return nil, err
	}
	i.outside, err = startV5(options{id: intruderName, urls: []*url.URL{r.url(site.Tokens)}, trust: r.site.Trust(), scheme: auth})
	if err != nil {
		return i, err
	}
	hop, err := r.passwords(stranger, mqttauth.NewWallet())
	if err != nil {
		return i, err
	}
	i.strangers[site.Passwords], err = startV5(options{id: stranger, urls: []*url.URL{r.url(site.Passwords)}, scheme: hop})
	if err != nil || r.beside == nil {
		return i, err
	}
	i.strangers[besideBroker], err = startV5(options{
		id: stranger, urls: []*url.URL{r.url(besideBroker)}, trust: r.besideTrust(),
		user: site.Bootstrap.Username, password: site.Bootstrap.Password,
	})
	return i, err
}

// refusals are how many forged messages were refused, for each listener where they have to be.
func (i *intruder) refusals() map[string]int {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := map[string]int{site.Tokens: i.refused[site.Tokens]}
	for listener := range i.strangers {
		all[listener] = i.refused[listener]
	}
	return all
}

// forge tries to publish where that is not permitted.
func (i *intruder) forge(ctx context.Context, c *client, target *pair, qos byte) {
	if errors.Is(c.publish(ctx, target.topic(1), qos, []byte("forged")), errRefused) {
		i.mu.Lock()
		defer i.mu.Unlock()
		i.refused[target.listener]++
	}
}

// hear remembers some of what sealing clients send.
func (i *intruder) hear(topic string, payload []byte) {
	ofSealed := func(p *pair) bool { return p.sealed && strings.HasPrefix(topic, "soak/"+p.name+"/") }
	if !slices.ContainsFunc(i.targets, ofSealed) {
		return
	}
	const most = 64
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.heard) < most && !i.played[string(payload)] {
		i.played[string(payload)] = true
		i.heard = append(i.heard, frame{topic, payload})
	}
}

// attack goes on until ctx ends. What does not get through, because something was killed, is tried no further.
func (i *intruder) attack(ctx context.Context) {
	const pace = 20 * time.Millisecond
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-time.After(pace):
		}
		limited, cancel := context.WithTimeout(ctx, time.Second)
		i.mu.Lock()
		var f frame
		if len(i.heard) > 0 {
			f = i.heard[0]
			i.heard = i.heard[1:]
		}
		i.mu.Unlock()
		if f.topic != "" {
			_ = i.inside.publish(limited, f.topic, byte(n%3), f.payload)
			changed := append([]byte(nil), f.payload...)
			changed[n%len(changed)] ^= 1
			_ = i.inside.publish(limited, f.topic, byte(n%3), changed)
		}
		target := i.targets[n%len(i.targets)]
		topic := target.topic(1)
		if target.listener == site.Plain || target.sealed {
			_ = i.inside.publish(limited, topic, 1, []byte("forged"))
		}
		if target.listener == site.Tokens {
			i.forge(limited, i.outside, target, byte(n%3))
		}
		if c := i.strangers[target.listener]; c != nil {
			i.forge(limited, c, target, byte(n%3))
		}
		cancel()
	}
}

// clients are those that it has by now.
func (i *intruder) clients() []*client {
	all := append(slices.Collect(maps.Values(i.strangers)), i.inside, i.outside)
	return slices.DeleteFunc(all, func(c *client) bool { return c == nil })
}

func (i *intruder) close() {
	for _, c := range i.clients() {
		c.close()
	}
}
