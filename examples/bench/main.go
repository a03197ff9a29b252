// Bench measures mqttsec on this machine.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/mqttsec/mqttsec/internal/bench"
)

func main() {
	goals := flag.Bool("goals", false, "measure the goals that the module has set itself, a line for each, and exit 0 whatever they are")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if *goals {
		if _, err := bench.Run(ctx, bench.Goals(), os.Stdout, bench.NewBar(os.Stderr)); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
		}
		return
	}
	flag.Usage()
	os.Exit(2)
}
