package main

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"

	"github.com/mqttsec/mqttsec/internal/bench"
	"github.com/mqttsec/mqttsec/internal/bench/link"
	"github.com/mqttsec/mqttsec/internal/bench/report"
)

// errUsage is reported for arguments that make no sense, once that has been said.
var errUsage = errors.New("usage")

// options is what the command line says.
type options struct {
	config  report.Config
	out     string
	goals   bool
	json    bool
	chosen  []bench.Goal
	profile string
}

const usage = `Usage: go run ./examples/bench [flags]

Measures what the security of mqttsec costs. Connecting: bytes, round trips, CPU, memory and
time on loopback and over a link of 50 ms, for plain connections, TLS with certificates and
with a pre-shared key, ACE and MQTT-Auth. Per message: delay, rate, CPU, allocations, memory
and bytes on the wire, for plain connections, TLS, tlspsk, aesmsg, present, ACE and MQTT-Auth.
With both Eclipse clients. Takes about five minutes. Writes Markdown to the standard output,
or with -out Markdown, JSON and plots to a directory.

With -broker URL (tcp://host:1883, ssl://host:8883, ws://..., wss://...) it goes through
that broker, on topics below mqttsec-bench/; otherwise through one that it starts itself.
What needs a half of this module at the broker is left out then.

With -goals it measures what the module has set itself, on every path through package present
that the processor has. A goal is a line: its name, the figure, the limit, "ok" or "short" or
"skipped", and what was compared with what. Where the tenth percentile is much better than the
median, a busy neighbour was measured and not the module. F7, aesmsg beside other libraries, is
not among them: no dependency is worth a comparison, so it is measured outside of this module.

With -goals -json a goal is a JSON object with these fields, to which others may be added:

  id, what          the goal's name, and what tells its variants apart
  path              the instructions that present used, where that is what the goal is about
  verdict           "ok", "short", "skipped" or "failed"; why has the reason of the latter two,
                    install the command that brings what was missing
  figure, sense, limit, stretch, unit
                    what is judged: <= or >= the limit, and what is hoped for besides, all in
                    unit, which is empty for ratios
  judged_by         which of the next two the figure is, "median" or "tenth percentile", or
                    "count" if it is the same each time
  median, tenth_percentile, low, high
                    of the rounds; half of them lie between low and high
  a_ns, b_ns, a_allocs, b_allocs
                    time and allocations of one operation of either side
  machine           the processor, how many, the platform, the version of Go

Flags:
`

// parse reads the command line, and tells the user on messages what is wrong with it.
func parse(args []string, messages io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(messages)
	flags.Usage = func() {
		fmt.Fprint(messages, usage)
		flags.PrintDefaults()
	}
	broker := flags.String("broker", "", "`URL` of a broker to go through instead of an embedded one")
	user := flags.String("user", "", "user `name` for -broker")
	password := flags.String("password", "", "password for -broker")
	cafile := flags.String("cafile", "", "PEM `file` with the certificate authorities that -broker's certificate comes from; the system's by default")
	only := flags.String("only", "", "what to measure, separated by commas: `names` of schemes, or of goals with -goals; all by default")
	flags.StringVar(&o.out, "out", "", "`directory` for the report with plots; it is made if need be")
	flags.IntVar(&o.config.Rounds, "rounds", 0, "how often each scheme takes its turn (default 25)")
	flags.BoolVar(&o.goals, "goals", false, "measure the module's own goals, a line each, and exit with 0 whatever they are; about 10 minutes")
	flags.BoolVar(&o.json, "json", false, "with -goals: one JSON object a line and goal")
	flags.StringVar(&o.profile, "cpuprofile", "", "write a CPU profile for go tool pprof to this `file`")
	if err := flags.Parse(args); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			err = errUsage
		}
		return o, err
	}
	var err error
	if flags.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if err == nil && o.json && !o.goals {
		err = errors.New("-json goes with -goals; -out writes a report in JSON")
	}
	if err == nil && *broker != "" {
		o.config.Broker, err = reach(*broker, *user, *password, *cafile)
	}
	if err == nil {
		err = o.choose(*only)
	}
	if err != nil {
		fmt.Fprintf(messages, "bench: %v; -h explains the flags\n", err)
		return o, errUsage
	}
	return o, nil
}

// choose keeps what -only names.
func (o *options) choose(only string) error {
	o.config.Schemes, o.config.Ways, o.chosen = report.Schemes(), report.Ways(), bench.Goals()
	if only == "" {
		return nil
	}
	var known, names []string
	for _, name := range strings.Split(only, ",") {
		names = append(names, strings.TrimSpace(name))
	}
	if o.goals {
		for _, g := range o.chosen {
			known = append(known, g.ID)
		}
		o.chosen = slices.DeleteFunc(o.chosen, func(g bench.Goal) bool { return !slices.Contains(names, g.ID) })
	} else {
		for _, s := range o.config.Schemes {
			known = append(known, s.Name)
		}
		for _, w := range o.config.Ways {
			known = append(known, w.Name)
		}
		o.config.Schemes = slices.DeleteFunc(o.config.Schemes, func(s report.Scheme) bool { return !slices.Contains(names, s.Name) })
		o.config.Ways = slices.DeleteFunc(o.config.Ways, func(w report.Way) bool { return !slices.Contains(names, w.Name) })
	}
	for _, name := range names {
		if !slices.Contains(known, name) {
			return fmt.Errorf("-only: there is no %q, but %s", name, strings.Join(slices.Compact(known), ", "))
		}
	}
	return nil
}

// reach makes a broker of what the flags say about one.
func reach(broker, user, password, cafile string) (*link.Broker, error) {
	u, err := url.Parse(broker)
	if err != nil {
		return nil, fmt.Errorf("-broker: %w", err)
	}
	secure, known := report.IsTLS(u.Scheme)
	if !known || u.Hostname() == "" {
		return nil, fmt.Errorf("-broker %q: want tcp://host:1883, ssl://host:8883 or the like", u.Redacted())
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), usualPort(u.Scheme))
	}
	b := &link.Broker{URL: u, User: user, Password: password}
	if secure {
		b.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if cafile != "" {
		pem, err := os.ReadFile(cafile)
		if err != nil {
			return nil, fmt.Errorf("-cafile: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("-cafile %s: no certificate in it", cafile)
		}
		if !secure {
			return nil, fmt.Errorf("-cafile goes with a broker that is reached over TLS, and %s is not", u.Redacted())
		}
		b.TLS.RootCAs = roots
	}
	return b, nil
}

func usualPort(scheme string) string {
	switch scheme {
	case "ws":
		return "80"
	case "wss":
		return "443"
	case "mqtt", "tcp":
		return "1883"
	}
	return "8883"
}
