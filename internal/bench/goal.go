// Package bench measures what mqttsec promises about its speed. A [Goal] compares two
// ways of doing one thing, as a ratio that holds from machine to machine, where a time
// would not; [Goals] lists all goals of the module, and [Run] measures them, for a line
// each.
//
// It measures and does not judge: nothing in it fails because something is slow.
//
// Goals of a path that the processor can show and this process does not take are measured
// in a child process, which is the same program again: its main calls [Apart] first.
package bench

import (
	"context"
	"errors"
	"time"

	"github.com/mqttsec/mqttsec/internal/bench/meter"
)

// Goal is one figure that the module wants to reach.
type Goal struct {
	// ID is the goal's name, "A1". Several goals may have the same, for variants of
	// one thing, which What tells apart.
	ID string
	// What says in a few words what is compared with what: "sealed / plain, v5, mochi".
	What string
	// Limit is the figure to reach: the time of Pair.A over that of Pair.B must not be
	// larger. With AtLeast it is the rate of A over that of B, and must not be smaller.
	Limit   float64
	AtLeast bool
	// Stretch is what we would like to reach besides, 0 for nothing.
	Stretch float64
	// Unit is set if A is compared with nothing: the figure is then the time of one
	// operation of A in Units, and B stays empty.
	Unit time.Duration
	// Of is set if the figure is no ratio and no time, but what Count returns for A: "KiB".
	Of string
	// Tenth wants the tenth percentiles of both sides compared with each other, in place of
	// the median over the rounds: what a busy machine does to short operations is out of them.
	Tenth bool
	// CPU compares what this process uses of all processors, in place of the time that passes: a busy machine
	// changes it less.
	CPU bool
	// Path names the instructions that package presentcipher uses, "avx2", and Setting is the
	// GODEBUG that makes a process use them; empty if this one does.
	Path, Setting string
	// NoAllocs also wants that no operation of A allocates.
	NoAllocs bool
	// Batch is how long one side runs before the other gets its turn, 2 ms if 0.
	Batch time.Duration
	// Rounds is how often each side gets its turn, [minRounds] if less.
	Rounds int
	// Skip may be nil. It returns why this machine cannot show the goal, or "".
	Skip func() string
	// Count is set, and Setup is not, if what is compared is no time: the figure is what
	// it returns for A over what it returns for B, in bytes for example. With Of, b is 0.
	Count func(ctx context.Context) (a, b float64, err error)
	// Setup makes what is measured, right before it is. An error that wraps
	// [ErrSkip] means that the goal cannot be shown here.
	Setup func(ctx context.Context) (Pair, error)
}

// Pair is the two sides of a comparison.
type Pair struct {
	A, B Side
	// C and D may be empty. If they are not, the figure is the ratio of ratios: what B has
	// gained over A, over what D has gained over C.
	C, D Side
	// Close may be nil. It releases what both sides hold.
	Close func() error
}

// Side is something to be measured: Run does n operations on the clock, Prepare, which
// may be nil, makes ready for them off it.
type Side = meter.Side

// Loop is the Side whose operation is one call of f.
func Loop(f func()) Side {
	return Side{Run: func(n int) error {
		for range n {
			f()
		}
		return nil
	}}
}

// minRounds is the least number of rounds whose median is worth something.
const minRounds = 21

// ErrSkip is wrapped by the errors of a Setup or Count that lacks something to measure with.
var ErrSkip = errors.New("not here")

// missing is an ErrSkip for want of a program.
type missing struct {
	err     error
	install string // the command that brings the program
}

// installGo brings the go command, with which programs are built that are to be measured.
const installGo = "apt-get install golang"

func (m *missing) Error() string   { return m.err.Error() }
func (m *missing) Unwrap() []error { return []error{ErrSkip, m.err} }

// Result is what came of measuring a Goal.
type Result struct {
	Goal Goal
	// Skipped says why the goal was not measured, or is empty. Install is the command with
	// which it can be, if there is one.
	Skipped, Install string
	// Err is what went wrong, or nil.
	Err error
	// Figure is what is compared with the goal's Limit: Median, or Tenth if the Goal says so.
	Figure float64
	// Median is that over all rounds. Tenth is made of the tenth percentiles of both sides:
	// where it is much better than Median, something else keeps the machine busy.
	Median, Tenth float64
	// Low and High are the quartiles of the figure: half of the rounds lie between.
	Low, High float64
	// A and B are the median times of one operation.
	A, B time.Duration
	// AllocsA and AllocsB are the allocations of one operation, rounded down.
	AllocsA, AllocsB int
}

// Reached reports whether the figure is as good as the goal wants it to be.
func (r Result) Reached() bool {
	if r.Skipped != "" || r.Err != nil || r.Goal.NoAllocs && r.AllocsA > 0 {
		return false
	}
	return r.Goal.within(r.Figure, r.Goal.Limit)
}

func (g Goal) within(figure, limit float64) bool {
	if g.AtLeast {
		return figure >= limit
	}
	return figure <= limit
}
