package main

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// everySecond is how often a listener logs each thing that clients can bring about as often as they like.
const everySecond = time.Second

// throttled is the log of a listener: of each message that anybody can have written again and again, one a second
// passes. How many were left out is told in the second's last line. Who debugs has them all, as such. What a client
// may do that has said who it is, and was allowed to, passes always: it is the record of who did what.
type throttled struct {
	slog.Handler              // with what has been attached to a line
	of           slog.Handler // the listener's own
	known        bool         // the line is of somebody who is known
	kinds        *kinds
}

// kinds are the messages, which are those of the program and no others.
type kinds struct {
	mu sync.Mutex
	of map[string]*quota
}

// quota is that of a message in a second.
type quota struct {
	until time.Time
	left  int // out
}

// newThrottled is a log whose lines go to log.
func newThrottled(log *slog.Logger) *slog.Logger {
	h := log.Handler()
	return slog.New(&throttled{Handler: h, of: h, kinds: &kinds{of: make(map[string]*quota)}})
}

// WithAttrs is for a part of the listener, or one of its clients: the second is everybody's.
func (t *throttled) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &throttled{t.Handler.WithAttrs(attrs), t.of, t.known || slices.ContainsFunc(attrs, names), t.kinds}
}

// WithGroup is as WithAttrs.
func (t *throttled) WithGroup(name string) slog.Handler {
	return &throttled{t.Handler.WithGroup(name), t.of, t.known, t.kinds}
}

// names tells whether an attribute says who a client is.
func names(a slog.Attr) bool {
	return (a.Key == "identity" || a.Key == "user") && a.Value.String() != ""
}

// Handle writes a line, as it is or as a number.
func (t *throttled) Handle(ctx context.Context, line slog.Record) error {
	known := t.known
	line.Attrs(func(a slog.Attr) bool {
		known = known || names(a)
		return !known
	})
	switch debugging := t.Enabled(ctx, slog.LevelDebug); {
	case line.Level < slog.LevelInfo, line.Level == slog.LevelInfo && known:
	case t.takes(line.Message, line.Level, !debugging):
	case debugging:
		line.Level = slog.LevelDebug
	default:
		return nil
	}
	return t.Handler.Handle(ctx, line)
}

// takes tells whether a message has its second before it; one that has not is counted, if it is to be.
func (t *throttled) takes(message string, level slog.Level, counting bool) bool {
	t.kinds.mu.Lock()
	defer t.kinds.mu.Unlock()
	q := t.kinds.of[message]
	if q == nil {
		q = new(quota)
		t.kinds.of[message] = q
	}
	now := time.Now()
	if !now.Before(q.until) {
		q.until = now.Add(everySecond)
		return true
	}
	if counting {
		if q.left++; q.left == 1 {
			time.AfterFunc(q.until.Sub(now), func() { t.leftOut(q, message, level) })
		}
	}
	return false
}

// leftOut says how many lines there would have been.
func (t *throttled) leftOut(q *quota, message string, level slog.Level) {
	t.kinds.mu.Lock()
	n := q.left
	q.left = 0
	t.kinds.mu.Unlock()
	slog.New(t.of).Log(context.Background(), level, message, "left_out", n)
}
