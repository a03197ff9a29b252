package brokers

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// ErrNoNATS is returned by [StartNATS] where the program nats-server is not installed.
var ErrNoNATS = errors.New("brokers: nats-server is not installed")

// NATS is nats-server in child processes, a broker for MQTT 3.1.1 only, over TCP.
type NATS struct {
	dir   string
	nodes []*natsNode
}

type natsNode struct {
	url     *url.URL
	process *exec.Cmd
	log     *logbook
	read    chan struct{} // closed when the process said its last
}

// StartNATS starts the nats-server that is installed on this machine: one node, or a cluster of three and more. It
// returns when all take MQTT clients. The error wraps [ErrNoNATS] if there is none to start.
func StartNATS(ctx context.Context, nodes int) (*NATS, error) {
	program, err := exec.LookPath("nats-server")
	if err != nil {
		return nil, ErrNoNATS
	}
	dir, err := os.MkdirTemp("", "nats")
	if err != nil {
		return nil, err
	}
	n := &NATS{dir: dir}
	if err := n.start(ctx, program, nodes); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

// start starts all nodes before it awaits one: a cluster answers no client before most of it is there.
func (n *NATS) start(ctx context.Context, program string, nodes int) error {
	var names, routes []string
	for i := range nodes {
		names = append(names, fmt.Sprint("client", i), fmt.Sprint("mqtt", i), fmt.Sprint("route", i))
	}
	urls, err := addresses(n.dir, names)
	if err != nil {
		return err
	}
	for i := range nodes {
		routes = append(routes, "nats://"+urls[fmt.Sprint("route", i)].Host)
	}
	for i := range nodes {
		var conf strings.Builder
		fmt.Fprintf(&conf, "server_name: node%d\nlisten: %s\n", i, urls[fmt.Sprint("client", i)].Host)
		fmt.Fprintf(&conf, "jetstream { store_dir: %q }\n", filepath.Join(n.dir, fmt.Sprint("node", i)))
		fmt.Fprintf(&conf, "mqtt { listen: %q }\n", urls[fmt.Sprint("mqtt", i)].Host)
		if nodes > 1 {
			fmt.Fprintf(&conf, "cluster { name: mqttsec, listen: %q, routes: [%s] }\n",
				urls[fmt.Sprint("route", i)].Host, strings.Join(routes, ", "))
		}
		file := filepath.Join(n.dir, fmt.Sprintf("node%d.conf", i))
		if err := os.WriteFile(file, []byte(conf.String()), 0o600); err != nil {
			return err
		}
		node := &natsNode{url: &url.URL{Scheme: TCP, Host: urls[fmt.Sprint("mqtt", i)].Host}, log: newLogbook()}
		node.process = exec.Command(program, "-c", file)
		stderr, err := node.process.StderrPipe()
		if err != nil {
			return err
		}
		if err := node.process.Start(); err != nil {
			return err
		}
		node.read = make(chan struct{})
		go func() {
			defer close(node.read)
			node.log.follow(stderr)
		}()
		n.nodes = append(n.nodes, node)
	}
	return n.ready(ctx)
}

// ready returns when every node has greeted a client. A cluster that says that it is ready turns clients away until it
// has agreed where sessions are to lie.
func (n *NATS) ready(ctx context.Context) error {
	for _, node := range n.nodes {
		for err := greeted(ctx, node.url.Host); err != nil; err = greeted(ctx, node.url.Host) {
			select {
			case <-time.After(50 * time.Millisecond):
			case <-node.read:
				return fmt.Errorf("brokers: nats-server has ended:\n%s", strings.Join(node.log.all(), "\n"))
			case <-ctx.Done():
				return fmt.Errorf("brokers: nats-server takes no client: %w:\n%s", err, strings.Join(node.log.all(), "\n"))
			}
		}
	}
	return nil
}

// greeted connects as an MQTT 3.1.1 client, and tells why it is not welcome.
func greeted(ctx context.Context, host string) error {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", host)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(orderly))
	const connect = "\x10\x11\x00\x04MQTT\x04\x02\x00\x3c\x00\x05probe"
	var connack [4]byte
	if _, err := io.WriteString(conn, connect); err != nil {
		return err
	}
	if _, err := io.ReadFull(conn, connack[:]); err != nil {
		return err
	}
	if connack != [4]byte{0x20, 2, 0, 0} {
		return fmt.Errorf("CONNACK %x", connack)
	}
	return nil
}

// URL is the address of a node, from 0, for clients.
func (n *NATS) URL(node int) *url.URL { return copied(n.nodes[node].url) }

// Close ends the processes and removes what they stored.
func (n *NATS) Close() error {
	for _, node := range n.nodes {
		_ = node.process.Process.Signal(syscall.SIGTERM) // fails if it is gone already
	}
	for _, node := range n.nodes {
		kill := time.AfterFunc(orderly, func() { _ = node.process.Process.Kill() })
		<-node.read
		_ = node.process.Wait() // says how it was ended
		kill.Stop()
	}
	return os.RemoveAll(n.dir)
}
