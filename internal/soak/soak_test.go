package soak

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSoak kills and cuts for a short while, or for as long as this machine needs for each fault and each attack once.
// Nothing that was acknowledged is lost but what the broker had not written, nothing is forged, nothing can be read.
func TestSoak(t *testing.T) {
	for long := 20 * time.Second; ; long *= 2 {
		report, err := Run(t.Context(), Config{For: long})
		require.NoError(t, err)
		var text bytes.Buffer
		require.NoError(t, report.Write(&text))
		t.Log("\n" + text.String())
		missing := report.Deaf // whom the attacker has not come to in this time
		report.Deaf = nil
		require.Empty(t, report.Failures())
		if os.Getenv("MQTTSEC_CI") == "1" {
			require.Contains(t, report.Refused, besideBroker, "with an authority beside a broker")
		}
		for _, f := range faults {
			if report.Faults[f.name] == 0 {
				missing = append(missing, "no "+f.name)
			}
		}
		if len(missing) == 0 {
			return
		}
		require.Less(t, long, 2*time.Minute, "in all that time: %q", missing)
	}
}
