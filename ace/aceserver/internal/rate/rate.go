// Package rate bounds how often each of many peers may ask, with a bound on what is remembered of them.
package rate

import (
	"sync"
	"time"
)

// A Limiter counts the requests of many peers. It is the generic cell rate algorithm (ITU-T I.371): a time per peer,
// at which the requests it has made would be paid for if they had come evenly.
type Limiter struct {
	interval, tolerance time.Duration
	entries             int

	mu  sync.Mutex
	due map[string]time.Time
}

// New returns a Limiter that lets each peer make burst requests at once and one more every interval, and remembers at
// most entries peers. An interval of 0 or less is no limit.
func New(interval time.Duration, burst, entries int) *Limiter {
	return &Limiter{
		interval:  interval,
		tolerance: interval * time.Duration(burst),
		entries:   entries,
		due:       map[string]time.Time{},
	}
}

// Take counts n requests of a peer; if they are too many, it returns how long to wait.
func (l *Limiter) Take(peer string, n int, now time.Time) (wait time.Duration) {
	if l.interval <= 0 {
		return 0
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	due := l.due[peer]
	if due.Before(now) {
		due = now
	}
	next := due.Add(l.interval * time.Duration(n))
	if over := next.Sub(now) - l.tolerance; over > 0 {
		return over
	}
	l.remember(peer, next, now)
	return 0
}

// Charge counts n requests of a peer even if that is more than it has left, up to a whole burst.
func (l *Limiter) Charge(peer string, n int, now time.Time) {
	if l.interval <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	due := l.due[peer]
	if due.Before(now) {
		due = now
	}
	due = due.Add(l.interval * time.Duration(n))
	if latest := now.Add(l.tolerance); due.After(latest) {
		due = latest
	}
	l.remember(peer, due, now)
}

// Refund takes n requests of a peer back.
func (l *Limiter) Refund(peer string, n int) {
	if l.interval <= 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if due, known := l.due[peer]; known {
		l.due[peer] = due.Add(-l.interval * time.Duration(n))
	}
}

// remember makes room first if there is none: of those that have a whole burst left nothing is worth keeping.
func (l *Limiter) remember(peer string, due, now time.Time) {
	if _, known := l.due[peer]; !known && len(l.due) >= l.entries {
		l.sweep(now)
	}
	l.due[peer] = due
}

// sweep forgets whoever has paid, and at least an eighth of all, so that it is not called again at once.
func (l *Limiter) sweep(now time.Time) {
	for peer, due := range l.due {
		if due.Before(now) {
			delete(l.due, peer)
		}
	}
	spare := l.entries - l.entries/8
	for peer := range l.due {
		if len(l.due) <= spare && len(l.due) < l.entries {
			return
		}
		delete(l.due, peer)
	}
}
