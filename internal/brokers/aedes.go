package brokers

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
)

// aedesJS is all that a server with aedes needs.
const aedesJS = `
const broker = require('aedes')({ id: 'aedes' });
require('net').createServer(broker.handle).listen(Number(process.argv[2]), '127.0.0.1');
process.on('SIGTERM', () => process.exit());
`

// StartAedes starts aedes, a broker for Node.js that speaks MQTT 3.1.1 only, where node finds the package: in a
// directory that NODE_PATH names. The error wraps [ErrNotInstalled] if it does not.
func StartAedes(ctx context.Context) (*Cluster, error) {
	node, err := exec.LookPath("node")
	if err == nil {
		err = exec.CommandContext(ctx, node, "-e", "require.resolve('aedes')").Run()
	}
	if err != nil {
		return nil, fmt.Errorf("%w: aedes", ErrNotInstalled)
	}
	c, err := newCluster("aedes")
	if err != nil {
		return nil, err
	}
	if err = c.startAedes(node); err == nil {
		err = c.welcomed(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

func (c *Cluster) startAedes(node string) error {
	urls, err := addresses(&c.ports, c.dir, []string{TCP})
	if err != nil {
		return err
	}
	c.urls = []*url.URL{urls[TCP]}
	file := filepath.Join(c.dir, "broker.cjs")
	if err := os.WriteFile(file, []byte(aedesJS), 0o600); err != nil {
		return err
	}
	return c.run(spawn("aedes", exec.Command(node, file, urls[TCP].Port())))
}
