// Command psk is MQTT over TLS with a pre-shared key: a broker, and a client that publishes or subscribes, with a name
// and a key for each device in place of certificates and passwords.
//
//	psk -new sensor-1 >> psk
//	psk -serve localhost:8883 -psk-file psk
//	psk -broker mqtts://localhost:8883 -identity sensor-1 -psk-file psk -topic home/# &
//	psk -broker mqtts://localhost:8883 -identity sensor-1 -psk-file psk -topic home/door -publish open
//
// The client also talks to mosquitto, and mosquitto's clients to the broker.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/mqttsec/mqttsec/mqttauth/tlspsk"
)

const usage = `usage:
  psk -new IDENTITY >> FILE
  psk -serve ADDR -psk-file FILE
  psk -broker mqtts://HOST:PORT -identity ID -psk-file FILE -topic T [-publish TEXT] [-tls12]

MQTT over TLS with a pre-shared key. -serve runs a broker until it is
interrupted. -broker publishes TEXT, or subscribes to T and prints what comes.
-new makes a key and prints the line for the file, which nobody else may read.

A file has a line for each device, its name and its key in hexadecimal, as in
mosquitto's psk_file:

  sensor-1:5f0e3c6a9d1b4f7208c5e2a97b36d184

To use mosquitto as the broker, give it this configuration and that file:

  listener 8883
  psk_file /etc/mosquitto/psk
  psk_hint mosquitto
  use_identity_as_username true
  allow_anonymous false

Mosquitto's own clients want the key on their command line:

  mosquitto_sub -h HOST -p 8883 --psk-identity sensor-1 --psk 5f0e... -t home/#

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
		fmt.Fprintln(os.Stderr, "psk:", err)
		os.Exit(1)
	}
}

// errUsage ends the program with 2. What is wrong has been said already.
var errUsage = errors.New("wrong usage")

// options are what the command line says.
type options struct {
	fresh, serve, broker, identity, file, topic string
	publish                                     *string
	tls12                                       bool
}

func parse(args []string, complaints io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("psk", flag.ContinueOnError)
	flags.SetOutput(complaints)
	flags.Usage = func() {
		fmt.Fprint(complaints, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&o.fresh, "new", "", "print a line with a new key for `ID`")
	flags.StringVar(&o.serve, "serve", "", "run a broker on `ADDR`, localhost:8883 for example")
	flags.StringVar(&o.broker, "broker", "", "`URL` of a broker, mqtts://HOST:PORT or wss://HOST:PORT/PATH")
	flags.StringVar(&o.identity, "identity", "", "`ID` in the file, whose key to use")
	flags.StringVar(&o.file, "psk-file", "", "`FILE` with identities and keys")
	flags.StringVar(&o.topic, "topic", "", "topic to publish on, or topic filter to subscribe to")
	flags.Func("publish", "`TEXT` to publish", func(text string) error { o.publish = &text; return nil })
	flags.BoolVar(&o.tls12, "tls12", false, "TLS 1.2 only, for brokers whose TLS 1.3 has no pre-shared keys")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return o, err
	case err != nil:
		return o, errUsage // the flag package has said it
	}
	if err := o.check(flags.Args()); err != nil {
		fmt.Fprintf(complaints, "psk: %v\npsk -h tells how it is used\n", err)
		return o, errUsage
	}
	return o, nil
}

// check says what does not go together.
func (o options) check(rest []string) error {
	modes := 0
	for _, mode := range []string{o.fresh, o.serve, o.broker} {
		if mode != "" {
			modes++
		}
	}
	switch {
	case len(rest) > 0:
		return fmt.Errorf("unexpected argument %q", rest[0])
	case modes != 1:
		return errors.New("one of -new, -serve and -broker says what to do")
	case o.fresh != "":
		if strings.ContainsAny(o.fresh, ":\r\n") || strings.HasPrefix(o.fresh, "#") {
			return fmt.Errorf("-new %q: an identity in a file has no colon, and does not begin with #", o.fresh)
		}
		return nil
	case o.file == "":
		return errors.New("-psk-file is missing")
	case o.serve != "":
		return nil
	case o.identity == "":
		return errors.New("-identity is missing")
	case o.topic == "":
		return errors.New("-topic is missing")
	}
	u, err := url.Parse(o.broker)
	if err != nil {
		return fmt.Errorf("-broker: %w", err)
	}
	if (u.Scheme != "mqtts" && u.Scheme != "wss") || u.Host == "" {
		return fmt.Errorf("-broker %q: want mqtts://HOST:PORT or wss://HOST:PORT/PATH", o.broker)
	}
	return nil
}

func run(ctx context.Context, args []string, out, complaints io.Writer) error {
	o, err := parse(args, complaints)
	if err != nil {
		return err
	}
	if o.fresh != "" {
		key := make([]byte, 32)
		if _, err := rand.Read(key); err != nil {
			return err
		}
		_, err := fmt.Fprintf(out, "%s:%x\n", o.fresh, key)
		return err
	}
	keys, err := tlspsk.LoadKeys(o.file)
	if err != nil {
		return err
	}
	if o.serve != "" {
		return serve(ctx, o.serve, keys, complaints)
	}
	key := keys[o.identity]
	if key == nil {
		return fmt.Errorf("%s: no key for %q", o.file, o.identity)
	}
	return talk(ctx, o, key, out, complaints)
}
