package brokers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// nats is the name of a cluster of it.
const nats = "nats"

// StartNATS starts the nats-server that is installed on this machine, a broker for MQTT 3.1.1 only: one node, or a
// cluster of three and more. It returns when all take MQTT clients. The error wraps [ErrNotInstalled] if there is none
// to start.
func StartNATS(ctx context.Context, nodes int) (*Cluster, error) {
	return startNATS(ctx, nodes, "20s") // which a loaded machine may need
}

// StartPromptNATS is StartNATS with the time that a server has by default for what other nodes have to answer, five
// seconds: clients whose request was with a node that has died wait as long.
func StartPromptNATS(ctx context.Context, nodes int) (*Cluster, error) {
	return startNATS(ctx, nodes, "5s")
}

func startNATS(ctx context.Context, nodes int, answer string) (*Cluster, error) {
	program, err := exec.LookPath("nats-server")
	if err != nil {
		return nil, fmt.Errorf("%w: nats-server", ErrNotInstalled)
	}
	c, err := newCluster(nats)
	if err != nil {
		return nil, err
	}
	if err = c.startNATS(program, nodes, answer); err == nil {
		err = c.Elected(ctx)
	}
	if err == nil {
		err = c.welcomed(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Elected returns when every node of a cluster of NATS that was not killed knows a leader that was not killed either,
// without whom some of what clients make the nodes ask each other is lost. Clusters of other brokers have no leader.
func (c *Cluster) Elected(ctx context.Context) error {
	if c.name != nats || len(c.urls) == 1 {
		return nil
	}
	for i := range c.urls {
		if slices.Contains(c.killed, i) {
			continue
		}
		if err := c.node(i).await(ctx, func() error { return c.led(c.node(i).log.all()) }); err != nil {
			return err
		}
	}
	return nil
}

// leader is what a node says of a leader, of whom it gives the name unless it is the leader itself.
var leader = regexp.MustCompile(`(no|new)( JetStream cluster| remote)? metadata leader(: (\w+))?`)

// led looks in the log of a node for a leader that was not killed.
func (c *Cluster) led(log []string) error {
	for _, line := range slices.Backward(log) {
		match := leader.FindStringSubmatch(line)
		if match == nil {
			continue
		}
		if match[1] == "no" || slices.ContainsFunc(c.killed, func(i int) bool { return match[4] == natsName(i) }) {
			break
		}
		return nil
	}
	return errors.New("the cluster has no leader")
}

// natsName is what a node of NATS is called.
func natsName(i int) string { return fmt.Sprint("node", i) }

// startNATS starts all nodes: a cluster answers no client before most of it is there.
func (c *Cluster) startNATS(program string, nodes int, answer string) error {
	var names, routes []string
	for i := range nodes {
		names = append(names, fmt.Sprint("client", i), fmt.Sprint("mqtt", i), fmt.Sprint("route", i))
	}
	urls, err := addresses(&c.ports, c.dir, names)
	if err != nil {
		return err
	}
	for i := range nodes {
		c.urls = append(c.urls, &url.URL{Scheme: TCP, Host: urls[fmt.Sprint("mqtt", i)].Host})
		routes = append(routes, "nats://"+urls[fmt.Sprint("route", i)].Host)
	}
	for i := range nodes {
		var conf strings.Builder
		fmt.Fprintf(&conf, "server_name: %s\nlisten: %s\n", natsName(i), urls[fmt.Sprint("client", i)].Host)
		fmt.Fprintf(&conf, "jetstream { store_dir: %q }\n", filepath.Join(c.dir, natsName(i)))
		fmt.Fprintf(&conf, "mqtt { listen: %q, js_api_timeout: %q, ack_wait: \"10s\" }\n", c.urls[i].Host, answer)
		if nodes > 1 {
			fmt.Fprintf(&conf, "cluster { name: mqttsec, listen: %q, routes: [%s] }\n",
				urls[fmt.Sprint("route", i)].Host, strings.Join(routes, ", "))
		}
		file := filepath.Join(c.dir, fmt.Sprintf("node%d.conf", i))
		if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
			return err
		}
		if err := c.run(spawn("nats-server", exec.Command(program, "-c", file))); err != nil {
			return err
		}
	}
	return nil
}
