package bench

import (
	"errors"
	"fmt"
	"time"
)

// Record is a [Result] for machines. Its field names stay as they are; others may come.
type Record struct {
	// ID is the goal's name, "A1"; What tells variants of one goal apart.
	ID   string `json:"id"`
	What string `json:"what"`
	// Path is the instructions that package present used, where that is what a goal is about.
	Path string `json:"path,omitempty"`
	// Verdict is "ok", "short", "skipped" or "failed". Why says what is behind the latter two, Install which command
	// brings what was missing.
	Verdict string `json:"verdict"`
	Why     string `json:"why,omitempty"`
	Install string `json:"install,omitempty"`
	// Figure is to be at most (Sense "<=") or at least (">=") Limit, and at best Stretch. Unit is that of all three,
	// empty for a ratio.
	Figure  float64 `json:"figure"`
	Sense   string  `json:"sense"`
	Limit   float64 `json:"limit"`
	Stretch float64 `json:"stretch,omitempty"`
	Unit    string  `json:"unit"`
	// JudgedBy says which of Median and Tenth the figure is: "median" or "tenth percentile"; "count" for one that does
	// not change from round to round. Between Low and High lie half of all rounds.
	JudgedBy string  `json:"judged_by"`
	Median   float64 `json:"median"`
	Tenth    float64 `json:"tenth_percentile"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	// A and B are the median times in nanoseconds of one operation of either side, AllocsA and AllocsB what it
	// allocates, in objects; 0 where nothing was timed.
	A       int64 `json:"a_ns"`
	B       int64 `json:"b_ns"`
	AllocsA int   `json:"a_allocs"`
	AllocsB int   `json:"b_allocs"`
	// Machine is [Machine].
	Machine string `json:"machine"`
}

// Record returns r for machines.
func (r Result) Record() Record {
	g := r.Goal
	o := Record{
		ID: g.ID, What: g.What, Path: g.Path, Verdict: r.verdict(), Why: r.Skipped, Install: r.Install,
		Figure: r.Figure, Sense: g.sense(), Limit: g.Limit, Stretch: g.Stretch, Unit: g.unit(), JudgedBy: "median",
		Median: r.Median, Tenth: r.Tenth, Low: r.Low, High: r.High,
		A: int64(r.A), B: int64(r.B), AllocsA: r.AllocsA, AllocsB: r.AllocsB,
		Machine: Machine(),
	}
	switch {
	case g.Count != nil:
		o.JudgedBy = "count"
	case g.Tenth:
		o.JudgedBy = "tenth percentile"
	}
	if r.Err != nil {
		o.Why = r.Err.Error()
	}
	return o
}

// result is the Result of g that o was made of.
func (o Record) result(g Goal) (Result, error) {
	r := Result{
		Goal: g, Install: o.Install, Figure: o.Figure, Median: o.Median, Tenth: o.Tenth, Low: o.Low, High: o.High,
		A: time.Duration(o.A), B: time.Duration(o.B), AllocsA: o.AllocsA, AllocsB: o.AllocsB,
	}
	if o.ID != g.ID || o.What != g.What {
		return r, fmt.Errorf("bench: %s %q was measured in place of %s %q", o.ID, o.What, g.ID, g.What)
	}
	switch o.Verdict {
	case "skipped":
		r.Skipped = o.Why
	case "failed":
		r.Err = errors.New(o.Why)
	}
	return r, nil
}
