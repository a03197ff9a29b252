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

// rabbitConf lets everybody in as the user that RabbitMQ has from the start. {mqtt} and {nodes} are ports.
const rabbitConf = `listeners.tcp = none
mqtt.listeners.tcp.default = 127.0.0.1:{mqtt}
mqtt.allow_anonymous = true
mqtt.default_user = guest
mqtt.default_pass = guest
log.console = true
log.file = false
distribution.listener.port_range.min = {nodes}
distribution.listener.port_range.max = {nodes}
distribution.listener.interface = 127.0.0.1
`

// StartRabbitMQ starts the RabbitMQ of Debian that is installed on this machine, with its plugin for MQTT: of version
// 3.10, which speaks MQTT 3.1.1 only. It returns when the broker takes MQTT clients, which takes some seconds. The
// error wraps [ErrNotInstalled] if there is none to start.
func StartRabbitMQ(ctx context.Context) (*Cluster, error) { return startRabbitMQ(ctx, false) }

// StartManagedRabbitMQ is StartRabbitMQ with the HTTP API at [Cluster.Management], whose administrator is guest with
// the password guest.
func StartManagedRabbitMQ(ctx context.Context) (*Cluster, error) { return startRabbitMQ(ctx, true) }

func startRabbitMQ(ctx context.Context, managed bool) (*Cluster, error) {
	// The program in PATH would change the user, and use the system's directories.
	program, err := exec.LookPath("/usr/lib/rabbitmq/bin/rabbitmq-server")
	if err != nil {
		return nil, fmt.Errorf("%w: rabbitmq-server", ErrNotInstalled)
	}
	c, err := newCluster("rabbitmq")
	if err != nil {
		return nil, err
	}
	if err = c.startRabbitMQ(ctx, program, managed); err == nil {
		err = c.welcomed(ctx)
	}
	if err == nil && managed {
		node := c.processes[len(c.processes)-1]
		err = node.await(ctx, func() error { return listening(ctx, c.management.Host) })
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) startRabbitMQ(ctx context.Context, program string, managed bool) error {
	urls, err := addresses(&c.ports, c.dir, []string{"epmd", "mqtt", "nodes", "management"})
	if err != nil {
		return err
	}
	env, err := c.startNames(ctx, urls["epmd"].Hostname(), urls["epmd"].Port())
	if err != nil {
		return err
	}
	c.urls = []*url.URL{{Scheme: TCP, Host: urls["mqtt"].Host}}
	conf := strings.NewReplacer("{mqtt}", urls["mqtt"].Port(), "{nodes}", urls["nodes"].Port()).Replace(rabbitConf)
	plugins := "rabbitmq_mqtt"
	if managed {
		c.management = &url.URL{Scheme: "http", Host: urls["management"].Host}
		conf += "management.tcp.ip = " + c.management.Hostname() + "\nmanagement.tcp.port = " + c.management.Port() + "\n"
		plugins += ",rabbitmq_management"
	}
	in := func(name string) string { return filepath.Join(c.dir, name) }
	err = errors.Join(
		os.WriteFile(in("rabbitmq.conf"), []byte(conf), 0o600),
		os.WriteFile(in("plugins"), []byte("["+plugins+"].\n"), 0o600),
		os.WriteFile(in("env.conf"), nil, 0o600), // instead of the system's
	)
	if err != nil {
		return err
	}
	command := exec.Command(program)
	command.Dir = c.dir
	command.Env = append(env,
		"RUNNING_UNDER_SYSTEMD=true", // the program becomes the broker, and does not stay beside it
		"RABBITMQ_NODENAME=rabbit@localhost", "RABBITMQ_DIST_PORT="+urls["nodes"].Port(),
		"RABBITMQ_CONF_ENV_FILE="+in("env.conf"), "RABBITMQ_CONFIG_FILE="+in("rabbitmq.conf"),
		"RABBITMQ_ADVANCED_CONFIG_FILE="+in("advanced.config"), "RABBITMQ_ENABLED_PLUGINS_FILE="+in("plugins"),
		"RABBITMQ_MNESIA_BASE="+in("mnesia"), "RABBITMQ_LOG_BASE="+in("log"), "RABBITMQ_QUORUM_DIR="+in("quorum"),
		"RABBITMQ_FEATURE_FLAGS_FILE="+in("flags"), "RABBITMQ_PLUGINS_EXPAND_DIR="+in("expand"),
		"RABBITMQ_GENERATED_CONFIG_DIR="+in("generated"), "RABBITMQ_PID_FILE="+in("pid"),
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none",
	)
	return c.run(spawn("rabbitmq-server", command))
}
