package soak

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/site"
)

// TestClusters kills a node and a gateway of the clusters that people have. What was acknowledged arrives, but
// around the death of the node what the cluster itself loses then, without gateways too; nothing is forged, nothing can
// be read.
func TestClusters(t *testing.T) {
	for name, test := range map[string]struct {
		start func(context.Context, int) (*brokers.Cluster, error)
		lacks Lacks
	}{
		"nats":     {brokers.StartPromptNATS, NATSLacks},
		"ejabberd": {brokers.StartEjabberd, EjabberdLacks},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
			defer cancel()
			nodes, err := test.start(ctx, 3)
			if errors.Is(err, brokers.ErrNotInstalled) && os.Getenv("MQTTSEC_CI") != "1" {
				t.Skip(err)
			}
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, nodes.Close()) })
			report, err := Cluster(ctx, ClusterConfig{Nodes: nodes, Lacks: test.lacks, Progress: func(what string) { t.Log(what) }})
			require.NoError(t, err)
			var text bytes.Buffer
			require.NoError(t, report.Write(&text))
			t.Log("\n" + text.String())
			require.Empty(t, report.Failures())
		})
	}
}

// TestMayLose is the measure that TestClusters goes by.
func TestMayLose(t *testing.T) {
	dying := time.Now()
	at := func(sent, reported time.Duration) span { return span{dying.Add(sent), dying.Add(reported)} }
	before, during, after := at(-time.Minute, -time.Minute), at(5*time.Second, 9*time.Second), at(11*time.Second, 12*time.Second)
	lately, dead := at(-2*time.Second, -time.Second), at(-time.Second, 5*time.Second)
	out, in := newPair("plain-"+Out, site.Plain, false, false), newPair("plain-"+In, site.Plain, false, false)
	const first, qos1, qos2 = 10, 10, 11 // messages
	for _, test := range []struct {
		lacks Lacks
		pair  *pair
		n     int
		lost  map[span]bool // what may be
	}{
		{Lacks{}, in, qos2, nil},
		{NATSLacks, out, qos1, nil},
		{NATSLacks, in, qos1, nil},
		{NATSLacks, in, qos2, map[span]bool{during: true, dead: true}},
		{NATSLacks, out, first - 1, map[span]bool{before: true, lately: true, dead: true, during: true, after: true}},
		{EjabberdLacks, out, first - 1, map[span]bool{lately: true, dead: true}},
		{EjabberdLacks, out, qos2, map[span]bool{lately: true, dead: true}},
		{EjabberdLacks, in, qos1, map[span]bool{lately: true, dead: true, during: true}},
	} {
		r := clusterRun{ClusterConfig: ClusterConfig{Lacks: test.lacks},
			dying: dying, dead: dying.Add(100 * time.Millisecond), healed: dying.Add(10 * time.Second)}
		for _, s := range []span{before, lately, dead, during, after} {
			require.Equal(t, test.lost[s], r.mayLose(test.pair, test.n, first, s), "%+v, %s, %d: sent %v, reported %v",
				test.lacks, test.pair.name, test.n, s.sent.Sub(dying), s.reported.Sub(dying))
		}
	}
}

// concluded is a report that says these failures.
type concluded []string

func (c concluded) Write(w io.Writer) error { _, err := io.WriteString(w, "the report\n"); return err }
func (c concluded) Failures() []string      { return c }

// TestConclude: a program that ends with success has found nothing that must not be.
func TestConclude(t *testing.T) {
	var out strings.Builder
	require.NoError(t, Conclude(&out, concluded(nil)))
	require.ErrorContains(t, Conclude(&out, concluded{"one", "two"}), "2 things")
	require.Equal(t, "the report\nthe report\nFAILED: one\nFAILED: two\n", out.String())
}
