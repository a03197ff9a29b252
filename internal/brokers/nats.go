package brokers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// StartNATS starts the nats-server that is installed on this machine, a broker for MQTT 3.1.1 only: one node, or a
// cluster of three and more. It returns when all take MQTT clients. The error wraps [ErrNotInstalled] if there is none
// to start.
func StartNATS(ctx context.Context, nodes int) (*Cluster, error) {
	program, err := exec.LookPath("nats-server")
	if err != nil {
		return nil, fmt.Errorf("%w: nats-server", ErrNotInstalled)
	}
	c, err := newCluster("nats")
	if err != nil {
		return nil, err
	}
	if err = c.startNATS(program, nodes); err == nil && nodes > 1 {
		err = c.elected(ctx)
	}
	if err == nil {
		err = c.welcomed(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// elected returns when every node knows the leader of the cluster, without whom what a client makes it ask is lost. It
// says that it is ready before.
func (c *Cluster) elected(ctx context.Context) error {
	for _, p := range c.processes {
		_, err := p.log.await(ctx, func(line string) bool { return strings.Contains(line, "metadata leader") })
		if err != nil {
			return err
		}
	}
	return nil
}

// startNATS starts all nodes: a cluster answers no client before most of it is there.
func (c *Cluster) startNATS(program string, nodes int) error {
	var names, routes []string
	for i := range nodes {
		names = append(names, fmt.Sprint("client", i), fmt.Sprint("mqtt", i), fmt.Sprint("route", i))
	}
	urls, err := addresses(c.dir, names)
	if err != nil {
		return err
	}
	for i := range nodes {
		c.urls = append(c.urls, &url.URL{Scheme: TCP, Host: urls[fmt.Sprint("mqtt", i)].Host})
		routes = append(routes, "nats://"+urls[fmt.Sprint("route", i)].Host)
	}
	for i := range nodes {
		var conf strings.Builder
		fmt.Fprintf(&conf, "server_name: node%d\nlisten: %s\n", i, urls[fmt.Sprint("client", i)].Host)
		fmt.Fprintf(&conf, "jetstream { store_dir: %q }\n", filepath.Join(c.dir, fmt.Sprint("node", i)))
		fmt.Fprintf(&conf, "mqtt { listen: %q, js_api_timeout: \"20s\", ack_wait: \"10s\" }\n", c.urls[i].Host)
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
