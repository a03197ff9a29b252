package attacks

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/site"
)

// patience bounds what only a failure makes last.
const patience = time.Minute

// clientCount is how many clients the Authorization Server knows: client-0 and so on. One run takes some 200.
const clientCount = 2048

// brief is how long the tokens of [site.Brief] live: long enough for a machine with more to do to connect with one.
const brief = 10 * time.Second

var clients, others atomic.Int64

// newClientID is the name of a client that the Authorization Server knows and no other test uses.
func newClientID() string { return fmt.Sprintf("client-%d", clients.Add(1)%clientCount) }

// newName is a name that nobody else has.
func newName(what string) string { return fmt.Sprintf("%s-%d", what, others.Add(1)) }

// world is what all tests share and attack.
type world struct {
	site      *site.Site        // in front of the second broker
	upstream  *relay            // between that gateway and its broker
	mochi     *brokers.Embedded // behind the broker halves, in this process
	mosquitto brokers.Broker    // behind the gateway; mochi once more where there is no mosquitto
	places    []place
	closers   []func() error
}

var shared = sync.OnceValues(newWorld)

func newWorld() (*world, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*patience) // the programs may have to be built
	defer cancel()
	w := new(world)
	err := w.start(ctx)
	if err != nil {
		err = errors.Join(err, w.close())
	}
	return w, err
}

func (w *world) start(ctx context.Context) error {
	mosquitto, err := brokers.StartMosquitto(ctx, brokers.Config{})
	switch {
	case errors.Is(err, brokers.ErrNoMosquitto) && os.Getenv("MQTTSEC_CI") != "1":
		w.mosquitto, err = brokers.StartEmbedded(brokers.Config{})
	case err == nil:
		w.mosquitto = mosquitto
	}
	if err != nil {
		return err
	}
	w.closers = append(w.closers, w.mosquitto.Close)
	if w.upstream, err = startRelay(w.mosquitto.URL(brokers.TCP).Host); err != nil {
		return err
	}
	w.closers = append(w.closers, w.upstream.close)
	known := make(map[string]ace.Scope)
	for i := range clientCount {
		id := fmt.Sprintf("client-%d", i)
		known[id] = ace.Scope{
			{Filter: "site/" + id + "/#", Publish: true, Subscribe: true}, {Filter: "news/+", Subscribe: true},
		}
	}
	w.site, err = site.Start(ctx, site.Config{
		Upstream: "mqtt://" + w.upstream.address(), Clients: known, Identities: []string{"device-1", "device-2"},
		Users:    []string{user},
		Limits:   "{pending: 400, pending_per_address: 100, connect_timeout: 30s}",
		Lifetime: brief,
	})
	if err != nil {
		return err
	}
	w.closers = append(w.closers, w.site.Close)
	if w.mochi, err = brokers.StartEmbedded(brokers.Config{}); err != nil {
		return err
	}
	w.closers = append(w.closers, w.mochi.Close)
	halves, err := w.halves()
	if err != nil {
		return err
	}
	w.places = []place{
		{name: "mochi behind acebroker", world: w, addresses: halves, broker: w.mochi},
		{name: w.mosquitto.Name() + " behind the gateway", world: w, broker: w.mosquitto, addresses: map[string]string{
			site.TLS: w.site.URL(site.TLS).Host, site.PSK: w.site.URL(site.PSK).Host, site.Tokens: w.site.URL(site.Tokens).Host,
			site.Plain: w.site.URL(site.Plain).Host, site.Passwords: w.site.URL(site.Passwords).Host,
		}},
	}
	return nil
}

func (w *world) close() error {
	var errs []error
	for i := len(w.closers) - 1; i >= 0; i-- {
		errs = append(errs, w.closers[i]())
	}
	return errors.Join(errs...)
}

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait for the network more than they compute, so more of them run at once than there are processors.
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		if err := flag.Set("test.parallel", "16"); err != nil {
			log.Fatal(err)
		}
	}
	code := m.Run()
	if started.Load() {
		if w, err := shared(); err == nil {
			if err := w.close(); err != nil {
				log.Print(err)
				code = 1
			}
		}
	}
	os.Exit(code)
}

// started tells whether any test needed the world.
var started atomic.Bool
