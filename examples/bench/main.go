// Bench measures what the security of this module costs on this machine.
//
//	go run ./examples/bench                     a report in Markdown, from an embedded broker
//	go run ./examples/bench -out bench-report   the same with JSON and plots, in a directory
//	go run ./examples/bench -goals              the goals that the module has set itself
//	go run ./examples/bench -goals -json        the same for machines, an object a line
//
// The report compares connections and messages that are plain, sealed, over TLS with
// certificates or with a pre-shared key, and both: delay, rate, CPU, allocations, memory,
// bytes on the wire; and what connecting costs with these, with ACE and with MQTT-Auth,
// also over a link that is far. With -broker it goes through a broker of yours, where the
// messages use topics below mqttsec-bench/.
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
	"runtime/pprof"
	"syscall"

	"github.com/mqttsec/mqttsec/internal/bench"
	"github.com/mqttsec/mqttsec/internal/bench/report"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	apart, err := bench.Apart(ctx, os.Stdout)
	if !apart {
		err = run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	}
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer, messages *os.File) (err error) {
	o, err := parse(args, messages)
	if err != nil {
		return err
	}
	if o.profile != "" {
		stop, err := profile(o.profile)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
	}
	bar := bench.NewBar(messages)
	defer bar.Clear()
	if o.goals {
		// Whatever comes of it is a measurement, so it is never an error.
		if err := goals(ctx, o, out, bar); err != nil {
			fmt.Fprintln(messages, "bench:", err)
		}
		return nil
	}
	o.config.Progress = bar.Show
	measured, err := report.Run(ctx, o.config)
	if err != nil {
		return err
	}
	bar.Clear()
	if o.out == "" {
		return measured.Markdown(out, nil)
	}
	return save(measured, o.out, out)
}

// goals measures the chosen goals and writes a line for each, under one that says on what machine, or for machines.
func goals(ctx context.Context, o options, out io.Writer, bar *bench.Bar) error {
	line := func(r bench.Result) error {
		_, err := fmt.Fprintln(out, r.Line())
		return err
	}
	if o.json {
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false) // or <= is unreadable
		line = func(r bench.Result) error { return encoder.Encode(r.Record()) }
	} else if _, err := fmt.Fprintf(out, "# %s\n", bench.Machine()); err != nil {
		return err
	}
	_, err := bench.Run(ctx, o.chosen, line, bar)
	return err
}

// save writes all forms of the report into a directory.
func save(measured *report.Report, dir string, out io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	plots, err := measured.Plots(dir)
	if err != nil {
		return err
	}
	err = errors.Join(
		write(filepath.Join(dir, "report.md"), func(w io.Writer) error { return measured.Markdown(w, plots) }),
		write(filepath.Join(dir, "report.json"), measured.JSON),
	)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "report.md, report.json and %d plots as .svg and .png are in %s\n", len(plots), dir)
	return err
}

func write(name string, content func(io.Writer) error) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	return errors.Join(content(f), f.Close())
}

// profile records what the processor does until stop is called.
func profile(name string) (stop func() error, err error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error {
		pprof.StopCPUProfile()
		return f.Close()
	}, nil
}
