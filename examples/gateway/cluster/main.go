// Command cluster starts a cluster of three brokers and two gateways before it, on free ports of 127.0.0.1, for a try:
//
//	go run ./examples/gateway/cluster -broker nats
//	go run ./examples/gateway/cluster -broker ejabberd
//	go run ./examples/gateway/cluster -broker nats -kill
//
// It prints where everything is and how to kill any of it. Either gateway takes any client: what it has to know is in
// its configuration, and between the gateways and the nodes stands a balancer that takes the next node when one is
// gone. With -kill it does so itself: clients of every kind send numbered messages of QoS 1 and 2 through both gateways
// and, as a yardstick, through the balancers alone, while an attacker on a node forges and replays; a node is killed,
// then a gateway; and it prints what was acknowledged and never arrived, arrived twice, was forged or could be read.
//
// It needs a clone of this module, since it builds the programs that it starts, and nats-server or Debian's ejabberd.
//
// # What the clusters leave out
//
// All of this is so without gateways too: what the cluster itself loses, no gateway can keep. It was seen with -kill,
// on two processors with a load of 5 to 28, with as many clients without gateways as with, and a witness in front of
// the nodes that wrote down every packet. Each message that was lost a node had acknowledged, and none had sent it to
// the subscriber.
//
// nats-server 2.12, JetStream with three replicas, 59 runs:
//
//   - MQTT 3.1.1 only. A client of MQTT 5 hears 0x84, unsupported protocol version, from the gateway.
//   - Sessions outlive a node and move from node to node. Of what was published at QoS 1 nothing was lost that was
//     acknowledged.
//   - Messages published at QoS 2 can be lost when a node dies: as its source says, a node answers PUBREL with PUBCOMP
//     also when it could not load the message, or could not store it for the subscribers, because there was no leader,
//     of which it learns by another node's "JetStream system temporarily unavailable" or by hearing nothing for
//     js_api_timeout (five seconds if it is not set). In 12 runs 63 messages, 36 of them between clients without
//     gateways. Whoever must not lose any publishes at QoS 1; with reject_qos2_publish a node refuses the rest.
//   - When a node dies, clients with a request under way wait for js_api_timeout, and all until there are leaders
//     again: 5 to 20 seconds without an acknowledgement. In one run of ten a subscriber then heard up to some 200
//     messages again ack_wait later, which it had acknowledged, at QoS 2 too. Those that seal saw none twice.
//   - A new cluster with much to do refuses subscriptions, with 0x80 in SUBACK after js_api_timeout. For
//     paho.mqtt.golang that is no error of the token: look at Result, and subscribe again. It may also acknowledge a
//     subscription a moment before all nodes know of it.
//   - No shared subscriptions. A message may be retained some time after it is acknowledged.
//
// ejabberd 23.01, mod_mqtt over Mnesia, 55 runs:
//
//   - Both versions. A session is on the node that the client is connected to, and moves with a client that comes back
//     to another node: nothing was lost when a gateway died.
//   - When a node dies, so do the sessions of its clients, and with them what others publish to them until they have
//     subscribed again: up to seven messages of each, acknowledged within 0.8 s. A client of MQTT 5 learns of it by
//     Session Present; one of MQTT 3.1.1 has to subscribe whenever it connects.
//   - What its clients have published and it has acknowledged, but not passed on to another node, dies with it too: one
//     message, 2 ms before.
//   - Who subscribes again within some hundredths of a second, before the other nodes have cleared away what the dead
//     one left, may be granted that and hear nothing until it connects once more: in 10 runs, with clients that come
//     back after 50 ms.
//   - Every client needs a user name of the form name@host, and a password. The gateway sends the identity that a
//     token, a login of MQTT-Auth or a pre-shared key has shown, so that these are named like that, with the password
//     that password_file in its configuration holds.
//   - No shared subscriptions. Topics have at most eight levels (max_topic_depth).
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"text/tabwriter"

	"github.com/mqttsec/mqttsec/ace"
	"github.com/mqttsec/mqttsec/internal/brokers"
	"github.com/mqttsec/mqttsec/internal/relay"
	"github.com/mqttsec/mqttsec/internal/site"
	"github.com/mqttsec/mqttsec/internal/soak"
)

