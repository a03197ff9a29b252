// Command authority is the broker's half of MQTT-Auth: clients log in with a user name and a password that they never
// send, claim topics, and let others publish and subscribe there by tokens.
//
//	authority user add alice -server broker.example -store authority.db
//	authority serve -server broker.example -store authority.db -listen :1883
//
// It stands in front of a broker, its own or another one, or beside one that knows nothing of it; see -h.
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
)

const usage = `usage:
  authority serve -server NAME -store FILE -listen ADDR [-upstream URL]
  authority serve -server NAME -store FILE -broker URL
  authority user add|passwd|remove NAME -server NAME -store FILE
  authority user list -store FILE [-verifiers]
  authority login NAME -server NAME -broker URL

Logs MQTT clients in by a password that is never sent (MQTT-Auth), and enforces
the tokens that the owners of topics hand out.

serve -listen takes connections and hands those whose clients have logged in to
the broker at -upstream, or to one of its own, which keeps everything in memory,
if there is none. serve -broker is a client of a mosquitto that knows nothing of
all this, and makes short-lived accounts there for those who log in. Mosquitto
needs its dynamic-security plugin for that:

  mosquitto_ctrl dynsec init /etc/mosquitto/dynsec.json admin

and in mosquitto.conf

  allow_anonymous false
  plugin /usr/lib/x86_64-linux-gnu/mosquitto_dynamic_security.so
  plugin_opt_config_file /etc/mosquitto/dynsec.json

user changes the users, also while serve runs. The password is asked for, or is
a line of the standard input. What is stored cannot be used to log in. login is
what a device does, to see that it works.

authority COMMAND -h lists the options.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "authority:", err)
		os.Exit(1)
	}
}

// errUsage ends the program with 2. What is wrong has been said already.
var errUsage = errors.New("wrong usage")

func run(ctx context.Context, args []string, in *os.File, out, complaints io.Writer) error {
	command := ""
	if len(args) > 0 {
		command = args[0]
	}
	switch command {
	case "serve":
		return serveCommand(ctx, args[1:], complaints)
	case "user":
		return userCommand(ctx, args[1:], in, out, complaints)
	case "login":
		return loginCommand(ctx, args[1:], in, out, complaints)
	case "-h", "-help", "--help":
		fmt.Fprint(complaints, usage)
		return flag.ErrHelp
	case "":
		fmt.Fprint(complaints, "authority: a command is missing\nauthority -h tells how it is used\n")
	default:
		fmt.Fprintf(complaints, "authority: there is no command %q\nauthority -h tells how it is used\n", command)
	}
	return errUsage
}

// newFlags begins the options of a command.
func newFlags(name, about string, complaints io.Writer) *flag.FlagSet {
	flags := flag.NewFlagSet(name, flag.ContinueOnError)
	flags.SetOutput(complaints)
	flags.Usage = func() {
		fmt.Fprintf(complaints, "usage: authority %s\n\noptions:\n", about)
		flags.PrintDefaults()
	}
	return flags
}

// parse reads the options, and has check say what is wrong with them.
func parse(flags *flag.FlagSet, args []string, check func() error) error {
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return err
	case err != nil:
		return errUsage // the flag package has said it
	}
	err := check()
	if err == nil && flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err != nil {
		fmt.Fprintf(flags.Output(), "authority: %v\nauthority %s -h lists the options\n", err, flags.Name())
		return errUsage
	}
	return nil
}
