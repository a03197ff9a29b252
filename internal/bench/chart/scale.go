package chart

import (
	"fmt"
	"math"
	"strconv"
)

// A scale is the axis of a panel: from 0 to top, with a line at every step.
type scale struct{ top, step float64 }

// newScale chooses a step of 1, 2 or 5 times a power of ten, so that there are three to seven lines, and leaves room
// for the value above the highest bar.
func newScale(highest float64) scale {
	if highest <= 0 {
		return scale{top: 1, step: 1}
	}
	const steps = 5
	power := math.Pow(10, math.Floor(math.Log10(highest/steps)))
	step := 10 * power
	for _, factor := range []float64{1, 2, 5} {
		if highest/(factor*power) <= steps+1 {
			step = factor * power
			break
		}
	}
	return scale{top: highest * 1.1, step: step}
}

// ticks are where lines go.
func (s scale) ticks() []float64 {
	var at []float64
	for i := 0; float64(i)*s.step <= s.top; i++ {
		at = append(at, float64(i)*s.step)
	}
	return at
}

// brief is a value in the few characters that fit above a bar.
func brief(v float64) string {
	switch {
	case v >= 99_500:
		return fmt.Sprintf("%.0fk", v/1000)
	case v >= 9_950:
		return fmt.Sprintf("%.1fk", v/1000)
	case v >= 9.95:
		return fmt.Sprintf("%.0f", v)
	case v >= 0.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

// round is a value of few digits, such as that of a tick.
func round(v float64) string {
	unit := ""
	if v >= 10_000 {
		v, unit = v/1000, "k"
	}
	return strconv.FormatFloat(v, 'g', 6, 64) + unit
}
