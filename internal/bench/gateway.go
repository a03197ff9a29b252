package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/brokers"
)

// gatewayGoals are about what stands between clients and a broker of somebody else's.
func gatewayGoals() []Goal {
	var goals []Goal
	for _, client := range []link.Client{link.V5, link.V3} {
		t := traffic{client, mosquitto, brokers.TCP, 1, 64}
		goals = append(goals, Goal{
			ID: "G1", What: "behind the gateway / mosquitto alone, " + t.String(), Limit: 0.8, AtLeast: true,
			Batch: 60 * time.Millisecond, Rounds: 61,
			Setup: func(ctx context.Context) (Pair, error) { return gatewayPair(ctx, t) },
		})
	}
	return goals
}

// gatewayPair is a link to a broker and one through a gateway, in a process of its own, to the same broker.
func gatewayPair(ctx context.Context, t traffic) (Pair, error) {
	broker, err := start(ctx, t.broker)
	if err != nil {
		return Pair{}, err
	}
	gateway, err := startGateway(ctx, broker.URL(brokers.TCP).Host)
	if err != nil {
		return Pair{}, errors.Join(err, broker.Close())
	}
	cfg := link.Config{
		Broker: link.Broker{URL: broker.URL(brokers.TCP)}, Client: t.client, Topic: "bench/alone", QoS: t.qos, Size: t.size,
	}
	alone, err := link.Open(ctx, cfg)
	if err != nil {
		return Pair{}, errors.Join(err, gateway.close(), broker.Close())
	}
	cfg.Broker.URL, cfg.Topic = gateway.url, "bench/behind"
	behind, err := link.Open(ctx, cfg)
	if err != nil {
		return Pair{}, errors.Join(err, alone.Close(), gateway.close(), broker.Close())
	}
	return Pair{
		A:     Side{Run: func(n int) error { return behind.Send(ctx, n) }},
		B:     Side{Run: func(n int) error { return alone.Send(ctx, n) }},
		Close: func() error { return errors.Join(behind.Close(), alone.Close(), gateway.close(), broker.Close()) },
	}, nil
}

// gateway is examples/gateway as a child process.
type gateway struct {
	url *url.URL
	cmd *exec.Cmd
	dir string
}

// noGo is that programs cannot be built.
var noGo = &missing{errors.New("the go command is not there"), "apt-get install golang"}

var listening = regexp.MustCompile(`msg=listening .*address=(\S+)`)

// startGateway builds and starts a gateway without a scheme before an upstream. Outside a clone of the module it cannot
// be built.
func startGateway(ctx context.Context, upstream string) (*gateway, error) {
	dir, err := os.MkdirTemp("", "gateway")
	if err != nil {
		return nil, err
	}
	program, config := filepath.Join(dir, "gateway"), filepath.Join(dir, "gateway.yaml")
	build := exec.CommandContext(ctx, "go", "build", "-o", program, "github.com/mqttsec/mqttsec/examples/gateway")
	if out, err := build.CombinedOutput(); err != nil {
		if errors.Is(err, exec.ErrNotFound) {
			err = noGo
		} else {
			err = fmt.Errorf("%w: the gateway cannot be built: %s", ErrSkip, out)
		}
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	text := "upstream: {url: \"mqtt://" + upstream + "\"}\ndrain: 0s\nlisteners: [{address: \"127.0.0.1:0\"}]\n"
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	g := &gateway{cmd: exec.Command(program, "-config", config), dir: dir}
	log, err := g.cmd.StderrPipe()
	if err == nil {
		err = g.cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	for lines := bufio.NewScanner(log); lines.Scan(); {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			g.url = &url.URL{Scheme: brokers.TCP, Host: m[1]}
			go func() { // it must not block when it has something to say
				for lines.Scan() {
				}
			}()
			return g, nil
		}
	}
	return nil, errors.Join(errors.New("the gateway did not start"), g.close())
}

func (g *gateway) close() error {
	err := g.cmd.Process.Signal(syscall.SIGTERM)
	return errors.Join(err, g.cmd.Wait(), os.RemoveAll(g.dir))
}
