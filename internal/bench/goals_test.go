package bench

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/mqttsec/mqttsec/internal/brokers"
)

// TestEveryGoalCanBeMeasured measures each goal with the smallest batches: whatever the
// figures are, there must be some.
func TestEveryGoalCanBeMeasured(t *testing.T) {
	for _, g := range Goals() {
		t.Run(g.ID+" "+g.What, func(t *testing.T) {
			g.Batch, g.Rounds = time.Nanosecond, 0
			if g.Skip != nil && g.Skip() != "" {
				t.Skip(g.Skip())
			}
			r := Measure(t.Context(), g, nil)
			require.NoError(t, r.Err)
			if strings.Contains(r.Skipped, brokers.ErrNoMosquitto.Error()) {
				if os.Getenv("MQTTSEC_CI") == "1" {
					t.Fatal(r.Skipped)
				}
				t.Skip(r.Skipped)
			}
			require.Empty(t, r.Skipped)
			require.Positive(t, r.Figure)
			require.LessOrEqual(t, r.Low, r.Figure)
			require.LessOrEqual(t, r.Figure, r.High)
			if g.Count == nil {
				require.Positive(t, r.A)
			}
			require.Regexp(t, "^"+g.ID+` \d+\.\d+ [<>]= \d+\.\d+( µs)? (ok|short) `, r.Line())
		})
	}
}
