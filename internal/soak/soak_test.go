package soak

import (
	"bytes"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSoak kills and cuts for a short while, or for as long as this machine needs for each fault once. Nothing that was
// acknowledged is lost but what the broker had not written, nothing is forged, nothing can be read.
func TestSoak(t *testing.T) {
	for long := 20 * time.Second; ; long *= 2 {
		report, err := Run(t.Context(), Config{For: long})
		require.NoError(t, err)
		var text bytes.Buffer
		require.NoError(t, report.Write(&text))
		t.Log("\n" + text.String())
		require.Empty(t, report.Failures())
		if os.Getenv("MQTTSEC_CI") == "1" {
			require.Contains(t, report.Refused, besideBroker, "with an authority beside a broker")
		}
		missing := slices.DeleteFunc(slices.Clone(faults), func(f fault) bool { return report.Faults[f.name] > 0 })
		if len(missing) == 0 {
			return
		}
		require.Less(t, long, 2*time.Minute, "no %s in all that time", missing[0].name)
	}
}
