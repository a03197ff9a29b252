package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/stretchr/testify/require"
)

// Brokers that all tests share are started by the first that asks, and closed when the last is done.
var (
	embedded  = sync.OnceValues(func() (*brokers.Embedded, error) { return brokers.StartEmbedded(brokers.Config{}) })
	mosquitto = sync.OnceValues(func() (*brokers.Mosquitto, error) {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return brokers.StartMosquitto(ctx, brokers.Config{})
	})
	started sync.Map // what is to be closed, with a Name -> nothing
)

func TestMain(m *testing.M) {
	flag.Parse()
	// These tests wait for the network more than they compute, so more of them run at once than there are processors.
	// Somebody who asks for a number on the command line gets that.
	asked := false
	flag.Visit(func(f *flag.Flag) { asked = asked || f.Name == "test.parallel" })
	if !asked {
		if err := flag.Set("test.parallel", "16"); err != nil {
			log.Fatal(err)
		}
	}
	code := m.Run()
	started.Range(func(b, _ any) bool {
		if err := b.(io.Closer).Close(); err != nil {
			log.Printf("closing %s: %v", b.(interface{ Name() string }).Name(), err)
			code = 1
		}
		return true
	})
	if programs != "" {
		_ = os.RemoveAll(programs) // nothing but a program that was built
	}
	os.Exit(code)
}

func sharedEmbedded(t testing.TB) *brokers.Embedded {
	t.Helper()
	b, err := embedded()
	require.NoError(t, err)
	started.Store(b, nil)
	return b
}

func sharedMosquitto(t testing.TB) *brokers.Mosquitto {
	t.Helper()
	b, err := mosquitto()
	needMosquitto(t, err)
	started.Store(b, nil)
	return b
}

// needMosquitto skips the test where mosquitto is not installed, except where it has to be.
func needMosquitto(t testing.TB, err error) {
	t.Helper()
	if errors.Is(err, brokers.ErrNoMosquitto) && os.Getenv("MQTTSEC_CI") != "1" {
		t.Skip(err)
	}
	require.NoError(t, err)
}

// sharedBrokers are looked up by name only when a test needs one.
var sharedBrokers = []struct {
	name string
	get  func(testing.TB) brokers.Broker
}{
	{"mochi", func(t testing.TB) brokers.Broker { return sharedEmbedded(t) }},
	{"mosquitto", func(t testing.TB) brokers.Broker { return sharedMosquitto(t) }},
}

var serial atomic.Int64

// unique makes a name that no other test uses on the shared brokers.
func unique(name string) string { return fmt.Sprintf("%s-%d", name, serial.Add(1)) }

// patient is a context for what a test does, which ends long after everything should be done.
func patient(t testing.TB) context.Context {
	t.Helper()
	return patientFor(t, patience)
}

// long is for what takes more: a program that has to be built, a broker of nine virtual machines, a long scenario.
const long = 5 * patience

func patientFor(t testing.TB, most time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), most)
	t.Cleanup(cancel)
	return ctx
}
