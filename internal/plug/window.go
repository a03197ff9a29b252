package plug

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// window is the context for a function of the application that opens a connection.
// While the function runs it has a time limit. Once the function has succeeded the
// limit is gone, and the context ends with the caller's: autopaho's own context for
// AttemptConnection lives as long as the connection manager, and functions have come
// to tie their connections to it.
type window struct {
	context.Context // ends with parent, or by cancel
	parent          context.Context
	cancel          context.CancelCauseFunc
	limit           *time.Timer
	until           time.Time
	settled         atomic.Bool
}

// Deadline returns the time limit while there is one, then the caller's deadline.
func (w *window) Deadline() (time.Time, bool) {
	deadline, ok := w.parent.Deadline()
	if w.settled.Load() || ok && deadline.Before(w.until) {
		return deadline, ok
	}
	return w.until, true
}

// Err tells an expired limit from a cancellation, as a context with a deadline does.
func (w *window) Err() error {
	err := w.Context.Err()
	if err != nil && context.Cause(w.Context) == context.DeadlineExceeded {
		return context.DeadlineExceeded
	}
	return err
}

// windows keeps the settled windows. A context that can end is known to the one it
// was derived from until it does, so every reconnection would add one for the life of
// a connection manager. Therefore the next success under the same caller's context
// ends the window before it: a manager has one connection at a time. The zero value
// is ready for use.
type windows struct {
	mu   sync.Mutex
	kept map[<-chan struct{}]*window // by the caller's Done channel
}

// open returns a window below parent with a time limit.
func (ws *windows) open(parent context.Context, until time.Time) *window {
	ctx, cancel := context.WithCancelCause(parent)
	w := &window{Context: ctx, parent: parent, cancel: cancel, until: until}
	w.limit = time.AfterFunc(time.Until(until), func() { cancel(context.DeadlineExceeded) })
	return w
}

// settle takes the limit from w if a connection was opened in it, and ends w if not.
func (ws *windows) settle(w *window, opened bool) {
	w.limit.Stop()
	w.settled.Store(true)
	if !opened {
		w.cancel(context.Canceled)
		return
	}
	done := w.parent.Done()
	if done == nil {
		return // nothing above can end, so nothing there remembers w
	}
	ws.mu.Lock()
	defer ws.mu.Unlock()
	last, known := ws.kept[done]
	if known {
		last.cancel(context.Canceled)
	} else {
		context.AfterFunc(w.parent, func() { ws.forget(done) })
	}
	if ws.kept == nil {
		ws.kept = make(map[<-chan struct{}]*window)
	}
	ws.kept[done] = w
}

// forget drops what settle has kept for a context that has ended.
func (ws *windows) forget(done <-chan struct{}) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	delete(ws.kept, done)
}
