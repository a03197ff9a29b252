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
	if g.Setting != "" && !isApart() {
		return measureApart(ctx, g)
	}
	if g.Skip != nil {
		if r.Skipped = g.Skip(); r.Skipped != "" {
			return r
		}
	}
	err := r.measure(ctx, progress)
	if !errors.Is(err, ErrSkip) {
		r.Err = err
		return r
	}
	r.Skipped = err.Error()
	var m *missing
	if errors.As(err, &m) {
		r.Install = m.install
	}
	return r
}

func (r *Result) measure(ctx context.Context, progress func(float64)) error {
	g := r.Goal
	if g.Count != nil {
		a, b, err := g.Count(ctx)
		if g.Of == "" {
			a /= b
		}
		r.Figure, r.Median, r.Tenth, r.Low, r.High = a, a, a, a, a
		return err
	}
	pair, err := g.Setup(ctx)
	if err != nil {
		return err
	}
	err = r.compare(ctx, pair, progress)
	if pair.Close != nil {
		err = errors.Join(err, pair.Close())
	}
	return err
}

// compare runs the rounds and fills in what r is to tell.
func (r *Result) compare(ctx context.Context, pair Pair, progress func(float64)) error {
	target := r.Goal.Batch
	if target == 0 {
		target = defaultBatch
	}
	var columns [4]*column
	for i, side := range [...]Side{pair.A, pair.B, pair.C, pair.D} {
		var err error
		if columns[i], err = newColumn(ctx, side, target, r.Goal.CPU); err != nil {
			return err
		}
	}
	rounds := max(r.Goal.Rounds, minRounds)
	var figures []float64
	for i := range rounds {
		if progress != nil {
			progress(float64(i) / float64(rounds))
		}
		for _, c := range columns {
			if err := c.turn(ctx); err != nil {
				return err
			}
		}
		figures = append(figures, r.Goal.figure(each(columns, (*column).last)))
	}
	r.Low, r.Median, r.High = meter.Quantile(figures, 0.25), meter.Median(figures), meter.Quantile(figures, 0.75)
	r.Tenth = r.Goal.figure(each(columns, (*column).tenth))
	r.Figure = r.Median
	if r.Goal.Tenth {
		r.Figure = r.Tenth
	}
	a, b := columns[0], columns[1]
	r.A, r.B = time.Duration(a.quantile(0.5)+0.5), time.Duration(b.quantile(0.5)+0.5)
	r.AllocsA, r.AllocsB = a.allocations(), b.allocations()
	return nil
}

// each returns what f says of each column.
func each(columns [4]*column, f func(*column) float64) (of [4]float64) {
	for i, c := range columns {
		of[i] = f(c)
	}
	return of
}

// figure is what is compared with the limit, of the times that an operation of each side
// took: their ratio, that of the rates which they mean, or the first alone.
func (g Goal) figure(t [4]float64) float64 {
	a, b, c, d := t[0], t[1], t[2], t[3]
	switch {
	case c != 0:
		return a / b / (c / d)
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
	cpu    bool         // times are of processors
	times  []float64    // nanoseconds of one operation, one for each turn
	ops    uint64
	allocs uint64
}

func newColumn(ctx context.Context, s Side, target time.Duration, cpu bool) (*column, error) {
	if s.Run == nil {
		return new(column), nil
	}
	m, err := meter.New(ctx, s, target)
	return &column{meter: m, cpu: cpu}, err
}

func (c *column) turn(ctx context.Context) error {
	if c.meter == nil {
		return nil
	}
	b, err := c.meter.Turn(ctx)
	if err != nil {
		return err
	}
	if c.cpu {
		b.Wall = b.CPU
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

func (c *column) tenth() float64 { return c.quantile(0.1) }

func (c *column) quantile(q float64) float64 {
	if c.meter == nil {
		return 0
	}
	return meter.Quantile(c.times, q)
}

// allocations are those of one operation, rounded down: now and then the runtime
// allocates for itself.
func (c *column) allocations() int {
	if c.meter == nil {
		return 0
	}
	return int(c.allocs / c.ops)
}
