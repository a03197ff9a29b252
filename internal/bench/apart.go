package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"
)

// apartVariable tells a child process, in JSON, what to measure.
const apartVariable = "MQTTSEC_BENCH_APART"

// order is what a child process measures.
type order struct {
	ID     string        `json:"id"`
	What   string        `json:"what"`
	Batch  time.Duration `json:"batch"`
	Rounds int           `json:"rounds"`
}

func isApart() bool { return os.Getenv(apartVariable) != "" }

// Apart reports whether this process is a child that another one of [Run] has started. It has then measured what it
// was started for and written that to out, and is to exit.
func Apart(ctx context.Context, out io.Writer) (bool, error) {
	text := os.Getenv(apartVariable)
	if text == "" {
		return false, nil
	}
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return true, fmt.Errorf("bench: %s: %w", apartVariable, err)
	}
	for _, g := range Goals() {
		if g.ID == o.ID && g.What == o.What {
			g.Batch, g.Rounds = o.Batch, o.Rounds
			return true, json.NewEncoder(out).Encode(Measure(ctx, g, nil).Record())
		}
	}
	return true, fmt.Errorf("bench: %s: there is no goal %s %q", apartVariable, o.ID, o.What)
}

// measureApart has a child process of other settings measure g.
func measureApart(ctx context.Context, g Goal) Result {
	r, err := askChild(ctx, g)
	if err != nil {
		return Result{Goal: g, Err: fmt.Errorf("bench: in a process with GODEBUG=%s: %w", g.Setting, err)}
	}
	return r
}

func askChild(ctx context.Context, g Goal) (Result, error) {
	program, err := os.Executable()
	if err != nil {
		return Result{}, err
	}
	text, err := json.Marshal(order{g.ID, g.What, g.Batch, g.Rounds})
	if err != nil {
		return Result{}, err
	}
	debug := strings.TrimPrefix(os.Getenv("GODEBUG")+","+g.Setting, ",")
	child := exec.CommandContext(ctx, program)
	child.Env = append(os.Environ(), apartVariable+"="+string(text), "GODEBUG="+debug)
	var said bytes.Buffer
	child.Stderr = &said
	answer, err := child.Output()
	if err != nil {
		return Result{}, fmt.Errorf("%w: %s", err, &said)
	}
	var o Record
	if err := json.Unmarshal(answer, &o); err != nil {
		return Result{}, err
	}
	return o.result(g)
}
