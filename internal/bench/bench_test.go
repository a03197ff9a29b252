package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// paced is a side whose operations take a fixed time of a synctest bubble's clock.
func paced(operation time.Duration, log *[]string, name string) Side {
	return Side{Run: func(n int) error {
		*log = append(*log, name)
		time.Sleep(time.Duration(n) * operation)
		return nil
	}}
}

func TestMeasureComparesRoundByRound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		g := Goal{ID: "X1", Limit: 2, Setup: func(context.Context) (Pair, error) {
			return Pair{A: paced(300*time.Nanosecond, &log, "a"), B: paced(200*time.Nanosecond, &log, "b")}, nil
		}}
		r := Measure(t.Context(), g, nil)
		require.NoError(t, r.Err)
		require.InDelta(t, 1.5, r.Figure, 1e-9)
		require.InDelta(t, 1.5, r.Low, 1e-9)
		require.InDelta(t, 1.5, r.High, 1e-9)
		require.Equal(t, 300*time.Nanosecond, r.A)
		require.Equal(t, 200*time.Nanosecond, r.B)
		require.True(t, r.Reached())

		turns := strings.Join(log, "")
		require.Regexp(t, `^a+b+(ab){21}$`, turns, "calibration of each side, then by turns")
	})
}

func TestMeasureTakesTheMedian(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		// Every third round, the machine is ten times as slow for one side only.
		var log []string
		turns := 0
		disturbed := Side{Run: func(n int) error {
			turns++
			operation := time.Microsecond
			if turns%3 == 0 {
				operation *= 10
			}
			time.Sleep(time.Duration(n) * operation)
			return nil
		}}
		g := Goal{ID: "X1", Limit: 1, Setup: func(context.Context) (Pair, error) {
			return Pair{A: disturbed, B: paced(time.Microsecond, &log, "b")}, nil
		}}
		r := Measure(t.Context(), g, nil)
		require.NoError(t, r.Err)
		require.InDelta(t, 1, r.Figure, 1e-9)
		require.InDelta(t, 10, r.High, 1e-9)
	})
}

// TestMeasureTellsABusyNeighbour wants the tenth percentile to be what an operation takes when nothing disturbs it.
func TestMeasureTellsABusyNeighbour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		turns := 0
		disturbed := Side{Run: func(n int) error {
			turns++
			operation := time.Microsecond
			if turns%3 != 0 {
				operation *= 2
			}
			time.Sleep(time.Duration(n) * operation)
			return nil
		}}
		g := Goal{ID: "X1", Limit: 1.5, Setup: func(context.Context) (Pair, error) {
			return Pair{A: disturbed, B: paced(time.Microsecond, &log, "b")}, nil
		}}
		r := Measure(t.Context(), g, nil)
		require.InDelta(t, 2, r.Figure, 1e-9)
		require.InDelta(t, 1, r.Tenth, 1e-9)
		require.False(t, r.Reached())
		g.Tenth = true
		r = Measure(t.Context(), g, nil)
		require.InDelta(t, 1, r.Figure, 1e-9)
		require.InDelta(t, 2, r.Median, 1e-9)
		require.True(t, r.Reached())
	})
}

// TestMeasureRatioOfRatios compares what two ways gain.
func TestMeasureRatioOfRatios(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		r := Measure(t.Context(), Goal{Limit: 0.9, AtLeast: true, Setup: func(context.Context) (Pair, error) {
			return Pair{
				A: paced(3*time.Microsecond, &log, "a"), B: paced(2*time.Microsecond, &log, "b"),
				C: paced(8*time.Microsecond, &log, "c"), D: paced(4*time.Microsecond, &log, "d"),
			}, nil
		}}, nil)
		require.InDelta(t, 0.75, r.Figure, 1e-9, "1.5 of 2")
		require.Regexp(t, `(abcd){21}$`, strings.Join(log, ""))
	})
}

func TestRecord(t *testing.T) {
	g := Goal{ID: "P2", What: "x", Path: "avx2", Limit: 2, AtLeast: true, Stretch: 3, Unit: time.Microsecond, Tenth: true}
	r := Result{Goal: g, Figure: 2.5, Median: 2.6, Tenth: 2.5, Low: 2.4, High: 2.7, A: 5, B: 6, AllocsA: 7, AllocsB: 8}
	text, err := json.Marshal(r.Record())
	require.NoError(t, err)
	require.JSONEq(t, `{"id":"P2","what":"x","path":"avx2","verdict":"ok","figure":2.5,"sense":">=","limit":2,"stretch":3,"unit":"µs",
		"judged_by":"tenth percentile","median":2.6,"tenth_percentile":2.5,"low":2.4,"high":2.7,
		"a_ns":5,"b_ns":6,"a_allocs":7,"b_allocs":8,"machine":"`+Machine()+`"}`, string(text))
	back, err := r.Record().result(g)
	require.NoError(t, err)
	require.Equal(t, r, back)

	for _, r := range []Result{
		{Goal: g, Skipped: "why", Install: "how"},
		{Goal: g, Err: errors.New("why")},
	} {
		back, err := r.Record().result(g)
		require.NoError(t, err)
		require.Equal(t, r, back)
	}
	g.What = "y"
	_, err = r.Record().result(g)
	require.ErrorContains(t, err, "in place of")
}

