// Command as is an Authorization Server for MQTT brokers (RFC 9431): it gives clients short-lived access tokens that
// say which topics they may publish and subscribe to. With -broker it runs a broker as well, which lets in who has a
// token.
//
//	as -demo DIR
//
// shows both on this machine, with keys, certificates and clients made for the occasion; DIR/demo.json says how to
// reach them. For a server that stays, write a configuration file; as.json, beside this program's source, is one with
// explanations.
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

	"github.com/mqttsec/mqttsec/ace/aceserver"
)

const usage = `usage:
  as -config FILE [-check] [-broker ADDR [-audience NAME]] [-invite GROUP]
  as -config FILE -keys NAME
  as -demo DIR [-lifetime 30s]
  as -secret

An Authorization Server for MQTT brokers (RFC 9431), and with -broker a broker
that lets in who has a token of it. It runs until it is interrupted.

-keys prints what a broker has to know of this server, public keys and those
that it shares with the server, for a broker or gateway elsewhere. Nobody else
may read it.

-demo makes everything it needs and writes to DIR what clients have to know:
demo.json, as soon as it can be used, and ca.pem, with which to verify the
certificates. The demo forgets everything when it ends.

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
		fmt.Fprintln(os.Stderr, "as:", err)
		os.Exit(1)
	}
}

// errUsage stands for a command line that cannot be understood, after it has been said why.
var errUsage = errors.New("wrong usage")

// options are what the command line says.
type options struct {
	config, demo, broker, audience, invite, keys string
	check, secret                                bool
	lifetime                                     time.Duration
}

// defaultLifetime is that of the demo's tokens.
const defaultLifetime = 10 * time.Minute

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("as", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.config, "config", "", "run with this configuration `file`")
	flags.BoolVar(&o.check, "check", false, "read the configuration and all files that it names, and say what is wrong")
	flags.StringVar(&o.broker, "broker", "", "run a broker, too, on this `address`, with the certificate of the server")
	flags.StringVar(&o.audience, "audience", "", "the `name` among the audiences that is the broker's, instead of the first")
	flags.StringVar(&o.invite, "invite", "", "print an initial access token with which one client may register within an hour,\ninto this `group`; * is none")
	flags.StringVar(&o.keys, "keys", "", "print the keys for the broker that is the audience of this `name`, as a JWK Set")
	flags.BoolVar(&o.secret, "secret", false, "print a new client secret, and its hash for the configuration")
	flags.StringVar(&o.demo, "demo", "", "show everything on this machine, with files in this `directory`")
	flags.DurationVar(&o.lifetime, "lifetime", defaultLifetime, "how long tokens of the demo are valid")
	flags.Usage = func() {
		fmt.Fprint(stderr, usage)
		flags.PrintDefaults()
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return o, err
	case err != nil:
		return o, errUsage // the flag package has said it
	}
	if complaint := o.complaint(flags.NArg()); complaint != "" {
		fmt.Fprintf(stderr, "as: %s\nas -h lists the options\n", complaint)
		return o, errUsage
	}
	return o, nil
}

// complaint says what does not go together, if anything does not.
func (o options) complaint(rest int) string {
	modes := 0
	for _, mode := range []bool{o.config != "", o.demo != "", o.secret} {
		if mode {
			modes++
		}
	}
	switch {
	case rest > 0:
		return "there are options only, no arguments"
	case modes != 1:
		return "give one of -config, -demo and -secret"
	case o.config == "" && (o.check || o.broker != "" || o.audience != "" || o.invite != "" || o.keys != ""):
		return "-check, -broker, -audience, -invite and -keys go with -config"
	case o.keys != "" && (o.check || o.broker != "" || o.invite != ""):
		return "-keys goes with -config alone"
	case o.audience != "" && o.broker == "":
		return "-audience goes with -broker"
	case o.demo == "" && o.lifetime != defaultLifetime:
		return "-lifetime goes with -demo; in a configuration each audience has one"
	case o.lifetime < time.Second || o.lifetime%time.Second != 0:
		return "-lifetime is in whole seconds"
	}
	return ""
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(stderr, nil))
	switch {
	case o.secret:
		secret, hash := aceserver.NewSecret()
		text, err := hash.MarshalText()
		if err != nil {
			return err
		}
		fmt.Fprintf(stdout, "secret: %s\nhash:   %s\n", secret, text)
		return nil
	case o.demo != "":
		return demo(ctx, o, stdout, log)
	}
	return fromFile(ctx, o, stdout, log)
}
