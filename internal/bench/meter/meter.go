// Package meter runs batches of an operation and tells what each batch cost.
package meter

import (
	"context"
	"fmt"
	"runtime"
	"time"
)

// maxOps is the most operations of one batch, however little one takes.
const maxOps = 1 << 24

// Side is something to be measured.
type Side struct {
	// Prepare may be nil. It makes ready for a Run of n operations, off the clock.
	Prepare func(n int) error
	// Run does n operations, on the clock.
	Run func(n int) error
}

// Batch is what some operations took together. CPU, Allocs and Bytes are those of the
// whole process: of whatever else it does, too.
type Batch struct {
	Ops    int
	Wall   time.Duration
	CPU    time.Duration // 0 where the system does not tell
	Allocs uint64        // objects
	Bytes  uint64        // of memory allocated
}

// Each is the time that one operation took, in nanoseconds.
func (b Batch) Each() float64 { return float64(b.Wall) / float64(b.Ops) }

// Meter runs a Side in batches of about the same length.
type Meter struct {
	side   Side
	target time.Duration
	ops    int
}

// New returns a Meter whose batches take about target each. It calibrates itself, which
// also warms everything up.
func New(ctx context.Context, side Side, target time.Duration) (*Meter, error) {
	m := &Meter{side: side, target: target, ops: 1}
	for {
		b, err := m.Turn(ctx)
		if err != nil {
			return nil, err
		}
		if b.Wall > target/4 || b.Ops == maxOps {
			return m, nil
		}
	}
}

// Turn runs one batch and sets the size of the next.
func (m *Meter) Turn(ctx context.Context) (Batch, error) {
	b, err := Measure(ctx, m.side, m.ops)
	if err == nil {
		m.fit(b)
	}
	return b, err
}

// fit sets the size of the next batch. One that was disturbed does not make the next
// tiny.
func (m *Meter) fit(b Batch) {
	n, last := float64(m.target)/max(b.Each(), 0.1), float64(b.Ops)
	m.ops = int(min(max(n, last/2, 1), 8*last, maxOps))
}

// Measure runs n operations of side. The garbage of whoever ran before is collected off
// the clock; what they leave behind themselves is collected on it, if it is much.
func Measure(ctx context.Context, side Side, n int) (Batch, error) {
	if err := ctx.Err(); err != nil {
		return Batch{}, err
	}
	runtime.GC()
	if side.Prepare != nil {
		if err := side.Prepare(n); err != nil {
			return Batch{}, fmt.Errorf("prepare: %w", err)
		}
	}
	b := Batch{Ops: n}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, start := CPUTime(), time.Now()
	err := side.Run(n)
	b.Wall, b.CPU = time.Since(start), CPUTime()-cpu
	runtime.ReadMemStats(&after)
	b.Allocs, b.Bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	return b, err
}
