package bench

import (
	"context"
	"fmt"
	"math"
	"strings"
)

// Run measures goals one after the other and hands each [Result] to report as soon as it
// is known. Bar, which may be nil, shows how far it is. The error is that of ctx, or of
// report.
func Run(ctx context.Context, goals []Goal, report func(Result) error, bar *Bar) ([]Result, error) {
	var results []Result
	defer bar.Clear()
	for i, g := range goals {
		r := Measure(ctx, g, func(fraction float64) {
			bar.Show((float64(i)+fraction)/float64(len(goals)), g.ID+" "+g.What)
		})
		if err := ctx.Err(); err != nil {
			return results, err
		}
		results = append(results, r)
		bar.Clear()
		if err := report(r); err != nil {
			return results, err
		}
	}
	return results, nil
}

// Line is the result in one line: "A1 1.43 <= 1.60 ok", "short" for ok if the goal is
// not reached, or "A1 skipped: why"; and then what was compared.
func (r Result) Line() string {
	g := r.Goal
	switch {
	case r.Skipped != "" && r.Install != "":
		return fmt.Sprintf("%s skipped: %s; %s (%s)", g.ID, r.Skipped, r.Install, g.What)
	case r.Skipped != "":
		return fmt.Sprintf("%s skipped: %s (%s)", g.ID, r.Skipped, g.What)
	case r.Err != nil:
		return fmt.Sprintf("%s failed: %v (%s)", g.ID, r.Err, g.What)
	}
	unit := g.unit()
	if unit != "" {
		unit = " " + unit
	}
	digits := r.digits()
	return fmt.Sprintf("%s %.*f %s %.*f%s %-5s | %s",
		g.ID, digits, r.Figure, g.sense(), digits, g.Limit, unit, r.verdict(), r.detail(digits))
}

// sense is how the figure is to compare with the limit.
func (g Goal) sense() string {
	if g.AtLeast {
		return ">="
	}
	return "<="
}

// unit is that of figure and limit, empty for a ratio.
func (g Goal) unit() string {
	if g.Unit != 0 {
		return strings.TrimPrefix(g.Unit.String(), "1")
	}
	return g.Of
}

// verdict is the outcome in one word.
func (r Result) verdict() string {
	switch {
	case r.Skipped != "":
		return "skipped"
	case r.Err != nil:
		return "failed"
	case r.Reached():
		return "ok"
	}
	return "short"
}

// digits is how many decimals show the figure: enough to see on which side of the
// limit it is.
func (r Result) digits() int {
	digits := 2
	if r.Goal.Limit < 0.2 && r.Goal.Of == "" {
		digits = 3
	}
	for ; digits < 6; digits++ {
		scale := math.Pow10(digits)
		if r.Goal.within(math.Round(r.Figure*scale), math.Round(r.Goal.Limit*scale)) == r.Goal.within(r.Figure, r.Goal.Limit) {
			break
		}
	}
	return digits
}

// detail is what stands behind the verdict, for the reader who wants to know why.
func (r Result) detail(digits int) string {
	g := r.Goal
	parts := []string{g.What}
	if g.Count == nil {
		if g.Unit == 0 {
			parts = append(parts, fmt.Sprintf("%v / %v", r.A, r.B))
		}
		other := fmt.Sprintf("tenth percentile %.*f", digits, r.Tenth)
		if g.Tenth {
			other = fmt.Sprintf("tenth percentile, median %.*f", digits, r.Median)
		}
		parts = append(parts, other, fmt.Sprintf("half of all rounds %.*f to %.*f", digits, r.Low, digits, r.High))
	}
	if g.NoAllocs {
		parts = append(parts, fmt.Sprintf("%d allocs, goal 0", r.AllocsA))
	}
	if g.Stretch != 0 {
		reached := "not reached"
		if g.within(r.Figure, g.Stretch) {
			reached = "reached"
		}
		parts = append(parts, fmt.Sprintf("stretch %.*f %s", digits, g.Stretch, reached))
	}
	return strings.Join(parts, "; ")
}
