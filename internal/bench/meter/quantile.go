package meter

import "slices"

// Quantile is the value below which the fraction q of values lies, between the two
// nearest of them. There must be at least one value; their order does not matter.
func Quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// Median is the Quantile one half.
func Median(values []float64) float64 { return Quantile(values, 0.5) }
