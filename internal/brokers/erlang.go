package brokers

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
)

// startNames starts the port mapper by which the nodes of a cluster in Erlang find each other, on a port of its own:
// one that a node started for itself would outlive it, and be everybody's on this machine. The result is the
// environment in which programs in Erlang use it, and keep everything else they write at home in dir.
func (c *Cluster) startNames(ctx context.Context, host, port string) ([]string, error) {
	env := append(os.Environ(), "HOME="+c.dir, "ERL_EPMD_ADDRESS="+host, "ERL_EPMD_PORT="+port, "ERL_CRASH_DUMP_SECONDS=0")
	command := exec.Command("epmd", "-port", port, "-address", host)
	command.Env, command.Dir = env, c.dir
	p, err := spawn("epmd", command)
	if err := c.run(p, err); err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(c.dir, ".erlang.cookie"), []byte(filepath.Base(c.dir)), 0o400); err != nil {
		return nil, err
	}
	return slices.Clip(env), p.await(ctx, func() error { return listening(ctx, fmt.Sprint(host, ":", port)) })
}
