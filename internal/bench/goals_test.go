package bench

import (
	"context"
	"fmt"
	"os"
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

// TestEveryGoalCanBeMeasured measures each goal with the smallest batches: whatever the
// figures are, there must be some.
func TestEveryGoalCanBeMeasured(t *testing.T) {
	for _, g := range Goals() {
		t.Run(g.ID+" "+g.What, func(t *testing.T) {
			if g.ID == "F8" || g.ID == "S1" {
				t.Skip("takes minutes: it has this program run under another, or builds others")
			}
			if racing && g.Count != nil {
				t.Skip("counts what many do, which takes minutes under the race detector, and is run without it")
			}
			g.Batch, g.Rounds = time.Nanosecond, 0
			r := Measure(t.Context(), g, nil)
			require.NoError(t, r.Err)
			if r.Install != "" && os.Getenv("MQTTSEC_CI") == "1" {
				t.Fatal(r.Line())
			}
			if r.Skipped != "" {
				require.True(t, r.Install != "" || g.Skip != nil, r.Skipped)
				t.Skip(r.Line())
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
		})
	}
}
