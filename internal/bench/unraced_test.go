//go:build !race

package bench

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestGoalsWithoutRaceDetector measures what [unraced] names.
func TestGoalsWithoutRaceDetector(t *testing.T) {
	goals := slices.DeleteFunc(Goals(), func(g Goal) bool { return !unraced(g) })
	require.NotEmpty(t, goals)
	for _, g := range goals {
		t.Run(g.ID+" "+g.What, func(t *testing.T) { measurable(t, g) })
	}
}
