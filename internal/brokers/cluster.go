package brokers

import (
	"context"
	"errors"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/mqttsec/mqttsec/internal/brokers/ports"
)

// Cluster is a broker of another make in child processes, one node or more, which listens over TCP on 127.0.0.1. Its
// configuration, its data and whatever else it writes are in a temporary directory.
type Cluster struct {
	name      string
	user      string
	v5        bool
	dir       string
	urls      []*url.URL // of the nodes
	ports     ports.Set
	proxied   []*url.URL // of those that take PROXY headers
	processes []*process // those of the nodes come last
	killed    []int      // nodes

	management *url.URL
}

// newCluster makes the directory.
func newCluster(name string) (*Cluster, error) {
	dir, err := os.MkdirTemp("", name)
	return &Cluster{name: name, dir: dir}, err
}

// Name tells brokers apart in the names of subtests.
func (c *Cluster) Name() string { return c.name }

// Nodes is the number of nodes.
func (c *Cluster) Nodes() int { return len(c.urls) }

// URL is the address of a node, from 0, for clients.
func (c *Cluster) URL(node int) *url.URL { return copied(c.urls[node]) }

// Proxied is the address of a node for those who begin each connection with a PROXY header, of ejabberd alone.
func (c *Cluster) Proxied(node int) *url.URL { return copied(c.proxied[node]) }

// Management is the address of RabbitMQ's HTTP API where [StartManagedRabbitMQ] has started it, else nil.
func (c *Cluster) Management() *url.URL { return copied(c.management) }

// User is a name that clients have to give, with any password; empty if they need none.
func (c *Cluster) User() string { return c.user }

// SpeaksV5 tells whether the broker takes MQTT 5 besides 3.1.1.
func (c *Cluster) SpeaksV5() bool { return c.v5 }

// Dir holds what the nodes have written.
func (c *Cluster) Dir() string { return c.dir }

// PID is the number of a node's process.
func (c *Cluster) PID(node int) int { return c.node(node).command.Process.Pid }

// Kill ends a node without warning (SIGKILL) and returns when it is gone. It does not come back.
func (c *Cluster) Kill(node int) {
	c.killed = append(c.killed, node)
	c.node(node).kill()
}

// AwaitLog returns the first line of what a node says, or has said, that contains text.
func (c *Cluster) AwaitLog(ctx context.Context, node int, text string) (string, error) {
	return c.node(node).log.await(ctx, func(line string) bool { return strings.Contains(line, text) })
}

// node is the process of one.
func (c *Cluster) node(i int) *process { return c.processes[len(c.processes)-len(c.urls)+i] }

// run adds a process.
func (c *Cluster) run(p *process, err error) error {
	if err == nil {
		c.processes = append(c.processes, p)
	}
	return err
}

// welcomed returns when every node has greeted a client.
func (c *Cluster) welcomed(ctx context.Context) error {
	for i, u := range c.urls {
		if err := c.node(i).await(ctx, func() error { return greeted(ctx, u.Host, c.user) }); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the processes and removes what they stored.
func (c *Cluster) Close() error {
	var stopping sync.WaitGroup
	for _, p := range c.processes {
		stopping.Go(p.stop)
	}
	stopping.Wait()
	return errors.Join(c.ports.Close(), os.RemoveAll(c.dir))
}
