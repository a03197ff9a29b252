package e2e

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/stretchr/testify/require"
)

// other is a broker that runs in processes of its own and listens over TCP.
type other struct {
	name  string
	start func(ctx context.Context) (*brokers.Cluster, error)
	lacks lacks
}

func others() []other {
	cluster := func(start func(context.Context, int) (*brokers.Cluster, error), nodes int) func(context.Context) (*brokers.Cluster, error) {
		return func(ctx context.Context) (*brokers.Cluster, error) { return start(ctx, nodes) }
	}
	return []other{
		// The slowest to start comes first.
		{"rabbitmq", brokers.StartRabbitMQ, lacks{v5: true, qos2: true, wildcardRetained: true, shared: true}},
		{"ejabberd", cluster(brokers.StartEjabberd, 3), lacks{shared: true}},
		{"nats", cluster(brokers.StartNATS, 1), lacks{v5: true, promptRetained: true, shared: true, nextIdentifier: true}},
		{"nats of three", cluster(brokers.StartNATS, 3), lacks{v5: true, promptRetained: true, shared: true, nextIdentifier: true}},
		{"aedes", brokers.StartAedes, lacks{v5: true, promptRetained: true, shared: true}},
	}
}

// core are the features that the other brokers are tested with. What they lack of MQTT is in [lacks].
func core() []feature {
	return slices.DeleteFunc(append(features(), feature{"Across", across}), func(f feature) bool {
		return !slices.Contains([]string{
			"QoS0", "QoS1", "QoS2", "Retained", "Will", "PersistentSession", "SharedSubscription", "Across",
		}, f.name)
	})
}

// TestOtherBrokers runs the quickstart against the brokers that people have, and the core of the matrix, plain and
// sealed.
func TestOtherBrokers(t *testing.T) {
	quickstart := sync.OnceValues(buildQuickstart)
	for _, o := range others() {
		t.Run(o.name, func(t *testing.T) {
			t.Parallel()
			broker, err := o.start(patientFor(t, long))
			if errors.Is(err, brokers.ErrNotInstalled) && os.Getenv("MQTTSEC_CI") != "1" {
				t.Skip(err)
			}
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, broker.Close()) })
			t.Run("Features", func(t *testing.T) { o.features(t, broker) })
			for _, scheme := range []string{"aes", "present"} {
				t.Run("Quickstart/"+scheme, func(t *testing.T) {
					program, err := quickstart()
					require.NoError(t, err)
					o.demonstrate(t, program, broker, scheme)
				})
			}
		})
	}
}

// features runs core with every library that speaks the broker's versions of MQTT.
func (o other) features(t *testing.T, broker *brokers.Cluster) {
	at := 0
	for _, s := range append([]suite{unsealed()}, sealedSuites()[:2]...) { // that schemes stack is shown elsewhere
		for _, d := range drivers() {
			if d.v5 && o.lacks.v5 {
				continue
			}
			for _, f := range core() {
				if o.without(f.name, broker) {
					continue
				}
				at++ // each at another node
				p := place{s, d, node{broker, at % broker.Nodes()}, brokers.TCP, o.lacks}
				t.Run(fmt.Sprintf("%s/%s/%s", s.name, d.name, f.name), func(t *testing.T) {
					t.Parallel()
					c := newCell(t, p)
					f.run(c)
					c.requireSecrecy()
				})
			}
		}
	}
}

// without tells whether the broker is not made for a feature.
func (o other) without(feature string, broker *brokers.Cluster) bool {
	switch feature {
	case "QoS2":
		return o.lacks.qos2
	case "Across":
		return broker.Nodes() == 1
	}
	return false
}

// demonstrate runs the quickstart against the last node.
func (o other) demonstrate(t *testing.T, program string, broker *brokers.Cluster, scheme string) {
	args := []string{"-broker", broker.URL(broker.Nodes() - 1).String(), "-scheme", scheme, "-timeout", patience.String()}
	if broker.User() != "" {
		args = append(args, "-user", broker.User(), "-password", anyPassword)
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "All of it as promised.")
	require.Equal(t, o.lacks.v5, bytes.Contains(out, []byte("This broker takes MQTT 3.1.1 only")))
	require.Equal(t, !broker.SpeaksV5(), o.lacks.v5)
}

var programs string // a directory, which TestMain removes

// buildQuickstart makes the program, so that it is seen as users see it.
func buildQuickstart() (program string, err error) {
	if programs, err = os.MkdirTemp("", "quickstart"); err != nil {
		return "", err
	}
	program = filepath.Join(programs, "quickstart")
	said, err := exec.Command("go", "build", "-o", program, "../../examples/quickstart").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, said)
	}
	return program, nil
}

// node is one node of a broker, which does nothing but run.
type node struct {
	cluster *brokers.Cluster
	at      int
}

func (n node) Name() string                { return n.cluster.Name() }
func (n node) User() string                { return n.cluster.User() }
func (n node) URL(string) *url.URL         { return n.cluster.URL(n.at) }
func (n node) RootCAs() *x509.CertPool     { return nil }
func (n node) Stop() error                 { return errors.ErrUnsupported }
func (n node) Start(context.Context) error { return errors.ErrUnsupported }
func (n node) Close() error                { return errors.ErrUnsupported }

// across publishes at one node of a cluster to a subscriber at the next.
func across(c *cell) {
	here := c.broker.(node)
	there := here.cluster.URL((here.at + 1) % here.cluster.Nodes())
	sub, pub := c.connect(options{}), c.connect(options{url: there})
	require.NoError(c.t, sub.subscribe(c.ctx, c.topic("#"), c.qos(2)))
	// Nodes tell each other of a subscription after it is granted. It is known when the first message arrives.
	const first = marker + " first"
	known := func() bool {
		require.NoError(c.t, pub.publish(c.ctx, message{topic: c.topic("first"), payload: []byte(first)}))
		ctx, cancel := context.WithTimeout(c.ctx, 100*time.Millisecond)
		defer cancel()
		_, err := sub.inbox().awaitCount(ctx, 1)
		return err == nil
	}
	for !known() {
		require.NoError(c.t, c.ctx.Err())
	}
	var want []string
	for i := range 6 {
		want = append(want, fmt.Sprintf("%s %d across", marker, i))
		m := message{topic: c.topic("across"), payload: []byte(want[i]), qos: c.qos(byte(i % 3))}
		require.NoError(c.t, pub.publish(c.ctx, m))
	}
	got, err := sub.inbox().await(c.ctx, func(got []message) bool {
		return !slices.ContainsFunc(want, func(text string) bool { return count(got, text) == 0 })
	})
	require.NoError(c.t, err)
	arrived := slices.DeleteFunc(payloads(got), func(text string) bool { return text == first })
	require.ElementsMatch(c.t, want, arrived)
}
