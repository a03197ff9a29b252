package meter

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestQuantile(t *testing.T) {
	for _, c := range []struct {
		values []float64
		q      float64
		want   float64
	}{
		{[]float64{7}, 0.5, 7},
		{[]float64{9, 1, 2}, 0.5, 2},
		{[]float64{1, 2, 4, 9}, 0.5, 3},
		{[]float64{1, 2, 3, 4, 5}, 0.25, 2},
		{[]float64{1, 2, 3, 4, 5}, 1, 5},
		{[]float64{1, 2, 3, 4, 5}, 0, 1},
	} {
		require.InDelta(t, c.want, Quantile(c.values, c.q), 1e-12, "%v of %v", c.q, c.values)
	}
}
