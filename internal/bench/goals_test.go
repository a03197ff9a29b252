package bench

import (
	"context"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestMain lets this program be its own child, as a program that measures is.
func TestMain(m *testing.M) {
	if apart, err := Apart(context.Background(), os.Stdout); apart {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func TestInstructionsAreFound(t *testing.T) {
	said := "==7== Events    : Ir\n==7== Collected : 125446213\n==7==\n"
	require.Equal(t, "125446213", collected.FindStringSubmatch(said)[1])
}

// measurable measures a goal with the smallest batches: whatever the figures are, there must be some. Where a program
// is missing, it is named; what the processor does not have, the line says.
func measurable(t *testing.T, g Goal) {
	g.Batch, g.Rounds = time.Nanosecond, 0
	r := Measure(t.Context(), g, nil)
	require.NoError(t, r.Err)
	switch {
	case r.Install != "":
		require.NotEqual(t, "1", os.Getenv("MQTTSEC_CI"), r.Line())
		t.Skip(r.Line())
	case r.Skipped != "":
		require.NotNil(t, g.Skip, r.Skipped)
		require.Contains(t, r.Line(), g.ID+" skipped: "+g.Skip())
		return
	}
	if g.Of == "" {
		require.Positive(t, r.Figure)
	}
	require.LessOrEqual(t, r.Low, r.Median)
	require.LessOrEqual(t, r.Median, r.High)
	if g.Count == nil {
		require.Positive(t, r.A)
	}
	require.Regexp(t, "^"+g.ID+` -?\d+\.\d+ [<>]= \d+\.\d+( \S+)? (ok|short) `, r.Line())
}

// unraced are the goals that mean nothing under the race detector: valgrind does not run a program with it, the linker
// makes the same, and what is allocated is the detector's.
func unraced(g Goal) bool { return g.ID == "F8" || g.ID == "S1" || g.ID == "M6" }

func TestEveryGoalCanBeMeasured(t *testing.T) {
	for _, g := range slices.DeleteFunc(Goals(), unraced) {
		t.Run(g.ID+" "+g.What, func(t *testing.T) { measurable(t, g) })
	}
}
