package bench

import (
	"context"
	"errors"
	"time"

	"github.com/mqttsec/mqttsec/internal/bench/meter"
)

const defaultBatch = 2 * time.Millisecond

// Measure sets the goal's two sides up and lets them run by turns. The sides of one
// round are compared with each other, so what slows the machine down for a while slows
// both; the median of these comparisons is the figure. Progress, which may be nil,
// hears the fraction done. When ctx ends, the Result has its error.
func Measure(ctx context.Context, g Goal, progress func(fraction float64)) Result {
	r := Result{Goal: g}
	if g.Skip != nil {
		if r.Skipped = g.Skip(); r.Skipped != "" {
			return r
		}
	}
	if g.Count != nil {
		a, b, err := g.Count(ctx)
		r.Err, r.Figure = err, a/b
		r.Low, r.High = r.Figure, r.Figure
		return r
	}
	pair, err := g.Setup(ctx)
	if err == nil {
		err = r.compare(ctx, pair, progress)
		if pair.Close != nil {
			err = errors.Join(err, pair.Close())
		}
	}
	if errors.Is(err, ErrSkip) {
		r.Skipped = err.Error()
	} else {
		r.Err = err
	}
	return r
}

// compare runs the rounds and fills in what r is to tell.
func (r *Result) compare(ctx context.Context, pair Pair, progress func(float64)) error {
	target := r.Goal.Batch
	if target == 0 {
		target = defaultBatch
	}
	a, err := newColumn(ctx, pair.A, target)
	if err != nil {
		return err
	}
	b, err := newColumn(ctx, pair.B, target)
	if err != nil {
		return err
	}
	rounds := max(r.Goal.Rounds, minRounds)
	var figures []float64
	for i := range rounds {
		if progress != nil {
			progress(float64(i) / float64(rounds))
		}
		if err := a.turn(ctx); err != nil {
			return err
		}
		if err := b.turn(ctx); err != nil {
			return err
		}
		figures = append(figures, r.Goal.figure(a.last(), b.last()))
	}
	r.Low, r.Figure, r.High = meter.Quantile(figures, 0.25), meter.Median(figures), meter.Quantile(figures, 0.75)
	r.A, r.B = a.median(), b.median()
	r.AllocsA, r.AllocsB = a.allocations(), b.allocations()
	return nil
}

// figure is what is compared with the limit, of the times that an operation of each side
// took: their ratio, that of the rates which they mean, or the first alone.
func (g Goal) figure(a, b float64) float64 {
	switch {
	case g.Unit != 0:
		return a / float64(g.Unit)
	case g.AtLeast:
		return b / a
	}
	return a / b
}

// column is what the turns of one side cost.
type column struct {
	meter  *meter.Meter // nil for a side that is empty
	times  []float64    // nanoseconds of one operation, one for each turn
	ops    uint64
	allocs uint64
}

func newColumn(ctx context.Context, s Side, target time.Duration) (*column, error) {
	if s.Run == nil {
		return new(column), nil
	}
	m, err := meter.New(ctx, s, target)
	return &column{meter: m}, err
}

func (c *column) turn(ctx context.Context) error {
	if c.meter == nil {
		return nil
	}
	b, err := c.meter.Turn(ctx)
	if err != nil {
		return err
	}
	c.times = append(c.times, b.Each())
	c.ops += uint64(b.Ops)
	c.allocs += b.Allocs
	return nil
}

func (c *column) last() float64 {
	if c.meter == nil {
		return 0
	}
	return c.times[len(c.times)-1]
}

func (c *column) median() time.Duration {
	if c.meter == nil {
		return 0
	}
	return time.Duration(meter.Median(c.times) + 0.5)
}

// allocations are those of one operation, rounded down: now and then the runtime
// allocates for itself.
func (c *column) allocations() int {
	if c.meter == nil {
		return 0
	}
	return int(c.allocs / c.ops)
}
