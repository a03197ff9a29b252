// Command quickstart shows what sealing does. It starts a broker in this
// process and runs one application four times: from an MQTT 5 client
// (paho.golang) to an MQTT 3.1.1 client (paho.mqtt.golang) and the other way
// round, first plain and then with its client options wrapped. An eavesdropper
// who has subscribed to everything sees the text of the plain messages and
// nothing of the sealed ones; then he tampers, replays, moves and forges, and
// each attempt is refused.
//
// It exits with 0 when all of that has been seen, and with 1 and the reason if
// not. With -broker it runs against a broker of yours, under a random topic.
package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/mqttsec/mqttsec/aesmsg"
)

// passwordVariable keeps a password out of the list of processes.
const passwordVariable = "MQTT_PASSWORD"

const usage = `usage: quickstart [options]

Runs one application between two MQTT clients, plain and sealed, with an
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

// errUsage is reported by the flag package itself.
var errUsage = errors.New("wrong usage")

func run(ctx context.Context, args []string, out, complaints io.Writer) error {
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(complaints)
	flags.Usage = func() {
		fmt.Fprint(complaints, usage)
		flags.PrintDefaults()
	}
	broker := flags.String("broker", "", "`URL` of a broker to run against (tcp, tls, ws or wss) instead of the embedded one")
	user := flags.String("user", "", "user `name` for -broker")
	password := flags.String("password", "", "password for -broker; other users can see it in the list of processes,\nso rather set "+passwordVariable)
	cafile := flags.String("cafile", "", "PEM `file` with the certificates that vouch for -broker, instead of the system's")
	name := flags.String("scheme", "aes", "payload scheme: "+strings.Join(slices.Sorted(maps.Keys(schemes)), ", "))
	timeout := flags.Duration("timeout", 30*time.Second, "give up after this time")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage
	case flags.NArg() > 0:
		fmt.Fprintf(complaints, "unexpected argument %q\n", flags.Arg(0))
		flags.Usage()
		return errUsage
	}
	scheme, ok := schemes[*name]
	if !ok {
		return fmt.Errorf("-scheme %q: unknown", *name)
	}
	if *broker == "" && *user+*password+*cafile != "" {
		return errors.New("-user, -password and -cafile go with -broker")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("gave up after %v", *timeout))
	defer cancel()

	var to server
	var err error
	if *broker == "" {
		var stop func()
		if to, stop, err = embedded(); err != nil {
			return err
		}
		defer stop()
	} else if to, err = external(*broker, *user, cmp.Or(*password, os.Getenv(passwordVariable)), *cafile); err != nil {
		return err
	}

	d := demo{out: out, server: to, scheme: scheme, base: "mqttsec/" + rand.Text()[:12]}
	if d.key, err = aesmsg.GenerateKey(d.base + "/#"); err != nil {
		return err
	}
	fmt.Fprintf(out, "broker  %s\ntopics  %s/#\nscheme  %s\n", to.url.Redacted(), d.base, *name)
	if err := d.run(ctx); err != nil {
		return err
	}
	fmt.Fprintln(out, "\nAll of it as promised.")
	return nil
}
