package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
)

// instructionGoals count instructions, which do not change with what else the machine does. The counting program knows
// no AVX-512, which neither side uses.
func instructionGoals() []Goal {
	goal := func(what string, limit float64, pair func(size int) (Pair, error)) Goal {
		return Goal{
			ID: "F8", What: what, Limit: limit,
			Count: func(ctx context.Context) (a, b float64, err error) {
				if os.Getenv(countedVariable) == "" {
					return countBoth(ctx, "F8", what)
				}
				p, err := pair(64)
				if err != nil {
					return 0, 0, err
				}
				return 1, 1, runCounted(p)
			},
		}
	}
	return []Goal{
		goal("instructions, AppendSeal 64 B / AES-256-GCM Seal", 1.45, sealPair),
		goal("instructions, AppendOpen 64 B / AES-256-GCM Open", 1.50, openPair),
	}
}

// countedVariable tells a process that is being counted which side of a goal to run and how often: "a 1000".
const countedVariable = "MQTTSEC_BENCH_COUNTED"

// runCounted runs what the variable says.
func runCounted(p Pair) error {
	var side string
	var n int
	if _, err := fmt.Sscan(os.Getenv(countedVariable), &side, &n); err != nil {
		return fmt.Errorf("bench: %s: %w", countedVariable, err)
	}
	s := p.A
	if side == "b" {
		s = p.B
	}
	// Both runs prepare the same, so that the difference is of what is run.
	if s.Prepare != nil {
		if err := s.Prepare(2 * countedRuns); err != nil {
			return err
		}
	}
	return s.Run(n)
}

const countedRuns = 4_000

// countBoth returns the instructions of one operation of either side.
func countBoth(ctx context.Context, id, what string) (a, b float64, err error) {
	if _, err := exec.LookPath("valgrind"); err != nil {
		return 0, 0, &missing{errors.New("valgrind, which counts instructions, is not there"), "apt-get install valgrind"}
	}
	var each [2]float64
	for i, side := range []string{"a", "b"} {
		few, err := countInstructions(ctx, id, what, side, countedRuns)
		if err != nil {
			return 0, 0, err
		}
		many, err := countInstructions(ctx, id, what, side, 2*countedRuns)
		if err != nil {
			return 0, 0, err
		}
		each[i] = (many - few) / countedRuns
	}
	return each[0], each[1], nil
}

var collected = regexp.MustCompile(`Collected : (\d+)`)

// countInstructions returns the instructions of a process that runs n operations of one side.
func countInstructions(ctx context.Context, id, what, side string, n int) (float64, error) {
	program, err := os.Executable()
	if err != nil {
		return 0, err
	}
	child := exec.CommandContext(ctx, "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", program)
	child.Env = append(os.Environ(), "GOGC=off", "GOMAXPROCS=1",
		"GODEBUG=asyncpreemptoff=1", // callgrind dies of the signals
		fmt.Sprintf("%s=%s %d", countedVariable, side, n),
		fmt.Sprintf(`%s={"id":%q,"what":%q}`, apartVariable, id, what))
	var said strings.Builder
	child.Stderr = &said
	if err := child.Run(); err != nil {
		return 0, fmt.Errorf("bench: valgrind: %w: %s", err, said.String())
	}
	m := collected.FindStringSubmatch(said.String())
	if m == nil {
		return 0, fmt.Errorf("bench: valgrind counted nothing: %s", said.String())
	}
	return strconv.ParseFloat(m[1], 64)
}
