package soak

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/mqttsec/mqttsec/internal/site"
)

// pair is a publisher and a subscriber of one scheme, and what became of their messages.
type pair struct {
	name     string
	listener string // of the gateway
	v5       bool
	sealed   bool          // nobody but the publisher can make a message, and none is shown twice
	secret   string        // begins every payload
	pace     time.Duration // between messages
	wait     time.Duration // for an acknowledgement

	publisher, subscriber *client

	mu       sync.Mutex
	back     bool // a message got through when all faults were over
	sent     int
	acked    map[int]span
	received map[int]int
	forged   int
	rejected map[rejection]int // by the scheme
	ended    map[string]int    // connections of the subscriber, by reason
}

// rejection is what a scheme tells of a message that it withholds.
type rejection struct {
	client   string
	outgoing bool
	why      string
}

// String says it in a line.
func (r rejection) String() string {
	direction := "to"
	if r.outgoing {
		direction = "from"
	}
	return direction + " " + r.client + ": " + r.why
}

// span is from when a message was handed to the client library until it was reported as delivered.
type span struct{ sent, reported time.Time }

func newPair(name, listener string, v5, sealed bool) *pair {
	secret := make([]byte, 12)
	rand.Read(secret) // never fails
	if v5 {
		name += "-v5"
	} else {
		name += "-v3"
	}
	return &pair{
		name: name, listener: listener, v5: v5, sealed: sealed, secret: hex.EncodeToString(secret),
		pace: 4 * time.Millisecond, wait: 10 * time.Second,
		acked: make(map[int]span), received: make(map[int]int), rejected: make(map[rejection]int),
		ended: make(map[string]int),
	}
}

// topic is where messages of a QoS go.
func (p *pair) topic(qos byte) string { return fmt.Sprintf("soak/%s/qos%d", p.name, qos) }

// qos alternates.
func qosOf(n int) byte { return byte(1 + n%2) }

// start starts one of the two clients.
func (p *pair) start(o options) (*client, error) {
	if p.v5 {
		return startV5(o)
	}
	return startV3(o)
}

// speak publishes until ctx ends, one message after the other.
func (p *pair) speak(ctx context.Context) {
	for ctx.Err() == nil {
		pause := p.pace
		if !p.say(ctx) {
			pause = reconnect
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// say publishes the next message, and tells whether it was acknowledged. One that is under way when ctx ends is given
// the time to arrive.
func (p *pair) say(ctx context.Context) bool {
	p.mu.Lock()
	n := p.sent
	p.sent++
	p.mu.Unlock()
	begun := time.Now()
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), p.wait)
	defer cancel()
	err := p.publisher.publish(limited, p.topic(qosOf(n)), qosOf(n), fmt.Appendf(nil, "%s %d", p.secret, n))
	if err != nil {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.acked[n] = span{begun, time.Now()}
	return true
}

// recover publishes until a message is acknowledged at either QoS, or ctx ends.
func (p *pair) recover(ctx context.Context) {
	var qos [3]bool
	for ctx.Err() == nil && !(qos[1] && qos[2]) {
		next := qosOf(p.next())
		if p.say(ctx) {
			qos[next] = true
		} else {
			time.Sleep(reconnect)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.back = qos[1] && qos[2]
}

// hear is what the subscribing application does with a message.
func (p *pair) hear(topic string, payload []byte) {
	text, ok := strings.CutPrefix(string(payload), p.secret+" ")
	n := -1
	if ok {
		if _, err := fmt.Sscanf(text, "%d", &n); err != nil {
			n = -1
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if n < 0 || n >= p.sent || topic != p.topic(qosOf(n)) {
		p.forged++
		return
	}
	p.received[n]++
}

// lost notes why a connection of the subscriber has ended, without the ports in the reason.
func (p *pair) lost(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended[ports.ReplaceAllString(err.Error(), "")]++
}

// endings are why connections of the subscriber have ended, and how often.
func (p *pair) endings() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.ended)
}

var ports = regexp.MustCompile(`:\d+`)

// missing is how many messages were acknowledged and have not arrived.
func (p *pair) missing() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for m := range p.acked {
		if p.received[m] == 0 {
			n++
		}
	}
	return n
}

// next is the number of the message that is sent next.
func (p *pair) next() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sent
}

// since is how many messages from number n on were acknowledged, and how many have arrived.
func (p *pair) since(n int) (acknowledged, arrived int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for m := range p.acked {
		if m >= n {
			acknowledged++
		}
	}
	for m := range p.received {
		if m >= n {
			arrived++
		}
	}
	return acknowledged, arrived
}

// first is the number of the first message that has arrived, of those that were sent; the next one's if none has.
func (p *pair) first() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	first := p.sent
	for n := range p.received {
		first = min(first, n)
	}
	return first
}

// arrived is how many messages have, however often.
func (p *pair) arrived() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.received)
}

// heard is how many messages have arrived, each copy and forged ones included.
func (p *pair) heard() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.forged
	for _, times := range p.received {
		n += times
	}
	return n
}

// result counts. excused tells of a message that was acknowledged whether the broker may have lost it.
func (p *pair) result(excused func(n int, at span) bool) Result {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := Result{
		Name: p.name, Sealed: p.sealed, Plain: strings.HasPrefix(p.name, "plain"), Tokens: p.listener == site.Tokens,
		Sent: p.sent, Acknowledged: len(p.acked), Received: len(p.received), Forged: p.forged,
		Rejected: make(map[string]int), Ended: maps.Clone(p.ended), Recovered: p.back,
	}
	for why, n := range p.rejected {
		r.Rejected[why.String()] = n
	}
	for n, at := range p.acked {
		switch {
		case p.received[n] > 0:
			continue
		case excused(n, at):
			r.LostByBroker++
		default:
			r.Lost++
		}
		r.Missing = append(r.Missing, Missing{qosOf(n), at.sent, at.reported})
	}
	for n, times := range p.received {
		switch {
		case times < 2:
		case qosOf(n) == 2:
			r.TwiceQoS2++
		default:
			r.TwiceQoS1++
		}
	}
	return r
}

// unwritten is how long before its death a broker may have acknowledged what dies with it.
const unwritten = 2 * time.Second

// kill is from when a broker was to die until it was dead.
type kill struct{ began, over time.Time }

// exposed tells whether the broker was killed when it had perhaps not written the message to disk: while it was under
// way (killed after PUBREC, a broker that is back says PUBCOMP to the PUBREL of a message that it does not know), or so
// soon after.
func exposed(s span, kills []kill) bool {
	for _, k := range kills {
		if k.over.After(s.sent) && k.began.Sub(s.reported) < unwritten {
			return true
		}
	}
	return false
}
