// Soak lets publishers and subscribers of every scheme talk through the gateway, and beside an authority, while it
// kills and restarts brokers, gateway, Authorization Server and authority, cuts and delays connections, and an attacker
// forges, replays and listens.
//
//	go run ./examples/soak              a minute
//	go run ./examples/soak -for 10m     longer
//
// It needs a clone of this module, since it builds the programs that it kills, and uses mosquitto if that is installed.
// What it counted stands on the standard output. It exits with 1 if something was lost, forged or could be read.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/mqttsec/mqttsec/internal/soak"
)

const usage = `usage: soak [-for 1m] [-lifetime 3s]

Publishers and subscribers of every scheme talk through the gateway, in front of
mosquitto if it is installed, and at a mosquitto without gateway, beside which an
authority of MQTT-Auth is, if its dynamic-security plugin is installed. Meanwhile
brokers, gateway, Authorization Server and authority are killed and restarted,
connections are cut and delayed, and an attacker forges, replays and listens. It
counts what was acknowledged and lost, shown twice, forged or readable, and exits
with 1 if there is any of it that plain clients do not show on the same cuts, or
if somebody's messages get through no more. The gateway is not killed any more in
the second half, so that what it piles up is seen.

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
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(1)
	}
}

// errUsage stands for a command line that cannot be understood, after it has been said why.
var errUsage = errors.New("wrong usage")

func run(ctx context.Context, args []string, out io.Writer, messages *os.File) error {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	flags.SetOutput(messages)
	flags.Usage = func() {
		fmt.Fprint(messages, usage)
		flags.PrintDefaults()
	}
	var cfg soak.Config
	flags.DurationVar(&cfg.For, "for", time.Minute, "how long messages flow and things go wrong")
	flags.DurationVar(&cfg.Lifetime, "lifetime", 3*time.Second, "of the tokens")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage
	case flags.NArg() > 0 || cfg.For < time.Second || cfg.Lifetime < time.Second:
		fmt.Fprintln(messages, "no arguments, and times of a second at least")
		flags.Usage()
		return errUsage
	}
	erase := func() {}
	if term.IsTerminal(int(messages.Fd())) {
		const line = "\r\x1b[K"
		cfg.Progress = func(p soak.Progress) {
			fmt.Fprintf(messages, line+"%v of %v: %d acknowledged, %d received; %s",
				p.Elapsed.Round(time.Second), cfg.For, p.Acknowledged, p.Received, p.Last)
		}
		erase = func() { fmt.Fprint(messages, line) }
	}
	report, err := soak.Run(ctx, cfg)
	erase()
	if err != nil {
		return err
	}
	return soak.Conclude(out, report)
}
