package soak

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/site"
)

// intruderName is its name at the Authorization Server, which gives it tokens for topics of its own.
const intruderName = "intruder"

// intruder attacks from two sides: at the broker itself, where it hears and says what it likes, it replays and forges
// what plain and sealing clients are to receive; at the gateway, with a token of its own, it publishes on the topics of
// clients with tokens.
type intruder struct {
	inside, outside *client
	targets         []*pair

	mu     sync.Mutex
	heard  []frame
	played map[string]bool // so that what it hears of itself is not played again
}

type frame struct {
	topic   string
	payload []byte
}

func (r *run) newIntruder() (i *intruder, err error) {
	i = &intruder{targets: r.pairs, played: make(map[string]bool)}
	inside := r.broker.URL(brokers.TCP)
	inside.Scheme = "mqtt"
	i.inside, err = startV5(options{id: intruderName + "-inside", url: inside, filter: "soak/#", received: i.hear})
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
	u := r.site.URL(site.Tokens)
	u.Host = r.relays[site.Tokens].address()
	i.outside, err = startV5(options{id: intruderName, url: u, trust: r.site.Trust(), scheme: auth})
	return i, err
}

// hear remembers some of what sealing clients send.
func (i *intruder) hear(topic string, payload []byte) {
	if !strings.HasPrefix(topic, "soak/aesmsg") && !strings.HasPrefix(topic, "soak/present") {
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
		switch topic := target.topic(1); target.listener {
		case site.Plain:
			_ = i.inside.publish(limited, topic, 1, []byte("forged"))
		case site.Tokens:
			_ = i.outside.publish(limited, topic, byte(n%3), []byte("forged"))
		}
		cancel()
	}
}

func (i *intruder) close() {
	for _, c := range []*client{i.inside, i.outside} {
		if c != nil {
			c.close()
		}
	}
}
