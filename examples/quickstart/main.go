// Command quickstart shows what sealing does. It starts a broker in this
// process and runs one application four times: from an MQTT 5 client
// (paho.golang) to an MQTT 3.1.1 client (paho.mqtt.golang) and the other way
// round, first plain and then with its client options wrapped. An eavesdropper
// who has subscribed to everything sees the text of the plain messages and
// nothing of the sealed ones; then he tampers, replays, moves and forges, and
// each attempt is refused.
//
// With -scheme it shows another of this module's schemes. It exits with 0 when
// all that a scheme promises has been seen, with 1 and the reason if not, and
// with 2 if it was called in a wrong way. With -broker it runs against a broker
// of yours, under a random topic.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// passwordVariable keeps a password out of the list of processes.
const passwordVariable = "MQTT_PASSWORD"

const usage = `usage: quickstart [options]

Runs one application between two MQTT clients, plain and protected, with an
eavesdropper beside it, and shows what each of them saw. Without options it
needs nothing but this program: the broker is embedded.

  quickstart -broker tls://broker.example:8883 -user ann -cafile ca.pem

The user must be allowed to publish and subscribe below mqttsec/, with MQTT 5
and MQTT 3.1.1.

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
		fmt.Fprintln(os.Stderr, "quickstart:", err)
		os.Exit(1)
	}
}

// errUsage ends the program with 2. What is wrong has been said already.
var errUsage = errors.New("wrong usage")

// options are what the command line says.
type options struct {
	broker, user, password, cafile, scheme string
	timeout, lifetime                      time.Duration
}

// parse reads the command line, and says what is wrong with it to complaints.
func parse(args []string, complaints io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(complaints)
	flags.Usage = func() {
		fmt.Fprint(complaints, usage)
		flags.PrintDefaults()
		listDemos(complaints)
	}
	flags.StringVar(&o.broker, "broker", "", "`URL` of a broker to run against (tcp, tls, ws or wss) instead of the embedded one")
	flags.StringVar(&o.user, "user", "", "user `name` for -broker")
	flags.StringVar(&o.password, "password", "", "password for -broker; other users can see it in the list of processes,\nso rather set "+passwordVariable)
	flags.StringVar(&o.cafile, "cafile", "", "PEM `file` with the certificates that vouch for -broker, instead of the system's")
	flags.StringVar(&o.scheme, "scheme", "aes", "what to show, see below")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "give up after this time")
	flags.DurationVar(&o.lifetime, "lifetime", 4*time.Second, "how long the tokens of -scheme ace live, in whole seconds:\nfar too short for anything but a demo")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return o, err
	case err != nil:
		return o, errUsage // the flag package has said it
	}
	if err := o.check(flags.Args()); err != nil {
		fmt.Fprintf(complaints, "quickstart: %v\nquickstart -h lists the options\n", err)
		return o, errUsage
	}
	return o, nil
}

// check says what does not go together.
func (o options) check(rest []string) error {
	chosen, known := demos[o.scheme]
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case !known:
		return fmt.Errorf("-scheme %q: there is none of that name", o.scheme)
	case chosen.alone && o.broker != "":
		return fmt.Errorf("-scheme %s brings its own broker: -broker does not go with it", o.scheme)
	case o.lifetime < time.Second || o.lifetime%time.Second != 0:
		return fmt.Errorf("-lifetime %v is not in whole seconds", o.lifetime)
	case o.broker == "" && o.user+o.password+o.cafile != "":
		return errors.New("-user, -password and -cafile go with -broker")
	case o.broker == "":
		return nil
	}
	_, err := o.external()
	return err
}

// external is the server that -broker names.
func (o options) external() (server, error) {
	return external(o.broker, o.user, cmp.Or(o.password, os.Getenv(passwordVariable)), o.cafile)
}

func run(ctx context.Context, args []string, out, complaints io.Writer) error {
	o, err := parse(args, complaints)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("gave up after %v", o.timeout))
	defer cancel()

	s := stage{out: out, base: "mqttsec/" + rand.Text()[:12], lifetime: o.lifetime}
	chosen := demos[o.scheme]
	switch {
	case chosen.alone:
	case o.broker != "":
		s.server, err = o.external()
	default:
		var stop func()
		if s.server, stop, err = embedded(); err == nil {
			defer stop()
		}
	}
	if err != nil {
		return err
	}
	if !chosen.alone {
		fmt.Fprintf(out, "broker  %s\ntopics  %s/#\n", s.server.url.Redacted(), s.base)
	}
	fmt.Fprintf(out, "scheme  %s\n", o.scheme)
	if err := chosen.run(ctx, s); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nAll of it as promised.")
	return nil
}
