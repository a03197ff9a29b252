package e2e

import (
	"context"
	"crypto/x509"
	"errors"
	"net/url"
	"sync"

	"github.com/eclipse/paho.golang/paho"
)

// message is what an application publishes and receives.
type message struct {
	topic   string
	payload []byte
	qos     byte
	retain  bool
	// properties exist in MQTT v5 only; the v3.1.1 client neither sends nor receives any.
	properties *paho.PublishProperties
}

// client is what an application does with MQTT, in the words of none of the libraries. What a test does with it is
// the same code for all of them, protected or not.
type client interface {
	// publish returns when the exchange is finished, at QoS 0 when the packet is written. It outlives a reconnection.
	publish(ctx context.Context, m message) error
	// enqueue leaves m to the library's own store and returns at once, connected or not. Not every library can.
	enqueue(ctx context.Context, m message) error
	// subscribe returns when the broker has granted the subscription. What it matches arrives in the inbox.
	subscribe(ctx context.Context, filter string, qos byte) error
	inbox() *inbox
	// disconnect ends the connection with a DISCONNECT if it is up, and the client.
	disconnect(ctx context.Context) error
}

// errCannotEnqueue is returned by the enqueue of a client without a store of its own.
var errCannotEnqueue = errors.New("e2e: this library has no queue")

// options describe a client, plain as they are: the driver gives them to the library and the scheme wraps that.
type options struct {
	id    string
	user  string // for brokers that want one; any password will do
	url   *url.URL
	roots *x509.CertPool
	// persistent keeps the session at the broker when the connection ends, and takes up the one that is there.
	persistent bool
	will       *message
	// dir is where the library stores what it has not delivered. Empty: in memory.
	dir string
	// offline does not wait for the connection: it may come up later or never.
	offline bool
	// still sends no PINGREQ, the first of which paho.golang sends right after CONNECT, so that whatever the broker
	// says is about something that the test has done.
	still bool
	// aliases is the number of topic aliases of MQTT v5 that the client uses, and lets the broker use. Zero: none.
	aliases uint16
	// received, if set, sees each message on the library's own goroutine, before it is acknowledged.
	received func(message)
}

// driver makes clients of one library in one way of using it.
type driver struct {
	name string
	v5   bool
	// connect returns a connected client whose options went through wrap; it reconnects by itself, quickly.
	connect func(ctx context.Context, s scheme, o options) (client, error)
}

// drivers are the three ways in which applications use MQTT in Go.
func drivers() []driver {
	return []driver{
		{name: "autopaho", v5: true, connect: connectAutopaho},
		{name: "paho", v5: true, connect: connectPaho},
		{name: "pahoV3", v5: false, connect: connectV3},
	}
}

// inbox collects messages for a test that waits for them.
type inbox struct {
	mu       sync.Mutex
	messages []message
	arrived  chan struct{} // closed and replaced with each message
}

func newInbox() *inbox { return &inbox{arrived: make(chan struct{})} }

func (b *inbox) put(m message) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.messages = append(b.messages, m)
	close(b.arrived)
	b.arrived = make(chan struct{})
}

// all are the messages so far.
func (b *inbox) all() []message {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.messages[:len(b.messages):len(b.messages)]
}

// await returns the messages so far as soon as they satisfy enough.
func (b *inbox) await(ctx context.Context, enough func([]message) bool) ([]message, error) {
	for {
		b.mu.Lock()
		messages, arrived := b.messages[:len(b.messages):len(b.messages)], b.arrived
		b.mu.Unlock()
		if enough(messages) {
			return messages, nil
		}
		select {
		case <-arrived:
		case <-ctx.Done():
			return messages, ctx.Err()
		}
	}
}

// awaitCount waits for at least n messages.
func (b *inbox) awaitCount(ctx context.Context, n int) ([]message, error) {
	return b.await(ctx, func(got []message) bool { return len(got) >= n })
}

// awaitPayload waits for a message with that payload, and returns all that have come until then.
func (b *inbox) awaitPayload(ctx context.Context, payload string) ([]message, error) {
	return b.await(ctx, func(got []message) bool { return count(got, payload) > 0 })
}

// count is the number of messages with that payload.
func count(messages []message, payload string) int {
	n := 0
	for _, m := range messages {
		if string(m.payload) == payload {
			n++
		}
	}
	return n
}

// payloads are the payloads of messages, as text.
func payloads(messages []message) []string {
	var texts []string
	for _, m := range messages {
		texts = append(texts, string(m.payload))
	}
	return texts
}
