// Command token publishes one message as a client that logs in with an access token (RFC 9431), and prints it when it
// comes back. It is a program as the library's users write it; what tokens add to it is in tokens, and a call of Wrap.
//
//	go run ./examples/gateway -demo demo -upstream mqtt://127.0.0.1:1883
//	go run ./examples/token -demo demo/demo.json demo/device1/state open
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"
)

const usage = `usage:
  token -demo FILE [options] topic text
  token -as URL -audience NAME -id NAME -broker URL [options] topic text

Gets an access token from an Authorization Server, connects to a broker with it,
publishes text on the topic, and prints what comes back. The token must allow
both. -demo takes all it has to know from the demo.json of "gateway -demo" or
"as -demo". The client's secret for another server is in CLIENT_SECRET.

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
		fmt.Fprintln(os.Stderr, "token:", err)
		os.Exit(1)
	}
}

// errUsage ends the program with 2. What is wrong has been said already.
var errUsage = errors.New("wrong usage")

// options are what the command line says.
type options struct {
	as, audience, id, secret, broker, cafile string
	topic, text                              string
	v3                                       bool
	timeout                                  time.Duration
}

func run(ctx context.Context, args []string, out, complaints io.Writer) error {
	o := options{secret: os.Getenv("CLIENT_SECRET")}
	var demo string
	flags := flag.NewFlagSet("token", flag.ContinueOnError)
	flags.SetOutput(complaints)
	flags.Usage = func() {
		fmt.Fprint(complaints, usage)
		flags.PrintDefaults()
	}
	flags.StringVar(&demo, "demo", "", "`FILE` that describes a demo, demo.json")
	flags.StringVar(&o.as, "as", "", "`URL` of the token endpoint, https://HOST/token")
	flags.StringVar(&o.audience, "audience", "", "`NAME` of the broker at the Authorization Server")
	flags.StringVar(&o.id, "id", "", "`NAME` of the client at the Authorization Server, and its Client Identifier; with -demo the first one there")
	flags.StringVar(&o.broker, "broker", "", "`URL` of the broker, mqtts://HOST:PORT")
	flags.StringVar(&o.cafile, "cafile", "", "PEM `FILE` with the certificates that vouch for both, instead of the system's")
	flags.BoolVar(&o.v3, "v3", false, "MQTT 3.1.1 instead of 5")
	flags.DurationVar(&o.timeout, "timeout", 30*time.Second, "give up after this time")
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage // the flag package has said it
	}
	complaint := ""
	switch {
	case flags.NArg() != 2:
		complaint = "want a topic and a text"
	case demo != "" && o.as+o.audience+o.broker+o.cafile != "":
		complaint = "-demo says what -as, -audience, -broker and -cafile would"
	case demo == "" && (o.as == "" || o.id == "" || o.broker == ""):
		complaint = "-demo, or else -as, -id and -broker, are needed"
	}
	if complaint != "" {
		fmt.Fprintf(complaints, "token: %s\ntoken -h tells how it is used\n", complaint)
		return errUsage
	}
	o.topic, o.text = flags.Arg(0), flags.Arg(1)
	if demo != "" {
		if err := o.read(demo); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout, fmt.Errorf("gave up after %v", o.timeout))
	defer cancel()
	text, err := o.roundTrip(ctx)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, text)
	return nil
}

// read takes from a demo.json what it says.
func (o *options) read(file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var demo struct {
		AS, Broker, CA string
		Clients        []struct {
			ID       string `json:"client_id"`
			Secret   string `json:"client_secret"`
			Audience string
		}
	}
	if err := json.Unmarshal(text, &demo); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	o.as, o.broker, o.cafile = demo.AS+"/token", demo.Broker, filepath.Join(filepath.Dir(file), demo.CA)
	for _, c := range demo.Clients {
		if o.id == "" || o.id == c.ID {
			o.id, o.secret, o.audience = c.ID, c.Secret, c.Audience
			return nil
		}
	}
	return fmt.Errorf("%s: there is no client %q", file, o.id)
}
