package e2e

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/aesmsg"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// The states of a device that moves over, in the order that the documentation gives: wrap the receivers, wrap the
// publishers, close the door.
const (
	unwrapped     = iota
	receivingBoth // sealed and unsealed; it publishes as before
	sealingToo
	strict
	statesOfFleet
)

// device publishes to the next one in a ring, and receives from the one before.
type device struct {
	t         testing.TB
	ctx       context.Context
	driver    driver
	url       func() options
	in, out   string
	unsealed  *atomic.Int64
	moving    sync.Mutex // held while the device is between two states, and for each message that it publishes
	client    client
	published int // acknowledged by the broker

	mu  sync.Mutex
	got map[string]int
}

func (d *device) scheme(state int) scheme {
	if state == unwrapped {
		return plain{}
	}
	until := time.Now().Add(time.Hour)
	cfg := testSealing(d.t, "fleet")
	cfg.Delivered = func(m aesmsg.Delivery) {
		if m.Unsealed {
			d.unsealed.Add(1)
		}
	}
	cfg.Rejected = func(r aesmsg.Rejection) { d.t.Errorf("%s, state %d: %v", r.Topic, state, r.Err) }
	if state < strict {
		cfg.InsecureAcceptUnsealed = []aesmsg.Unsealed{{Filter: "e2e/#", Until: until}}
	}
	if state < sealingToo {
		cfg.InsecureSendUnsealed = []aesmsg.Unsealed{{Filter: "e2e/#", Until: until}}
	}
	return made(d.t, aesmsg.New, cfg)
}

// move takes the device to a state: its program is stopped and started again.
func (d *device) move(state int) error {
	d.moving.Lock()
	defer d.moving.Unlock()
	if d.client != nil {
		if err := d.client.disconnect(d.ctx); err != nil {
			return err
		}
	}
	o := d.url()
	o.persistent = true
	o.received = func(m message) {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.got[string(m.payload)]++
	}
	var err error
	if d.client, err = d.driver.connect(d.ctx, d.scheme(state), o); err != nil {
		return err
	}
	return d.client.subscribe(d.ctx, d.in, 1)
}

// work publishes until done is closed.
func (d *device) work(done <-chan struct{}) error {
	for {
		d.moving.Lock()
		m := message{topic: d.out, payload: fmt.Appendf(nil, "%s %d", marker, d.published), qos: 1}
		err := d.client.publish(d.ctx, m)
		if err == nil {
			d.published++
		}
		d.moving.Unlock()
		if err != nil {
			return err
		}
		select {
		case <-done:
			return nil
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (d *device) missing(published int) (missing []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range published {
		if text := fmt.Sprint(marker, " ", i); d.got[text] == 0 {
			missing = append(missing, text)
		}
	}
	return missing
}

// TestFleetMovesOver takes two hundred devices on both libraries, one by one and under load, from no sealing at all to
// nothing but. Whatever the broker has acknowledged arrives, readable, and in the end nothing arrives unsealed.
func TestFleetMovesOver(t *testing.T) {
	const devices = 200
	ctx, cancel := context.WithTimeout(context.Background(), 10*patience) // for two hundred, four times each
	defer cancel()
	broker, err := brokers.StartMosquitto(ctx, brokers.Config{})
	needMosquitto(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	var unsealed atomic.Int64
	root := unique("e2e/fleet")
	fleet := make([]*device, devices)
	for i := range fleet {
		id := unique("device")
		fleet[i] = &device{
			t: t, ctx: ctx, driver: drivers()[1+i%2], unsealed: &unsealed, got: map[string]int{},
			in: fmt.Sprint(root, "/", i), out: fmt.Sprint(root, "/", (i+1)%devices),
			url: func() options { return options{id: id, url: broker.URL(brokers.TCP)} },
		}
	}
	all := func(f func(i int, d *device) error) {
		t.Helper()
		errs := make(chan error, devices)
		limit := make(chan struct{}, 8)
		for i, d := range fleet {
			limit <- struct{}{}
			go func() {
				errs <- f(i, d)
				<-limit
			}()
		}
		for range devices {
			require.NoError(t, <-errs)
		}
	}
	// arrived waits until all that was published has arrived, and more of what each device publishes then.
	arrived := func(more int) {
		t.Helper()
		all(func(i int, d *device) error {
			d.moving.Lock()
			published := d.published + more
			d.moving.Unlock()
			next := fleet[(i+1)%devices]
			for {
				missing := next.missing(published)
				if len(missing) == 0 {
					return nil
				}
				select {
				case <-time.After(pollInterval):
				case <-ctx.Done():
					return fmt.Errorf("%d of %d lost on the way to device %d: %.200q", len(missing), published, (i+1)%devices, missing)
				}
			}
		})
	}

	all(func(_ int, d *device) error { return d.move(unwrapped) })
	done, ended := make(chan struct{}), make(chan error, devices)
	for _, d := range fleet {
		go func() { ended <- d.work(done) }()
	}
	for state := receivingBoth; state < statesOfFleet; state++ {
		if state == strict {
			arrived(1) // what is still queued unsealed would be refused, or comes again because its acknowledgement has not left
			unsealed.Store(0)
		}
		for _, d := range fleet {
			require.NoError(t, d.move(state))
		}
		if state == receivingBoth {
			require.Eventually(t, func() bool { return unsealed.Load() > 0 }, patience, pollInterval, "they are counted")
		}
	}
	close(done)
	for range devices {
		require.NoError(t, <-ended)
	}
	arrived(0)
	require.Zero(t, unsealed.Load())
	for _, d := range fleet {
		d.mu.Lock()
		for text := range maps.Keys(d.got) {
			require.True(t, strings.HasPrefix(text, marker), "%q", text)
		}
		d.mu.Unlock()
		require.NoError(t, d.client.disconnect(ctx))
	}
}
