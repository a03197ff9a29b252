package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"time"
)

const (
	defaultBatch = 2 * time.Millisecond
	maxOps       = 1 << 24 // of one batch, whatever an operation takes
)

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
	a := side{Side: pair.A, target: target, ops: 1}
	b := side{Side: pair.B, target: target, ops: 1}
	alone := pair.B.Run == nil
	if err := a.calibrate(ctx); err != nil {
		return err
	}
	if !alone {
		if err := b.calibrate(ctx); err != nil {
			return err
		}
	}
	rounds := max(r.Goal.Rounds, MinRounds)
	var figures []float64
	for i := range rounds {
		if progress != nil {
			progress(float64(i) / float64(rounds))
		}
		if err := a.turn(ctx); err != nil {
			return err
		}
		if alone {
			figures = append(figures, a.last()/float64(r.Goal.Unit))
			continue
		}
		if err := b.turn(ctx); err != nil {
			return err
		}
		figures = append(figures, r.Goal.figure(a.last(), b.last()))
	}
	slices.Sort(figures)
	r.Low, r.Figure, r.High = quantile(figures, 0.25), quantile(figures, 0.5), quantile(figures, 0.75)
	r.A, r.B = a.median(), b.median()
	r.AllocsA, r.AllocsB = a.allocations(), b.allocations()
	return nil
}

// figure is the ratio of two times, or of the rates that they mean.
func (g Goal) figure(a, b float64) float64 {
	if g.AtLeast {
		return b / a
	}
	return a / b
}

// side is a Side under measurement.
type side struct {
	Side
	target time.Duration // of one turn
	ops    int           // of the next turn
	times  []float64     // nanoseconds of one operation, one for each turn
	done   uint64        // operations of all turns
	allocs uint64        // of all turns
}

// calibrate finds how many operations fill a turn, which also warms everything up.
func (s *side) calibrate(ctx context.Context) error {
	for {
		n := s.ops
		if err := s.turn(ctx); err != nil {
			return err
		}
		if took := s.last() * float64(n); took > float64(s.target)/4 || n == maxOps {
			break
		}
	}
	s.times, s.done, s.allocs = nil, 0, 0
	return nil
}

// turn runs one batch and sets the size of the next. The garbage of whoever ran before
// is collected off the clock; what the batch itself leaves behind is collected on it,
// if it is much.
func (s *side) turn(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	runtime.GC()
	if s.Prepare != nil {
		if err := s.Prepare(s.ops); err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	start := time.Now()
	err := s.Run(s.ops)
	took := time.Since(start)
	runtime.ReadMemStats(&after)
	if err != nil {
		return err
	}
	s.times = append(s.times, float64(took)/float64(s.ops))
	s.done += uint64(s.ops)
	s.allocs += after.Mallocs - before.Mallocs
	s.fit()
	return nil
}

// fit sets the size of the next batch by the time that the last one took. One batch
// that was disturbed does not make the next one tiny.
func (s *side) fit() {
	n := float64(s.target) / max(s.last(), 0.1)
	s.ops = int(min(max(n, float64(s.ops)/2, 1), 8*float64(s.ops), maxOps))
}

func (s *side) last() float64 { return s.times[len(s.times)-1] }

func (s *side) median() time.Duration {
	if len(s.times) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s.times))
	return time.Duration(quantile(sorted, 0.5) + 0.5)
}

func (s *side) allocations() int {
	if s.done == 0 {
		return 0
	}
	return int(s.allocs / s.done)
}

// quantile is the value below which the fraction q of the sorted values lies, between
// the two nearest of them.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}