const usage = `usage: cluster -broker nats|ejabberd [-kill]

Starts three nodes of a broker on this machine and two gateways before them, says
where they are, and runs until it is interrupted. With -kill it lets clients talk,
kills a node and a gateway, prints what became of their messages, and exits with
1 if any were lost that the cluster keeps, forged, or could be read.

options:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "cluster:", err)
		os.Exit(1)
	}
}

// errUsage stands for a command line that cannot be understood, after it has been said why.
var errUsage = errors.New("wrong usage")

// kind is a broker that has clusters.
type kind struct {
	name  string
	start func(ctx context.Context, nodes int) (*brokers.Cluster, error)
	flags string // of example programs that speak to it
	lacks soak.Lacks
}

var kinds = map[string]kind{
	"nats":     {"NATS", brokers.StartPromptNATS, "-v3 ", soak.NATSLacks},
	"ejabberd": {"ejabberd", brokers.StartEjabberd, "", soak.EjabberdLacks},
}

func run(ctx context.Context, args []string, out, messages io.Writer) (err error) {
	flags := flag.NewFlagSet("cluster", flag.ContinueOnError)
	flags.SetOutput(messages)
	flags.Usage = func() {
		fmt.Fprint(messages, usage)
		flags.PrintDefaults()
	}
	broker := flags.String("broker", "", "`NAME` of the broker: nats or ejabberd")
	kill := flags.Bool("kill", false, "kill a node and a gateway under traffic, and count")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage
	}
	k, ok := kinds[*broker]
	if !ok || flags.NArg() > 0 {
		fmt.Fprintln(messages, "cluster: want -broker nats or -broker ejabberd, and no arguments")
		flags.Usage()
		return errUsage
	}
	fmt.Fprintf(messages, "starting three nodes of %s\n", k.name)
	nodes, err := k.start(ctx, 3)
	if err != nil {
		return interrupted(ctx, err)
	}
	defer func() { err = errors.Join(err, nodes.Close()) }()
	if *kill {
		return interrupted(ctx, count(ctx, nodes, k, out, messages))
	}
	return interrupted(ctx, show(ctx, nodes, k, out, messages))
}

// interrupted is nil for an error of one who did not want to wait.
func interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// count kills, and says what came of it.
func count(ctx context.Context, nodes *brokers.Cluster, k kind, out, messages io.Writer) error {
	report, err := soak.Cluster(ctx, soak.ClusterConfig{Nodes: nodes, Lacks: k.lacks, Progress: func(what string) {
		fmt.Fprintln(messages, what)
	}})
	if err != nil {
		return err
	}
	return soak.Conclude(out, report)
}

// device is a client that the Authorization Server knows.
const device = "device1@localhost"

// show runs gateways until ctx ends.
func show(ctx context.Context, nodes *brokers.Cluster, k kind, out, messages io.Writer) (err error) {
	fmt.Fprintln(messages, "starting an Authorization Server and two gateways")
	var balancers []string
	for i := range 2 { // each prefers a node of its own
		var targets []string
		for n := range nodes.Nodes() {
			targets = append(targets, nodes.URL((i+n)%nodes.Nodes()).Host)
		}
		balancer, err := relay.New(nil, targets...)
		if err != nil {
			return err
		}
		defer balancer.Close()
		balancers = append(balancers, "mqtt://"+balancer.Address())
	}
	s, err := site.Start(ctx, site.Config{
		Upstream: balancers[0], Further: balancers[1:], Password: "any",
		Clients: map[string]ace.Scope{device: {{Filter: "demo/#", Publish: true, Subscribe: true}}},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if err := describe(nodes, s, k, out); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// describe says where everything is, and writes a file for clients of each gateway.
func describe(nodes *brokers.Cluster, s *site.Site, k kind, out io.Writer) error {
	if _, err := s.Authority.WriteFile(s.Dir); err != nil {
		return err
	}
	var text, tries strings.Builder
	t := tabwriter.NewWriter(&text, 0, 0, 3, ' ', 0)
	for n := range nodes.Nodes() {
		fmt.Fprintf(t, "node %d\t%s\t\tkill -9 %d\n", n+1, nodes.URL(n), nodes.PID(n))
	}
	for g, process := range s.Gateways {
		tokens := s.URLOf(g, site.Tokens)
		fmt.Fprintf(t, "gateway %d\t%s\ttokens\tkill -9 %d\n", g+1, tokens, process.PID())
		fmt.Fprintf(t, "\t%s\twithout protection\n", s.URLOf(g, site.Plain))
		file := filepath.Join(s.Dir, fmt.Sprintf("gateway%d.json", g+1))
		demo, err := json.MarshalIndent(map[string]any{
			"as": strings.TrimSuffix(s.TokenEndpoint(), "/token"), "broker": tokens.String(), "ca": "ca.pem",
			"clients": []map[string]string{{"client_id": device, "client_secret": s.Secret(), "audience": site.Broker}},
		}, "", "  ")
		if err == nil {
			err = os.WriteFile(file, append(demo, '\n'), 0o600)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(&tries, "  go run ./examples/token %s-demo %s demo/x open\n", k.flags, file)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(out, `
%s
Both gateways take all clients, and go to the next node when one is gone; those that are left need
some seconds to agree. A client with a token, which publishes and hears itself, through each:

%s
Until you interrupt it.
`, text.String(), tries.String())
	return err
}
