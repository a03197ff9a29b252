// Command gateway stands in front of an MQTT broker and adds what the broker lacks: it takes connections over TCP, TLS
// with certificates or pre-shared keys, and WebSocket, authenticates and authorises clients by a scheme of its own for
// each listener, and passes what is permitted on to the broker, which stays as it is.
//
// The gateway adds no MQTT behaviour: sessions, retained messages and subscriptions are the broker's. But for the store
// of MQTT-Auth it keeps nothing on disk, so that any number of gateways can stand side by side before one broker or one
// cluster; OPERATIONS.md, beside this file, says what each of them knows alone.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

const usage = `usage: gateway -config FILE [-check]
       gateway -demo DIR -upstream URL [-lifetime 30s]

Stands in front of an MQTT broker, authenticates and authorises its clients, and
passes on what is permitted. gateway.sample.yaml, beside this program's source,
explains every setting.

  gateway -check -config gateway.yaml     say what is wrong with it, and where
  gateway -config gateway.yaml            run

SIGHUP reads the file again: certificates, keys and permissions change without
dropping a connection. SIGTERM or an interrupt ends in good order, another one
at once.

With -demo it brings an Authorization Server along, with keys and certificates of
its own on free ports of this machine, and once all of it can be reached writes
DIR/demo.json, which says how.

options:
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next one is not for us: it ends the process as it ends any other
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(1)
	}
}

// errUsage is reported where it is found.
var errUsage = errors.New("wrong usage")

func run(ctx context.Context, args []string, out, complaints io.Writer) error {
	flags := flag.NewFlagSet("gateway", flag.ContinueOnError)
	flags.SetOutput(complaints)
	flags.Usage = func() {
		fmt.Fprint(complaints, usage)
		flags.PrintDefaults()
	}
	file := flags.String("config", "", "configuration `FILE`")
	check := flags.Bool("check", false, "look at the configuration only: print each error with its line and exit with 1,\nor exit with 0")
	demo := flags.String("demo", "", "set up everything for a try and describe it in `DIR`/demo.json")
	upstream := flags.String("upstream", "", "`URL` of the broker for -demo: mqtt://HOST:PORT, mqtts:// or unix:///PATH")
	lifetime := flags.Duration("lifetime", 30*time.Second, "of the tokens of -demo")
	verbose := flags.Bool("v", false, "log each connection too")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage
	}
	complain := func(what string) error {
		fmt.Fprintln(complaints, what)
		flags.Usage()
		return errUsage
	}
	switch {
	case flags.NArg() > 0:
		return complain(fmt.Sprintf("unexpected argument %q", flags.Arg(0)))
	case (*file == "") == (*demo == ""):
		return complain("one of -config and -demo is needed")
	case *demo != "" && *upstream == "":
		return complain("-demo needs -upstream, the broker to stand in front of")
	case *demo == "" && *upstream != "":
		return complain("-upstream goes with -demo; a configuration file names its own")
	case *demo != "" && *check:
		return complain("-check goes with -config")
	case *lifetime < time.Second:
		return complain("-lifetime: at least 1s")
	}
	level := slog.LevelInfo
	if *verbose {
		level = slog.LevelDebug
	}
	log := slog.New(slog.NewTextHandler(complaints, &slog.HandlerOptions{Level: level}))
	if *demo != "" {
		return runDemo(ctx, demoOptions{dir: *demo, upstream: *upstream, lifetime: *lifetime}, out, log)
	}
	cfg, err := loadConfig(*file)
	if err != nil || *check {
		if err == nil {
			fmt.Fprintf(out, "%s: nothing wrong with it\n", *file)
		}
		return err
	}
	asked := reloads(ctx, *file) // SIGHUP would end a process that does not listen to it yet
	g, err := newGateway(cfg, log)
	if err != nil {
		return err
	}
	return g.run(ctx, asked, notifyReady)
}

// reload is a configuration that SIGHUP has asked for, or why it cannot be had.
type reload struct {
	cfg *config
	err error
}

// reloads reads the file at each SIGHUP until ctx ends. One that comes later does not end the process, which drains.
func reloads(ctx context.Context, file string) <-chan reload {
	signals, read := make(chan os.Signal, 1), make(chan reload)
	signal.Notify(signals, syscall.SIGHUP)
	go func() {
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
			}
			cfg, err := loadConfig(file)
			select {
			case read <- reload{cfg, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	return read
}
