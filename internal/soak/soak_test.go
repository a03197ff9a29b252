package soak

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSoak kills and cuts for a short while. Nothing that was acknowledged is lost but what the broker had not
// written, nothing is forged, nothing can be read.
func TestSoak(t *testing.T) {
	report, err := Run(t.Context(), Config{For: 20 * time.Second})
	require.NoError(t, err)
	var text bytes.Buffer
	require.NoError(t, report.Write(&text))
	t.Log("\n" + text.String())
	require.Empty(t, report.Failures())
	for _, f := range faults {
		require.Positive(t, report.Faults[f.name], f.name)
	}
}