func TestMeasureRatesAndUnits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log []string
		setup := func(context.Context) (Pair, error) {
			return Pair{A: paced(time.Microsecond, &log, "a"), B: paced(2*time.Microsecond, &log, "b")}, nil
		}
		r := Measure(t.Context(), Goal{AtLeast: true, Limit: 1.2, Setup: setup}, nil)
		require.InDelta(t, 2, r.Figure, 1e-9, "half the time is twice the rate")
		require.True(t, r.Reached())

		r = Measure(t.Context(), Goal{AtLeast: true, Limit: 2.2, Setup: setup}, nil)
		require.False(t, r.Reached())

		r = Measure(t.Context(), Goal{Unit: time.Microsecond, Limit: 8, Setup: func(context.Context) (Pair, error) {
			return Pair{A: paced(7500*time.Nanosecond, &log, "a")}, nil
		}}, nil)
		require.NoError(t, r.Err)
		require.InDelta(t, 7.5, r.Figure, 1e-9)
	})
}

// TestMeasureFillsBatches wants each turn of the measurement to last as long as asked
// for, with everything prepared for as many operations as are run.
func TestMeasureFillsBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var took []time.Duration
		prepared := 0
		slow := Side{
			Prepare: func(n int) error {
				prepared = n
				time.Sleep(time.Hour) // off the clock
				return nil
			},
			Run: func(n int) error {
				require.Equal(t, prepared, n)
				start := time.Now()
				time.Sleep(time.Duration(n) * 10 * time.Microsecond)
				took = append(took, time.Since(start))
				return nil
			},
		}
		const batch = 50 * time.Millisecond
		g := Goal{Unit: time.Microsecond, Batch: batch, Rounds: 30, Setup: func(context.Context) (Pair, error) {
			return Pair{A: slow}, nil
		}}
		r := Measure(t.Context(), g, nil)
		require.NoError(t, r.Err)
		require.InDelta(t, 10, r.Figure, 1e-9)
		for _, d := range took[len(took)-30:] {
			require.Equal(t, batch, d)
		}
	})
}

func TestMeasureCountsAllocations(t *testing.T) {
	var kept []byte
	g := Goal{ID: "X1", Limit: 1e9, NoAllocs: true, Batch: time.Microsecond, Setup: func(context.Context) (Pair, error) {
		return Pair{
			A: Loop(func() { kept = make([]byte, 100) }),
			B: Loop(func() { kept = kept[:1] }),
		}, nil
	}}
	r := Measure(t.Context(), g, nil)
	require.NoError(t, r.Err)
	require.Equal(t, 1, r.AllocsA)
	require.Zero(t, r.AllocsB)
	require.False(t, r.Reached(), "an allocation where none is allowed")
}

func TestMeasureSkipsAndFails(t *testing.T) {
	broken := errors.New("broken")
	closed := 0
	fails := func(n int) error { return broken }
	fine := Loop(func() {})
	for name, c := range map[string]struct {
		goal    Goal
		skipped string
		err     error
	}{
		"skip": {
			goal:    Goal{Skip: func() string { return "no such CPU" }},
			skipped: "no such CPU",
		},
		"setup skips": {
			goal:    Goal{Setup: func(context.Context) (Pair, error) { return Pair{}, fmt.Errorf("%w: no broker", ErrSkip) }},
			skipped: "not here: no broker",
		},
		"setup fails": {
			goal: Goal{Setup: func(context.Context) (Pair, error) { return Pair{}, broken }},
			err:  broken,
		},
		"a program is missing": {
			goal: Goal{Count: func(context.Context) (a, b float64, err error) {
				return 0, 0, &missing{broken, "apt-get install it"}
			}},
			skipped: "broken",
		},
		"run fails": {
			goal: Goal{Setup: func(context.Context) (Pair, error) {
				return Pair{A: fine, B: Side{Run: fails}, Close: func() error { closed++; return nil }}, nil
			}},
			err: broken,
		},
		"prepare fails": {
			goal: Goal{Setup: func(context.Context) (Pair, error) { return Pair{A: Side{Prepare: fails, Run: fine.Run}, B: fine}, nil }},
			err:  broken,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := Measure(t.Context(), c.goal, nil)
			require.Equal(t, c.skipped, r.Skipped)
			require.ErrorIs(t, r.Err, c.err)
			require.False(t, r.Reached())
		})
	}
	require.Equal(t, 1, closed)
}

func TestRunStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	fine := Loop(func() {})
	turns, closed := 0, false
	goals := []Goal{
		{ID: "X1", Skip: func() string { return "for the test" }},
		{ID: "X2", Setup: func(context.Context) (Pair, error) {
			interrupted := Side{Run: func(int) error {
				if turns++; turns == 5 {
					cancel()
				}
				return nil
			}}
			return Pair{A: interrupted, B: fine, Close: func() error { closed = true; return nil }}, nil
		}},
	}
	var lines []string
	results, err := Run(ctx, goals, func(r Result) error {
		lines = append(lines, r.Line())
		return nil
	}, nil)
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, results, 1)
	require.True(t, closed)
	require.Equal(t, []string{"X1 skipped: for the test ()"}, lines)
}

func TestLine(t *testing.T) {
	for _, c := range []struct {
		want string
		r    Result
	}{
		{
			"A1 1.43 <= 1.60 ok    | seal / raw; 181ns / 127ns; tenth percentile 1.42; half of all rounds 1.40 to 1.47; 0 allocs, goal 0; stretch 1.25 not reached",
			Result{
				Goal:   Goal{ID: "A1", What: "seal / raw", Limit: 1.6, Stretch: 1.25, NoAllocs: true},
				Figure: 1.431, Median: 1.431, Tenth: 1.42, Low: 1.4, High: 1.47, A: 181, B: 127,
			},
		},
		{
			"A1 1.20 <= 1.60 short | seal / raw; 152ns / 127ns; tenth percentile, median 1.31; half of all rounds 1.10 to 1.30; 2 allocs, goal 0; stretch 1.25 reached",
			Result{
				Goal:   Goal{ID: "A1", What: "seal / raw", Limit: 1.6, Stretch: 1.25, NoAllocs: true, Tenth: true},
				Figure: 1.2, Median: 1.31, Tenth: 1.2, Low: 1.1, High: 1.3, A: 152, B: 127, AllocsA: 2,
			},
		},
		{
			"A4 8.50 <= 8.00 µs short | cold topic; tenth percentile 8.40; half of all rounds 8.00 to 9.00",
			Result{Goal: Goal{ID: "A4", What: "cold topic", Limit: 8, Unit: time.Microsecond}, Figure: 8.5, Tenth: 8.4, Low: 8, High: 9, A: 8500},
		},
		{
			"M1 0.98 >= 0.97 ok    | v5; 20µs / 19.6µs; tenth percentile 0.99; half of all rounds 0.95 to 1.01",
			Result{Goal: Goal{ID: "M1", What: "v5", Limit: 0.97, AtLeast: true}, Figure: 0.98, Tenth: 0.99, Low: 0.95, High: 1.01, A: 20000, B: 19600},
		},
		{
			"P1 0.028 <= 0.033 ok    | CTR / table; 40ns / 1.4µs; tenth percentile 0.028; half of all rounds 0.027 to 0.029",
			Result{Goal: Goal{ID: "P1", What: "CTR / table", Limit: 1. / 30}, Figure: 0.028, Tenth: 0.0277, Low: 0.027, High: 0.029, A: 40, B: 1400},
		},
		{
			"A2 1.154 <= 1.150 short | seal / raw; 255ns / 221ns; tenth percentile 1.141; half of all rounds 1.140 to 1.170",
			Result{Goal: Goal{ID: "A2", What: "seal / raw", Limit: 1.15}, Figure: 1.1542, Tenth: 1.141, Low: 1.14, High: 1.17, A: 255, B: 221},
		},
		{"P1 skipped: no AVX-512 here (CTR / table)", Result{Goal: Goal{ID: "P1", What: "CTR / table"}, Skipped: "no AVX-512 here"}},
		{
			"M1 skipped: no broker; apt-get install broker (v5)",
			Result{Goal: Goal{ID: "M1", What: "v5"}, Skipped: "no broker", Install: "apt-get install broker"},
		},
		{
			"F1 0.00 <= 0.00 refused ok    | messages",
			Result{Goal: Goal{ID: "F1", What: "messages", Of: "refused", Count: func(context.Context) (a, b float64, err error) { return 0, 0, nil }}},
		},
		{"M1 failed: lost (v5)", Result{Goal: Goal{ID: "M1", What: "v5"}, Err: errors.New("lost")}},
	} {
		require.Equal(t, c.want, c.r.Line())
	}
}

func TestBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		b := &Bar{w: &out}
		b.Clear()
		require.Empty(t, out.String(), "nothing drawn, nothing to clear")

		b.Show(0.5, "A1 "+strings.Repeat("x", 100))
		line := strings.TrimPrefix(out.String(), "\r\x1b[K")
		require.Equal(t, barCells/2, strings.Count(line, "█"))
		require.Contains(t, line, " 50% A1 xxx")
		require.Less(t, len([]rune(line)), 81)

		out.Reset()
		b.Show(0.6, "A1")
		require.Empty(t, out.String(), "too soon to be seen")
		time.Sleep(barEvery)
		b.Show(0.6, "A1")
		require.Contains(t, out.String(), " 60% A1")

		out.Reset()
		b.Clear()
		require.Equal(t, "\r\x1b[K", out.String())

		b = nil
		b.Show(1, "nothing to draw on")
		b.Clear()
	})
}
