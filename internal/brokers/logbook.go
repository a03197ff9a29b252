package brokers

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
)

// A logbook keeps what a child process says, line by line, for those who look at it and those who wait for a line.
type logbook struct {
	mu      sync.Mutex
	lines   []string
	changed chan struct{} // closed, and replaced, when a line arrives or the last one has
	ended   bool
}

func newLogbook() *logbook { return &logbook{changed: make(chan struct{})} }

// longestLog is how many lines are kept, half of which go when there are more.
const longestLog = 20000

// follow reads a log to its end.
func (l *logbook) follow(log io.Reader) {
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadString('\n')
		l.mu.Lock()
		if line != "" {
			l.lines = append(l.lines, strings.TrimRight(line, "\r\n"))
		}
		if len(l.lines) > longestLog {
			l.lines = slices.Clone(l.lines[longestLog/2:])
		}
		l.ended = err != nil
		close(l.changed)
		l.changed = make(chan struct{})
		l.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// all returns a copy of the lines.
func (l *logbook) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// await returns the first line that wanted accepts, of those that are there and those to come. A log that ends without
// one is an error which quotes its last lines.
func (l *logbook) await(ctx context.Context, wanted func(line string) bool) (string, error) {
	for {
		l.mu.Lock()
		lines, changed, ended := slices.Clone(l.lines), l.changed, l.ended
		l.mu.Unlock()
		if i := slices.IndexFunc(lines, wanted); i >= 0 {
			return lines[i], nil
		}
		const quoted = 20
		last := strings.Join(lines[max(0, len(lines)-quoted):], "\n")
		if ended {
			return "", fmt.Errorf("brokers: the log ended without the line:\n%s", last)
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return "", fmt.Errorf("brokers: no such line in the log: %w:\n%s", context.Cause(ctx), last)
		}
	}
}
